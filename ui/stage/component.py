"""Mounts the stage on a page, and reads what comes back from it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from datasets.drawn import Stroke

_HERE = Path(__file__).parent
_STROKES = 200  # of a drawing
_CORNERS = 2_000  # of a stroke
_ALL = 20_000  # corners of a drawing
_LEAST = 1e-6  # radius and weight: their product has to stay a number


@functools.cache
def _component() -> Callable[..., Any]:
    html, css, js = (
        (_HERE / f"stage.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    return st.components.v2.component("genlab_stage", html=html, css=css, js=js)


def _nothing() -> None:
    """Streamlit asks for a callback of each value that a component may set."""


def show_stage(block: bytes, key: str, on_strokes: Callable[[], None] = _nothing) -> Any:
    """Draw a scene.

    Args:
        block: the scene, as ``ui.stage.encode.encode`` writes it.
        key: of the stage: the same one updates the same canvases.
        on_strokes: called before the page is drawn anew because strokes arrived.

    Returns:
        What the visitor did: ``point`` and ``strokes``, each ``None`` at first. Neither can be
        trusted: read them by ``point_of`` and ``strokes_of``.
    """
    return _component()(
        data=block,
        key=key,
        default={"point": None, "strokes": None},
        on_point_change=_nothing,
        on_strokes_change=on_strokes,
    )


def point_of(value: Any, first: tuple[float, float]) -> tuple[float, float]:
    """Return where a point was dragged to, or ``first`` if that is no place."""
    if isinstance(value, list) and len(value) == 2 and all(map(_number, value)):
        return float(value[0]), float(value[1])
    return first


def asked_point(key: str, first: tuple[float, float], box: Sequence[float]) -> tuple[float, float]:
    """Return where the point of a stage was dragged to, within the window of its lattice.

    Args:
        key: of the stage.
        first: where the point is at first.
        box: the window.
    """
    asked = st.session_state.get(key)
    x, y = point_of(asked["point"] if asked else None, first)
    x0, x1, y0, y1 = map(float, box)
    return min(max(x, x0), x1), min(max(y, y0), y1)


def strokes_of(value: Any) -> list[Stroke]:
    """Return the strokes of a drawing, none if it was cleared.

    Raises:
        ValueError: what arrived is no drawing, or is too large.
    """
    strokes = value.get("strokes") if isinstance(value, dict) else None
    if not isinstance(strokes, list) or len(strokes) > _STROKES:
        raise ValueError(f"A drawing has at most {_STROKES} strokes.")
    found = [_stroke(stroke) for stroke in strokes]
    if sum(len(stroke.at) for stroke in found) > _ALL:
        raise ValueError(f"A drawing has at most {_ALL:,} corners.")
    return found


def turn_of(value: Any) -> int:
    """Return which of its drawings the browser has handed over."""
    turn = value.get("turn") if isinstance(value, dict) else None
    return turn if isinstance(turn, int) and 0 <= turn < 1e9 else 0


def _stroke(value: Any) -> Stroke:
    if not isinstance(value, dict):
        raise ValueError("A stroke has corners, a radius and a weight.")
    at, radius, weight = value.get("at"), value.get("radius"), value.get("weight", 1)
    if not isinstance(at, list) or not 2 <= len(at) <= 2 * _CORNERS or len(at) % 2:
        raise ValueError(f"A stroke has between one and {_CORNERS:,} corners.")
    numbers = all(map(_number, [*at, radius, weight]))
    if not numbers or radius < _LEAST or not _LEAST <= weight <= 10:
        raise ValueError("A stroke has finite coordinates, a radius and a weight.")
    corners = tuple((float(x), float(y)) for x, y in zip(at[::2], at[1::2], strict=True))
    return Stroke(corners, float(radius), float(weight), value.get("erase") is True)


def _number(value: Any) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and abs(value) < 1e6  # also false for NaN

"""The loss curve sketched before a training, and drawn into the same chart what it became."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from analysis.exercises.files import COLUMNS, CURVES, Exercise, measured_curves
from ui.common.page import theme
from ui.guide.answers import fits
from ui.theory.drawing import colours, read

Curve = Sequence[tuple[float, float]]
SKETCH, MINE, SEEDS = ("Your sketch", "data"), ("Your run", "model"), ("Three seeds", "muted")


def ask_for_sketch(one: Exercise, key: str) -> list[float] | None:
    """Let the visitor draw a curve; return its heights from the first step to the last."""
    found = _draw(one, key, {"open": True, "sketch": None, "legend": []})
    sketch = found["sketch"] if found else None
    return sketch if fits(one, sketch) else None


def compare_curves(one: Exercise, key: str, sketch: object, mine: Curve) -> None:
    """Draw the sketch, the visitor's own run and what was measured into one chart."""
    measured = measured_curves(one)
    legend = [SKETCH] * bool(sketch) + [MINE] * bool(mine) + [SEEDS] * bool(measured)
    shown = {"open": False, "sketch": sketch, "mine": mine, "measured": measured}
    _draw(one, key, {**shown, "legend": legend})
    if sketch and mine:
        _, unit = CURVES[one.curve]
        off = f"{distance(one, sketch, mine):.2g}{f' {unit}' if unit else ''}"
        st.caption(f"Your sketch is off by {off} on average over the steps.")


def distance(one: Exercise, sketch: Sequence[float], curve: Curve) -> float:
    """Return the mean absolute difference between a sketch and a curve, over the columns."""
    steps, values = np.transpose(curve)
    at = np.linspace(0, _total(one), COLUMNS)
    inside = at >= steps[0]  # nothing is logged before the first steps
    return float(np.abs(np.interp(at, steps, values) - sketch)[inside].mean())


def _draw(one: Exercise, key: str, data: dict[str, Any]) -> Any:
    title, unit = CURVES[one.curve]
    plain = {"mine": [], "measured": [], "total": _total(one), "ends": one.guess}
    words = f"{title[0].upper()}{title[1:]}{f' [{unit}]' if unit else ''}, over optimiser steps"
    shades = {name: value for name, value in colours(theme()).items() if name != "table"}
    return _component()(
        data={**plain, "title": words, "colours": shades, **data},
        key=key,
        default={"sketch": None},
        on_sketch_change=_nothing,
    )


def _nothing() -> None:
    """Streamlit asks for a callback of each value that a component may set."""


def _total(one: Exercise) -> int:
    return one.config().iterations


@functools.cache
def _component() -> Callable[..., Any]:
    html, css, js = (
        Path(__file__).with_name(f"sketch.{kind}").read_text(encoding="utf-8")
        for kind in ("html", "css", "js")
    )
    return st.components.v2.component(
        "genlab_sketch", html=html, css=css, js=read("drawing.js") + js
    )

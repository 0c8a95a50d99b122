"""A brush on the stage: what a visitor draws, kept for the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import streamlit as st

from datasets.drawn import Stroke
from datasets.files.errors import DataError
from ui.common.page import theme
from ui.stage.component import show_stage, strokes_of, turn_of
from ui.stage.encode import encode
from ui.stage.scene import Brush, Panel, Scene

Strokes = tuple[Stroke, ...]


@dataclass(frozen=True)
class Drawing:
    """What is drawn.

    Attributes:
        strokes: in the order in which they were drawn.
        turn: counts the drawings, the browser's and the server's.
        refused: why it is of no use, or an empty string.
    """

    strokes: Strokes = ()
    turn: int = 0
    refused: str = ""


def drawing_of(key: str) -> Drawing:
    """Return what a visitor has drawn under a key so far."""
    return st.session_state.get(f"{key}.drawing", Drawing())


def draw(
    key: str,
    panels: Sequence[Panel],
    brush: Brush,
    then: Callable[[Strokes], None],
    *,
    notes: Sequence[str] = (),
    presets: Mapping[str, Strokes] | None = None,
) -> Strokes:
    """Let the visitor draw; return the strokes.

    Args:
        key: of the drawing: the same one brings it back on another page.
        panels: what the stage shows.
        brush: how one draws.
        then: called with the strokes when they have changed, before the page is drawn anew; a
            `DataError` says why they are of no use.
        notes: what stands below the stage.
        presets: drawings to start from, by name.
    """
    drawing = drawing_of(key)
    if presets:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption("Start from", width="content")
            for name, strokes in presets.items():
                press = partial(_start, key, strokes, then)
                st.button(name, key=f"{key}.{name}", on_click=press)
    brush = replace(brush, strokes=drawing.strokes, turn=drawing.turn)
    scene = Scene(panels, theme(), brush=brush, save="drawing", notes=notes)
    stage = f"{key}.stage"
    show_stage(encode(scene), stage, partial(_take, key, stage, then))
    if drawing.refused:
        st.info(drawing.refused)
    return drawing.strokes


def _start(key: str, strokes: Strokes, then: Callable[[Strokes], None]) -> None:
    """Begin with a drawing that was there before; a callback."""
    _keep(key, Drawing(strokes, drawing_of(key).turn + 1), then)


def _take(key: str, stage: str, then: Callable[[Strokes], None]) -> None:
    """Keep the strokes that the browser handed over; a callback."""
    value = st.session_state[stage].get("strokes")
    try:
        drawing = Drawing(tuple(strokes_of(value)), turn_of(value))
    except ValueError as error:
        drawing = Drawing(turn=turn_of(value), refused=str(error))
    _keep(key, drawing, then)


def _keep(key: str, drawing: Drawing, then: Callable[[Strokes], None]) -> None:
    try:
        then(drawing.strokes)
    except DataError as error:
        drawing = replace(drawing, refused=drawing.refused or str(error))
    st.session_state[f"{key}.drawing"] = drawing

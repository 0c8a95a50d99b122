"""A user's own points: uploaded, or drawn with a brush."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from datasets.drawn import PRESETS, WINDOW, Stroke, own_drawing
from datasets.own import OwnData
from datasets.plane import OWN
from registry import Family
from training.core.config import RunConfig
from ui.common.form import OWN_KEY, own_points
from ui.common.plain import plain
from ui.common.widgets import HIDDEN, choice
from ui.stage.drawing import draw, drawing_of
from ui.stage.scene import Brush, Panel, Points

KEY = "plane"  # of the drawing, which all pages in 2-D share
RADIUS = 0.16
WIDTH = 720  # pixels: what one trains with has to stay in view
NOTE = "Points come when the pen is lifted: more of them where a stroke has more weight."


def own_or_drawn(family: Family, config: RunConfig) -> tuple[OwnData | None, bool]:
    """Let the visitor upload points or draw their density, if the config asks for one's own.

    Returns:
        The data and whether there is all that a training needs.
    """
    if config.dataset != OWN:
        return None, True
    way = choice("Where your data comes from", ["Upload", "Draw"], "own.way", **HIDDEN)
    return own_points(family, config) if way == "Upload" else _drawn()


def _drawn() -> tuple[OwnData | None, bool]:
    held: OwnData | None = st.session_state.get(OWN_KEY)
    shown = [] if held is None or held.kind != "points" else [Points("points", held.array, "data")]
    panels = [
        Panel("Draw here", WINDOW, [], "Your drawing"),
        Panel("The points that come of it", WINDOW, shown, "The points that come of the drawing"),
    ]
    with st.container(width=WIDTH):
        draw(KEY, panels, Brush(0, RADIUS), _hold, notes=[NOTE], presets=PRESETS)
    if held is None and not drawing_of(KEY).refused:
        st.info("Draw a shape, then press Train.")
    elif held is not None:
        count = f"{len(held.array):,} points from {plain(held.name)}"
        st.caption(f"{count}; a fifth is held out as test set.")
    return held, held is not None


def _hold(strokes: Sequence[Stroke]) -> None:
    """Make points of a drawing, and keep them for all pages."""
    st.session_state.pop(OWN_KEY, None)
    st.session_state[OWN_KEY] = own_drawing(strokes)

"""The shape that every page of a flow in the plane shares, after its title."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from registry import Family
from training.config import OWN
from ui.form import config_form, own_data
from ui.page import show_source, theory
from ui.plane import checks, draw_plane, explore, see_inside, weights_shown
from ui.run_panel import training_panel
from ui.take_away import take_away


def plane_page(family: Family, feel: Callable[[], None], code: tuple[object, ...]) -> None:
    """Draw how it works, training, and what can be done with what was trained.

    Args:
        family: whose page this is.
        feel: draws the part that one can play with.
        code: classes and functions to show the source of.
    """
    lesson = st.expander(
        "How it works",
        icon=":material/school:",
        key=f"{family.stem}.lesson",
        on_change="rerun",
    )
    # Closed, it costs nothing: a page has to answer within a fifth of a second.
    if lesson.open:
        with lesson:
            theory(family)
            feel()
    with st.sidebar:
        st.divider()
        config = config_form(family)
    own = own_data() if config.dataset == OWN else None
    ready = config.dataset != OWN or own is not None
    view = training_panel(family, config, draw_plane, own=own, ready=ready)
    if view is None:
        return
    st.divider()
    parts = {"See inside": see_inside, "Explore": explore, "Check": checks}
    # Only the chosen part is computed.
    chosen = st.segmented_control(
        "What was trained",
        [*parts, "Take away", "The code"],
        default="See inside",
        required=True,
        key=f"{family.stem}.part",
        persist_state="session",
        label_visibility="collapsed",
    )
    if chosen == "Take away":
        take_away(view)
    elif chosen == "The code":
        show_source(*code)
    elif version := weights_shown(view):
        parts[chosen](view, version)
    else:
        st.info("There are no weights yet: they come with the first checkpoint.")

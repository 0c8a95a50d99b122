"""The shape that every family's page shares, after its title."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import streamlit as st

from lab.view import View
from registry import Family
from training.core.config import RunConfig
from training.core.family import Own
from ui.common.downloads import Files, take_away
from ui.common.form import config_form
from ui.common.page import show_source, theory
from ui.common.run_panel import training_panel
from ui.common.run_words import drawing
from ui.common.trained import weights_shown
from ui.common.weights import load_weights
from ui.guide.strip import accompany


@dataclass(frozen=True)
class Parts:
    """What pages of one kind of data have in common.

    Attributes:
        data: draws what there is to say of the data, an upload say; returns the user's own data
            and whether there is all that a training needs.
        draw: draws curves and snapshots of a run; called twice a second.
        sections: what can be done with what was trained, by name; the first is open at first.
        files: what can be taken away beside weights and numbers.
    """

    data: Callable[[Family, RunConfig], tuple[Own | None, bool]]
    draw: Callable[[View], None]
    sections: Mapping[str, Callable[[View, float], None]]
    files: Files = field(default_factory=dict)


def family_page(
    family: Family, parts: Parts, feel: Callable[[], None] | None, code: tuple[object, ...]
) -> None:
    """Draw how it works, training, and what can be done with what was trained.

    Args:
        family: whose page this is.
        parts: what its kind of data needs.
        feel: draws the part that one can play with, if there is one.
        code: classes and functions to show the source of.
    """
    accompany(family.stem, parts.sections)
    _lesson(family, feel)
    with st.sidebar:
        st.divider()
        config = config_form(family)
    own, ready = parts.data(family, config)
    view = training_panel(family, config, parts.draw, own=own, ready=ready)
    if view is None:
        load_weights(family, own)
        with st.expander("The code", icon=":material/code:", key=f"{family.stem}.code"):
            show_source(*code)
        return
    st.divider()
    # Only the chosen part is computed.
    chosen = st.segmented_control(
        "What was trained",
        [*parts.sections, "Take away", "The code"],
        default=next(iter(parts.sections)),
        required=True,
        key=f"{family.stem}.part",
        persist_state="session",
        label_visibility="collapsed",
    )
    if chosen == "Take away":
        take_away(view, parts.files)
        load_weights(family, own)
    elif chosen == "The code":
        show_source(*code)
    elif version := weights_shown(view):
        with drawing(view.run):
            parts.sections[chosen](view, version)
    else:
        st.info("There are no weights yet: they come with the first checkpoint.")


def _lesson(family: Family, feel: Callable[[], None] | None) -> None:
    lesson = st.expander(
        "How it works", icon=":material/school:", key=f"{family.stem}.lesson", on_change="rerun"
    )
    # Closed, it costs nothing: a page has to answer within a fifth of a second.
    if lesson.open:
        with lesson:
            theory(family)
            if feel is not None:
                feel()

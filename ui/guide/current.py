"""Which exercise accompanies the visitor on a page, and what the page shows with it."""

from __future__ import annotations

from collections.abc import Iterator

import streamlit as st

from analysis.exercises.files import Exercise
from lab.store import Run
from lab.view import View
from registry import FAMILIES, Family
from ui.common.form import address_is_new
from ui.common.lab import lab
from ui.common.run_words import bare, show, shown_run
from ui.guide.known import known

UNKNOWN = "exercises.unknown"


def current(place: str) -> Exercise | None:
    """Return the exercise at a place, the stem of a family or of a page; a link may have begun one.

    To be called before the form and the run are drawn: both follow the exercise.
    """
    asked = st.query_params.get("exercise")
    if asked and address_is_new():
        one = known().get(asked)
        if one is None:
            st.session_state[UNKNOWN] = asked
        elif _place(one) == place:
            _begin(one, place)
    return known().get(st.session_state.get(f"{place}.exercise", ""))


def leave(place: str) -> None:
    """Go on without the exercise."""
    st.session_state.pop(f"{place}.exercise", None)
    bare(place, False)
    if place not in FAMILIES:  # the form of a family writes the address anew
        st.query_params.pop("exercise", None)


def own_run(one: Exercise) -> View | None:
    """Return the run on the page of an exercise, if it is the visitor's own."""
    view, shipped = shown_run(one.family)
    return view if view and not shipped and lab().may_change(view.run.id) else None


def _place(one: Exercise) -> str:
    return one.family.stem if one.page == one.family.page else one.page


def _begin(one: Exercise, place: str) -> None:
    st.session_state[f"{place}.exercise"] = one.name
    if place != one.family.stem:
        return
    # A run on other data would contradict the form: there is one of these settings, or none.
    bare(place, bool(one.settings))
    if "run" not in st.query_params:
        show(one.family, next(_as_set_up(one), None) if one.settings else None)


def _as_set_up(one: Exercise) -> Iterator[str]:
    asked = one.config().model_dump(exclude={"seed"})
    for run in _own(one.family):
        if run.config.model_dump(exclude={"seed"}) == asked:
            yield run.id


def _own(family: Family) -> Iterator[Run]:
    found = (run for run in lab().runs() if run.opens() and lab().may_change(run.id))
    return (run for run in found if run.family is family)

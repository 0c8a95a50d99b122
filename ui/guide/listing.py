"""The list of exercises: what there is, what is done, and links that open them on their pages."""

from __future__ import annotations

import streamlit as st

from analysis.exercises.files import Exercise
from registry import PAGES
from ui.common.lab import lab
from ui.common.plain import refuse
from ui.common.widgets import choice
from ui.guide.answers import REFUSED, answers, forget
from ui.guide.known import address, known

KEPT_WHERE = {
    True: "What you predict and pass is kept with your sign-in.",
    False: "Nobody signs in here: what you predict and pass is kept in this browser.",
}


def show_exercises() -> None:
    """Draw the exercises of one family at a time, and how many of all are done."""
    every, mine = known(), answers()
    count = sum(one.done(mine.get(one.name, {})) for one in every.values())
    st.progress(count / len(every), text=f"{count} of {len(every)} done")
    if message := st.session_state.pop(REFUSED, None):
        refuse(message)
    pages = {page.stem: page.title for page in PAGES}
    stem = choice("Family", list(pages), "exercises.family", format_func=pages.get)
    for one in every.values():
        if one.family.page == stem:
            with st.container(border=True, key=f"exercise.{one.name}"):
                _exercise(one)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(KEPT_WHERE[lab().signed_in], width="content")
        options = {
            "type": "tertiary",
            "disabled": not mine,
            "on_click": forget,
            "args": tuple(mine),
        }
        st.button("Start over with all", key="exercises.over", **options)


def _exercise(one: Exercise) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            f"pages/{one.page}.py",
            label=f"**{one.title}**",
            icon=":material/play_circle:",
            query_params=address(one),
        )
        if state := _state(one) + (" :blue-badge[of this class]" if one.own else ""):
            st.markdown(state)
    st.markdown(one.question)


def _state(one: Exercise) -> str:
    mine = answers().get(one.name, {})
    if one.done(mine):
        return ":green-badge[done]"
    return ":gray-badge[predicted]" if "guess" in mine else ""

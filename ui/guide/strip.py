"""The strip that accompanies an exercise on its page: task, where to look, prediction, result."""

from __future__ import annotations

from collections.abc import Collection

import streamlit as st

from analysis.exercises.checks import check
from analysis.exercises.files import NUMBERS, Exercise
from lab.runs.files import RunError
from ui.common.plain import plain, refuse
from ui.common.run_words import shown_run
from ui.common.widgets import KEPT, PART
from ui.guide.answers import REFUSED, answer_to, forget, update
from ui.guide.compare import answer_is_due, compare, remember
from ui.guide.current import UNKNOWN, current, leave, own_run
from ui.guide.keeper import bring_into_view, keep
from ui.guide.known import address, known
from ui.guide.sketch import ask_for_sketch

WHOLE = ("modes", "active_units", "steps", "steps_alone")  # numbers that are counted
TRAINING, LESSON = "Training", "How it works"  # parts of a page that are always there


def accompany(place: str, places: Collection[str] = ()) -> bool:
    """Draw the exercise at a place, if one is going on there. Before the form and the run.

    Args:
        place: stem of the family, or of a page that is of none.
        places: where one can look there, by name.

    Returns:
        Whether there is one.
    """
    one = current(place)
    if message := st.session_state.pop(REFUSED, None):
        refuse(message)
    if name := st.session_state.pop(UNKNOWN, None):
        refuse(f"There is no exercise {name[:60]} in this lab.")
    if one is None:
        return False
    with st.container(key="exercise_task"):
        _task(one, place, places)
    with st.container(key="exercise_work"):
        mine = answer_to(one)
        remember(one)
        if "guess" in mine or mine.get("shown"):
            _after(one)
        else:
            _before(one)
    keep()
    return True


# -- the task --------------------------------------------------------------------------------------


def _task(one: Exercise, place: str, places: Collection[str]) -> None:
    words, buttons = st.columns([2.3, 1.3], vertical_alignment="center")
    badge = " :green-badge[done]" if one.done(answer_to(one)) else ""
    words.markdown(f":material/exercise: **{one.title}**{badge} {one.do}")
    with buttons.container(horizontal=True, horizontal_alignment="right", gap="small"):
        if one.look:
            _where(one, place, places)
        if one.hint:
            with st.popover("Hint", key="exercise.hint"):
                st.markdown(one.hint)
        tip = "Leave the exercise. What you have done of it is kept."
        options = {"on_click": leave, "args": (place,), "help": tip, "type": "tertiary"}
        st.button("Leave", icon=":material/close:", key="exercise.leave", **options)


def _where(one: Exercise, place: str, places: Collection[str]) -> None:
    known_here = [*places, TRAINING, LESSON] if place == one.family.stem else places
    if one.look[0] not in known_here:
        refuse(f"{one.name}: look is {one.look[0]}; this page has {', '.join(known_here)}.")
        return
    nothing = place == one.family.stem and one.look[0] != LESSON and not shown_run(one.family)[0]
    st.button(
        "Where to look",
        icon=":material/visibility:",
        key="exercise.where",
        disabled=nothing,
        help="Train first: then there is something to see." if nothing else " › ".join(one.look),
        on_click=_look,
        args=(one, place),
    )


def _look(one: Exercise, place: str) -> None:
    where, *part = one.look
    if place != one.family.stem:
        bring_into_view(f"{place}.{where}")
    elif where == TRAINING:
        bring_into_view("live")
    elif where == LESSON:
        st.session_state[f"{place}.lesson"] = True
        bring_into_view(f"{place}.lesson")
    else:
        st.session_state[f"{place}.part"] = where
        if part:
            st.session_state[PART] = part[0]
        bring_into_view(f"{place}.part")


# -- before ----------------------------------------------------------------------------------------


def _before(one: Exercise) -> None:
    st.markdown(f"**Predict first:** {one.question}")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        guess = _prediction(one)
        options = {"disabled": guess is None, "on_click": _guess, "args": (one, guess)}
        st.button("Predict", type="primary", key="exercise.predict", **options)
        options = {"type": "tertiary", "on_click": update, "args": (one, {"shown": True})}
        st.button("Show the answer", key="exercise.show", **options)


def _guess(one: Exercise, guess: object) -> None:
    update(one, {"guess": guess})


def _prediction(one: Exercise) -> object:
    key = f"exercise.{one.name}.guess"
    if one.curve:
        return ask_for_sketch(one, f"{key}.sketch")
    if one.choices:
        options = {"index": None, "horizontal": True, "label_visibility": "collapsed"}
        return st.radio("Your answer", one.choices, key=key, **options, **KEPT)
    low, high = one.guess
    step, middle = (high - low) / 100, (low + high) / 2
    if one.number in WHOLE:
        step, middle = 1.0, float(round(middle))
    title, unit = NUMBERS[one.number]
    label = f"{title[0].upper()}{title[1:]}" + (f" [{unit}]" if unit else "")
    return st.slider(label, low, high, middle, step, key=key, width=420, **KEPT)


# -- after -----------------------------------------------------------------------------------------


def _after(one: Exercise) -> None:
    compare(one)
    mine = answer_to(one)
    if said := mine.get("said"):
        words = plain(said)
        (st.success if mine.get("passed") else st.info)(words)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if one.passes:
            _check_button(one)
        if not answer_is_due(one):
            options = {"on_click": update, "args": (one, {"shown": True})}
            st.button("Show the answer", key="exercise.show", **options)
        _next(one)
        options = {"type": "tertiary", "on_click": forget, "args": (one.name,)}
        st.button("Start over", key="exercise.over", **options)


def _check_button(one: Exercise) -> None:
    view = own_run(one)
    ready = view is not None and not view.status.active
    asked = " and ".join(str(term) for term in one.passes)
    st.button(
        "Check my run",
        icon=":material/task_alt:",
        key="exercise.check",
        type="primary" if ready and not one.done(answer_to(one)) else "secondary",
        disabled=not ready,
        on_click=_check,
        args=(one,),
        help=f"Whether your run does it: {asked}." if ready else "Train, and wait for the end.",
    )


def _check(one: Exercise) -> None:
    view = own_run(one)
    if view is None:
        return
    try:
        # A training never runs here: its first steps are not taken again.
        verdict = check(one, view.run, again=False)
    except RunError as error:
        update(one, {"said": str(error)})
        return
    passed = verdict.passed or answer_to(one).get("passed", False)
    update(one, {"said": verdict.reason, "passed": passed, "run": view.run.id})


def _next(one: Exercise) -> None:
    """Offer the next exercise of the list, when this one is done."""
    names = list(known())
    after = names[names.index(one.name) + 1 :]
    if one.done(answer_to(one)) and after:
        following = known()[after[0]]
        st.page_link(
            f"pages/{following.page}.py",
            label=f"Next: {following.title}",
            icon=":material/arrow_forward:",
            query_params=address(following),
        )

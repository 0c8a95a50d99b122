"""The exercises: predict, train, compare. What one should see is hidden until then."""

from __future__ import annotations

from typing import Any

import streamlit as st

from analysis.exercise_checks import check
from analysis.exercises import NUMBERS, Exercise, exercises, measured_values
from lab.runs.files import RunError
from lab.store import Run
from registry import PAGES
from ui.common.lab import lab
from ui.common.plain import markdown, plain, refusals, refuse
from ui.common.widgets import KEPT, choice

REFUSED = "exercises.refused"


def show_exercises() -> None:
    """Draw the exercises of one family at a time, and how many of all are done."""
    answers = _answers()
    every = exercises()
    done = sum(_done(one, answers.get(one.name, {})) for one in every.values())
    st.progress(done / len(every), text=f"{done} of {len(every)} done")
    if message := st.session_state.pop(REFUSED, None):
        refuse(message)
    pages = {page.stem: page.title for page in PAGES}
    stem = choice("Family", list(pages), "exercises.family", format_func=pages.get)
    for one in every.values():
        if one.family.page == stem:
            with st.container(border=True, key=f"exercise.{one.name}"):
                _exercise(one, answers.get(one.name, {}))


def address(exercise: Exercise) -> dict[str, str]:
    """Return the parameters of the link of an exercise."""
    family = exercise.family
    on = {"on": family.stem} if family.page != family.stem else {}
    return on | {name: str(value) for name, value in exercise.settings.items()}


def _exercise(one: Exercise, answer: dict[str, Any]) -> None:
    done = " :green-badge[done]" if _done(one, answer) else ""
    words, link = st.columns([4, 1], vertical_alignment="center")
    words.markdown(f"**{one.title}.**{done} {one.do}")
    link.page_link(
        f"pages/{one.family.page}.py",
        label="Set it up",
        icon=":material/play_circle:",
        query_params=address(one),
    )
    if "guess" in answer or answer.get("shown"):
        _compare(one, answer)
    else:
        _predict(one)


# -- before ----------------------------------------------------------------------------------------


def _predict(one: Exercise) -> None:
    st.markdown(f"**Predict first:** {one.question}")
    place, predict, hint, show = st.columns([3, 1, 1, 1.3], vertical_alignment="bottom")
    key = f"exercise.{one.name}.guess"
    if one.number:
        low, high = one.guess
        whole = one.number in ("modes", "active_units")
        step = 1.0 if whole else (high - low) / 100
        title, unit = NUMBERS[one.number]
        label = f"{title[0].upper()}{title[1:]}" + (f" [{unit}]" if unit else "")
        middle = float(round((low + high) / 2)) if whole else (low + high) / 2
        place.slider(label, low, high, middle, step, key=key, **KEPT)
    else:
        place.radio("Your answer", one.choices, index=None, key=key, **KEPT)
    empty = st.session_state.get(key) is None
    name, options = f"exercise.{one.name}", {"disabled": empty, "on_click": _guess}
    predict.button("Predict", key=f"{name}.predict", args=(one,), **options)
    if one.hint:
        with hint.popover("Hint"):
            st.markdown(one.hint)
    options = {"type": "tertiary", "on_click": _update, "args": (one, {"shown": True})}
    show.button("Show the answer", key=f"{name}.show", **options)


def _guess(one: Exercise) -> None:
    _update(one, {"guess": st.session_state[f"exercise.{one.name}.guess"]})


# -- after -----------------------------------------------------------------------------------------


def _compare(one: Exercise, answer: dict[str, Any]) -> None:
    """Draw one's guess, one's own number and what was measured, side by side."""
    st.markdown(one.question)
    guess = answer.get("guess")
    if one.number:
        st.markdown(_side_by_side(one, guess))
    else:
        right = ":green[That is right.]" if guess == one.right else f"Right is: **{one.right}**."
        st.markdown(f"You said: {guess}. {right}" if guess else right)
    st.markdown(one.answer)
    _buttons(one)
    if said := answer.get("said"):
        (st.success if answer.get("passed") else st.info)(plain(said))


def _side_by_side(one: Exercise, guess: float | None) -> str:
    """Return the guess, one's own number and what seeds came to, a row each: phones are narrow."""
    title, unit = NUMBERS[one.number]
    mine = own_number(one)
    lines = [
        ("Your prediction", _shown(guess)),
        ("Your run", "train it to see" if mine is None else _shown(mine)),
        ("Measured, three seeds", _range(measured_values(one))),
    ]
    if one.solution:
        changed = ", ".join(f"{name} {value}" for name, value in one.solution.items())
        lines.append((f"With {changed}", _range(measured_values(one, solved=True))))
    return markdown(["", f"{title}{f' [{unit}]' if unit else ''}"], lines)


def _buttons(one: Exercise) -> None:
    left, right, _ = st.columns([1.4, 1, 3])
    name = f"exercise.{one.name}"
    if one.passes:
        asked = " and ".join(str(term) for term in one.passes)
        words = f"Whether your newest run of this family does it: {asked}."
        left.button("Check my run", key=f"{name}.check", on_click=_check, args=(one,), help=words)
    right.button("Start over", key=f"{name}.over", type="tertiary", on_click=_forget, args=(one,))


def own_number(one: Exercise) -> float | None:
    """Return what the newest run with the settings of an exercise came to, if there is one."""
    asked = one.config().model_dump(exclude={"seed"})
    for run in _own_runs(one):
        rows = [row for row in run.metrics.rows() if one.number in row]
        if rows and run.config.model_dump(exclude={"seed"}) == asked:
            return rows[-1][one.number]
    return None


def _own_runs(one: Exercise) -> list[Run]:
    """Return the visitor's runs of the family of an exercise that are at rest, newest first."""
    found = (run for run in lab().runs() if run.opens() and lab().may_change(run.id))
    return [run for run in found if run.family is one.family and not run.status().active]


def _check(one: Exercise) -> None:
    runs = _own_runs(one)
    if not runs:
        _update(one, {"said": "You have no run of this family that is at rest: train one first."})
        return
    try:
        # A training never runs here: its first steps are not taken again.
        verdict = check(one, runs[0], again=False)
    except RunError as error:
        _update(one, {"said": str(error)})
        return
    _update(one, {"said": verdict.reason, "passed": verdict.passed})


def _shown(value: object) -> str:
    return "none" if value is None else f"{value:.3g}"


def _range(values: list[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}" if values else "not measured"


# -- what is kept ----------------------------------------------------------------------------------


def _answers() -> dict[str, dict[str, Any]]:
    """Return the visitor's answers: of a person who has signed in, of this session otherwise."""
    seat = lab()
    if _key() not in st.session_state:
        st.session_state[_key()] = seat.answers().load() if seat.signed_in else {}
    return st.session_state[_key()]


def _key() -> str:
    return f"exercises.answers.{lab().who.id}"


def _update(one: Exercise, values: dict[str, Any]) -> None:
    answers = _answers()
    answers[one.name] = {**answers.get(one.name, {}), **values}
    _keep(answers)


def _forget(one: Exercise) -> None:
    answers = _answers()
    answers.pop(one.name, None)
    _keep(answers)


def _keep(answers: dict[str, dict[str, Any]]) -> None:
    st.session_state[_key()] = answers
    if lab().signed_in:
        with refusals(REFUSED):
            lab().answers().save(answers)


def _done(one: Exercise, answer: dict[str, Any]) -> bool:
    """Return whether it is done: passed, or predicted where a run shows nothing."""
    return bool(answer.get("passed")) if one.passes else "guess" in answer

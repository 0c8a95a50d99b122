"""A prediction beside one's own run and what seeds came to, in one chart, and the answer."""

from __future__ import annotations

import streamlit as st

from analysis.exercises.files import NUMBERS, Exercise, measured_values
from figures.exercise_charts import Found, side_by_side
from lab.view import View
from ui.common.page import theme
from ui.guide.answers import answer_to, update
from ui.guide.current import own_run
from ui.guide.sketch import compare_curves


def compare(one: Exercise) -> None:
    """Draw what was predicted, what came out, and the answer when it is its time."""
    guess = answer_to(one).get("guess")
    st.markdown(one.question)
    if one.choices:
        right = ":green[That is right.]" if guess == one.right else f"Right is: **{one.right}**."
        st.markdown(f"You said: {guess}. {right}" if guess else right)
    elif one.curve:
        compare_curves(one, f"exercise.{one.name}.curves", guess, _curve(one))
    else:
        _numbers(one)
    if answer_is_due(one):
        st.markdown(one.answer)


def answer_is_due(one: Exercise) -> bool:
    """Return whether it is time for the answer: asked for, passed, or seen in one's own run."""
    mine = answer_to(one)
    seen = "mine" in mine and not one.passes
    return bool(one.choices or seen or mine.get("shown") or mine.get("passed"))


def remember(one: Exercise) -> None:
    """Keep what the visitor's own run came to, where it is as the exercise sets it up."""
    view = own_run(one)
    if view is None or view.status.active or not _as_asked(one, view):
        return
    value = _last(view, one.number or one.curve)
    if value is not None and answer_to(one).get("mine") != value:
        update(one, {"mine": value})


def _numbers(one: Exercise) -> None:
    title, unit = NUMBERS[one.number]
    rows = _rows(one)
    words = f"{title[0].upper()}{title[1:]}{f' [{unit}]' if unit else ''}"
    chart = side_by_side(rows, one.guess, words, theme())
    alt = ". ".join(row.words() for row in rows)
    st.vega_lite_chart(*chart, key="exercise.chart", alt=f"{words}. {alt}.")


def _rows(one: Exercise) -> list[Found]:
    mine, view = answer_to(one), own_run(one)
    guess, value = mine.get("guess"), mine.get("mine")
    rows = [
        Found("Your prediction", [] if guess is None else [guess], "data"),
        Found("Your run" if value is not None else "Your run as set up", _few(value), "model"),
        Found("Measured, three seeds", measured_values(one), "muted"),
    ]
    if view and not view.status.active and not _as_asked(one, view):
        value = _few(_last(view, one.number))
        rows.append(Found(f"Your run with {_changes(one, view)}", value, "model"))
    if one.solution and (mine.get("shown") or mine.get("passed")):
        changed = ", ".join(f"{name} {value}" for name, value in one.solution.items())
        rows.append(Found(f"Measured with {changed}", measured_values(one, solved=True), "muted"))
    return rows


def _few(value: float | None) -> list[float]:
    return [] if value is None else [value]


def _as_asked(one: Exercise, view: View) -> bool:
    asked = one.config().model_dump(exclude={"seed"})
    return view.run.config.model_dump(exclude={"seed"}) == asked


def _changes(one: Exercise, view: View) -> str:
    """Return how a run differs from what the exercise sets up, in a few words."""
    asked, used = one.config(), view.run.config
    names = [knob.name for knob in used.knobs() if knob.name != "seed"]
    other = [name for name in names if getattr(used, name) != getattr(asked, name)]
    words = ", ".join(f"{name} {getattr(used, name)}" for name in other[:2])
    return words + (f" and {len(other) - 2} more" if len(other) > 2 else "")


def _last(view: View, column: str) -> float | None:
    return next((row[column] for row in reversed(view.rows) if column in row), None)


def _curve(one: Exercise) -> list[tuple[float, float]]:
    view = own_run(one)
    if view is None or view.status.active or not _as_asked(one, view):
        return []
    return [(row["step"], row[one.curve]) for row in view.rows if one.curve in row]

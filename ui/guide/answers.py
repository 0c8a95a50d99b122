"""What the visitor predicted and passed: kept of a person, or by the browser without sign-in."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import streamlit as st

from analysis.exercises.files import COLUMNS, Exercise
from lab.answers import Answer
from ui.common.lab import lab
from ui.common.plain import refusals
from ui.guide.known import known

REFUSED = "exercises.refused"
ASKED = "exercises.asked"  # whether the browser has said what it keeps
GONE = "exercises.gone"  # names of what the browser is to forget
LONGEST = 500  # of a text that a browser keeps


def answers() -> dict[str, Answer]:
    """Return the visitor's answers by the name of the exercise."""
    seat = lab()
    if _key() not in st.session_state:
        st.session_state[_key()] = _clean(seat.answers().load()) if seat.signed_in else {}
    return st.session_state[_key()]


def answer_to(one: Exercise) -> Answer:
    """Return the visitor's answer to an exercise; empty at first."""
    return answers().get(one.name, {})


def update(one: Exercise, values: Mapping[str, Any]) -> None:
    """Add to the answer to an exercise."""
    st.session_state.get(GONE, set()).discard(one.name)
    mine = {**answer_to(one), **values, "when": time.time()}
    _keep({**answers(), one.name: mine})


def forget(*names: str) -> None:
    """Start over with some exercises."""
    st.session_state.setdefault(GONE, set()).update(names)
    _keep({name: answer for name, answer in answers().items() if name not in names})


def take_over(kept: object) -> None:
    """Add what the browser keeps, as it says; what was done since the page opened goes first."""
    st.session_state[ASKED] = True
    if isinstance(kept, dict) and not lab().signed_in:
        _keep({**_clean(kept), **answers()})


def _keep(values: dict[str, Answer]) -> None:
    st.session_state[_key()] = values
    if lab().signed_in:
        with refusals(REFUSED):
            lab().answers().save(values)


def _key() -> str:
    return f"exercises.answers.{lab().who.id}"


# -- what a browser or a damaged file may say ------------------------------------------------------


def _clean(values: Mapping[str, object]) -> dict[str, Answer]:
    exercises = known()
    named = ((exercises.get(name), value) for name, value in values.items())
    return {one.name: _one(one, v) for one, v in named if one and isinstance(v, dict)}


def _one(one: Exercise, value: Mapping[str, object]) -> Answer:
    kept: Answer = {name: True for name in ("shown", "passed") if value.get(name) is True}
    kept |= {k: v for k in ("mine", "when") if _number(v := value.get(k))}
    texts = {k: v for k in ("said", "run") if isinstance(v := value.get(k), str)}
    kept |= {k: text[:LONGEST] for k, text in texts.items()}
    if fits(one, guess := value.get("guess")):
        kept["guess"] = guess
    return kept


def fits(one: Exercise, guess: object) -> bool:
    """Return whether a value is a prediction that an exercise asks for."""
    if one.number:
        return _number(guess)
    if one.curve:
        low, high = one.guess
        whole = isinstance(guess, list) and len(guess) == COLUMNS
        return whole and all(_number(v) and low <= v <= high for v in guess)
    return guess in one.choices


def _number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

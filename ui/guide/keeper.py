"""What the exercises need of the browser: it keeps answers, and scrolls to where to look."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from ui.common.lab import lab
from ui.guide.answers import ASKED, GONE, answers, take_over

LOOK = "exercises.look"  # what is to be brought into view
KEY = "exercises.keeper"


def keep() -> None:
    """Have the browser keep the visitor's answers, or say what it keeps; once on a page."""
    mine = {} if lab().signed_in else answers()
    data = {
        "ask": not lab().signed_in and not st.session_state.get(ASKED),
        "answers": mine,
        "gone": sorted(st.session_state.get(GONE, ())),
        "look": st.session_state.pop(LOOK, None),
    }
    with st.container(key="keeper"):
        _component()(data=data, key=KEY, default={"kept": None}, on_kept_change=_taken)


def bring_into_view(key: str) -> None:
    """Have the browser scroll to what has a key, once it is drawn."""
    st.session_state[LOOK] = ".st-key-" + re.sub(r"[^\w-]", "-", key)


def _taken() -> None:
    state = st.session_state.get(KEY)
    take_over(state["kept"] if state else None)


@functools.cache
def _component() -> Callable[..., Any]:
    js = Path(__file__).with_name("keeper.js").read_text(encoding="utf-8")
    return st.components.v2.component("genlab_keeper", html="<i hidden></i>", js=js)

"""Widgets as most pages want them: one option always chosen, and kept while one looks elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import streamlit as st

from ui.common.downloads import deferred, say_what_becomes_of

T = TypeVar("T")

KEPT = {"persist_state": "session"}
HIDDEN = {"label_visibility": "collapsed"}
PART = "wanted.part"  # of a bench: what another part of the page asks for


def choice(
    label: str, options: Sequence[T], key: str, where=st, first: T | None = None, **more: Any
) -> T:
    """Let the visitor choose one of a few; at first it is ``first``, or the first of them."""
    return where.segmented_control(
        label,
        options,
        default=options[0] if first is None else first,
        required=True,
        key=key,
        **KEPT,
        **more,
    )


def choose_part(bench, what: str, parts: Mapping[str, Callable], key: str = "") -> None:
    """Let the visitor choose one of some parts of a bench, and draw only that."""
    if (wanted := st.session_state.pop(PART, None)) in parts:
        st.session_state[bench.key(key or what)] = wanted
    parts[choice(what, list(parts), bench.key(key or what), **HIDDEN)](bench)


def download(label: str, data: Any, name: str, mime: str, where=st, **more: Any) -> None:
    """Draw a button that gives a file; what makes it is asked when it is pressed."""
    made = deferred(data, label) if callable(data) else data
    where.download_button(
        label, made, name, mime, on_click="ignore", icon=":material/download:", **more
    )
    if callable(data):
        say_what_becomes_of(label)


def among(key: str, options: Sequence, first: Any) -> None:
    """Have a widget stand at one of its options: at ``first``, if there is such, else the first."""
    if st.session_state.get(key) not in options:
        st.session_state[key] = first if first in options else options[0]

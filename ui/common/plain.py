"""Markdown: text that people, files and addresses bring along shown as what it is, and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import streamlit as st

from analysis.plane_checks import Check
from datasets.own import DataError
from figures.text import missing
from lab.lab import LabFull
from lab.store import RunError
from training.core.config import ConfigError

# What Markdown takes for more than a sign: some anywhere, some at the edge of a word or a line.
_SIGNS = re.compile(r"[\\`*{}\[\]<>$~|&#]|(?<!\w)_|_(?!\w)|^[-+=](?=\s|$|[-+=])")
_NUMBERED = re.compile(r"^(\d+)([.)])")
# Links, icons, emoji and arrows are made of what is left when the signs have been read, escaped or
# not. The word joiner, which has no width, keeps them apart.
_JOINED = re.compile(r"(?<=:)(?=\S)|(?<=\bwww)(?=\.)|(?<=@)|(?<=[<>~-])(?=[-=>])", re.IGNORECASE)


def plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    apart = _JOINED.sub("\u2060", " ".join(text.split()))
    return _NUMBERED.sub(r"\1\\\2", _SIGNS.sub(r"\\\g<0>", apart))


def counted(count: int, word: str) -> str:
    """Return ``"1 run"``, ``"2,000 runs"``; ``word`` is the plural's stem."""
    if count == 1:
        return f"1 {word}"
    return f"{count:,} {word}{'es' if word.endswith('s') else 's'}"


def refuse(error: Exception | str) -> None:
    """Draw why something of a person's cannot be used; messages quote what is in it."""
    st.error(plain(str(error)))


@contextmanager
def refusals(key: str) -> Iterator[None]:
    """Keep why the lab refuses something in the session under ``key``, to be drawn later."""
    try:
        yield
    except (ConfigError, DataError, LabFull, RunError) as error:
        st.session_state[key] = str(error)


def left_out(lines: Sequence[str]) -> None:
    """Draw the list of the files that were left out, if there are any."""
    if lines:
        verb = "was" if len(lines) == 1 else "were"
        with st.expander(f"{counted(len(lines), 'file')} {verb} left out"):
            st.markdown("\n".join(f"- {plain(line)}" for line in lines[:100]))


def code_points(names: Iterable[str]) -> None:
    """Say which signs of some names stand as code points on images, and what helps."""
    if signs := missing(names):
        st.caption(
            f"No font here has {plain(signs[:20])}: on images, each of these signs is written as "
            "its code point. Whoever runs the lab can install a font that has them, on Debian say "
            "by `apt install fonts-noto-cjk`, and start it again."
        )


# -- tables: a row that Streamlit's own would cut off wraps --------------------------------------

WORDS = {True: ":green-badge[right]", False: ":red-badge[not right]", None: ""}


def markdown(
    head: Sequence[str], lines: Sequence[Sequence[object]], right: Sequence[int] | None = None
) -> str:
    """Return a table whose columns ``right`` are of numbers: left out, all but the first."""
    columns = range(1, len(head)) if right is None else right
    marks = ["---:" if i in columns else "---" for i in range(len(head))]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in (head, marks, *lines))


def table_of(results: Sequence[Check]) -> str:
    """Return the table of what was measured beside what it should be."""
    lines = [(c.name, c.value, c.expected, WORDS[c.passed], c.how) for c in results]
    return markdown(("What", "Measured", "Should be", "", "How"), lines, right=[1])


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|")

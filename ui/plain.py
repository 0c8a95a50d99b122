"""Text that people, files and addresses bring along, shown as what it is: text."""

from __future__ import annotations

import re
from collections.abc import Sequence

import streamlit as st

# What Markdown, or Streamlit's own additions to it, take for more than a sign: some anywhere, some
# at the edge of a word, some at the beginning of a line.
_SIGNS = re.compile(r"[\\`*{}\[\]<>$~|&#]|(?<!\w)_|_(?!\w)|:(?=\S)|^[-+=](?=\s|$|[-+=])")
_NUMBERED = re.compile(r"^(\d+)([.)])")
# Links are made of these even where every sign has been escaped; the word joiner, which has no
# width, keeps Markdown from that.
_LINKS = re.compile(r"(https?://|www(?=\.)|@)", re.IGNORECASE)


def plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    joined = _LINKS.sub("\\1\u2060", " ".join(text.split()))
    return _NUMBERED.sub(r"\1\\\2", _SIGNS.sub(r"\\\g<0>", joined))


def refuse(error: Exception | str) -> None:
    """Draw why something of a person's cannot be used; messages quote what is in it."""
    st.error(plain(str(error)))


def left_out(lines: Sequence[str]) -> None:
    """Draw the list of the files that were left out, if there are any."""
    if lines:
        with st.expander(f"{len(lines)} files were left out"):
            st.markdown("\n".join(f"- {plain(line)}" for line in lines[:100]))

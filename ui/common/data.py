"""A data set that is not on this machine yet, offered with its size."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from datasets.own import DataError
from registry import Family

Progress = Callable[[int, int], None]


def offer(
    family: Family, words: str, fetch: Callable[[Progress], object], otherwise: str, digits: int = 1
) -> None:
    """Draw the offer to download a set; once it is here, the page is drawn anew.

    Args:
        family: whose page this is.
        words: what it is, how large, and under which licence.
        fetch: downloads it, and reports bytes so far and in all.
        otherwise: what one can do if that fails.
        digits: of the megabytes so far.
    """
    with st.container(border=True):
        st.markdown(words)
        key = f"{family.stem}.download"
        if not st.button("Download it", icon=":material/download:", key=key, type="primary"):
            return
        bar = st.progress(0.0, "Asking the server")

        def progress(done: int, total: int) -> None:
            part = min(done / total, 1.0) if total else 0.0
            bar.progress(part, f"{done / 1e6:,.{digits}f} of {total / 1e6:,.{digits}f} MB")

        try:
            fetch(progress)
        except (DataError, OSError) as error:
            bar.empty()
            st.error(f"{error} {otherwise}")
            return
    st.rerun()

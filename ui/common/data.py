"""What a page says of data before it trains: an offer to download some, a look at one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st

from datasets.own import DataError
from datasets.plane import OWN
from figures.image_figures import Group, groups_sheet
from figures.images import png
from lab.store import Run
from registry import Family
from ui.common.cached import painted
from ui.common.form import choice_label
from ui.common.page import show_image, theme
from ui.common.plain import counted, left_out

COLUMNS, ROWS = 8, 8  # of a preview, at most
NAME = 11  # letters of a name in it

Progress = Callable[[int, int], None]


def data_title(run: Run) -> str:
    """Return what a run learns from, by its own name where that is a person's own."""
    own = run.data_name() if run.config.dataset == OWN else ""
    return own or choice_label(run.config.dataset)


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


# A name; images ``(n, C, S, S)`` of which some belong to it; which ones; masks of all, if known.
Part = tuple[str, np.ndarray, np.ndarray, np.ndarray | None]


def preview(parts: Sequence[Part], words: str, seen: str, skipped: Sequence[str]) -> None:
    """Draw some of a person's own images as the model will see them, before it learns from them.

    The sheet is made anew only when other images would be in it.

    Args:
        parts: what belongs together, a class say.
        words: how many there are and what becomes of them, as Markdown.
        seen: what was done to each image, as Markdown.
        skipped: what was left out, each with the reason.
    """
    st.caption(words)
    some = tuple(_some(*part) for part in parts[:ROWS] if len(part[2]))
    drawn = painted(_sheet_png, (some, theme()), some, theme())
    more = len(parts) - ROWS
    rest = f" {counted(more, 'more row')} would follow." if more > 0 else ""
    alt = f"Some of the images: {', '.join(name for name, _, _ in some)}"
    show_image(st, drawn, alt, f"Some of them as the model will see them: {seen}.{rest}")
    left_out(skipped)


def _some(name: str, images: np.ndarray, which: np.ndarray, masks: np.ndarray | None) -> Group:
    """Return a few images of a part, from all over it, and its name with how many there are."""
    places = np.linspace(0, len(which) - 1, min(COLUMNS, len(which))).round().astype(int)
    chosen = which[places]
    short = name if len(name) <= NAME else f"{name[: NAME - 1]}…"
    label = f"{short} {len(which):,}"
    return label, images[chosen], None if masks is None else masks[chosen]


def _sheet_png(groups: Sequence[Group], shade: str) -> bytes:
    return png(groups_sheet(groups, shade))

"""What a page says of data before it trains: an offer to download some, a look at one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import streamlit as st

from datasets.own import DataError
from datasets.plane import OWN
from figures.image_figures import preview_sheet
from figures.images import png
from lab.store import Run
from registry import Family
from ui.common.cached import painted
from ui.common.form import choice_label
from ui.common.page import show_image, theme
from ui.common.plain import code_points, left_out, plain

COLUMNS = 4  # of the images of a part
PARTS, IMAGES = 8, 24  # in a preview, at most

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
    shown = [part for part in parts if len(part[2])][:PARTS]
    rows = max(1, IMAGES // (COLUMNS * len(shown)))
    for start in range(0, len(shown), 2):
        for place, part in zip(st.columns(2), shown[start : start + 2]):
            _preview_part(place, *part, rows * COLUMNS)
    more = len(parts) - len(shown)
    rest = f" {more:,} more of these groups are not shown." if more else ""
    st.caption(f"Some of them as the model will see them: {seen}.{rest}")
    code_points(name for name, *_ in parts)
    left_out(skipped)


def _preview_part(
    where, name: str, images: np.ndarray, which: np.ndarray, masks: np.ndarray | None, most: int
) -> None:
    """Draw a few images of a part, from all over it, with its name and how many there are."""
    places = np.linspace(0, len(which) - 1, min(most, len(which))).round().astype(int)
    chosen = which[places]
    of = images[chosen], None if masks is None else masks[chosen], COLUMNS, theme()
    where.caption(f"**{plain(name)}**: {len(which):,}")
    show_image(where, painted(_sheet_png, of, *of), f"Some images of {name}")


def _sheet_png(*of: Any) -> bytes:
    return png(preview_sheet(*of))

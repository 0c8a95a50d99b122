"""What a page says of data before it trains: an offer to download some, a look at one's own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import streamlit as st

from datasets.own import DataError
from datasets.plane import OWN
from figures.image_figures import preview_sheet
from figures.images import png
from lab.store import Run
from registry import Family
from training.core.config import Knob, RunConfig
from ui.common.cached import painted
from ui.common.form import choice_label
from ui.common.page import show_image, theme
from ui.common.plain import code_points, left_out, plain

COLUMNS = 4  # of the images of a part
PARTS, IMAGES = 8, 24  # in a preview, at most

NAMED = 3  # settings in the name of a run, at most

Progress = Callable[[int, int], None]


def data_title(run: Run) -> str:
    """Return what a run learns from, by its own name where that is a person's own."""
    own = run.data_name() if run.config.dataset == OWN else ""
    return own or choice_label(run.config.dataset)


def run_title(run: Run, among: Collection[str] | None = None) -> str:
    """Return the name of a run: the one it was given, else made of what is special about it.

    Args:
        run: to be named.
        among: settings in which it differs from the runs that it stands beside; without them,
            those in which it differs from the defaults.
    """
    name = run.notes.name()
    special = special_settings(run, among)
    return name or ", ".join([f"{run.family.title} on {data_title(run)}", *special])


def special_settings(run: Run, among: Collection[str] | None = None) -> list[str]:
    """Return the first few settings of a run that are special, each with its value."""
    config = run.config
    special = [
        f"{_label(knob.label)} {_value(getattr(config, knob.name))}"
        for knob in config.knobs()
        if knob.name != "dataset" and _is_special(config, knob, among)
    ]
    if len(special) > NAMED:
        special[NAMED:] = [f"{len(special) - NAMED} more"]
    return special


def _is_special(config: RunConfig, knob: Knob, among: Collection[str] | None) -> bool:
    if among is not None:
        return knob.name in among
    return getattr(config, knob.name) != knob.default


def _label(label: str) -> str:
    """Return a label as it stands in a sentence; ``G updates`` stays as it is."""
    return label if label[1:2] in ("", " ") else f"{label[0].lower()}{label[1:]}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


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

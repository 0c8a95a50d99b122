"""How the samples of a run grew, for all pages of models that paint images."""

from __future__ import annotations

import numpy as np
import streamlit as st

from figures.image_figures import labelled_rows
from figures.pictures import png
from lab.store import Run
from lab.view import View
from ui.common.history import tenths
from ui.common.page import show_image


def draw_growth(view: View, shade: str, every: int) -> None:
    """Draw samples from the same latents at every tenth of the training done so far.

    Args:
        view: of a run whose snapshots have ``samples``.
        shade: ``"light"`` or ``"dark"``.
        every: of so many samples one is shown.
    """
    steps = tenths(view)
    if len(steps) > 1:
        st.caption("The same latents at every tenth of the training")
        growth = _growth_png(view.run.id, tuple(steps), shade, every, view.run)
        show_image(st, growth, "Samples at every tenth of the training")


@st.cache_data(max_entries=16, show_spinner=False)
def _growth_png(run_id: str, steps: tuple[int, ...], shade: str, every: int, _run: Run) -> bytes:
    rows = [_run.snapshots.load(step)["samples"][::every] for step in steps]
    labels = [f"step {step:,}" for step in steps]
    return png(labelled_rows(np.concatenate(rows), len(rows[0]), labels, shade, width=900))

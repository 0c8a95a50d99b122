"""What the page of GANs on images shows of a run while it trains."""

from __future__ import annotations

import numpy as np
import streamlit as st

from figures.charts import curves
from figures.image_figures import tile
from figures.pictures import png
from lab.store import Run
from lab.view import View
from training.core.image_flow import COLUMNS
from ui.common.family_page import Parts
from ui.common.history import Arrays, chosen_frame, history_slider, rows_of_the_moment, target_of
from ui.common.page import show_image, theme
from ui.gan.explore import explore
from ui.gan.plane import draw_losses, show_beliefs, show_health
from ui.gan.quality import checks
from ui.image_flows.growth import draw_growth
from ui.image_flows.live import SHEET, film_of, image_data


def draw_images(view: View) -> None:
    """Draw real images, samples, health, curves and a slider through the history of a run."""
    shade = theme()
    target = target_of(view)
    if target is None or view.snapshot is None:
        st.caption("The first snapshot comes with the first step.")
        return
    step, snapshot = chosen_frame(view)
    left, middle, right = st.columns([1, 1, 0.9])
    real = _real_png(view.run.id, shade, target)
    show_image(left, real, "Real images", "**Real images**: what there is to learn")
    samples = _samples_png(view.run.id, step, shade, snapshot["samples"])
    words = f"**Samples, step {step:,}**, always from the same latents"
    show_image(middle, samples, f"Samples at step {step}", words)
    with right:
        show_health(view)
        show_beliefs(view, shade)
    history_slider(view)
    _curves(view, shade)
    draw_growth(view, shade, COLUMNS)


def _curves(view: View, shade: str) -> None:
    left, middle, right = st.columns([1.1, 1.1, 0.5])
    draw_losses(view, shade, left)
    drawn = curves(
        rows_of_the_moment(view),
        {"diversity": "samples"},
        unit="diversity [of real images]",
        theme=shade,
        total=view.status.total,
        floor=(1.0, "as different as real ones"),
    )
    middle.vega_lite_chart(*drawn, key=f"{view.run.id}.diversity", alt="Diversity of samples")
    with right:
        seen = view.status.step * view.run.config.batch
        if view.rate:
            st.metric("Speed [images/s]", f"{view.rate * view.run.config.batch:,.0f}")
        st.metric("Real images seen", f"{seen:,}")


@st.cache_data(max_entries=32, show_spinner=False)
def _real_png(run_id: str, shade: str, _target: Arrays) -> bytes:
    return png(tile(_target["images"], COLUMNS, shade, width=SHEET))


@st.cache_data(max_entries=64, show_spinner=False)
def _samples_png(run_id: str, step: int, shade: str, _samples: np.ndarray) -> bytes:
    return png(tile(_samples, COLUMNS, shade, width=SHEET))


def sheet_of(run: Run, shade: str) -> bytes:
    """Return the last samples of a run as PNG."""
    return png(tile(run.snapshots.load(run.snapshots.steps()[-1])["samples"], 10, shade))


IMAGE_DUEL = Parts(
    data=image_data,
    draw=draw_images,
    sections={"Explore": explore, "Check": checks},
    files={
        "gif": ("Film of the training (GIF)", film_of),
        "png": ("Samples (PNG)", sheet_of),
    },
)

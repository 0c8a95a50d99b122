"""What the page of the autoencoder shows of a run while it trains, and what can be taken away."""

from __future__ import annotations

import numpy as np
import streamlit as st

from figures.charts import curves
from figures.image_figures import film_of_images, labelled_rows, tile
from figures.pictures import png
from figures.vae_figures import reach_of, scatter
from lab.store import Run
from lab.view import View
from training.vae import COLUMNS
from ui.common.history import Arrays, chosen_frame, history_slider, rows_of_the_moment, target_of
from ui.common.page import show_image, theme
from ui.image_flows.growth import draw_growth

SHEET = 560  # pixels that a sheet of images is wide


def draw_vae(view: View) -> None:
    """Draw reconstructions, samples, the latent plane and curves of a run, and its history."""
    shade = theme()
    target = target_of(view)
    if target is None or view.snapshot is None:
        st.caption("The first snapshot comes with the first step.")
        return
    step, snapshot = chosen_frame(view)
    where = view.run.id, step, shade
    left, middle, right = st.columns([1.25, 1.15, 1])
    pairs = _pairs_png(*where, target["originals"], snapshot["reconstructions"])
    what = f"**Test images and their reconstructions**, step {step:,}"
    show_image(left, pairs, f"Test images and reconstructions at step {step}", what)
    samples = _samples_png(*where, snapshot["samples"])
    what = f"**Samples**, always from the same {len(snapshot['samples'])} latents"
    show_image(middle, samples, f"Samples at step {step}", what)
    plane = _plane_png(*where, snapshot["means"], target["labels"], target["classes"])
    latent = view.run.config.latent
    how = "the two latent units" if latent == 2 else f"the main plane of {latent} units"
    what = f"**Means of {len(snapshot['means']):,} test images**: {how}"
    show_image(right, plane, f"Means of test images in the latent plane at step {step}", what)
    history_slider(view)
    if view.rows or view.status.active:  # weights from a file have no past
        _curves(view, shade)
    draw_growth(view, shade, 3)


def _curves(view: View, shade: str) -> None:
    rows = [_as_costs(row) for row in rows_of_the_moment(view)]
    total = view.status.total
    first, second, third, numbers = st.columns([1.1, 1.1, 1.3, 0.7])
    for place, names, unit in (
        (first, {"reconstruction": "reconstruction"}, "reconstruction [nats]"),
        (second, {"kl": "KL"}, "KL [nats]"),
        (third, {"loss": "batch", "cost_test": "test, −ELBO"}, "both together [nats]"),
    ):
        drawn = curves(rows, names, unit=unit, theme=shade, total=total, dots=False)
        key = f"{view.run.id}.{next(iter(names))}"
        place.vega_lite_chart(*drawn, key=key, alt=f"{unit} per image over the training")
    last = [row for row in rows if "cost_test" in row]
    with numbers:
        _numbers(view, last[-1] if last else {})
    st.caption(
        "**Why the KL rises while all else falls:** it is what the latents say about an image, in "
        "nats. At first they say nothing. Each nat that the decoder can put to use lowers the "
        "reconstruction by more than it costs, so the model buys it. Where the two are worth the "
        "same, the curves level off."
    )


def _as_costs(row: dict[str, float]) -> dict[str, float]:
    return {**row, "cost_test": -row["elbo_test"]} if "elbo_test" in row else row


def _numbers(view: View, last: dict[str, float]) -> None:
    if last:
        st.metric(
            "Test −ELBO",
            f"{last['cost_test']:.1f}",
            help="Nats per image, summed over pixels, by one draw from q(z | x). On the same "
            "1,000 test images while it trains, on all of them at the end. An upper bound on "
            "−log p(x).",
        )
        st.metric(
            "Active units",
            f"{last['active_units']:.0f} of {view.run.config.latent}",
            help="Latent units whose mean varies by more than 0.01 over the test images. The "
            "others carry nothing: their q(z | x) is the prior.",
        )
    if view.rate:
        st.metric("Speed [images/s]", f"{view.rate * view.run.config.batch:,.0f}")


@st.cache_data(max_entries=64, show_spinner=False)
def _pairs_png(
    run_id: str, step: int, shade: str, _originals: np.ndarray, _reconstructions: np.ndarray
) -> bytes:
    half = len(_originals) // 2
    rows = [
        part[begin : begin + half] for begin in (0, half) for part in (_originals, _reconstructions)
    ]
    names = ["image", "again"] * 2
    return png(labelled_rows(np.concatenate(rows), half, names, shade, width=SHEET))


@st.cache_data(max_entries=64, show_spinner=False)
def _samples_png(run_id: str, step: int, shade: str, _samples: np.ndarray) -> bytes:
    return png(tile(_samples, 10, shade, width=SHEET))


@st.cache_data(max_entries=64, show_spinner=False)
def _plane_png(
    run_id: str,
    step: int,
    shade: str,
    _means: np.ndarray,
    _labels: np.ndarray,
    _classes: np.ndarray,
) -> bytes:
    names = [str(name) for name in _classes]
    return png(scatter(_means, _labels, names, reach_of(_means), shade))


# -- take away ---------------------------------------------------------------------------------


def film_of(run: Run, shade: str) -> bytes:
    """Return the training of a run as a GIF, from the snapshots in its folder."""
    frames = ((step, run.snapshots.load(step)["samples"]) for step in run.snapshots.steps())
    return film_of_images(frames, run.snapshots.target()["images"], COLUMNS, shade)


def sheet_of(run: Run, shade: str) -> bytes:
    """Return the last samples of a run as PNG."""
    return png(tile(run.snapshots.load(run.snapshots.steps()[-1])["samples"], 10, shade))


def plane_of_run(run: Run, shade: str) -> bytes:
    """Return the last image of the latent plane as PNG."""
    target: Arrays = run.snapshots.target()
    means = run.snapshots.load(run.snapshots.steps()[-1])["means"]
    names = [str(name) for name in target["classes"]]
    return png(scatter(means, target["labels"], names, reach_of(means), shade))

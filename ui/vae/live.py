"""What the page of the autoencoder shows of a run while it trains, and what can be taken away."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import streamlit as st

from figures.image_figures import labelled_rows
from figures.images import png
from figures.vae_figures import reach_of, scatter
from lab.store import Run
from metrics.vae import latent_health
from ui.common.curves import draw_curves, last_with, pace
from ui.common.history import Arrays, Moment, history_slider, last_snapshot, live
from ui.common.page import show_image
from ui.gan.health import show_light
from ui.image_flows.sheets import SHEET, draw_growth, draw_samples
from ui.stage.component import show_stage
from ui.stage.encode import encode
from ui.stage.scene import Panel, Scene
from ui.vae.model import AXES, COMPONENTS, by_class, square

CURVES = (
    ({"reconstruction": "reconstruction"}, "reconstruction [nats]"),
    ({"kl": "KL"}, "KL [nats]"),
    (
        {"loss": "batch", "cost_test": "test, −ELBO", "cost_last": "without the average"},
        "both together [nats]",
    ),
)


@live
def draw_vae(moment: Moment) -> None:
    """Draw reconstructions, samples, the latent plane and curves of a run, and its history."""
    step = moment.step
    left, middle, right = st.columns([1.15, 1, 1.25])
    what = f"**Test images and their reconstructions**, step {step:,}"
    alt = f"Test images and reconstructions at step {step}"
    show_image(left, moment.painted(_pairs_png), alt, what)
    draw_samples(moment, middle)
    with right:
        show_stage(moment.painted(_plane), key=f"{moment.run.id}.plane")
    _light(moment)
    history_slider(moment)
    if moment.view.rows or moment.view.status.active:  # weights from a file have no past
        _curves(moment)
    draw_growth(moment, 3)


def _light(moment: Moment) -> None:
    view = moment.view
    if view.rows or view.status.active:
        show_light(
            moment.run, latent_health(view.rows, view.status.total, moment.run.config.latent)
        )


def _floor(moment: Moment) -> tuple[float, str] | None:
    """Return what grey values cost by themselves, where they do; older runs do not tell."""
    config, target = moment.run.config, moment.target
    grey = config.likelihood == "bernoulli" and not config.binarised
    if not grey or "grey_entropy" not in target:
        return None
    return float(target["grey_entropy"]), "entropy of the grey values"


def _curves(moment: Moment) -> None:
    rows = [_as_costs(row) for row in moment.rows]
    *places, numbers = st.columns([1.1, 1.1, 1.3, 0.7])
    for place, (names, unit) in zip(places, CURVES, strict=True):
        alt = f"{unit} per image over the training"
        floor = None if "kl" in names else _floor(moment)
        key, names = next(iter(names)), {k: v for k, v in names.items() if last_with(rows, k)}
        draw_curves(moment, place, key, names, unit, alt, rows, dots=False, floor=floor)
    with numbers:
        _numbers(moment, last_with(rows, "cost_test"))
    st.caption(
        "**Why the KL rises while all else falls:** it is what the latents say about an image, in "
        "nats. At first they say nothing. Each nat that the decoder can put to use lowers the "
        "reconstruction by more than it costs, so the model buys it. Where the two are worth the "
        "same, the curves level off."
    )
    if _floor(moment):
        st.caption(
            "**The floor** is the entropy of the grey values themselves, each taken as the "
            "probability of white: no decoder gets below it, however good. Binarised data have "
            "none."
        )


def _as_costs(row: dict[str, float]) -> dict[str, float]:
    costs = {"cost_test": "elbo_test", "cost_last": "elbo_test_last"}
    return {**row, **{cost: -row[elbo] for cost, elbo in costs.items() if elbo in row}}


def _numbers(moment: Moment, last: Mapping[str, float] | None) -> None:
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
            f"{last['active_units']:.0f} of {moment.run.config.latent}",
            help="Latent units whose mean varies by more than 0.01 over the test images. The "
            "others carry nothing: their q(z | x) is the prior.",
        )
    pace(moment)


def _pairs_png(moment: Moment) -> bytes:
    originals, again = moment.target["originals"], moment.snapshot["reconstructions"]
    half = len(originals) // 2
    rows = [part[begin : begin + half] for begin in (0, half) for part in (originals, again)]
    names = ["image", "again"] * 2
    return png(labelled_rows(np.concatenate(rows), half, names, moment.shade, width=SHEET))


def _plane(moment: Moment) -> bytes:
    """Return the latent plane of a moment: points glide, the slider of the page goes back."""
    means, target = moment.snapshot["means"].astype(np.float32), moment.target
    layers = by_class(means, target["labels"], _names(target))
    alt = f"Means of test images in the latent plane at step {moment.step:,}"
    latent = moment.run.config.latent
    axes = AXES if latent == 2 else COMPONENTS
    how = "the two latent units" if latent == 2 else f"the main plane of {latent} units"
    what = f"Means of {len(means):,} test images: {how}"
    panel = Panel(what, square(reach_of(means)), layers, alt, axes)
    return encode(Scene([panel], moment.shade, save=f"{moment.run.id}-plane-{moment.step}"))


def _names(target: Arrays) -> list[str]:
    return [str(name) for name in target["classes"]]


def plane_of_run(run: Run, shade: str) -> bytes:
    """Return the last image of the latent plane as PNG."""
    means, target = last_snapshot(run)["means"], run.snapshots.target()
    return png(scatter(means, target["labels"], _names(target), reach_of(means), shade))

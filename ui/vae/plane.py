"""What the page shows of a VAE in 2-D: samples, codes, the bound, and a closer look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st
import torch
from PIL import Image

from figures.images import categories
from lab.store import Run
from lab.view import View
from models.vae import importance_bound
from training.vae_plane import LATENT, sample
from ui.common.cached import kept
from ui.common.curves import draw_curves
from ui.common.history import Arrays, Moment, live, tenths
from ui.common.page import theme
from ui.common.plain import markdown
from ui.common.trained import trained_model
from ui.guide.family_page import Parts
from ui.plane_flows.own import own_or_drawn
from ui.plane_flows.points import (
    SHEET,
    count_and_generator,
    draw_tenths,
    paint_points,
    plane_of,
    show_points,
    take_points,
    tenths_png,
)
from ui.stage.scene import Panel, Points
from ui.stage.training import show_training

CODES = (-3.5, 3.5, -3.5, 3.5)  # window of the latent plane
DRAWS = (1, 5, 20, 100)  # latents per point
POINTS = 1000  # on which the bounds are measured


@live
def draw(moment: Moment) -> None:
    """Draw data, samples, codes, curves and the history of a run."""
    show_training(moment, panels)
    _curves(moment)
    draw_tenths(moment, _tenths, "data", "Data and samples at every tenth")


def panels(moment: Moment, frames: Sequence[Arrays]) -> list[Panel]:
    """Return data, samples and codes, the latter two with a frame per snapshot."""
    data, box = moment.target["samples"], moment.target["box"]
    samples, codes = (np.stack([frame[k] for frame in frames]) for k in ("samples", "codes"))
    colours = categories(data)
    return [
        Panel(
            "Data: what there is to learn, a colour per corner",
            box,
            [Points("data", data, colours)],
            "Held-out points",
        ),
        Panel(
            f"{samples.shape[1]:,} samples, always from the same latents",
            box,
            [Points("samples", samples)],
            "Samples",
            first=True,
        ),
        Panel(
            "Codes: where the encoder puts the data",
            CODES,
            [Points("codes", codes, colours)],
            "Codes of held-out points",
            axes=("latent unit 1", "latent unit 2"),
        ),
    ]


def _curves(moment: Moment) -> None:
    left, right = st.columns(2)
    entropy = plane_of(moment.run).entropy()
    floor = None if entropy is None else (entropy, f"entropy {entropy:.3f}: the least on average")
    names, unit = {"bound": "training batch", "bound_test": "held-out"}, "negative ELBO [nats]"
    draw_curves(moment, left, "bound", names, unit, "Negative ELBO", floor=floor)
    left.caption("A bound: the NLL is at most that. How much less, the ELBO does not say.")
    names = {"reconstruction": "reconstruction", "kl": "KL to the prior"}
    draw_curves(moment, right, "terms", names, "cost [nats]", "The two terms of the ELBO")


def _tenths(run: Run, steps: Sequence[int], shade: str) -> list[Image.Image]:
    target = run.snapshots.target()
    images = [paint_points(target["samples"], target["box"], "data", shade, side=SHEET)]
    frames = [run.snapshots.load(step)["samples"] for step in steps]
    return images + [
        paint_points(frame, target["box"], "model", shade, side=SHEET) for frame in frames
    ]


def explore(view: View, version: float) -> None:
    """Let one sample, with and without the spread around the decoder's means."""
    vae, shade, box = trained_model(view.run, version), theme(), view.run.snapshots.target()["box"]
    controls, means, points = st.columns([1, 1.4, 1.4])
    with controls:
        count, generator = count_and_generator()
        st.metric("Spread around a mean", f"{float(vae.likelihood.log_scale.exp()):.3f}")
        st.caption("Standard deviation, standardised units.")
    latents = torch.randn(2, count, LATENT, generator=generator)
    words = "**What the decoder gives**: the means alone"
    show_points(means, vae.decode(latents[0]), box, "muted", shade, "Decoder's means", words)
    x = sample(vae, *latents)
    words = "**Samples**: with the spread that the density has"
    show_points(points, x, box, "model", shade, "Samples", words)
    take_points(controls, view.run, x)


def check(view: View, version: float) -> None:
    """Show how much of the gap between bound and likelihood importance sampling closes."""
    bounds = kept(_bounds, (view.run.id, version), view.run, version, words="Weighing latents")
    lines = [(k, f"{mean:.4f} ± {error:.4f}") for k, (mean, error) in bounds.items()]
    entropy = plane_of(view.run).entropy()
    if entropy is not None:
        lines.append(("entropy of the data", f"{entropy:.4f}"))
    st.markdown(markdown(("Latents per point", "Bound on the NLL [nats]"), lines, right=(0, 1)))
    st.caption(
        f"Mean and standard error over {POINTS:,} fresh points. One latent gives the negative "
        "ELBO; the more there are, the tighter the bound (Burda et al., 2015, equation 8), so it "
        "has to fall from row to row. On average no model gets below the entropy; the KL to the "
        "truth is at most what is left above it."
    )


def _bounds(run: Run, version: float) -> dict[int, tuple[float, float]]:
    vae, generator = trained_model(run, version), torch.Generator().manual_seed(0)
    x = plane_of(run).batch(POINTS, generator)  # (POINTS, 2)
    noise = torch.randn(DRAWS[-1], POINTS, LATENT, generator=generator)
    with torch.no_grad():
        weights = vae.log_weights(x, noise)  # (DRAWS[-1], POINTS)
    result = {}
    for draws in DRAWS:
        # All latents are used in each row: as many bounds as there are groups of this size.
        groups = [importance_bound(group) for group in weights.split(draws)]
        bound = -torch.stack(groups).mean(0)  # (POINTS,)
        result[draws] = float(bound.mean()), float(bound.std() / POINTS**0.5)
    return result


def sheet_of(run: Run, shade: str) -> bytes:
    """Return the data and the samples at every tenth of the training as PNG."""
    steps = tenths(run.status().total, run)
    return tenths_png(run, steps, shade, _tenths, "data")


PLANE_VAE = Parts(
    data=own_or_drawn,
    draw=draw,
    sections={"Explore": explore, "Check": check},
    files={"png": ("Samples at every tenth (PNG)", sheet_of)},
)

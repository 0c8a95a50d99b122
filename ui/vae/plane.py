"""What the page shows of a VAE in the plane: samples, codes, the bound, and a closer look."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch

from datasets.plane import load_plane
from figures.charts import curves
from figures.palette import palette
from figures.pictures import contact_sheet, hues, png, points_image, warp_svg
from lab.store import Run
from lab.view import View
from models.vae import VAE, importance_bound
from training.vae_plane import LATENT, sample
from ui.common.family_page import Parts
from ui.common.form import own_points
from ui.common.history import (
    Arrays,
    chosen_frame,
    history_slider,
    rows_of_the_moment,
    target_of,
    tenths,
)
from ui.common.page import show_image, theme

CODES = (-3.5, 3.5, -3.5, 3.5)  # window of the latent plane
DRAWS = (1, 5, 20, 100)  # latents per point
POINTS = 1000  # on which the bounds are measured
SHEET = 200  # pixels along each side of a thumbnail


def draw(view: View) -> None:
    """Draw data, samples, codes, curves and a slider through the history of a run."""
    shade = theme()
    target = target_of(view)
    if target is None or view.snapshot is None:
        st.caption("The first snapshot comes with the first step.")
        return
    step, snapshot = chosen_frame(view)
    left, middle, right = st.columns(3)
    colours = palette(shade)
    box = tuple(target["box"])
    data = _points(view.run.id, -1, shade, target["samples"], box, colours.data)
    show_image(left, data, "Held-out points", "**Data**: what there is to learn")
    drawn = _points(view.run.id, step, shade, snapshot["samples"], box, colours.model)
    what = f"**{len(snapshot['samples']):,} samples**, step {step:,}, always from the same latents"
    show_image(middle, drawn, f"Samples at step {step}", what)
    svg = warp_svg([], snapshot["codes"], hues(target["samples"], shade), CODES, shade)
    what = "**Codes**: where the encoder puts the data; a colour per corner of the data"
    show_image(right, svg, f"Codes of held-out points at step {step}", what)
    history_slider(view)
    _curves(view, shade)
    if len(steps := tenths(view)) > 1:
        sheet = _tenths(view.run.id, tuple(steps), shade, view.run, target)
        show_image(st, sheet, "Data and samples at every tenth")


def _curves(view: View, shade: str) -> None:
    rows, total = rows_of_the_moment(view), view.status.total
    left, right = st.columns(2)
    config = view.run.config
    entropy = load_plane(config.dataset, config.noise, view.run.own_data()).entropy()
    floor = None if entropy is None else (entropy, f"entropy {entropy:.3f}: no NLL gets below")
    names = {"bound": "training batch", "bound_test": "held-out"}
    shared = {"theme": shade, "total": total}
    chart = curves(rows, names, unit="negative ELBO [nats]", floor=floor, **shared)
    left.vega_lite_chart(*chart, key=f"{view.run.id}.bound", alt="Negative ELBO")
    left.caption("A bound: the NLL is at most that. How much less, the ELBO does not tell.")
    names = {"reconstruction": "reconstruction", "kl": "KL to the prior"}
    chart = curves(rows, names, unit="cost [nats]", **shared)
    right.vega_lite_chart(*chart, key=f"{view.run.id}.terms", alt="The two terms of the ELBO")


@st.cache_data(max_entries=64, show_spinner=False)
def _points(
    run_id: str, step: int, shade: str, _points: np.ndarray, box: tuple, colour: str
) -> bytes:
    finite = _points[np.isfinite(_points).all(1)]
    return png(points_image(finite, box, colour, shade))


@st.cache_data(max_entries=32, show_spinner=False)
def _tenths(run_id: str, steps: tuple[int, ...], shade: str, _run: Run, _target: Arrays) -> bytes:
    colours, box = palette(shade), tuple(_target["box"])
    images = [points_image(_target["samples"], box, colours.data, shade, SHEET)]
    frames = [_run.snapshots.load(step)["samples"] for step in steps]
    images += [points_image(frame, box, colours.model, shade, SHEET) for frame in frames]
    return contact_sheet(images, ["data", *(f"step {step:,}" for step in steps)], shade)


@st.cache_resource(max_entries=8, show_spinner=False)
def _trained(run_id: str, version: float, _run: Run) -> tuple[VAE, int]:
    vae = _run.family.training.blank(_run.config, _run.snapshots.target())
    step = _run.weights.load_into(vae)
    return vae.eval().requires_grad_(False), step


def explore(view: View, version: float) -> None:
    """Let one sample, with and without the spread around the decoder's means."""
    vae, step = _trained(view.run.id, version, view.run)
    shade, target = theme(), target_of(view)
    controls, means, points = st.columns([1, 1.4, 1.4])
    with controls:
        count = st.select_slider("Samples", [200, 500, 1000, 2000, 5000, 10000], 2000)
        seed = st.number_input("Seed of the latents", 0, 2**31 - 1, 0)
        st.metric("Spread around a mean", f"{float(vae.likelihood.log_scale.exp()):.3f}")
        st.caption(f"Standard deviation, standardised units; weights of step {step:,}.")
    latents = torch.randn(2, count, LATENT, generator=torch.Generator().manual_seed(int(seed)))
    box, colours = tuple(target["box"]), palette(shade)
    drawn = png(points_image(vae.decode(latents[0]).numpy(), box, colours.muted, shade))
    show_image(means, drawn, "Decoder's means", "**What the decoder gives**: the means alone")
    x = sample(vae, *latents).numpy()
    drawn = png(points_image(x, box, colours.model, shade))
    show_image(points, drawn, "Samples", "**Samples**: with the spread that the density has")
    config = view.run.config
    plane = load_plane(config.dataset, config.noise, view.run.own_data())
    restored = plane.restore(torch.from_numpy(x)).numpy()
    controls.download_button(
        "Samples as CSV",
        lambda: "x1,x2\n" + "".join(f"{a:.6g},{b:.6g}\n" for a, b in restored),
        f"{view.run.id}-samples.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/download:",
        help="In the data's own units.",
    )


def check(view: View, version: float) -> None:
    """Show how much of the gap between bound and likelihood importance sampling closes."""
    config = view.run.config
    plane = load_plane(config.dataset, config.noise, view.run.own_data())
    bounds = _bounds(view.run.id, version, view.run, plane)
    entropy = plane.entropy()
    lines = ["| Latents per point | Bound on the NLL [nats] |", "|---:|---:|"]
    lines += [f"| {k} | {mean:.4f} ± {error:.4f} |" for k, (mean, error) in bounds.items()]
    if entropy is not None:
        lines.append(f"| entropy of the data | {entropy:.4f} |")
    st.markdown("\n".join(lines))
    st.caption(
        f"Mean and standard error over {POINTS:,} fresh points. One latent gives the negative "
        "ELBO; the more there are, the tighter the bound (Burda et al., 2015, equation 8), so it "
        "has to fall from row to row. No model gets below the entropy; the KL to the truth is at "
        "most what is left above it."
    )


@st.cache_data(max_entries=16, show_spinner="Weighing latents")
def _bounds(run_id: str, version: float, _run: Run, _plane) -> dict[int, tuple[float, float]]:
    vae, _ = _trained(run_id, version, _run)
    generator = torch.Generator().manual_seed(0)
    x = _plane.batch(POINTS, generator)  # (POINTS, 2)
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
    steps, total = run.snapshots.steps(), run.status().total
    shown = [s for s in steps if s in {round(total * tenth / 10) for tenth in range(11)}]
    return _tenths(run.id, tuple(shown), shade, run, run.snapshots.target())


PLANE_VAE = Parts(
    data=own_points,
    draw=draw,
    sections={"Explore": explore, "Check": check},
    files={"png": ("Samples at every tenth (PNG)", sheet_of)},
)

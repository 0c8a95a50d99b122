"""What the pages of flows in the plane show of a run: live plots, inside, samples, checks."""

from __future__ import annotations

import numpy as np
import streamlit as st

from figures.charts import curves
from figures.palette import palette
from figures.pictures import (
    contact_sheet,
    density_image,
    film,
    peak_of,
    png,
    points_image,
    report_figure,
)
from lab.store import Run
from lab.view import View
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
from ui.plane_flows.explore import checks, explore
from ui.plane_flows.inside import see_inside

SHEET = 200  # pixels along each side of a thumbnail


# -- live --------------------------------------------------------------------------------------


def draw_plane(view: View) -> None:
    """Draw target, learned density, samples, curves and a slider through the history of a run."""
    shade = theme()
    target = target_of(view)
    if target is None or view.snapshot is None:
        st.caption("The first snapshot comes with the first step.")
        return
    step, snapshot = chosen_frame(view)
    left, middle, right = st.columns(3)
    what = "**Target**: what there is to learn"
    show_image(left, _target_png(view.run.id, shade, target), "Target density", what)
    density = _density_png(view.run.id, step, shade, snapshot["density"], _peak(target, snapshot))
    what = f"**Learned density**, step {step:,}"
    show_image(middle, density, f"Learned density at step {step}", what)
    samples = _samples_png(view.run.id, step, shade, snapshot["samples"], target["box"])
    what = f"**{len(snapshot['samples']):,} samples**, always from the same latents"
    show_image(right, samples, f"Samples at step {step}", what)
    history_slider(view)
    _curves(view, shade)
    _tenths(view, target, shade)


def _curves(view: View, shade: str) -> None:
    rows = rows_of_the_moment(view)
    loss, distance = st.columns(2)
    entropy = _entropy(view.run.id, view.run)
    floor = None if entropy is None else (entropy, f"entropy {entropy:.3f}: no model gets below")
    chart = curves(
        rows,
        {"nll": "training batch", "nll_test": "held-out"},
        unit="NLL [nats]",
        theme=shade,
        total=view.status.total,
        floor=floor,
    )
    loss.vega_lite_chart(*chart, key=f"{view.run.id}.loss", alt="Loss curve")
    if entropy is None:
        last = [row["nll_test"] for row in rows if "nll_test" in row]
        if last:
            distance.metric("Held-out negative log-likelihood", f"{last[-1]:.3f} nats")
        distance.caption(
            "Nobody knows the true density of these points, so there is no KL to it: compare the "
            "two curves. When held-out rises while training falls, it learns points by heart."
        )
        return
    chart = curves(
        rows,
        {"kl_to_truth": "KL"},
        unit="KL to the truth [nats]",
        theme=shade,
        total=view.status.total,
        log=True,
    )
    distance.vega_lite_chart(*chart, key=f"{view.run.id}.kl", alt="KL to the truth")


def _tenths(view: View, target: Arrays, shade: str) -> None:
    """Show the target and the learned density at every tenth of the training done so far."""
    steps = tenths(view)
    if len(steps) < 2:
        return
    sheet = _tenths_png(view.run.id, tuple(steps), shade, view.run, target)
    show_image(st, sheet, "Target and learned density at every tenth")


def _peak(target: Arrays, snapshot: Arrays) -> float:
    return peak_of(target["density"] if "density" in target else snapshot["density"])


def target_image(target: Arrays, shade: str):
    """Paint what there is to learn: its density where that is known, else its points."""
    if "density" in target:
        return density_image(target["density"], peak_of(target["density"]), shade)
    return points_image(target["samples"], target["box"], palette(shade).data, shade)


@st.cache_data(max_entries=32, show_spinner=False)
def _target_png(_run_id: str, shade: str, target: Arrays) -> bytes:
    return png(target_image(target, shade))


@st.cache_data(max_entries=64, show_spinner=False)
def _density_png(run_id: str, step: int, shade: str, _density: np.ndarray, _peak: float) -> bytes:
    return png(density_image(_density, _peak, shade))


@st.cache_data(max_entries=64, show_spinner=False)
def _samples_png(
    run_id: str, step: int, shade: str, _samples: np.ndarray, _box: np.ndarray
) -> bytes:
    return png(points_image(_samples, tuple(_box), palette(shade).model, shade))


@st.cache_data(max_entries=32, show_spinner=False)
def _tenths_png(
    run_id: str, steps: tuple[int, ...], shade: str, _run: Run, _target: Arrays
) -> bytes:
    frames = [_run.snapshots.load(step)["density"] for step in steps]
    peak = peak_of(_target.get("density", frames[-1]))
    images = [target_image(_target, shade).resize((SHEET, SHEET))]
    images += [density_image(frame, peak, shade, SHEET) for frame in frames]
    blank = density_image(np.zeros((2, 2)), 1, shade, SHEET)
    missing = 11 - len(frames)
    labels = ["target", *(f"step {step:,}" for step in steps), *[""] * missing]
    return contact_sheet(images + [blank] * missing, labels, shade)


@st.cache_data(max_entries=64, show_spinner=False)
def _entropy(run_id: str, _run: Run) -> float | None:
    from datasets.plane import load_plane

    config = _run.config
    return load_plane(config.dataset, config.noise, _run.own_data()).entropy()


# -- take away ---------------------------------------------------------------------------------


def film_of(run: Run, shade: str) -> bytes:
    """Return the training of a run as a GIF, from the snapshots in its folder."""
    target = run.snapshots.target()
    frames = [(step, run.snapshots.load(step)["density"]) for step in run.snapshots.steps()]
    peak = peak_of(target.get("density", frames[-1][1]))
    return film(frames, target_image(target, shade), peak, shade)


def figure_of(run: Run, _shade: str) -> bytes:
    """Return target, learned density and curves of a run on one page, on white."""
    step = run.snapshots.steps()[-1]
    config = run.config
    title = f"{run.family.title} on {config.dataset}, step {step:,}, seed {config.seed}"
    target, snapshot = run.snapshots.target(), run.snapshots.load(step)
    return report_figure(target, snapshot, run.metrics.rows(), title)


PLANE = Parts(
    data=own_points,
    draw=draw_plane,
    sections={"See inside": see_inside, "Explore": explore, "Check": checks},
    files={
        "gif": ("Film of the training (GIF)", film_of),
        "png": ("Figure, 200 dpi (PNG)", figure_of),
    },
)

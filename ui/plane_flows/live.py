"""What the pages of flows in 2-D show of a run: live plots, inside, samples, checks."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from PIL import Image

from figures.images import density_image, film, peak_of, png, report_figure
from lab.store import Run
from ui.common.cached import kept
from ui.common.curves import draw_curves, last_with
from ui.common.family_page import Parts
from ui.common.form import own_points
from ui.common.history import Arrays, Moment, history_slider, last_snapshot, live
from ui.common.page import show_image
from ui.plane_flows.explore import checks, explore
from ui.plane_flows.inside import see_inside
from ui.plane_flows.points import SHEET, draw_tenths, paint_points, plane_of


@live
def draw_plane(moment: Moment) -> None:
    """Draw target, learned density, samples, curves and a slider through the history of a run."""
    left, middle, right = st.columns(3)
    what = "**Target**: what there is to learn"
    show_image(left, moment.of_run(_target_png), "Target density", what)
    what, step = f"**Learned density**, step {moment.step:,}", moment.step
    show_image(middle, moment.painted(_density_png), f"Learned density at step {step}", what)
    count = len(moment.snapshot["samples"])
    what = f"**{count:,} samples**, always from the same latents"
    show_image(right, moment.painted(_samples_png), f"Samples at step {step}", what)
    history_slider(moment)
    _curves(moment)
    draw_tenths(moment, _tenths, "target", "Target and learned density at every tenth")


def _curves(moment: Moment) -> None:
    loss, distance = st.columns(2)
    entropy = kept(_entropy, (moment.run.id,), moment.run)
    floor = None if entropy is None else (entropy, f"entropy {entropy:.3f}: no model gets below")
    names = {"nll": "training batch", "nll_test": "held-out"}
    draw_curves(moment, loss, "loss", names, "NLL [nats]", "Loss curve", floor=floor)
    if entropy is not None:
        unit = "KL to the truth [nats]"
        names = {"kl_to_truth": "KL"}
        draw_curves(moment, distance, "kl", names, unit, "KL to the truth", log=True)
        if error := moment.run.metrics.summary().get("kl_error"):
            distance.caption(
                f"The last one ± {error:.4f}: the standard error of a mean over 20,000 points, "
                "always the same ones."
            )
        return
    if last := last_with(moment.rows, "nll_test"):
        distance.metric("Held-out negative log-likelihood", f"{last['nll_test']:.3f} nats")
    distance.caption(
        "Nobody knows the true density of these points, so there is no KL to it: compare the "
        "two curves. When held-out rises while training falls, it overfits."
    )


def _entropy(run: Run) -> float | None:
    return plane_of(run).entropy()


def target_image(target: Arrays, shade: str) -> Image.Image:
    """Paint what there is to learn: its density where that is known, else its points."""
    if "density" in target:
        return density_image(target["density"], peak_of(target["density"]), shade)
    return paint_points(target["samples"], target["box"], "data", shade)


def _target_png(moment: Moment) -> bytes:
    return png(target_image(moment.target, moment.shade))


def _density_png(moment: Moment) -> bytes:
    density = moment.snapshot["density"]
    return png(density_image(density, peak_of(moment.target.get("density", density)), moment.shade))


def _samples_png(moment: Moment) -> bytes:
    samples, box = moment.snapshot["samples"], moment.target["box"]
    return png(paint_points(samples, box, "model", moment.shade))


def _tenths(run: Run, steps: Sequence[int], shade: str) -> list[Image.Image]:
    target = run.snapshots.target()
    frames = [run.snapshots.load(step)["density"] for step in steps]
    peak = peak_of(target.get("density", frames[-1]))
    return [
        target_image(target, shade),
        *(density_image(frame, peak, shade, SHEET) for frame in frames),
    ]


# -- take away ---------------------------------------------------------------------------------


def film_of(run: Run, shade: str) -> bytes:
    """Return the training of a run as a GIF, from the snapshots in its folder."""
    target = run.snapshots.target()
    frames = [(step, run.snapshots.load(step)["density"]) for step in run.snapshots.steps()]
    peak = peak_of(target.get("density", frames[-1][1]))
    return film(frames, target_image(target, shade), peak, shade)


def figure_of(run: Run, _shade: str) -> bytes:
    """Return target, learned density and curves of a run on one page, on white."""
    step, config = run.snapshots.steps()[-1], run.config
    title = f"{run.family.title} on {config.dataset}, step {step:,}, seed {config.seed}"
    return report_figure(run.snapshots.target(), last_snapshot(run), run.metrics.rows(), title)


PLANE = Parts(
    data=own_points,
    draw=draw_plane,
    sections={"See inside": see_inside, "Explore": explore, "Check": checks},
    files={
        "gif": ("Film of the training (GIF)", film_of),
        "png": ("Figure, 200 dpi (PNG)", figure_of),
    },
)

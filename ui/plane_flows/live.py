"""What the pages of flows in 2-D show of a run: live plots, inside, samples, checks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import streamlit as st
from PIL import Image

from figures.images import density_image, film, peak_of, report_figure
from lab.store import Run
from ui.common.cached import kept
from ui.common.curves import draw_curves, last_with
from ui.common.history import Arrays, Moment, last_snapshot, live
from ui.guide.family_page import Parts
from ui.plane_flows.explore import checks, explore
from ui.plane_flows.inside import see_inside
from ui.plane_flows.own import own_or_drawn
from ui.plane_flows.points import SHEET, draw_tenths, paint_points, plane_of
from ui.stage.scene import Heat, Panel, Points
from ui.stage.training import show_training


@live
def draw_plane(moment: Moment) -> None:
    """Draw target, learned density, samples, curves and the history of a run."""
    show_training(moment, panels)
    _curves(moment)
    draw_plane_tenths(moment)


def draw_plane_tenths(moment: Moment) -> None:
    """Draw what there is to learn, and the learned density at every tenth."""
    draw_tenths(moment, _tenths, "target", "Target and learned density at every tenth")


def panels(moment: Moment, frames: Sequence[Arrays]) -> list[Panel]:
    """Return what there is to learn, what was learned, and samples, with a frame per snapshot."""
    target, box = moment.target, moment.target["box"]
    density = np.stack([frame["density"] for frame in frames])
    samples = np.stack([frame["samples"] for frame in frames])
    peaks = [peak_of(target.get("density", each)) for each in density]
    learned = Heat("density", density, peaks, root=True, name="density")
    return [
        Panel("Target: what there is to learn", box, [_target(target)], "What there is to learn"),
        Panel(
            "Learned density",
            box,
            [learned, Points("samples", samples, on=False)],
            "Learned density",
            first=True,
        ),
        Panel(
            f"{samples.shape[1]:,} samples, always from the same latents",
            box,
            [Points("samples", samples)],
            "Samples",
        ),
    ]


def _target(target: Arrays) -> Heat | Points:
    """Return the density where it is known, else the points."""
    if "density" in target:
        density = target["density"]
        return Heat("target", density, peak_of(density), root=True, name="density")
    return Points("target", target["samples"], "data")


def _curves(moment: Moment) -> None:
    loss, distance = st.columns(2)
    entropy = kept(_entropy, (moment.run.id,), moment.run)
    floor = None if entropy is None else (entropy, f"entropy {entropy:.3f}: the least on average")
    names = {"nll": "training batch", "nll_test": "held-out"}
    draw_curves(moment, loss, "loss", names, "NLL [nats]", "Loss curve", floor=floor)
    draw_kl(moment, distance)


def draw_kl(moment: Moment, distance) -> None:
    """Draw the KL to the truth into a column; where nobody knows that, the held-out NLL."""
    if kept(_entropy, (moment.run.id,), moment.run) is not None:
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


def figure_of(run: Run, _shade: str, form: str = "png") -> bytes:
    """Return target, learned density and curves of a run on one page, on white."""
    step, config = run.snapshots.steps()[-1], run.config
    title = f"{run.family.title} on {config.dataset}, step {step:,}, seed {config.seed}"
    return report_figure(
        run.snapshots.target(), last_snapshot(run), run.metrics.rows(), title, form
    )


PLANE = Parts(
    data=own_or_drawn,
    draw=draw_plane,
    sections={"See inside": see_inside, "Explore": explore, "Check": checks},
    files={
        "gif": ("Film of the training (GIF)", film_of),
        "png": ("Figure, 200 dpi (PNG)", figure_of),
        "pdf": ("Figure (PDF)", partial(figure_of, form="pdf")),
    },
)

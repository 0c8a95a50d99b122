"""Figures of defect detection that people take away: arrays in, PNG files out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from analysis.maf_scores import Evaluation, save_evaluation
from datasets.files import write_atomic
from figures.palette import palette
from lab.store import Run
from metrics.detection import roc_curve


def write_results(run: Run, found: Evaluation, step: int) -> None:
    """Write ``scores.npz``, ``scores.csv``, ``detection.json``, three figures and ``samples/``.

    Raises:
        OSError: they cannot be written.
    """
    rows = run.metrics.rows()
    columns = {
        name: np.array([row.get(name, np.nan) for row in rows])
        for name in ("step", "nll", "nll_held_out")
    }
    write_figures(
        found,
        run.path,
        steps=columns["step"],
        nll=columns["nll"],
        nll_held_out=columns["nll_held_out"],
    )
    folder = run.path / "samples"
    folder.mkdir(exist_ok=True)
    if steps := run.snapshots.steps():
        # A model that nothing trains draws none.
        for i, image in enumerate(run.snapshots.load(steps[-1]).get("samples", ())):
            Image.fromarray(image).save(folder / f"{i:02d}.png")
    # Last, for it says that all is there.
    save_evaluation(run, found, step)


def write_figures(
    found: Evaluation,
    folder: Path,
    *,
    steps: np.ndarray,
    nll: np.ndarray,
    nll_held_out: np.ndarray,
) -> None:
    """Write ``nll_curve.png``, ``nll_hist_good_defect.png`` and ``roc_curve.png``.

    Without test images there is no histogram, without good or defective ones no ROC curve.

    Args:
        found: the test images, scored.
        folder: where they go; older files of these names are replaced.
        steps: optimiser steps, shape ``(n,)``.
        nll: of the training at those steps, nats; NaN where it was not logged.
        nll_held_out: of held-out good images, nats; NaN where it was not measured.

    Raises:
        OSError: they cannot be written.
    """
    figures = {"nll_curve.png": curve_figure(steps, nll, nll_held_out)}
    if len(found.score):
        figures["nll_hist_good_defect.png"] = histogram_figure(found)
    if found.defective.any() and not found.defective.all():
        figures["roc_curve.png"] = roc_figure(found)
    for name, figure in figures.items():
        write_atomic(
            folder / name, lambda file, drawn=figure: drawn.savefig(file, format="png", dpi=160)
        )


def curve_figure(steps: np.ndarray, nll: np.ndarray, nll_held_out: np.ndarray) -> Figure:
    """Return the loss over the training."""
    figure, axes, colours = _blank("Negative log-likelihood of good images")
    for values, colour, label in (
        (nll, colours.model, "training"),
        (nll_held_out, colours.data, "held out"),
    ):
        logged = np.isfinite(values)
        axes.plot(steps[logged], values[logged], color=colour, label=label)
    axes.set_xlabel("Optimiser step")
    axes.set_ylabel("NLL (nats)")
    axes.legend(frameon=False)
    return figure


def histogram_figure(found: Evaluation) -> Figure:
    """Return the scores of good and of defective test images, with the threshold.

    Scores beyond the 90th percentile fall into the last bin: a few exploding likelihoods would
    otherwise hide the rest.
    """
    figure, axes, colours = _blank("Scores of the test images")
    score = np.nan_to_num(found.score.astype(np.float64))
    high = max(np.quantile(score, 0.9), found.threshold)
    edges = np.linspace(score.min(), high + 1e-9, 31)
    for chosen, colour, label in (
        (~found.defective, colours.model, "good"),
        (found.defective, colours.warn, "defective"),
    ):
        values = score[chosen].clip(max=high)
        axes.hist(values, edges, color=colour, alpha=0.6, label=f"{label} ({chosen.sum()})")
    axes.axvline(found.threshold, color=colours.ink, linestyle="--", label="threshold")
    axes.set_xlabel("Anomaly score (the last bin holds all above)")
    axes.set_ylabel("Images")
    axes.legend(frameon=False)
    return figure


def roc_figure(found: Evaluation) -> Figure:
    """Return the ROC curve with its area, the interval of that, and the chosen threshold."""
    area = found.auroc
    figure, axes, colours = _blank(
        f"AUROC {area.value:.3f} (95 % interval {area.low:.3f} to {area.high:.3f})"
    )
    alarms, hits, _ = roc_curve(found.score, found.defective)
    axes.plot([0, 1], [0, 1], color=colours.muted, linestyle=":", label="chance")
    axes.step(alarms, hits, where="post", color=colours.model, label="this model")
    called = found.score > found.threshold
    chosen = called[~found.defective].mean(), called[found.defective].mean()
    axes.plot(*chosen, "o", color=colours.warn, label="threshold")
    axes.set_xlabel("Good ones called defective")
    axes.set_ylabel("Defective ones found")
    axes.set_aspect("equal")
    axes.legend(frameon=False, loc="lower right")
    return figure


def _blank(title: str):
    colours = palette("light")
    figure = Figure(figsize=(6.4, 4.4), layout="constrained", facecolor="white")
    axes = figure.add_subplot(title=title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=colours.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes, colours

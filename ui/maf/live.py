"""What the page of MAF shows of a run while it trains."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch

from figures.detection_charts import histogram
from figures.images import png
from figures.maf_images import enlarged, film, framed, framed_heat, sheet
from lab.store import Run
from metrics.anomaly_map import stretched
from training.maf import UNTRAINED, MAFConfig, map_window
from ui.common.curves import draw_curves, pace
from ui.common.history import Arrays, Moment, history_slider, live
from ui.common.page import show_image

SIDE = 192  # pixels of an image in a sheet, about


@live
def draw_maf(moment: Moment) -> None:
    """Draw anomaly maps of synthetic defects, samples, curves and histograms of a run."""
    step = moment.step
    learns = moment.run.config.model not in UNTRAINED
    left, right = st.columns([2.6, 1]) if learns else (st.container(), None)
    drawn = moment.painted(_heat_png)
    show_image(left, drawn, f"Anomaly maps of synthetic defects at step {step}")
    of = f"anomaly map of step {step:,}" if learns else "anomaly map"
    left.caption(
        f"**Good images, held out and damaged by the lab** (outlined), and the **{of}**: yellow is "
        "more than 95 % of undamaged ones show anywhere, dark red three times as much."
        + (" Of the patches alone." if moment.run.config.model == "both" else "")
    )
    if right is None:
        _untrained(moment)
        return
    show_image(right, moment.painted(_samples_png), f"Samples at step {step}")
    tiles = " Patches are drawn apart, so they do not fit together."
    whole = moment.run.config.model == "image"
    right.caption(f"**Samples**, step {step:,}.{'' if whole else tiles}")
    history_slider(moment)
    _numbers(moment)
    _curves(moment)


def _untrained(moment: Moment) -> None:
    """Draw what there is of a model that nothing trains."""
    rows = [row for row in moment.rows if "auroc_validation" in row]
    words = "Nothing is trained: the model is made of the good images in one go, without steps."
    if rows:
        _auroc(st, rows[-1])
    st.caption(words)


def _auroc(where, row: dict[str, float]) -> None:
    where.metric(
        "AUROC on synthetic defects",
        f"{row['auroc_validation']:.3f}",
        help="Held-out good images against the same ones damaged by the lab: pieces moved, "
        "scars, stains, bends. It validates; it says little of real defects. The test images "
        "are not touched.",
    )


def _numbers(moment: Moment) -> None:
    rows = [row for row in moment.rows if "auroc_validation" in row]
    upto = [row for row in rows if row["step"] <= moment.step] or rows[:1]
    nats, auroc, speed = st.columns(3)
    if upto:
        last = upto[-1]
        nats.metric(
            f"NLL of {unit(moment.run.config)}, held out [nats]",
            f"{last['nll_held_out']:,.1f}",
            f"{last['bits_per_dim']:.3f} bits/dim",
            delta_color="off",
            delta_arrow="off",
            help="On good training images that it does not learn from. Levels of 8 bits, with "
            "uniform dequantisation while it learns; uniform noise has 8 bits/dim.",
        )
        _auroc(auroc, last)
    pace(moment, speed)


def _curves(moment: Moment) -> None:
    one, two, three = st.columns(3)
    names = {"nll": "training", "nll_held_out": "held out"}
    title = f"NLL of {unit(moment.run.config)} [nats]"
    draw_curves(moment, one, "nll", names, title, "Negative log-likelihood")
    names, what = {"auroc_validation": "synthetic defects"}, "AUROC, synthetic defects"
    # It rises, and its best value is known.
    draw_curves(moment, two, "auroc", names, what, "Validation AUROC", domain=(0.4, 1.0))
    values = {
        "good": moment.snapshot["nll_good"],
        "held out": moment.snapshot["nll_held_out"],
        "damaged": moment.snapshot["nll_damaged"],
    }
    drawn = histogram(values, title, moment.shade, height=220)
    three.vega_lite_chart(*drawn, key=f"{moment.run.id}.nlls", alt="Histogram of the NLL")


def unit(config: MAFConfig) -> str:
    """Return what an NLL is of."""
    return "an image" if config.model == "image" else "a patch"


def _heat_png(moment: Moment) -> bytes:
    target = moment.target
    images = zip(target["damaged"].transpose(0, 3, 1, 2), target["masks"], strict=True)
    top = [framed(pixels, mask, SIDE) for pixels, mask in images]
    heat = _heat_row(target, moment.snapshot, moment.run.config)
    return png(sheet([top, heat], moment.shade))


def _heat_row(target: Arrays, snapshot: Arrays, config: MAFConfig) -> list[np.ndarray]:
    damaged = target["damaged"].transpose(0, 3, 1, 2)
    heat = stretched(
        torch.from_numpy(snapshot["heat"]).float(), config.side, map_window(config)
    ).numpy()
    rows = zip(damaged, heat, target["masks"], strict=True)
    low = float(snapshot["map_threshold"])
    span = low, 3 * low
    return [framed_heat(pixels, hot, mask, span, SIDE) for pixels, hot, mask in rows]


def _samples_png(moment: Moment) -> bytes:
    return png(sheet([[enlarged(s, SIDE)] for s in moment.snapshot["samples"][:2]], moment.shade))


def film_of(run: Run, shade: str) -> bytes:
    """Return the heat maps over the training of a run as a GIF."""
    target, config = run.snapshots.target(), run.config
    rows = (_heat_row(target, run.snapshots.load(step), config) for step in run.snapshots.steps())
    frames = [np.asarray(sheet([row], shade)) for row in rows]
    return film(frames, len(frames[0]))

"""What the page of MAF shows of a run while it trains."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch

from figures.charts import curves
from figures.detection_charts import histogram
from figures.maf_pictures import enlarged, film, framed, framed_heat, sheet
from figures.pictures import png
from lab.store import Run
from lab.view import View
from metrics.anomaly_map import stretched
from training.maf import MAFConfig
from ui.common.history import Arrays, chosen_frame, history_slider, rows_of_the_moment, target_of
from ui.common.page import show_image, theme

SIDE = 192  # pixels of an image in a sheet, about


def draw_maf(view: View) -> None:
    """Draw anomaly maps of synthetic defects, samples, curves and histograms of a run."""
    shade = theme()
    target = target_of(view)
    if target is None or view.snapshot is None:
        st.caption("The first snapshot comes with the first step.")
        return
    step, snapshot = chosen_frame(view)
    left, right = st.columns([2.6, 1])
    drawn = _heat_png(view.run.id, step, shade, target, snapshot, view.run.config)
    show_image(left, drawn, f"Anomaly maps of synthetic defects at step {step}")
    left.caption(
        f"**Good images, held out and damaged by the lab** (outlined), and **where the model of "
        f"step {step:,} finds them anomalous**: yellow is more than 95 % of undamaged "
        "ones show anywhere, dark red three times as much."
    )
    drawn = _samples_png(view.run.id, step, shade, snapshot["samples"])
    show_image(right, drawn, f"Samples at step {step}")
    tiles = " Patches are drawn apart, so they do not fit together."
    patches = view.run.config.model == "patches"
    right.caption(f"**Samples**, step {step:,}.{tiles if patches else ''}")
    history_slider(view)
    _numbers(view, step, snapshot, shade)
    _curves(view, shade)


def _numbers(view: View, step: int, snapshot: Arrays, shade: str) -> None:
    rows = [row for row in rows_of_the_moment(view) if "auroc_validation" in row]
    upto = [row for row in rows if row["step"] <= step] or rows[:1]
    nats, auroc, speed = st.columns(3)
    if upto:
        last = upto[-1]
        nats.metric(
            f"NLL of {unit(view.run.config)}, held out [nats]",
            f"{last['nll_held_out']:,.1f}",
            f"{last['bits_per_dim']:.3f} bits/dim",
            delta_color="off",
            delta_arrow="off",
            help="On good training images that it does not learn from. Levels of 8 bits, with "
            "uniform dequantisation while it learns; uniform noise has 8 bits/dim.",
        )
        auroc.metric(
            "AUROC on synthetic defects",
            f"{last['auroc_validation']:.3f}",
            help="Held-out good images against the same ones damaged by the lab: pieces moved, "
            "scars, stains, bends. It validates; it says little of real defects. The test images "
            "are not touched.",
        )
    batch = view.run.config.batch
    if view.rate:
        speed.metric("Speed [images/s]", f"{view.rate * batch:,.0f}")
    else:
        speed.metric("Images seen", f"{view.status.step * batch:,}")


def _curves(view: View, shade: str) -> None:
    rows = rows_of_the_moment(view)
    total = view.status.total
    one, two, three = st.columns(3)
    names = {"nll": "training", "nll_held_out": "held out"}
    title = f"NLL of {unit(view.run.config)} [nats]"
    drawn = curves(rows, names, unit=title, theme=shade, total=total)
    one.vega_lite_chart(*drawn, key=f"{view.run.id}.nll", alt="Negative log-likelihood")
    names = {"auroc_validation": "synthetic defects"}
    title = "AUROC, synthetic defects"
    frame, chart = curves(rows, names, unit=title, theme=shade, total=total)
    # It rises, and knows its best value.
    chart["layer"][0]["encoding"]["y"]["scale"] = {"domain": [0.4, 1.0]}
    two.vega_lite_chart(frame, chart, key=f"{view.run.id}.auroc", alt="Validation AUROC")
    _, snapshot = chosen_frame(view)
    values = {
        "good": snapshot["nll_good"],
        "held out": snapshot["nll_held_out"],
        "damaged": snapshot["nll_damaged"],
    }
    title = f"NLL of {unit(view.run.config)} [nats]"
    drawn = histogram(values, title, shade, height=220)
    three.vega_lite_chart(*drawn, key=f"{view.run.id}.nlls", alt="Histogram of the NLL")


def unit(config: MAFConfig) -> str:
    """Return what an NLL is of."""
    return "a patch" if config.model == "patches" else "an image"


@st.cache_data(max_entries=64, show_spinner=False)
def _heat_png(
    run_id: str, step: int, shade: str, _target: Arrays, _snapshot: Arrays, _config: MAFConfig
) -> bytes:
    images = zip(_target["damaged"].transpose(0, 3, 1, 2), _target["masks"], strict=True)
    top = [framed(pixels, mask, SIDE) for pixels, mask in images]
    return png(sheet([top, _heat_row(_target, _snapshot, _config)], shade))


def _heat_row(target: Arrays, snapshot: Arrays, config: MAFConfig) -> list[np.ndarray]:
    damaged = target["damaged"].transpose(0, 3, 1, 2)
    heat = stretched(torch.from_numpy(snapshot["heat"]).float(), config.side, config.window).numpy()
    rows = zip(damaged, heat, target["masks"], strict=True)
    low = float(snapshot["map_threshold"])
    span = low, 3 * low
    return [framed_heat(pixels, hot, mask, span, SIDE) for pixels, hot, mask in rows]


@st.cache_data(max_entries=64, show_spinner=False)
def _samples_png(run_id: str, step: int, shade: str, _samples: np.ndarray) -> bytes:
    return png(sheet([[enlarged(s, SIDE)] for s in _samples[:2]], shade))


def film_of(run: Run, shade: str) -> bytes:
    """Return the heat maps over the training of a run as a GIF."""
    target, config = run.snapshots.target(), run.config
    rows = (_heat_row(target, run.snapshots.load(step), config) for step in run.snapshots.steps())
    frames = [np.asarray(sheet([row], shade)) for row in rows]
    return film(frames, len(frames[0]))

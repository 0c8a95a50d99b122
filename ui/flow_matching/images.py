"""Flow matching on images: live, guided samples, few steps, denoising, and checks."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import streamlit as st
import torch

from analysis.flow_matching_images import (
    GUIDED,
    check_image_flow_matching,
    denoised,
    made_of,
)
from analysis.frechet import NoClassifier, classifier_path, load_classifier
from analysis.plane_checks import Check
from figures.image_figures import labelled_rows, tile
from figures.images import png
from lab.view import View
from models.blocks.ode import SOLVERS
from models.flow_matching import solved
from training.core.image_flow import COLUMNS
from training.flow_matching_images import STEPS as SNAPSHOT_STEPS
from ui.common.curves import draw_curves, last_with, pace
from ui.common.history import Moment, history_slider, live
from ui.common.plain import plain, table_of
from ui.common.widgets import KEPT, among, choice
from ui.image_flows.desk import Desk, at_desk, sheet
from ui.image_flows.live import IMAGE_PARTS
from ui.image_flows.sheets import draw_growth, draw_real, draw_samples

STEPS = [1, 2, 4, 8, 16, 32, 64]
ROWS = 10  # classes in a sheet at most
WIDE = 6  # images of each
MISSING = "This needs real images of the classes that this flow was trained on."


# -- while it trains -------------------------------------------------------------------------------


@live
def draw_image_matching(moment: Moment) -> None:
    """Draw real images, samples, curves and a slider through the history of a run."""
    left, right = st.columns(2)
    draw_real(moment, left)
    draw_samples(moment, right, words=f", {SNAPSHOT_STEPS} steps of Euler's method")
    history_slider(moment)
    chart, numbers = st.columns([2.2, 1])
    names = {"matching": "training batch", "matching_test": "test"}
    draw_curves(moment, chart, "loss", names, "squared error", "Matching loss")
    if last := last_with(moment.rows, "matching_test"):
        numbers.metric(
            "Test loss",
            f"{last['matching_test']:.4f}",
            help="Squared error per pixel, on the same test images, noise and times each time. It "
            "does not come near zero: many trajectories lead through one place.",
        )
    found = moment.run.metrics.summary()
    if "bits_per_dim_test" in found:
        numbers.metric(
            "Test [bits/dim]",
            f"{found['bits_per_dim_test']:.2f} ± {found['bits_per_dim_error']:.2f}",
            help="An estimate, of 100 test images, with the standard error of their mean. Uniform "
            "noise has 8.",
        )
    pace(moment, numbers)
    draw_growth(moment, COLUMNS)


# -- samples ---------------------------------------------------------------------------------------


def samples(view: View, version: float) -> None:
    """Let the visitor sample with a solver, a number of steps and a guidance of their choice."""
    desk = at_desk(view, version)
    if desk is None:
        return
    controls, shown = st.columns([1, 2.2])
    with controls:
        key = desk.key("solver")
        solver = st.selectbox("Solver", list(SOLVERS), format_func=_title, key=key, **KEPT)
        steps = st.select_slider(
            "Steps",
            STEPS,
            16,
            key=desk.key("steps"),
            disabled=bool(SOLVERS[solver].embedded),
            help="Of the solver, from noise to the image. An adaptive solver chooses its own.",
            **KEPT,
        )
        guidance = _guidance(desk)
        seed = st.number_input("Seed of the noise", 0, 2**31 - 1, 0, key=desk.key("seed"), **KEPT)
    words = "Following the velocity"
    drawn, seconds = desk.painted(_samples_png, solver, steps, guidance, int(seed), words=words)
    caption = f"Made in {seconds:.1f} s. "
    caption += (
        "A row is a class; a column has the same noise in every row." if desk.conditional else ""
    )
    with shown:
        sheet(drawn, "Samples", caption)


def _title(solver: str) -> str:
    return SOLVERS[solver].title


def _guidance(desk: Desk) -> float:
    if not desk.conditional:
        return 1.0
    return st.slider(
        "Guidance",
        0.0,
        4.0,
        GUIDED,
        0.25,
        key=desk.key("guidance"),
        help="At 0 the class is not given, at 1 it is. Above, samples are more typical of their "
        "class and less varied.",
        **KEPT,
    )


def _samples_png(
    desk: Desk, solver: str, steps: int, guidance: float, seed: int
) -> tuple[bytes, float]:
    """Return samples as PNG, and the seconds that sampling took."""
    source, start = torch.Generator().manual_seed(seed), time.perf_counter()
    flow = solved(desk.model, solver=solver, steps=steps, guidance=guidance)
    if not desk.conditional:
        z = flow.prior.sample(ROWS * WIDE, generator=source)
        x = made_of(flow, z, torch.zeros(len(z), dtype=torch.int64))
        return png(tile(desk.shown(x), ROWS, desk.shade)), time.perf_counter() - start
    names = desk.classes[:ROWS]
    z = flow.prior.sample(WIDE, generator=source).repeat(len(names), 1, 1, 1)
    x = made_of(flow, z, torch.arange(len(names)).repeat_interleave(WIDE))
    seconds = time.perf_counter() - start
    return png(labelled_rows(desk.shown(x), WIDE, names, desk.shade)), seconds


# -- few steps -------------------------------------------------------------------------------------


def few_steps(view: View, version: float) -> None:
    """Show the same noise, followed in 1 to 64 steps."""
    desk = at_desk(view, version)
    if desk is None:
        return
    st.markdown(
        "**How few steps are enough?** A column is the same noise, a row another number of steps. "
        "One step lands near the mean of all images of its class; what sets them apart comes with "
        "the later ones."
    )
    solver = choice("Solver", _fixed(), desk.key("few.solver"), format_func=_title)
    guidance = _guidance(desk)
    sheet(desk.painted(_few_png, solver, guidance, words="Following the velocity"), "Few steps")


def _fixed() -> list[str]:
    return [name for name, solver in SOLVERS.items() if not solver.embedded]


def _few_png(desk: Desk, solver: str, guidance: float) -> bytes:
    z = desk.model.prior.sample(ROWS, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(ROWS) % max(1, desk.model.context)
    counts = [1, 2, 4, 8, 16, 64]
    rows = [
        desk.shown(
            made_of(solved(desk.model, solver=solver, steps=n, guidance=guidance), z, labels)
        )
        for n in counts
    ]
    names = [f"{n} step" + "s" * (n > 1) for n in counts]
    return png(labelled_rows(np.concatenate(rows), ROWS, names, desk.shade))


# -- denoising -------------------------------------------------------------------------------------


def denoise(view: View, version: float) -> None:
    """Add noise to a test image, and take it away again from there."""
    desk = at_desk(view, version)
    if desk is None:
        return
    if not desk.fits:
        st.info(MISSING)
        return
    st.markdown(
        "**Go back on the path, and forward again.** A test image gets six different noises. From "
        "late times the same image comes back; from early ones, another one that fits what is left."
    )
    controls, shown = st.columns([1, 2.2])
    with controls:
        label, number = _test_image(desk)
        t = st.slider("Time to go back to", 0.0, 0.95, 0.5, 0.05, key=desk.key("time"), **KEPT)
        steps = st.select_slider("Steps", STEPS, 16, key=desk.key("denoise.steps"), **KEPT)
    drawn = desk.painted(_denoised_png, label, number, t, steps, words="Following the velocity")
    with shown:
        sheet(
            drawn,
            f"A test image, noisy, and denoised from time {t:.2f}",
            "The guess is what is expected of the image at one glance, a mean of all that fit. The "
            "score is the direction in which noisy images get likelier: grey is none.",
        )


def _test_image(desk: Desk) -> tuple[int, int]:
    """Let the visitor choose a test image by its class and number."""
    labels = desk.images.test_labels
    options, key = labels.unique().tolist(), desk.key("denoise.class")
    among(key, options, options[0])
    label = st.selectbox(
        "Test image of",
        options,
        format_func=lambda k: plain(desk.images.classes[k]),
        key=key,
        **KEPT,
    )
    count = int((labels == label).sum())
    key = desk.key("denoise.number")
    among(key, range(1, count + 1), 1)
    return label, int(st.number_input(f"Which of {count:,}", 1, count, key=key, **KEPT))


def _denoised_png(desk: Desk, label: int, number: int, t: float, steps: int) -> bytes:
    place = int((desk.images.test_labels == label).nonzero()[number - 1, 0])
    image = desk.images.test[place : place + 1]
    flow = solved(desk.model, solver="euler", steps=steps)
    found = denoised(flow, image, torch.full((WIDE,), label), t)
    score = 0.5 + found.score / 6  # three standard deviations of noise to either side
    parts = (image.expand(WIDE, -1, -1, -1) / 256, found.noisy, found.guess, found.followed, score)
    names = ["image", "noisy", "guess", "followed", "score"]
    rows = np.concatenate([desk.shown(part) for part in parts])
    return png(labelled_rows(rows, WIDE, names, desk.shade))


# -- checks ----------------------------------------------------------------------------------------


def checks(view: View, version: float) -> None:
    """Show the numbers that prove the trained flow."""
    desk = at_desk(view, version)
    if desk is None:
        return
    if not desk.fits:
        st.info(MISSING)
        return
    st.markdown(table_of(desk.kept(_checks, words="Measuring; it takes some ten seconds")))


def _checks(desk: Desk) -> list[Check]:
    try:
        path = classifier_path(desk.run.config.dataset, desk.run)
        classifier = load_classifier(path, desk.images)
    except NoClassifier:
        classifier = None
    return check_image_flow_matching(desk.model, desk.images, desk.dims, classifier)


IMAGE_MATCHING = replace(
    IMAGE_PARTS,
    draw=draw_image_matching,
    sections={
        "Sample": samples,
        "Few steps": few_steps,
        "Denoise": denoise,
        "Check": checks,
    },
)

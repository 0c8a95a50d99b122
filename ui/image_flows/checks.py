"""The numbers that prove a trained flow over images, and what is nearest to its samples."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch

from analysis.image_checks import (
    Measured,
    Nearest,
    Term,
    accounting,
    jacobian_checks,
    nearest,
    quick_checks,
)
from analysis.image_latents import sample
from analysis.plane_checks import Check
from figures.image_charts import strips, waterfall
from figures.image_figures import labelled_rows
from figures.pictures import png
from lab.view import View
from training.core.image_flow import TEMPERATURE
from training.core.images import quantise
from ui.image_flows.desk import Desk, at_desk, choose_base, choose_part, sheet

MEAN_OVER = 128  # images behind the mean of the accounting
PAIRS = 30  # samples beside their nearest training images
YARDSTICK = 200  # test images whose nearest training images tell what is usual


def checks(view: View, version: float) -> None:
    """Draw the part of the checks that was chosen."""
    desk = at_desk(view, version)
    if desk is None:
        return
    if not desk.fits:
        st.info(
            "The checks need real images of the classes that this flow was conditioned on, and "
            "those on this machine are of others."
        )
        return
    if desk.trained.stand_in:
        st.warning(
            "Test and training images here are those of the set that stands in. The flow may have "
            "been trained on some of its test images, so their bits/dim can be too good."
        )
    parts = {
        "Right or wrong": _right_or_wrong,
        "Bits, term by term": _accounting,
        "Nearest training images": _nearest,
    }
    choose_part(desk, "Check", parts)


# -- right or wrong ------------------------------------------------------------------------------


def _right_or_wrong(desk: Desk) -> None:
    st.markdown(
        "**Compare what was measured with what it should be.** A flow is exact: what it maps to a "
        "latent comes back, and its density needs no bound and no sampling. These numbers show it."
    )
    quick = _quick_checks(desk.run_id, desk.version, desk)
    place = st.empty()
    place.markdown(table_of(quick))
    # The Jacobian takes longest: the rest is there to be read meanwhile.
    place.markdown(table_of(quick + _jacobian_checks(desk.run_id, desk.version, desk)))


def table_of(results: list[Check]) -> str:
    words = {True: ":green-badge[right]", False: ":red-badge[not right]", None: ""}
    lines = ["| What | Measured | Should be | | How |", "|---|---:|---|---|---|"]
    for check in results:
        cells = (check.name, check.value, check.expected, words[check.passed], check.how)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


@st.cache_data(max_entries=16, show_spinner="Measuring")
def _quick_checks(run_id: str, version: float, _desk: Desk) -> list[Check]:
    return quick_checks(_measured(_desk))


@st.cache_data(max_entries=16, show_spinner="Computing the whole Jacobian; it takes some seconds")
def _jacobian_checks(run_id: str, version: float, _desk: Desk) -> list[Check]:
    return jacobian_checks(_measured(_desk))


def _measured(desk: Desk) -> Measured:
    trained = desk.trained
    return Measured(trained.flow, trained.images.test, trained.images.test_labels, trained.dims)


# -- bits, term by term --------------------------------------------------------------------------


def _accounting(desk: Desk) -> None:
    st.markdown(
        "**Follow the bits from the top.** -log₂ p(x) is a sum: what the latents cost under the "
        "prior, less what each layer stretched on the way there. A byte of a pixel spans 1/256 of "
        "its range, which makes a density over [0, 1] one over bytes: 8 bits more."
    )
    count = min(MEAN_OVER, len(desk.trained.images.test))
    mean, one = f"mean of {count} test images", f"one {desk.word}"
    left, right = st.columns([1.4, 2], vertical_alignment="bottom")
    of = left.segmented_control(
        "Bits of",
        [mean, one],
        default=mean,
        required=True,
        key=desk.key("bits.of"),
        persist_state="session",
    )
    if of == mean:
        measured = _measured(desk).few(MEAN_OVER)
        terms, whole = _terms(desk.run_id, desk.version, b"mean", desk, measured)
    else:
        base = choose_base(desk, f"Which {desk.word}", 0, right)
        trained = desk.trained
        measured = Measured(trained.flow, base.image, base.labels, trained.dims)
        cached_by = base.image.numpy().tobytes() + str(base.label).encode()
        terms, whole = _terms(desk.run_id, desk.version, cached_by, desk, measured)
        with right:
            sheet(
                labelled_rows(desk.shown(base.image), 1, [""], desk.shade, width=150), "The image"
            )
    chart = waterfall(terms, whole, desk.shade)
    st.vega_lite_chart(*chart, key=desk.key("bits"), alt="Bits per dimension, term by term")
    total = sum(term.bits for term in terms)
    words = (
        f"The terms add up to {total:.6f}; computed as in training it is {whole:.6f} bits/dim"
        f"{', given the class' if desk.conditional else ''}."
    )
    if desk.trained.flow.features != desk.trained.dims:
        words += (
            " The flow sees a frame of zeros around each image: its bits count, its pixels do not, "
            "so the first term is above 8."
        )
    st.caption(words)


@st.cache_data(max_entries=64, show_spinner="Adding up")
def _terms(
    run_id: str, version: float, which: bytes, _desk: Desk, _measured: Measured
) -> tuple[list[Term], float]:
    return accounting(_measured.flow, _measured.floats(), _measured.context(), _desk.trained.dims)


# -- nearest training images ---------------------------------------------------------------------


def _nearest(desk: Desk) -> None:
    st.markdown(
        "**Look for copies.** Below each sample is the training image that is closest to it, pixel "
        f"by pixel. A flow that had learned {desk.word}s by heart would show pairs that are the "
        "same, and distances far below those of test images, which it cannot have copied."
    )
    drawn, samples, usual = _neighbours(*desk.where, desk)
    sheet(drawn, "Samples and the training images nearest to them")
    values = {"test images": usual, "samples": samples}
    chart = strips(values, "distance to the nearest training image (L2, pixels 0 to 1)", desk.shade)
    st.vega_lite_chart(*chart, key=desk.key("nearest"), alt="Distances to training images")
    limit = float(np.quantile(usual, 0.01))
    closer = int((samples < limit).sum())
    st.caption(
        f"{PAIRS} samples at temperature {TEMPERATURE}, the closest first; among "
        f"{len(desk.trained.images.train):,} training images. Median distance: samples "
        f"{np.median(samples):.2f}, test images {np.median(usual):.2f}. {closer} of {PAIRS} "
        f"samples are closer than 99 % of the test images ({limit:.2f}). Plain images, thin "
        "strokes say, are close to many others without being copies."
    )


@st.cache_data(max_entries=8, show_spinner="Comparing with all training images")
def _neighbours(
    run_id: str, version: float, shade: str, _desk: Desk
) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Return pairs as PNG, and the distances of samples and of test images."""
    trained = _desk.trained
    labels = torch.arange(PAIRS) % max(1, trained.flow.context)
    x = sample(trained.flow, labels, temperature=TEMPERATURE, seed=8)
    samples = torch.from_numpy(quantise(x))
    found = nearest(samples, trained.images.train)
    order = found.distance.argsort()
    above = _desk.shown(samples[order]).reshape(-1, 10, *_shape(_desk))
    below = _desk.shown(trained.images.train[found.index[order]]).reshape(above.shape)
    rows = np.stack([above, below], axis=1).reshape(-1, *_shape(_desk))
    names = ["sample", "nearest"] * (PAIRS // 10)
    usual: Nearest = nearest(_measured(_desk).few(YARDSTICK).images, trained.images.train)
    drawn = png(labelled_rows(rows, 10, names, shade))
    return drawn, found.distance.numpy(), usual.distance.numpy()


def _shape(desk: Desk) -> tuple[int, int, int]:
    inner = desk.trained.crop[0]
    return desk.trained.images.shape[0], inner, inner

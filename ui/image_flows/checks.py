"""The numbers that prove a trained flow over images, and what is nearest to its samples."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch

from analysis.image_checks import Measured, Term, accounting, jacobian_checks, quick_checks
from analysis.image_latents import sample
from analysis.plane_checks import Check
from figures.image_charts import waterfall
from figures.image_figures import labelled_rows
from lab.view import View
from training.core.image_flow import TEMPERATURE
from training.core.images import quantise
from ui.common.plain import table_of
from ui.common.widgets import choice, choose_part
from ui.image_flows.desk import Base, Desk, at_desk, choose_base, sheet
from ui.image_flows.nearest import (
    PAIRS,
    YARDSTICK,
    Neighbours,
    look_for_copies,
    neighbours,
    show_nearest,
)

MEAN_OVER = 128  # images behind the mean of the accounting


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
    if desk.stand_in:
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
    quick = desk.kept(_quick_checks, words="Measuring")
    place = st.empty()
    place.markdown(table_of(quick))
    # The Jacobian takes longest: the rest is there to be read meanwhile.
    words = "Computing the whole Jacobian; it takes some seconds"
    place.markdown(table_of(quick + desk.kept(_jacobian_checks, words=words)))


def _quick_checks(desk: Desk) -> list[Check]:
    return quick_checks(_measured(desk))


def _jacobian_checks(desk: Desk) -> list[Check]:
    return jacobian_checks(_measured(desk))


def _measured(desk: Desk) -> Measured:
    return Measured(desk.model, desk.images.test, desk.images.test_labels, desk.dims)


# -- bits, term by term --------------------------------------------------------------------------


def _accounting(desk: Desk) -> None:
    st.markdown(
        "**Follow the bits from the top.** -log₂ p(x) is a sum: what the latents cost under the "
        "prior, less what each layer stretched on the way there. A byte of a pixel spans 1/256 of "
        "its range, which makes a density over [0, 1] one over bytes: 8 bits more."
    )
    count = min(MEAN_OVER, len(desk.images.test))
    mean, one = f"mean of {count} test images", f"one {desk.word}"
    left, right = st.columns([1.4, 2], vertical_alignment="bottom")
    of = choice("Bits of", [mean, one], desk.key("bits.of"), left)
    base = None if of == mean else choose_base(desk, f"Which {desk.word}", 0, right)
    terms, whole = desk.kept(_terms, base, words="Adding up")
    if base is not None:
        with right:
            drawn = labelled_rows(desk.shown(base.image), 1, [""], desk.shade, width=150)
            sheet(drawn, "The image")
    chart = waterfall(terms, whole, desk.shade)
    st.vega_lite_chart(*chart, key=desk.key("bits"), alt="Bits per dimension, term by term")
    total = sum(term.bits for term in terms)
    words = (
        f"The terms add up to {total:.6f}; computed as in training it is {whole:.6f} bits/dim"
        f"{', given the class' if desk.conditional else ''}."
    )
    if desk.model.features != desk.dims:
        words += (
            " The flow sees a frame of zeros around each image: its bits count, its pixels do not, "
            "so the first term is above 8."
        )
    st.caption(words)


def _terms(desk: Desk, base: Base | None) -> tuple[list[Term], float]:
    """Return the terms of one image, or the mean ones of some, and what they should add up to."""
    if base is None:
        measured = _measured(desk).few(MEAN_OVER)
    else:
        measured = Measured(desk.model, base.image, base.labels, desk.dims)
    return accounting(measured.flow, measured.floats(), measured.context(), desk.dims)


# -- nearest training images ---------------------------------------------------------------------


def _nearest(desk: Desk) -> None:
    look_for_copies("A flow")
    found = desk.painted(_neighbours, words="Comparing with all training images")
    show_nearest(desk, found, f" at temperature {TEMPERATURE}")
    limit = float(np.quantile(found.usual, 0.01))
    closer = int((found.samples < limit).sum())
    st.caption(
        f"{closer} of {PAIRS} samples are closer than 99 % of the test images ({limit:.2f}). Plain "
        "images, thin strokes say, are close to many others without being copies."
    )


def _neighbours(desk: Desk) -> Neighbours:
    labels = torch.arange(PAIRS) % max(1, desk.model.context)
    x = sample(desk.model, labels, temperature=TEMPERATURE, seed=8)
    test = _measured(desk).few(YARDSTICK).images
    samples = torch.from_numpy(quantise(x))
    return neighbours(samples, desk.images.train, test, desk.shown, desk.shade)

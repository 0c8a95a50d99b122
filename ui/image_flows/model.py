"""The trained flow over images that a page looks into, and real images to play with."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from datasets.images import DataMissing, ImageSet, load_images
from datasets.own import DataError
from lab.store import Run
from lab.view import View
from models.flow import Flow
from training.core.config import RunConfig

STAND_IN = "digits"  # built in, so always there


@dataclass(frozen=True)
class Trained:
    """A flow with the weights of a run.

    Attributes:
        flow: on the CPU, in float32, without gradients.
        config: what it was trained with.
        classes: names of the classes of its data; those it is conditioned on, if it is.
        crop: pixels per side of the images and of the padded ones that the flow sees.
        dims: pixels times channels that count for bits/dim.
        images: real images, padded for the flow.
        stand_in: why ``images`` are not those that it was trained on, or an empty string.
        step: optimiser step of the weights.
    """

    flow: Flow
    config: RunConfig
    classes: tuple[str, ...]
    crop: tuple[int, int]
    dims: int
    images: ImageSet
    stand_in: str
    step: int


def trained_flow(view: View, version: float) -> Trained:
    """Return the flow of a run with its weights of a version (see ``weights_shown``)."""
    return _trained(view.run.id, version, view.run)


@st.cache_resource(max_entries=6, show_spinner="Loading the weights")
def _trained(run_id: str, version: float, _run: Run) -> Trained:
    config, target = _run.config, _run.snapshots.target()
    shape = tuple(int(n) for n in target["shape"])
    classes = tuple(str(name) for name in target["classes"])
    flow = _run.family.training.blank(config, target)
    step = _run.weights.load_into(flow)
    flow.eval().requires_grad_(False)
    inner, side = (int(n) for n in target["crop"])
    images, stand_in = images_of(_run, (shape[0], inner, inner))
    return Trained(
        flow,
        config,
        classes,
        (inner, side),
        shape[0] * inner * inner,
        images.pad_to(side),
        stand_in,
        step,
    )


def images_of(run: Run, shape: tuple[int, int, int]) -> tuple[ImageSet, str]:
    """Return the images a run was trained on, or a built-in set that fits in their place."""
    try:
        return load_images(run.config.dataset, run.own_data()), ""
    except DataMissing as error:
        missing = str(error)
    images = load_images(STAND_IN)
    if images.shape != shape:
        raise DataError(missing)
    return images, f"{missing} Until then, the real images here come from {images.title}."

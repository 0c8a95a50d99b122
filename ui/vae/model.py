"""The trained autoencoder that its page looks into, with the latents of its test images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from datasets.images import ImageSet
from datasets.own import DataError
from lab.store import Run
from lab.view import View
from metrics.vae import LatentPlane, encode, plane_of, to_bytes
from models.vae import VAE
from training.core.config import RunConfig
from ui.common.page import theme
from ui.image_flows.desk import Desk
from ui.image_flows.model import images_of


@dataclass(frozen=True)
class TrainedVAE:
    """An autoencoder with the weights of a run.

    Attributes:
        model: on the CPU, in float32, without gradients.
        config: what it was trained with.
        classes: names of the classes of its data.
        crop: pixels per side of the images, twice: it sees them without a frame.
        images: real images.
        stand_in: why ``images`` are not those that it was trained on, or an empty string.
        step: optimiser step of the weights.
    """

    model: VAE
    config: RunConfig
    classes: tuple[str, ...]
    crop: tuple[int, int]
    images: ImageSet
    stand_in: str
    step: int


class VAEDesk(Desk):
    """The desk of an autoencoder, which is never given a class."""

    trained: TrainedVAE

    @property
    def conditional(self) -> bool:
        return False

    @property
    def model(self) -> VAE:
        return self.trained.model

    def shown(self, x: Tensor) -> np.ndarray:
        """Return images with values in [0, 1], or uint8, as bytes."""
        return x.numpy() if x.dtype == torch.uint8 else to_bytes(x)


@dataclass(frozen=True)
class Latents:
    """Where the test images are in the latent space.

    Attributes:
        means: ``(N, latent)``.
        labels: their classes, ``(N,)``.
        plane: the plane in which they are drawn.
        points: their places in it, ``(N, 2)``.
    """

    means: Tensor
    labels: Tensor
    plane: LatentPlane
    points: Tensor


def at_vae_desk(view: View, version: float) -> VAEDesk | None:
    """Return the desk of a run, or say why there is none."""
    try:
        trained = _trained(view.run.id, version, view.run)
    except DataError as error:
        st.info(f"{error} Without the images there is nothing to look into here.")
        return None
    words = f"Weights of step {trained.step:,}."
    if trained.stand_in:
        words += f" {trained.stand_in}"
    st.caption(words)
    return VAEDesk(view.run.id, version, trained, theme())


@st.cache_resource(max_entries=6, show_spinner="Loading the weights")
def _trained(run_id: str, version: float, _run: Run) -> TrainedVAE:
    config, target = _run.config, _run.snapshots.target()
    shape = tuple(int(n) for n in target["shape"])
    classes = tuple(str(name) for name in target["classes"])
    model = _run.family.training.blank(config, target)
    step = _run.weights.load_into(model)
    model.eval().requires_grad_(False)
    images, stand_in = images_of(_run, shape)
    side = shape[1]
    return TrainedVAE(model, config, classes, (side, side), images, stand_in, step)


def latents_of(desk: VAEDesk) -> Latents:
    """Return the latents of the test images."""
    return _latents(desk.run_id, desk.version, desk)


@st.cache_resource(max_entries=6, show_spinner="Encoding the test images")
def _latents(run_id: str, version: float, _desk: VAEDesk) -> Latents:
    images = _desk.trained.images
    means = encode(_desk.model, images.test)
    plane = plane_of(means)
    return Latents(means, images.test_labels, plane, plane.project(means))

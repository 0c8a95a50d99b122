"""The trained generator that a page looks into, and real images beside it."""

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
from models.gan import GAN
from training.core.image_flow import CHUNK
from training.core.image_gan import shown
from ui.common.page import theme
from ui.image_flows.model import images_of


@dataclass(frozen=True)
class Studio:
    """A trained generator with what is needed to play with it.

    Attributes:
        run: what it comes from.
        version: of its weights.
        shade: ``"light"`` or ``"dark"``.
        model: on the CPU, in float32, without gradients, its running statistics in use.
        inner: pixels per side of an image without its frame.
        step: optimiser step of the weights.
    """

    run: Run
    version: float
    shade: str
    model: GAN
    inner: int
    step: int

    @property
    def where(self) -> tuple[str, float, str]:
        """Return what an image of this studio is cached by."""
        return self.run.id, self.version, self.shade

    def key(self, name: str) -> str:
        return f"{self.run.id}.studio.{name}"

    def latents(self, numbers: list[int]) -> Tensor:
        """Return the latents of samples by their numbers, ``(n, latent)``."""
        seeds = [torch.Generator().manual_seed(number) for number in numbers]
        return torch.cat([self.model.draw(1, seed) for seed in seeds])

    def paint(self, latents: Tensor) -> np.ndarray:
        """Return the images that latents stand for, as bytes ``(n, C, H, W)``."""
        parts = [shown(self.model(z), self.inner) for z in latents.split(CHUNK)]
        return np.concatenate(parts)


def at_studio(view: View, version: float) -> Studio:
    """Return the generator of a run with its weights of a version, and say which they are."""
    model, inner, step = _trained(view.run.id, version, view.run)
    st.caption(f"Weights of step {step:,}.")
    return Studio(view.run, version, theme(), model, inner, step)


@st.cache_resource(max_entries=6, show_spinner="Loading the weights")
def _trained(run_id: str, version: float, _run: Run) -> tuple[GAN, int, int]:
    target = _run.snapshots.target()
    model = _run.family.training.blank(_run.config, target)
    step = _run.weights.load_into(model)
    return model.eval().requires_grad_(False), int(target["crop"][0]), step


def real_images(studio: Studio) -> ImageSet | None:
    """Return real images of the set that a run was trained on, or say why there are none."""
    channels = int(studio.run.snapshots.target()["shape"][0])
    try:
        images, stand_in = images_of(studio.run, (channels, studio.inner, studio.inner))
    except DataError as error:
        st.info(f"{error} Without the images there is nothing to compare samples with.")
        return None
    if stand_in:
        st.warning(stand_in)
    return images

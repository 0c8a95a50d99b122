"""The trained generator that a page looks into, and real images beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from datasets.images import ImageSet
from datasets.own import DataError
from lab.view import View
from models.gan import GAN
from training.core.image_flow import CHUNK
from training.core.image_gan import shown
from ui.common.page import theme
from ui.common.trained import Bench, trained_model
from ui.common.widgets import KEPT
from ui.image_flows.model import images_of

WITHOUT = "without the average"  # what comes of the generator's weights of the last step


@dataclass(frozen=True)
class Studio(Bench):
    """A trained generator with what is needed to play with it.

    Attributes:
        model: on the CPU, in float32, without gradients, its running statistics in use.
        inner: pixels per side of an image without its frame.
    """

    model: GAN
    inner: int

    NAME = "studio"

    def real(self) -> tuple[ImageSet, str]:
        """Return real images, and why they are not those of the run, as ``images_of`` does."""
        channels = int(self.run.snapshots.target()["shape"][0])
        return images_of(self.run, (channels, self.inner, self.inner))

    def latents(self, numbers: list[int]) -> Tensor:
        """Return the latents of samples by their numbers, ``(n, latent)``."""
        seeds = [torch.Generator().manual_seed(number) for number in numbers]
        return torch.cat([self.model.draw(1, seed) for seed in seeds])

    def paint(self, latents: Tensor, averaged: bool = True) -> np.ndarray:
        """Return the images that latents stand for, as bytes ``(n, C, H, W)``.

        Args:
            latents: ``(n, latent)``.
            averaged: by the average of the generator's weights, if there is one.
        """
        maker = self.model if averaged else self.model.generator
        parts = [shown(maker(z), self.inner) for z in latents.split(CHUNK)]
        return np.concatenate(parts)


def choose_average(model: GAN, key: str) -> bool:
    """Let the visitor look past the average of a generator's weights, if it has one."""
    if model.average is None:
        return True
    return st.toggle(
        "Average of the weights (EMA)",
        True,
        key=key,
        **KEPT,
        help="Samples come from a moving average of the generator's weights. Off: from the weights "
        "of the last step, which still swing with the duel. The latents are the same.",
    )


def at_studio(view: View, version: float) -> Studio:
    """Return the generator of a run with its weights of a version."""
    run, inner = view.run, int(view.run.snapshots.target()["crop"][0])
    return Studio(run, version, theme(), trained_model(run, version), inner)


def real_images(studio: Studio) -> ImageSet | None:
    """Return real images of the set that a run was trained on, or say why there are none."""
    try:
        images, stand_in = studio.real()
    except DataError as error:
        st.info(f"{error} Without the images there is nothing to compare samples with.")
        return None
    if stand_in:
        st.warning(stand_in)
    return images

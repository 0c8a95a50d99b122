"""The trained autoencoder that its page looks into, with the latents of its test images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metrics.vae import LatentPlane, encode, plane_of, to_bytes
from ui.image_flows.desk import Desk


class VAEDesk(Desk):
    """The desk of an autoencoder, which is never given a class and sees images without a frame."""

    @property
    def conditional(self) -> bool:
        return False

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


def latents_of(desk: VAEDesk) -> Latents:
    """Return the latents of the test images."""
    return desk.kept(_latents, words="Encoding the test images")


def _latents(desk: VAEDesk) -> Latents:
    means = encode(desk.model, desk.images.test)
    plane = plane_of(means)
    return Latents(means, desk.images.test_labels, plane, plane.project(means))

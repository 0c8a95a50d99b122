"""The trained autoencoder that its page looks into, with the latents of its test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from figures.vae_figures import are_glyphs
from metrics.vae import LatentPlane, encode, plane_of, to_bytes
from ui.image_flows.desk import Desk
from ui.stage.scene import Points

MARKS = ("", "▲", "■", "◆")
AXES = "latent unit 1", "latent unit 2"
COMPONENTS = "component 1", "component 2"  # of more units, those along which means vary most
LEGEND = 24  # classes that have a layer each


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


def square(reach: float) -> tuple[float, float, float, float]:
    """Return the window that goes so far from the origin."""
    return -reach, reach, -reach, reach


def by_class(points: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> list[Points]:
    """Return a layer of the stage for each class, which can be shown and hidden.

    Args:
        points: ``(N, 2)``.
        labels: their classes, ``(N,)``.
        names: of the classes; of too many, there is one layer for all.
    """
    if len(names) > LEGEND:
        return [Points("test images", points, labels)]
    # Six colours are told apart; beyond, they come again with another mark.
    marks = names if are_glyphs(names) else [MARKS[k // 6] for k in range(len(names))]
    return [
        Points(name, points[labels == k], k, size=2.2, mark=mark)
        for k, (name, mark) in enumerate(zip(names, marks, strict=True))
    ]


def latents_of(desk: VAEDesk) -> Latents:
    """Return the latents of the test images."""
    return desk.kept(_latents, words="Encoding the test images")


def _latents(desk: VAEDesk) -> Latents:
    means = encode(desk.model, desk.images.test)
    plane = plane_of(means)
    return Latents(means, desk.images.test_labels, plane, plane.project(means))

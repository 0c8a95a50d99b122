"""Train a fully connected GAN on images."""

from __future__ import annotations

import torch

from models.gan import GAN, Shape, image_gan
from training.core.config import knob
from training.core.image_gan import VEIL, ImageDuelConfig, image_duel


class GANImagesConfig(ImageDuelConfig):
    """What can be set on a training of a fully connected GAN."""

    latent: int = knob(
        64,
        ge=2,
        le=256,
        step=2,
        label="Latent numbers",
        help="Standard normal numbers that an image is made from.",
        group="Model",
    )
    hidden: int = knob(
        256,
        ge=64,
        le=1024,
        step=64,
        label="Hidden units",
        help="Width of the two hidden layers of either network.",
        group="Model",
    )
    veil: float = knob(
        0.5,
        ge=0.0,
        le=1.0,
        step=0.05,
        label="Noise on all images",
        help=VEIL,
        live=True,
    )
    epochs: int = knob(
        100,
        ge=1,
        le=200,
        step=1,
        label="Epochs",
        help="As many images are drawn as that many passes through the training images would see.",
    )

    def padded(self, shape: Shape) -> Shape:
        """Return the shape that images of ``shape`` are padded to: vectors need only be square."""
        side = max(shape[1:])
        return shape[0], side, side


def model(
    config: GANImagesConfig,
    shape: Shape,
    classes: int,
    *,
    generator: torch.Generator | None = None,
) -> GAN:
    """Return the networks that ``config`` describes, over images of ``shape``."""
    return image_gan(shape=shape, hidden=config.hidden, latent=config.latent, generator=generator)


TRAINING = image_duel(GANImagesConfig, model)

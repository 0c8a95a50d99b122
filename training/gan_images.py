"""Train a fully connected GAN on images."""

from __future__ import annotations

import torch

from models.blocks.image_layers import ImageShape
from models.gan import GAN, image_gan
from training.core.adversarial import with_average
from training.core.config import knob
from training.core.image_gan import ImageDuelConfig, epochs_knob, image_duel, veil_knob


class GANImagesConfig(ImageDuelConfig):
    """What can be set on a training of a fully connected GAN."""

    latent: int = knob(
        64,
        bounds=(2, 256, 2),
        label="Latent numbers",
        help="Standard normal numbers that an image is made from.",
        group="Model",
    )
    hidden: int = knob(
        256,
        bounds=(64, 1024, 64),
        label="Hidden units",
        help="Width of the two hidden layers of either network.",
        group="Model",
    )
    veil: float = veil_knob(0.5)
    epochs: int = epochs_knob(100)

    def padded(self, shape: ImageShape) -> ImageShape:
        """Return the shape that images of ``shape`` are padded to: vectors need only be square."""
        side = max(shape[1:])
        return shape[0], side, side


def model(
    config: GANImagesConfig,
    shape: ImageShape,
    classes: int,
    *,
    generator: torch.Generator | None = None,
) -> GAN:
    """Return the networks that ``config`` describes, over images of ``shape``."""
    sizes = {"hidden": config.hidden, "latent": config.latent}
    return with_average(image_gan(shape=shape, **sizes, generator=generator), config)


TRAINING = image_duel(GANImagesConfig, model)

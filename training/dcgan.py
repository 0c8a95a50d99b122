"""Train a DCGAN on images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from models.blocks.image_layers import ImageShape
from models.gan import GAN, CriticNorm, dcgan, dcgan_side, residual_gan
from training.core.adversarial import with_average
from training.core.config import ConfigError, knob
from training.core.image_gan import ImageDuel, ImageDuelConfig, image_duel


class DCGANConfig(ImageDuelConfig):
    """What can be set on a DCGAN training."""

    latent: int = knob(
        100,
        bounds=(2, 256, 2),
        label="Latent numbers",
        help="Standard normal numbers that an image is made from.",
        group="Model",
    )
    network: Literal["dcgan", "residual"] = knob(
        "dcgan",
        label="Network",
        help="DCGAN: convolutions of 4 x 4 with batch normalisation. Residual: half a million "
        "weights in residual blocks, without any normalisation; it asks for a loss that comes to "
        "rest by itself: relativistic, with R1 and R2.",
        group="Model",
    )
    blocks: int = knob(
        1,
        bounds=(1, 3, 1),
        label="Residual blocks",
        help="Of either residual network, at half and at a quarter of the side each.",
        group="Model",
    )
    maps: int = knob(
        64,
        bounds=(8, 128, 8),
        label="Feature maps",
        help="Of DCGAN, next to the image; they double with each halving. Time grows with the "
        "square. The paper has 64 in its discriminator.",
        group="Model",
    )
    precision: Literal["mixed", "float32"] = knob(
        "mixed",
        label="Precision",
        help="Mixed computes the convolutions in bfloat16, where the processor knows it; weights, "
        "losses and steps stay in float32.",
    )

    def padded(self, shape: ImageShape) -> ImageShape:
        """Return the shape that images of ``shape`` are padded to.

        Raises:
            ConfigError: they are too small.
        """
        if max(shape[1:]) < 8:
            raise ConfigError(
                f"Images of {shape[1]} x {shape[2]} pixels are too small: 8 x 8 is the least."
            )
        side = dcgan_side(max(shape[1:]))
        return shape[0], side, side


class DCGANTraining(ImageDuel):
    """A duel of convolutional networks with batch normalisation.

    A critic whose gradient is penalised has layer normalisation in its place; residual networks
    have none.
    """

    def update(self) -> Mapping[str, Tensor]:
        penalised = self.penalty != "none"
        for layer in self.model.discriminator.modules():
            if isinstance(layer, CriticNorm):
                layer.each_alone = penalised
        return super().update()

    def scores_of_both(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        # Normalised together, half a batch of fakes would tell what the other half is.
        return self.scores(real).float(), self.scores(fake).float()


def model(
    config: DCGANConfig,
    shape: ImageShape,
    classes: int,
    *,
    generator: torch.Generator | None = None,
) -> GAN:
    """Return the networks that ``config`` describes, over images of ``shape``."""
    if config.network == "residual":
        sizes = {"latent": config.latent, "blocks": config.blocks}
        networks = residual_gan(shape=shape, **sizes, generator=generator)
    else:
        networks = dcgan(shape=shape, maps=config.maps, latent=config.latent, generator=generator)
    return with_average(networks, config)


TRAINING = image_duel(DCGANConfig, model, DCGANTraining)

"""Train RealNVP on images."""

from __future__ import annotations

import torch

from models.image_flow import ImageFlow, Shape
from models.realnvp import realnvp_images
from training.core.config import knob
from training.core.image_flow import ConvolutionConfig, image_flow, squeezable


class RealNVPImagesConfig(ConvolutionConfig):
    """What can be set on a training of RealNVP on images."""

    levels: int = knob(
        2,
        ge=1,
        le=4,
        step=1,
        label="Levels",
        help="How often the image is halved; half of what is left becomes latent each time. Images "
        "that cannot be halved so often get a frame of zeros.",
        group="Model",
    )
    couplings: int = knob(
        4,
        ge=2,
        le=8,
        step=1,
        label="Couplings of either kind",
        help="In each level, so many over a checkerboard of pixels, then so many over halves of "
        "the channels.",
        group="Model",
    )
    hidden: int = knob(
        64,
        ge=32,
        le=512,
        step=32,
        label="Hidden channels",
        help="Width of the convolutional network inside each coupling. Its time grows with the "
        "square.",
        group="Model",
    )
    conditional: bool = knob(
        True,
        label="Class-conditional",
        help="Tell the couplings the class of each image, so that it can be chosen when sampling.",
        group="Model",
    )

    def padded(self, shape: Shape) -> Shape:
        """Return the shape that images of ``shape`` are padded to."""
        return squeezable(shape, self.levels)


def model(
    config: RealNVPImagesConfig,
    shape: Shape,
    classes: int,
    *,
    generator: torch.Generator | None = None,
) -> ImageFlow:
    """Return the flow that ``config`` describes, over images of ``shape``."""
    return realnvp_images(
        shape=shape,
        levels=config.levels,
        couplings=config.couplings,
        hidden=config.hidden,
        classes=classes if config.conditional else 0,
        generator=generator,
    )


TRAINING = image_flow(RealNVPImagesConfig, model)

"""Train Glow on images."""

from __future__ import annotations

import torch

from models.glow import glow
from models.image_flow import ImageFlow, Shape
from training.core.config import knob
from training.core.image_flow import ConvolutionConfig, image_flow, squeezable


class GlowConfig(ConvolutionConfig):
    """What can be set on a Glow training."""

    levels: int = knob(
        2,
        ge=1,
        le=4,
        step=1,
        label="Levels L",
        help="How often the image is halved; half of what is left becomes latent each time. Images "
        "that cannot be halved so often get a frame of zeros.",
        group="Model",
    )
    steps: int = knob(
        8,
        ge=4,
        le=32,
        step=4,
        label="Steps per level K",
        help="Each is an actnorm, an invertible 1x1 convolution and an affine coupling.",
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
    config: GlowConfig, shape: Shape, classes: int, *, generator: torch.Generator | None = None
) -> ImageFlow:
    """Return the flow that ``config`` describes, over images of ``shape``."""
    return glow(
        shape=shape,
        levels=config.levels,
        steps=config.steps,
        hidden=config.hidden,
        classes=classes if config.conditional else 0,
        generator=generator,
    )


TRAINING = image_flow(GlowConfig, model)

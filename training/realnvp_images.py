"""Train RealNVP on images."""

from __future__ import annotations

import torch

from models.blocks.image_layers import ImageShape
from models.flow import Flow
from models.realnvp import realnvp_images
from training.core.config import knob
from training.core.image_flow import (
    ConvolutionConfig,
    channels_knob,
    conditional_knob,
    image_flow,
    levels_knob,
    squeezable,
)


class RealNVPImagesConfig(ConvolutionConfig):
    """What can be set on a training of RealNVP on images."""

    levels: int = levels_knob("Levels")
    couplings: int = knob(
        4,
        bounds=(2, 8, 1),
        label="Couplings of either kind",
        help="In each level, so many over a checkerboard of pixels, then so many over halves of "
        "the channels.",
        group="Model",
    )
    hidden: int = channels_knob()
    conditional: bool = conditional_knob()

    def padded(self, shape: ImageShape) -> ImageShape:
        """Return the shape that images of ``shape`` are padded to."""
        return squeezable(shape, self.levels)


def model(
    config: RealNVPImagesConfig,
    shape: ImageShape,
    classes: int,
    *,
    generator: torch.Generator | None = None,
) -> Flow:
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

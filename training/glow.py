"""Train Glow on images."""

from __future__ import annotations

import torch

from models.blocks.image_layers import ImageShape
from models.flow import Flow
from models.glow import glow
from training.core.config import knob
from training.core.image_flow import (
    ConvolutionConfig,
    channels_knob,
    conditional_knob,
    image_flow,
    levels_knob,
    squeezable,
)


class GlowConfig(ConvolutionConfig):
    """What can be set on a Glow training."""

    levels: int = levels_knob("Levels L")
    steps: int = knob(
        8,
        bounds=(4, 32, 4),
        label="Steps per level K",
        help="Each is an actnorm, an invertible 1x1 convolution and an affine coupling.",
        group="Model",
    )
    hidden: int = channels_knob()
    conditional: bool = conditional_knob()

    def padded(self, shape: ImageShape) -> ImageShape:
        """Return the shape that images of ``shape`` are padded to."""
        return squeezable(shape, self.levels)


def model(
    config: GlowConfig, shape: ImageShape, classes: int, *, generator: torch.Generator | None = None
) -> Flow:
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

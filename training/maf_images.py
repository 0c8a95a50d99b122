"""Train a MAF on the patches of images: a causal transformer in the place of MADE."""

from __future__ import annotations

import torch
from torch import Tensor

from models.blocks.image_layers import ImageShape
from models.flow import Flow
from models.patches import maf_images
from training.core.config import ConfigError, knob
from training.core.image_flow import (
    ConvolutionConfig,
    ImageFlowTraining,
    conditional_knob,
    framed,
    image_flow,
)


class MAFImagesConfig(ConvolutionConfig):
    """What can be set on a training of MAF on the patches of images."""

    patch: int = knob(
        4,
        bounds=(2, 8, 1),
        label="Pixels along each side of a patch",
        help="An image is read patch after patch. Small patches see more of each other and take "
        "longer: the time of sampling grows with their number.",
        group="Model",
    )
    blocks: int = knob(
        4,
        bounds=(2, 12, 1),
        label="Blocks",
        help="Autoregressive blocks. They take turns in which end of the image comes first.",
        group="Model",
    )
    layers: int = knob(
        2,
        bounds=(1, 8, 1),
        label="Layers in each block",
        help="Of attention and a small network behind it.",
        group="Model",
    )
    width: int = knob(
        96,
        bounds=(32, 512, 32),
        label="Width",
        help="Of the layers. Each head of their attention has 32.",
        group="Model",
    )
    conditional: bool = conditional_knob()
    left_out: float = knob(
        0.1,
        bounds=(0.0, 0.5, 0.05),
        label="Classes left out",
        help="Fraction of the images of each step whose class is not given, so that the flow knows "
        "images without a class, too, which guidance compares with. No meaning without classes.",
        group="Model",
    )

    def padded(self, shape: ImageShape) -> ImageShape:
        """Return the shape that images of ``shape`` are padded to: a whole number of patches."""
        if (found := framed(shape, self.patch)) is not None:
            return found
        _, height, width = shape
        raise ConfigError(
            f"Images of {height} x {width} pixels and patches of {self.patch} would be more frame "
            "than image: take smaller patches."
        )


class PatchesTraining(ImageFlowTraining):
    """Maximum likelihood on images, some of them without their class.

    References:
        Classifier-Free Diffusion Guidance (Ho, Salimans, 2022), algorithm 1.
        https://arxiv.org/abs/2207.12598
    """

    def _batch(self, count: int) -> tuple[Tensor, Tensor]:
        x, labels = super()._batch(count)
        if not (self.config.conditional and self.config.left_out):
            return x, labels
        chance = torch.rand(count, generator=self.generator, device=self.device)
        # No class is -1: all of its one-hot vector is zero.
        return x, labels.masked_fill(chance < self.config.left_out, -1)


def model(
    config: MAFImagesConfig,
    shape: ImageShape,
    classes: int,
    *,
    generator: torch.Generator | None = None,
) -> Flow:
    """Return the flow that ``config`` describes, over images of ``shape``."""
    return maf_images(
        shape=shape,
        patch=config.patch,
        blocks=config.blocks,
        layers=config.layers,
        width=config.width,
        classes=classes if config.conditional else 0,
        generator=generator,
    )


TRAINING = image_flow(MAFImagesConfig, model, PatchesTraining)

"""What all families that learn images share: their settings, and pixels as numbers."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from datasets.images import IMAGES, OWN
from training.core.config import RunConfig, knob, seed_knob


class ImageDataConfig(RunConfig):
    """What all families that learn images share: their data."""

    dataset: Literal[(*IMAGES, OWN)] = knob(  # type: ignore[valid-type]
        "digits",
        label="Dataset",
        help="The images to learn. The first three come with the lab; others are downloaded once."
        " `own` is a folder or files of yours.",
        group="Data",
    )


class ImageConfig(ImageDataConfig):
    """What families that learn a density over images share besides: batch, steps, optimiser."""

    iterations: int = knob(
        2000,
        ge=1000,
        le=20_000,
        step=500,
        label="Iterations",
        help="Optimiser steps. The learning rate follows one cycle over all of them: up in the "
        "first tenth, then down to zero.",
    )
    batch: int = knob(
        64,
        ge=32,
        le=256,
        step=32,
        label="Batch size",
        help="Images per step.",
    )
    learning_rate: float = knob(
        2e-3,
        ge=1e-4,
        le=5e-3,
        label="Learning rate",
        help="Peak of the cycle. It can be changed while the training runs.",
        live=True,
        scale="log",
    )
    seed: int = seed_knob()


def crop(x: Tensor, inner: int, side: int) -> Tensor:
    """Return the middle ``inner`` x ``inner`` pixels of images ``(B, C, side, side)``."""
    start = (side - inner) // 2
    return x[..., start : start + inner, start : start + inner]


def dequantise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Spread 8-bit values evenly over their 1/256 of [0, 1): ``(v + u) / 256``.

    Args:
        images: uint8, any shape.
        generator: of the noise u, on the images' device.
    """
    noise = torch.rand(images.shape, generator=generator, device=images.device)
    # Between 128 and 256 float32 has steps of 2^-16: a larger u would be rounded into the next bin.
    return (images + noise.clamp_(max=1 - 2**-16)) / 256


def to_bytes(x: Tensor) -> np.ndarray:
    """Return images with values in [0, 1] as uint8, the values that they fall into.

    Of any shape; the result has the same.
    """
    return (x.nan_to_num() * 256).clamp(0, 255).to(torch.uint8).cpu().numpy()


def one_hot(labels: Tensor, classes: int) -> Tensor | None:
    """Return labels ``(B,)`` as one-hot vectors ``(B, classes)``, or ``None`` for no classes."""
    return nn.functional.one_hot(labels, classes).float() if classes else None

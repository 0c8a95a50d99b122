"""What all families that learn images share: their settings, and pixels as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from datasets.images import IMAGES, OWN, download, is_here, load_images
from datasets.own import DataError
from datasets.own_images import (
    MAX_CLASSES,
    MAX_SIZE,
    MIN_SIDE,
    OwnImages,
    read_image_folder,
    read_image_zip,
)
from models.blocks.image_layers import ImageShape
from training.core.config import ConfigError, RunConfig, knob, rate_knob, seed_knob
from training.core.family import DataKind, Flag

MAX_NAME = 200  # characters of the name of a class


class ImageDataConfig(RunConfig):
    """What all families that learn images share: their data."""

    dataset: Literal[(*IMAGES, OWN)] = knob(  # type: ignore[valid-type]
        "digits",
        label="Dataset",
        help="The images to learn. The first three come with the lab; others are downloaded once."
        " `own` is a folder or files of yours.",
        group="Data",
    )

    def padded(self, shape: ImageShape) -> ImageShape:
        """Return the shape that images of ``shape`` are padded to: here, as they come.

        Raises:
            ConfigError: images of that shape cannot be learned with these settings.
        """
        return shape


class ImageConfig(ImageDataConfig):
    """What families that learn a density over images share besides: batch, steps, optimiser."""

    iterations: int = knob(
        2000,
        bounds=(1000, 20_000, 500),
        label="Iterations",
        help="Optimiser steps. The learning rate follows one cycle over all of them: up in the "
        "first tenth, then down to zero.",
    )
    batch: int = knob(
        64,
        bounds=(32, 256, 32),
        label="Batch size",
        help="Images per step.",
    )
    learning_rate: float = rate_knob(2e-3, bounds=(1e-4, 5e-3))
    seed: int = seed_knob()


def read(_config: ImageDataConfig, path: Path, *, size: int, grey: bool) -> OwnImages:
    """Read a person's own images, from a folder or a zip.

    Args:
        path: of the folder or the zip; the names of folders in it are classes.
        size: pixels per side to read them at.
        grey: whether to read them without colours.

    Raises:
        ConfigError: no such size.
        DataError: they cannot be used.
    """
    if not 8 <= size <= 64:
        raise ConfigError(f"--size must be from 8 to 64; {size} is not.")
    channels = 1 if grey else 3
    if path.is_dir():
        return read_image_folder(path, size, channels)
    if path.suffix.lower() != ".zip":
        raise DataError(f"{path} is neither a folder of images nor a zip of one.")
    return read_image_zip(path.read_bytes(), path.name, size, channels)


def fits(config: ImageDataConfig, own: OwnImages | None) -> None:
    """Refuse images that the settings do not fit.

    Raises:
        ConfigError: that is so.
        DataError: they are not here, or damaged.
    """
    config.padded(load_images(config.dataset, own).shape)


def image_shape(value: object) -> ImageShape:
    """Return the shape of images that a file gives as a list.

    Raises:
        DataError: it gives none of use.
    """
    if isinstance(value, list) and len(value) == 3 and all(type(n) is int for n in value):
        channels, height, width = value
        # A frame makes the largest images half as large again at most.
        sides = min(height, width) >= MIN_SIDE and max(height, width) <= 2 * MAX_SIZE
        if channels in (1, 3) and sides:
            return channels, height, width
    raise DataError("The file does not say what images its model is of.")


def class_count(value: object) -> int:
    """Return the number of classes that a file names in a list.

    Raises:
        DataError: it names none of use.
    """
    named = isinstance(value, list) and all(
        isinstance(n, str) and len(n) <= MAX_NAME for n in value
    )
    if not named or not 1 <= len(value) <= MAX_CLASSES:
        raise DataError("The file does not say what classes its model knows.")
    return len(value)


IMAGE_DATA = DataKind(
    "a folder or zip of images, one folder per class",
    read,
    OwnImages.load,
    flags=(
        Flag("size", 32, "Pixels per side of own images."),
        Flag("grey", False, "Read own images as grey."),
    ),
    titles={name: source.title for name, source in IMAGES.items()},
    fetched=frozenset(name for name, source in IMAGES.items() if not source.built_in),
    is_here=is_here,
    download=download,
    fits=fits,
    facts={"shape": image_shape, "classes": class_count},
)


def crop(x: Tensor, inner: int, side: int) -> Tensor:
    """Return the middle ``inner`` x ``inner`` pixels of images ``(B, C, side, side)``."""
    start = (side - inner) // 2
    return x[..., start : start + inner, start : start + inner]


def signed(images: Tensor) -> Tensor:
    """Return uint8 images as floats in [-1, 1].

    Of any shape; the result has the same.
    """
    return images.float() / 127.5 - 1


def scattered(images: Tensor, count: int) -> Tensor:
    """Return some of a set of images ``(N, ...)``, always the same, from all over it.

    Sets come sorted by class as often as not. Where there are too few, they come again.
    """
    mixed = torch.randperm(len(images), generator=torch.Generator().manual_seed(2))
    return images[mixed[torch.arange(count) % len(images)].to(images.device)]


def dequantise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Spread 8-bit values evenly over their 1/256 of [0, 1): ``(v + u) / 256``.

    Args:
        images: uint8, any shape.
        generator: of the noise u, on the images' device.
    """
    noise = torch.rand(images.shape, generator=generator, device=images.device)
    # Between 128 and 256 float32 has steps of 2^-16: a larger u would be rounded into the next bin.
    return (images + noise.clamp_(max=1 - 2**-16)) / 256


def quantise(x: Tensor) -> np.ndarray:
    """Return images with values in [0, 1] as uint8, the values that they fall into.

    Of any shape; the result has the same.
    """
    return (x.nan_to_num() * 256).clamp(0, 255).to(torch.uint8).cpu().numpy()


def bytes_of_signed(x: Tensor) -> Tensor:
    """Return images with values in [-1, 1] as uint8, the nearest there is.

    Of any shape; the result has the same.
    """
    return ((x.float().nan_to_num() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def one_hot(labels: Tensor, classes: int) -> Tensor | None:
    """Return labels ``(B,)`` as one-hot vectors ``(B, classes)``, or ``None`` for no classes."""
    if not classes:
        return None
    # torch's own asks for the largest label, for which a device other than CUDA has to be awaited.
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()

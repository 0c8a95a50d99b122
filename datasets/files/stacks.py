"""Many image files as one array; what cannot be read is left out and named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from datasets.files.errors import DataError
from datasets.files.images import Limits, central_square, read_image, shown, squeezed
from datasets.files.sources import Source

__all__ = ["Read", "parted", "read_stack"]

# A dark image of a set of more than 8 bits may stay below a fourth of the others' white.
_STEP = 4.1


@dataclass(frozen=True, slots=True)
class Read:
    """An image that could be read.

    Attributes:
        index: its place among the sources.
        size: width and height of the file.
        white: the value that was taken for white, 0 in an image of 8 bits.
    """

    index: int
    size: tuple[int, int]
    white: float


def read_stack(
    sources: Sequence[Source],
    size: int,
    channels: int,
    skipped: list[str],
    *,
    cropped: bool = True,
    limits: Limits | None = None,
) -> tuple[np.ndarray, list[Read]]:
    """Read images into one array; images of a set that are stored alike are scaled alike.

    Args:
        sources: files by their place.
        size: pixels per side.
        channels: 1 (grey) or 3 (RGB).
        skipped: gets a line for each file that cannot be read.
        cropped: whether each image is cropped to its central square; else it is squeezed into one.
        limits: how large a file may be.

    Returns:
        Images with shape (n, channels, size, size), uint8, and what each of them is.
    """
    limits = limits or Limits()
    fit = central_square if cropped else squeezed
    images = np.empty((len(sources), channels, size, size), np.uint8)
    found: list[Read] = []
    for index, source in enumerate(sources):
        try:
            image = _read(source, 2 * size, limits)
        except DataError as error:
            skipped.append(str(error))
        else:
            images[len(found)] = fit(image, size, channels)
            found.append(Read(index, image.info["size"], image.info["white"]))
    whites = sorted({read.white for read in found if read.white})
    for place, read in enumerate(found):
        white = max((w for w in whites if w <= _STEP * read.white), default=0)
        if white > read.white:
            image = _read(sources[read.index], 2 * size, limits, white)
            images[place] = fit(image, size, channels)
    return images[: len(found)], found


def _read(source: Source, at_least: int, limits: Limits, white: float = 0) -> Image.Image:
    place, read = source
    try:
        data = read()
    except OSError as error:
        raise DataError(f"{shown(*place)}: The file cannot be read.") from error
    return read_image(data, "/".join(place), at_least, limits=limits, white=white)


def parted(images: np.ndarray, part: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the images of each part, in their order, as views.

    They are moved within their array: a copy would need as much memory again.

    Args:
        images: with shape (n, ...); their order changes.
        part: the number of the part that each belongs to, with shape (n,).
        count: of the parts.
    """
    order = np.argsort(part, kind="stable")
    moved = np.zeros(len(order), bool)
    for start in range(len(order)):
        first, place = images[start].copy(), start
        while not moved[place]:
            moved[place] = True
            images[place] = first if order[place] == start else images[order[place]]
            place = order[place]
    return np.split(images, np.searchsorted(part[order], np.arange(1, count)))

"""A digit that a user drew or photographed, made to look like one of MNIST's."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from datasets.files.errors import DataError
from datasets.files.images import MAX_PIXELS, flatten, read_image

__all__ = ["fit_digit", "mnist_like", "read_digit"]

_SIDE, _BOX = 28, 20
# MNIST's centres of mass: row and column 14.0 on average, counted from 0 (standard deviation 0.3).
_CENTRE = 14
_WORKING_SIDE = 200
_MIN_CONTRAST = 20  # grey levels


def read_digit(data: bytes, name: str, side: int) -> np.ndarray:
    """Read an image of a digit, and make it like those of a set of so many pixels a side.

    Returns:
        A light digit on black, with shape (1, side, side), uint8.

    Raises:
        DataError: it is no image that can be used; the message says why.
    """
    image = read_image(data, name, at_least=max(_WORKING_SIDE, 2 * side))
    return fit_digit(mnist_like(image), side)


def fit_digit(digit: np.ndarray, side: int) -> np.ndarray:
    """Bring a digit like MNIST's, ``(28, 28)``, to another set's size, ``(1, side, side)``."""
    if side == len(digit):
        return digit[None]
    # MNIST leaves four pixels around a digit; the smaller sets use nearly all of theirs.
    middle = Image.fromarray(digit[2:26, 2:26])
    small = np.asarray(middle.resize((side, side), Image.Resampling.BOX), np.float64)
    # Averaging makes thin strokes dim; those of the smaller set reach full white as well.
    return np.rint(small / small.max() * 255).astype(np.uint8)[None]


def mnist_like(image: Image.Image) -> np.ndarray:
    """Bring an image of one digit to MNIST's conventions.

    The border says what is paper, shading of the paper is taken off as a tilted plane, and what is
    left is cropped, fitted into 20 × 20 pixels with its proportions kept, and laid into
    28 × 28 by its centre of mass, as LeCun et al. prepared MNIST (Gradient-based learning applied
    to document recognition, 1998, section III.A).

    Args:
        image: any image, dark on light or light on dark; transparent places count as white.

    Returns:
        A light digit on black, with shape (28, 28), uint8.

    Raises:
        DataError: the image is blank, cannot be decoded, or has less than 4 pixels a side or more
            than 16 megapixels.
    """
    ink = _cleaned(_ink(_grey(image)))
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = _BOX / max(ink.shape)
    h, w = (max(1, round(side * scale)) for side in ink.shape)
    small = np.asarray(Image.fromarray(ink).resize((w, h), Image.Resampling.BICUBIC)).clip(0)
    small = np.rint(small.clip(0) / small.max() * 255).astype(np.uint8)

    y, x = (round(_CENTRE - centre) for centre in ndimage.center_of_mass(small))
    y, x = min(max(y, 0), _SIDE - h), min(max(x, 0), _SIDE - w)
    digit = np.zeros((_SIDE, _SIDE), np.uint8)
    digit[y : y + h, x : x + w] = small
    return digit


def _grey(image: Image.Image) -> np.ndarray:
    """Decode to grey levels with shape (h, w), at most 200 a side: averaging takes noise off."""
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"The image has more than {MAX_PIXELS // 1_000_000} megapixels.")
    if min(image.size) < 4:
        raise DataError(f"The image has only {image.width} × {image.height} pixels.")
    try:
        grey = flatten(image).convert("L")
    except Exception as error:
        raise DataError("The image cannot be read: the file is damaged.") from error
    grey.thumbnail((_WORKING_SIDE, _WORKING_SIDE), Image.Resampling.BOX)
    return np.asarray(grey, np.float64)


def _ink(grey: np.ndarray) -> np.ndarray:
    """Turn grey levels into ink from 0 to 1; what noise could make is 0."""
    paper, noise = _paper(grey)
    ink = grey - paper
    smooth = ndimage.gaussian_filter(ink, 0.7)
    if -smooth.min() > smooth.max():
        ink, smooth = -ink, -smooth
    if smooth.max() < max(_MIN_CONTRAST, 6 * noise):
        raise DataError("The image is blank: no digit stands out from the paper.")
    full = np.median(ink[ink > smooth.max() / 2])
    ink = (ink / full).clip(0, 1)
    ink[ink < max(0.1, 4 * noise / full)] = 0
    return ink.astype(np.float32)


def _paper(grey: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit a plane to the border, and again without what stands out: strokes that touch it.

    Returns:
        The paper's grey levels with shape (h, w), and the standard deviation around them.
    """
    h, w = grey.shape
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    width = max(1, round(0.06 * min(h, w)))
    border = np.ones((h, w), bool)
    border[width:-width, width:-width] = False
    terms = np.stack([np.ones_like(x), x, y], axis=-1)  # (h, w, 3)
    inputs, levels = terms[border], grey[border]
    keep = np.abs(levels - np.quantile(levels, 0.5, method="lower")) < 64
    for _ in range(3):
        plane = np.linalg.lstsq(inputs[keep], levels[keep], rcond=None)[0]
        rest = np.abs(levels - inputs @ plane)
        noise = 1.4826 * float(np.median(rest))
        keep = rest <= max(2.5 * noise, 2.0)
    return terms @ plane, noise


def _cleaned(ink: np.ndarray) -> np.ndarray:
    """Drop specks: patches with less than a twentieth of the largest one's ink."""
    patches, count = ndimage.label(ink > 0, np.ones((3, 3)))
    mass = ndimage.sum_labels(ink, patches, np.arange(count + 1))
    mass[0] = 0
    return np.where((mass >= mass.max() / 20)[patches] & (patches > 0), ink, 0).astype(np.float32)

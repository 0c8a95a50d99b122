"""Sheets of images: many small images tiled into one. Arrays in, images or GIF out.

Pixels are enlarged by whole factors, so that they stay squares. No Streamlit, no global state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from datasets.defect_set import fitted_mask
from figures.images import LECTURE, beside, captioned, gif
from figures.maf_images import enlarged, outlined
from figures.palette import palette, rgb
from figures.text import as_drawn, text_width, write

WIDTH = 720  # pixels that a sheet is wide at most, where its images allow it
PREVIEW = 96  # pixels along the side of an image of a person's own, or nearly
LARGEST = 140  # pixels along the side of an image in a sheet, where it is small itself
GAP = 2  # pixels between two images
LONGEST, LONGEST_CODES = 18, 27  # signs of a label


def tile(
    images: np.ndarray, columns: int, theme: str, scale: int | None = None, *, width: int = WIDTH
) -> Image.Image:
    """Lay images side by side, row by row.

    Args:
        images: uint8, ``(N, C, H, W)``; C is 1 (grey) or 3 (RGB), N at least 1.
        columns: images in a row; fewer images than that make a shorter row.
        theme: ``"light"`` or ``"dark"``; says what shows between the images.
        scale: how often each pixel is repeated in either direction; left out, as often as keeps
            the sheet within ``width``.
        width: pixels that the sheet should be wide at most.
    """
    count, _, height, wide = images.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    scale = scale or fitting_scale(height, wide, columns, width)
    height, wide = height * scale, wide * scale
    paper = (rgb(palette(theme).background) * 255).round().astype(np.uint8)
    cells = np.empty((rows * columns, height, wide, 3), np.uint8)
    cells[:count] = images.repeat(scale, 2).repeat(scale, 3).transpose(0, 2, 3, 1)
    cells[count:] = paper
    sheet = np.empty((rows, height + GAP, columns, wide + GAP, 3), np.uint8)
    sheet[:] = paper
    cells = cells.reshape(rows, columns, height, wide, 3)
    sheet[:, :height, :, :wide] = cells.transpose(0, 2, 1, 3, 4)
    flat = sheet.reshape(rows * (height + GAP), columns * (wide + GAP), 3)
    return Image.fromarray(np.ascontiguousarray(flat[:-GAP, :-GAP]))


def fitting_scale(height: int, wide: int, columns: int, width: int = WIDTH) -> int:
    """Return the whole factor by which images may grow so that a row fits into ``width``."""
    return max(1, min(width // (columns * wide), LARGEST // max(height, wide)))


def lecture_scale(shape: tuple[int, ...], columns: int) -> int:
    """Return the whole factor by which images ``(N, C, H, W)`` make a sheet for a lecture."""
    count, _, height, wide = shape
    return -(-LECTURE // max(columns * wide, -(-count // columns) * height))


def labelled_rows(
    images: np.ndarray,
    columns: int,
    labels: Sequence[str],
    theme: str,
    scale: int | None = None,
    *,
    width: int = WIDTH,
) -> Image.Image:
    """Lay images in rows with a name before each row.

    Args:
        images: uint8, ``(N, C, H, W)``.
        columns: images in a row.
        labels: the name of each row; long ones are cut.
        theme: ``"light"`` or ``"dark"``.
        scale: see :func:`tile`.
        width: pixels that the sheet, names included, should be wide at most.
    """
    labels = [_short(label) for label in labels]
    scale = scale or fitting_scale(*images.shape[2:], columns, width - 70)
    step = images.shape[2] * scale + GAP
    size = min(max(round(0.34 * step), 11), 16)
    margin = round(max((text_width(label, size) for label in labels), default=0)) + 12
    sheet = tile(images, columns, theme, scale)
    colours = palette(theme)
    page = Image.new("RGB", (margin + sheet.width, sheet.height), colours.background)
    page.paste(sheet, (margin, 0))
    draw = ImageDraw.Draw(page)
    for i, label in enumerate(labels):
        middle = (margin - 10, (i + 0.5) * step)
        write(draw, middle, label, colours.muted, size, "rm")
    return page


def _short(label: str) -> str:
    """Cut a long label; code points, which are longer than their signs, get more room."""
    words = as_drawn(label)
    longest = LONGEST if words == label else LONGEST_CODES
    return words if len(words) <= longest else f"{words[: longest - 1]}…"


def preview_sheet(
    images: np.ndarray, masks: np.ndarray | None, columns: int, theme: str
) -> Image.Image:
    """Tile images of any size, all as large as each other; true masks are outlined.

    Args:
        images: uint8, ``(N, C, S, S)``; C is 1 (grey) or 3 (RGB), N at least 1.
        masks: booleans, ``(N, S, S)``, if there are any.
        columns: images in a row; where there are fewer, the rest of the row is empty.
        theme: ``"light"`` or ``"dark"``.
    """
    known = [None] * len(images) if masks is None else masks
    cells = [_cell(image, mask) for image, mask in zip(images, known, strict=True)]
    paper = (rgb(palette(theme).background) * 255).round().astype(np.uint8)
    blank = np.broadcast_to(paper[:, None, None], cells[0].shape)
    cells += [blank] * (columns - len(cells))
    return tile(np.stack(cells), columns, theme, 1)


def _cell(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Return an image ``(C, S, S)`` in RGB, about as large as all in the sheet, ``(3, T, T)``."""
    pixels = np.repeat(image, 3 // len(image), 0).transpose(1, 2, 0)
    if len(pixels) > PREVIEW:
        small = Image.fromarray(np.ascontiguousarray(pixels))
        pixels = np.asarray(small.resize((PREVIEW, PREVIEW), Image.Resampling.LANCZOS))
        mask = None if mask is None else fitted_mask(mask, PREVIEW)
    pixels = enlarged(pixels, PREVIEW)
    return (pixels if mask is None else outlined(pixels, mask)).transpose(2, 0, 1)


def film_of_images(
    frames: Iterable[tuple[int, np.ndarray]],
    real: np.ndarray,
    columns: int,
    theme: str,
    *,
    labels: Sequence[str] = (),
) -> bytes:
    """Return a training as a GIF: real images on the left, samples of the model on the right.

    Args:
        frames: ``(step, samples)`` in order, samples as uint8 of shape ``(N, C, H, W)``.
        real: real images to compare them with, uint8, ``(N, C, H, W)``.
        columns: images in a row, on either side.
        theme: ``"light"`` or ``"dark"``.
        labels: names of the rows, if they have any.
    """
    # Both sheets count for the width: of two, each need only be half as wide.
    doubled = (*real.shape[:3], 2 * real.shape[3])
    scale = lecture_scale(doubled, columns)
    between = 24
    left = (
        labelled_rows(real, columns, labels, theme, scale)
        if labels
        else tile(real, columns, theme, scale)
    )

    def frame(step: int, samples: np.ndarray) -> Image.Image:
        right = tile(samples, columns, theme, scale)
        middle = left.width + between + right.width / 2
        words = {left.width - right.width / 2: "real", middle: f"learned, step {step:,}"}
        return captioned(beside(left, right, between, theme), words, theme)

    return gif(frame(step, samples) for step, samples in frames)

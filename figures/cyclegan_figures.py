"""Images of a translation. Arrays in, images out; no Streamlit, no state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from figures.image_figures import labelled_rows
from figures.maf_images import enlarged
from figures.palette import diverging, palette, sequential

TALL = 300  # pixels along each side of a single image


def shown(image: np.ndarray, side: int = TALL) -> Image.Image:
    """Return one image, uint8 ``(3, S, S)``, about ``side`` pixels large, its pixels as squares."""
    return Image.fromarray(np.ascontiguousarray(enlarged(image.transpose(1, 2, 0), side)))


def difference(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return how far apart the colours of two images are, from 0 to 1, shape ``(S, S)``.

    Args:
        image: uint8 ``(3, S, S)``.
        other: the same.
    """
    return np.abs(image.astype(np.float32) - other.astype(np.float32)).mean(0) / 255


def heat(values: np.ndarray, limit: float, theme: str, side: int = TALL) -> Image.Image:
    """Paint values from 0 to ``limit``, shape ``(S, S)``, about ``side`` pixels large."""
    level = ((values / limit).clip(0, 1) * 255).astype(np.uint8)
    return Image.fromarray(enlarged(sequential(theme)[level], side)).convert("RGB")


def triptych(
    images: Sequence[np.ndarray], names: Sequence[str], theme: str, **size: int
) -> Image.Image:
    """Lay images, what became of them, and what came back, in three rows.

    Args:
        images: the three rows, each uint8 ``(n, 3, S, S)``.
        names: of the rows.
        theme: ``"light"`` or ``"dark"``.
        size: ``width`` or ``scale``, see :func:`labelled_rows`.
    """
    return labelled_rows(np.concatenate(images), len(images[0]), names, theme, **size)


def verdicts(
    scores: np.ndarray, chosen: tuple[int, int], theme: str, side: int = TALL
) -> Image.Image:
    """Paint scores of patches ``(h, w)``: 1 (real) orange, 0 (fake) blue, one half like paper.

    Args:
        scores: the scores.
        chosen: row and column of the one that gets a frame.
        theme: ``"light"`` or ``"dark"``.
        side: pixels along each side, about.
    """
    level = (scores.clip(0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(enlarged(diverging(theme)[level], side)).convert("RGB")
    cell, (row, column) = image.height // len(scores), chosen
    box = (column * cell, row * cell, (column + 1) * cell - 1, (row + 1) * cell - 1)
    ImageDraw.Draw(image).rectangle(box, outline=palette(theme).warn, width=3)
    return image


def framed(
    image: np.ndarray, rows: tuple[int, int], columns: tuple[int, int], theme: str
) -> Image.Image:
    """Draw a rectangle over an image, uint8 ``(3, S, S)``; what lies outside of it is dimmed.

    Args:
        image: the image.
        rows: the first and the last row inside; they may lie beyond the image.
        columns: the same of the columns.
        theme: ``"light"`` or ``"dark"``.
    """
    size = image.shape[1]
    inside = np.zeros((size, size), bool)
    (top, bottom), (left, right) = ((max(a, 0), min(b, size - 1)) for a, b in (rows, columns))
    inside[top : bottom + 1, left : right + 1] = True
    dim = np.where(inside, image, (0.35 * image).astype(np.uint8))
    drawn = shown(dim)
    scale = drawn.width // size
    box = (left * scale, top * scale, (right + 1) * scale - 1, (bottom + 1) * scale - 1)
    ImageDraw.Draw(drawn).rectangle(box, outline=palette(theme).warn, width=3)
    return drawn

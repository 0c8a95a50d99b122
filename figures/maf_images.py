"""Images of defect detection: heat over an image, the true mask round it. Arrays in, images out.

No Streamlit, no global state. Heat is an anomaly map, in nats per dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation

from figures.images import gif
from figures.palette import palette, rgb

GAP = 4  # pixels between two images of a sheet
OUTLINE = (0, 229, 255)  # of the true mask: a colour that neither heat nor capsules have
# Cold to hot; on a grey image, so that no colour of the thing itself is taken for heat.
_STOPS = np.array([(255, 240, 150), (255, 176, 32), (226, 53, 26), (120, 0, 40)], np.float32)


def heat_colours(level: np.ndarray) -> np.ndarray:
    """Return colours, ``(..., 3)`` from 0 to 255, of levels between 0 and 1."""
    at = level.clip(0, 1) * (len(_STOPS) - 1)
    low = np.minimum(at.astype(int), len(_STOPS) - 2)
    part = (at - low)[..., None]
    return _STOPS[low] * (1 - part) + _STOPS[low + 1] * part


def heated(image: np.ndarray, heat: np.ndarray, low: float, high: float) -> np.ndarray:
    """Lay heat over an image in grey.

    Args:
        image: shape ``(3, S, S)``, uint8.
        heat: shape ``(S, S)``.
        low: heat that begins to show.
        high: heat that gets the last colour.

    Returns:
        Shape ``(S, S, 3)``, uint8.
    """
    grey = image.astype(np.float32).transpose(1, 2, 0) @ np.float32([0.30, 0.59, 0.11])
    level = ((heat.astype(np.float32) - low) / max(high - low, 1e-6)).clip(0, 1)
    cover = 0.85 * np.minimum(4 * level, 1)[..., None]
    mixed = grey[..., None] * (1 - cover) + heat_colours(level) * cover
    return mixed.round().astype(np.uint8)


def enlarged(pixels: np.ndarray, side: int) -> np.ndarray:
    """Repeat the pixels of ``(S, S, ...)`` by the whole factor that comes closest to ``side``."""
    factor = max(1, round(side / len(pixels)))
    return pixels.repeat(factor, 0).repeat(factor, 1)


def outlined(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draw the edge of a mask just outside it, on enlarged pixels ``(n S, n S, 3)``."""
    if not mask.any():
        return pixels
    wide = mask.repeat(len(pixels) // len(mask), 0).repeat(len(pixels) // len(mask), 1)
    edge = binary_dilation(wide, iterations=2) & ~wide
    return np.where(edge[..., None], np.uint8(OUTLINE), pixels)


def framed(image: np.ndarray, mask: np.ndarray, side: int) -> np.ndarray:
    """Return an image ``(3, S, S)``, enlarged, with the mask outlined."""
    return outlined(enlarged(image.transpose(1, 2, 0), side), mask)


def framed_heat(
    image: np.ndarray,
    heat: np.ndarray,
    mask: np.ndarray,
    span: tuple[float, float],
    side: int,
) -> np.ndarray:
    """Return a heat map over its image, enlarged, with the mask outlined."""
    return outlined(enlarged(heated(image, heat, *span), side), mask)


def sheet(rows: Sequence[Sequence[np.ndarray]], theme: str) -> Image.Image:
    """Lay images of one size ``(H, W, 3)`` in rows."""
    height, width = rows[0][0].shape[:2]
    columns = max(map(len, rows))
    paper = (rgb(palette(theme).background) * 255).round().astype(np.uint8)
    size = (len(rows) * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3)
    page = np.empty(size, np.uint8)
    page[:] = paper
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = i * (height + GAP), j * (width + GAP)
            page[top : top + height, left : left + width] = image
    return Image.fromarray(page)


def matrix_image(values: np.ndarray, theme: str, side: int = 260) -> Image.Image:
    """Draw a matrix with values from 0 to 1, white to the colour of the model.

    Large ones shrink (each pixel is a mean), small ones grow by whole factors with lines between.

    Args:
        values: shape ``(rows, columns)``.
        theme: ``"light"`` or ``"dark"``.
        side: pixels along each side of the image, or a little more: units are whole pixels. A
            matrix that is not square leaves some of it empty.
    """
    colours = palette(theme)
    low, high = rgb(colours.surface) * 255, rgb(colours.model) * 255
    fraction = values.astype(np.float32).clip(0, 1)
    factor = math.ceil(side / max(values.shape))
    if side < max(values.shape):
        scale = side / max(values.shape)
        size = [max(24, round(n * scale)) for n in values.shape]
        small = Image.fromarray(fraction).resize((size[1], size[0]), Image.Resampling.BOX)
        fraction = np.asarray(small)
    pixels = low + fraction[..., None] * (high - low)
    pixels = pixels.repeat(factor, 0).repeat(factor, 1)
    if factor >= 6:
        pixels[::factor] = pixels[:, ::factor] = rgb(colours.background) * 255
    page = Image.new("RGB", (max(pixels.shape[:2]),) * 2, colours.background)
    page.paste(Image.fromarray(pixels.round().astype(np.uint8)))
    return page


def film(frames: Sequence[np.ndarray], side: int, *, pause: int = 2000) -> bytes:
    """Return images ``(S, S, 3)``, uint8, as a GIF that starts again after a pause in ms."""
    return gif([Image.fromarray(enlarged(frame, side)) for frame in frames], each=90, pause=pause)

"""Images of a latent space. Arrays in, images out; no Streamlit, no state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from figures.palette import palette
from figures.text import as_drawn, write

SIDE = 360  # pixels along each side of an image of the plane


def reach_of(points: np.ndarray) -> float:
    """Return how far a square window around the origin must go to hold nearly all points."""
    edge = float(np.quantile(np.abs(points.astype(np.float32)), 0.998)) if len(points) else 0.0
    return float(np.ceil(max(3.0, 1.08 * edge)))


def class_colours(count: int, theme: str) -> list[str]:
    """Return a colour for each class; beyond six they come again, with another mark."""
    colours = palette(theme).categorical
    return [colours[k % len(colours)] for k in range(count)]


def are_glyphs(names: Sequence[str]) -> bool:
    """Return whether the names of classes are short enough to be the marks themselves."""
    return all(len(as_drawn(name)) <= 2 for name in names)


def scatter(
    points: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    reach: float,
    theme: str,
) -> Image.Image:
    """Paint 2-D points, each as the name of its class if that is short, or as a dot.

    Args:
        points: ``(N, 2)``.
        labels: their classes, ``(N,)``.
        names: of the classes.
        reach: half of the window's side.
        theme: ``"light"`` or ``"dark"``.
    """
    shade = palette(theme)
    image = Image.new("RGB", (SIDE, SIDE), shade.background)
    draw = ImageDraw.Draw(image)
    for line in (0.25, 0.5, 0.75):
        draw.line((line * SIDE, 0, line * SIDE, SIDE), shade.grid)
        draw.line((0, line * SIDE, SIDE, line * SIDE), shade.grid)
    draw.rectangle((0, 0, SIDE - 1, SIDE - 1), outline=shade.grid)
    colours = class_colours(len(names), theme)
    glyphs = are_glyphs(names)
    places = (points.astype(np.float32) * [1, -1] + reach) / (2 * reach) * SIDE
    for (x, y), label in zip(places.tolist(), labels.tolist(), strict=True):
        if glyphs:
            write(draw, (x, y), names[label], colours[label], 13, "mm")
        else:
            draw.ellipse((x - 2.2, y - 2.2, x + 2.2, y + 2.2), colours[label])
    return image

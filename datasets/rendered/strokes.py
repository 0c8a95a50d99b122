"""Lines and areas with soft edges, for defects that are drawn, and the way to a smaller image."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["blob", "lines", "shrunk", "walk"]


def lines(
    side: int, paths: list[np.ndarray], width: float, *, blur: float = 0.6, fill: bool = False
) -> np.ndarray:
    """Return the coverage of lines through places ``(n, 2)``, width in widths of the image."""
    scale = 3 * side
    image = Image.new("L", (scale, scale))
    pen = ImageDraw.Draw(image)
    for path in paths:
        points = [tuple(p) for p in (path + 0.5) * scale]
        if fill:
            pen.polygon(points, fill=255)
        else:
            pen.line(points, fill=255, width=max(1, round(width * scale)), joint="curve")
    image = image.resize((side, side), Image.Resampling.BOX)
    image = image.filter(ImageFilter.GaussianBlur(blur * side / 256))
    return np.asarray(image, dtype=np.float32) / 255


def shrunk(scene: np.ndarray, times: int) -> np.ndarray:
    """Return the means of blocks, sides shorter by so many times, ``(S, S)`` or ``(S, S, C)``."""
    parts = (scene[i::times, j::times] for i in range(times) for j in range(times))
    return sum(parts) / np.float32(times * times)


def walk(
    start: np.ndarray, angle: float, length: float, bend: float, rng: np.random.Generator
) -> np.ndarray:
    """Return a path that turns at random, shape ``(n, 2)``."""
    n = 12
    angles = angle + np.cumsum(rng.normal(0, bend, n))
    steps = np.stack([np.cos(angles), np.sin(angles)], 1) * length / n
    return np.concatenate([start[None], start + np.cumsum(steps, 0)])


def blob(centre: np.ndarray, radius: float, rough: float, rng: np.random.Generator) -> np.ndarray:
    """Return the corners of a rough disc, shape ``(16, 2)``, in the units of its radius."""
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    lengths = radius * (1 + rng.uniform(-rough, rough, 16))[:, None]
    return centre + lengths * np.stack([np.cos(turn), np.sin(turn)], 1)

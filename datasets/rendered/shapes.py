"""Coloured shapes, rendered: a small set of colour images that needs no download."""

from __future__ import annotations

import numpy as np

from datasets.rendered.colours import rgb_of

__all__ = ["CLASSES", "render_shapes"]

CLASSES = ("disc", "square", "triangle", "ring")
SIDE = 32


def render_shapes(count: int = 5000, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Render one shape per image, in a light colour on a dim ground that fades downwards.

    Place, size, turn and both colours are drawn at random; edges are smooth over one pixel.

    Args:
        count: the number of images; the classes take turns.
        seed: same seed, same images.

    Returns:
        Images with shape (count, 3, 32, 32), uint8, and classes with shape (count,), int64.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    size = rng.uniform(6.0, 10.5, count)[:, None, None]
    place = rng.uniform(11.0, 21.0, (2, count))[:, :, None, None]
    turn = rng.uniform(0, 2 * np.pi, count)[:, None, None]
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    x, y = columns - place[0], rows - place[1]  # (count, 32, 32)
    x, y = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    distance = np.stack([_disc(x, y, size), _square(x, y, size), _triangle(x, y, size)])
    distance = np.concatenate([distance, np.abs(distance[:1] + 0.28 * size) - 0.28 * size])
    distance = np.take_along_axis(distance, labels[None, :, None, None], 0)[0]
    cover = np.clip(0.5 - distance, 0, 1)[:, None]  # (count, 1, 32, 32)

    hue = rng.uniform(0, 1, count)
    light = rgb_of(hue, rng.uniform(0.5, 0.95, count), rng.uniform(0.8, 1.0, count))
    away = hue + rng.uniform(0.25, 0.75, count)
    dim = rgb_of(away, rng.uniform(0.3, 0.7, count), rng.uniform(0.25, 0.5, count))
    fade = np.linspace(1.0, 0.45, SIDE)[:, None]
    ground = dim[:, :, None, None] * fade
    images = ground + cover * (light[:, :, None, None] - ground)
    return np.rint(255 * images).astype(np.uint8), labels.astype(np.int64)


# Each returns the signed distance to the shape in pixels, negative inside, or close to it.


def _disc(x: np.ndarray, y: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - size


def _square(x: np.ndarray, y: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.85 * size


def _triangle(x: np.ndarray, y: np.ndarray, size: np.ndarray) -> np.ndarray:
    sides = [y, -0.5 * y + 0.75**0.5 * x, -0.5 * y - 0.75**0.5 * x]
    return np.maximum.reduce(sides) - 0.6 * size

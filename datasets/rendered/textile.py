"""A rendered woven cloth, of which no two pieces lie alike, and the five defects it may have."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from datasets.rendered.strokes import blob, lines, shrunk, walk

__all__ = ["KINDS", "render"]

KINDS = ("colour", "cut", "hole", "pulled", "thread")

OVERSAMPLING = 2
THREADS = 26  # across an image
_WARP, _WEFT = np.array(((0.45, 0.43, 0.38), (0.62, 0.59, 0.52)), np.float32)
_GROUND = 0.12  # of what is below the cloth


def render(kind: str, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one piece of cloth.

    Args:
        kind: ``"good"`` or one of ``KINDS``.
        size: pixels on each side.
        rng: where everything random about it comes from.

    Returns:
        The image, shape ``(size, size, 3)``, uint8, and the mask of its defect, shape
        ``(size, size)``, booleans.
    """
    side = size * OVERSAMPLING
    clean = _woven(side, rng)
    broken, cover = (clean, None) if kind == "good" else _DEFECTS[kind](clean, rng)
    small = shrunk(broken, OVERSAMPLING) + 0.012 * rng.standard_normal((size, size, 3), np.float32)
    mask = np.zeros((size, size), bool)
    if cover is not None:
        mask = shrunk(cover, OVERSAMPLING) > 0.25
    if kind != "good" and mask.sum() < 4:  # most of it fell outside
        return render(kind, size, rng)
    return (small.clip(0, 1) * 255 + 0.5).astype(np.uint8), mask


def _waves(side: int, width: float, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise with a standard deviation of about 1, ``(side, side)``."""
    coarse = gaussian_filter(rng.standard_normal((64, 64)), 64 * width, mode="wrap")
    at = np.linspace(0, 63, side)
    grid = np.stack(np.meshgrid(at, at, indexing="ij"))
    return map_coordinates(coarse / coarse.std(), grid, order=1).astype(np.float32)


def _woven(side: int, rng: np.random.Generator) -> np.ndarray:
    """Return a good cloth, from 0 to 1, shape ``(side, side, 3)``: a twill, laid down anyhow."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    x = THREADS * (x + 0.006 * _waves(side, 0.12, rng)) + rng.uniform(0, 4)
    y = THREADS * (y + 0.006 * _waves(side, 0.12, rng)) + rng.uniform(0, 4)
    warp, weft = np.abs(np.sin(np.pi * x)), np.abs(np.sin(np.pi * y))
    # Two over, two under, each thread one further than the last.
    over = ((np.floor(x) + np.floor(y)) % 4 < 2)[..., None]
    # Threads differ a little in their thickness and dye.
    dye = 1 + 0.05 * rng.standard_normal((2, 4 * THREADS)).astype(np.float32)
    tones = dye[0][np.floor(x).astype(int)], dye[1][np.floor(y).astype(int)]
    shades = [
        (tone * (0.45 + 0.55 * height))[..., None] * colour
        for tone, height, colour in zip(tones, (warp, weft), (_WARP, _WEFT), strict=True)
    ]
    cloth = np.where(over, shades[0] + 0.05 * weft[..., None], shades[1] + 0.05 * warp[..., None])
    light = rng.normal(1, 0.02) + 0.03 * _waves(side, 0.3, rng)
    return cloth * light[..., None].astype(np.float32)


# -- defects: each returns the cloth and how much of it each pixel covers ------------------------


def _place(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-0.4, 0.4, 2)


def _painted(cloth: np.ndarray, cover: np.ndarray, colour) -> np.ndarray:
    return cloth + cover[..., None] * (np.asarray(colour, np.float32) - cloth)


def _colour(cloth, rng):
    """A stain: the weave still shows."""
    area = [blob(_place(rng), rng.uniform(0.02, 0.09), 0.4, rng)]
    cover = lines(len(cloth), area, 0, blur=4, fill=True)
    dye = np.clip(1 + rng.uniform(0.12, 0.5) * rng.choice((-1, 1), 3) * rng.random(3), 0.3, 1.6)
    return cloth * (1 + cover[..., None] * (dye.astype(np.float32) - 1)), cover


def _cut(cloth, rng):
    """A fine slit, with the ground showing."""
    path = walk(_place(rng), rng.uniform(0, 2 * np.pi), rng.uniform(0.06, 0.22), 0.15, rng)
    cover = lines(len(cloth), [path], rng.uniform(0.004, 0.009))
    return _painted(cloth, 0.9 * cover, _GROUND), cover


def _hole(cloth, rng):
    """A hole, frayed."""
    centre, radius = _place(rng), rng.uniform(0.008, 0.03)
    cover = lines(len(cloth), [blob(centre, radius, 0.5, rng)], 0, blur=1, fill=True)
    ends = [walk(centre, rng.uniform(0, 2 * np.pi), 1.6 * radius, 0.4, rng) for _ in range(5)]
    frayed = lines(len(cloth), ends, 0.004)
    torn = _painted(_painted(cloth, cover, _GROUND), 0.8 * frayed, 1.1 * _WEFT)
    return torn, np.maximum(cover, frayed)


def _pulled(cloth, rng):
    """Threads drawn together: the weave is bent, no colour changes."""
    side = len(cloth)
    row, column = (_place(rng) + 0.5) * side
    y, x = np.mgrid[:side, :side].astype(np.float32)
    width, depth = rng.uniform(0.03, 0.06) * side, rng.uniform(0.012, 0.025) * side
    near = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))
    turn = rng.uniform(0, 2 * np.pi)
    moved = np.stack([y + depth * near * np.sin(turn), x + depth * near * np.cos(turn)])
    bent = [map_coordinates(c, moved, order=1, mode="nearest") for c in np.moveaxis(cloth, 2, 0)]
    return np.stack(bent, 2), (near > 0.3).astype(np.float32)


def _thread(cloth, rng):
    """A loose thread that lies on the cloth."""
    path = walk(_place(rng), rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.4), 0.4, rng)
    cover = lines(len(cloth), [path], rng.uniform(0.006, 0.011), blur=0.4)
    tone = rng.choice((0.25, 0.85)) * rng.normal(1, 0.05, 3)
    return _painted(cloth, rng.uniform(0.5, 0.9) * cover, tone), cover


_DEFECTS = {
    "colour": _colour,
    "cut": _cut,
    "hole": _hole,
    "pulled": _pulled,
    "thread": _thread,
}

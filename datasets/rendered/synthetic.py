"""Synthetic defects on good images, to validate a detector without using real defects.

They know nothing of any one object: a piece moved elsewhere, a thin scar, a stain, a local bend.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["synthetic_defects"]


def synthetic_defects(images: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Damage each image once, on the object where it can be separated from the background.

    Args:
        images: good ones, shape ``(N, 3, S, S)``, uint8.
        seed: same seed, same defects.

    Returns:
        The damaged images and their masks ``(N, S, S)``, booleans: pixels changed by more than
        8 of 255 levels in some channel.

    References:
        CutPaste: Self-Supervised Learning for Anomaly Detection and Localization (Li, Sohn, Yoon,
        Pfister, 2021), section 2.2. https://arxiv.org/abs/2104.04015
    """
    ways = (_cut_paste, _scar, _stain, _bend)
    damaged, masks = [], []
    for number, original in enumerate(images):
        image = original.transpose(1, 2, 0).astype(np.float32)
        for attempt in range(20):
            rng = np.random.default_rng((seed, number, attempt))
            changed = ways[number % len(ways)](image, _place(image, rng), rng)
            mask = (np.abs(changed.clip(0, 255) - image) > 8).any(-1)
            if mask.sum() >= 4:
                break
        damaged.append(changed.clip(0, 255).round().astype(np.uint8).transpose(2, 0, 1))
        masks.append(mask)
    if not damaged:
        return images.copy(), np.zeros((0, *images.shape[2:]), dtype=bool)
    return np.stack(damaged), np.stack(masks)


def _place(image: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Return a row and a column, on the object if there is one on an even background."""
    size = len(image)
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    object_ = np.abs(image - np.median(border, axis=0)).sum(-1) > 90
    inner = np.zeros_like(object_)
    inner[size // 16 : -(size // 16) or None, size // 16 : -(size // 16) or None] = True
    rows, columns = np.nonzero(object_ & inner if (object_ & inner).mean() > 0.02 else inner)
    chosen = rng.integers(len(rows))
    return int(rows[chosen]), int(columns[chosen])


def _blended(image: np.ndarray, other: np.ndarray, cover: np.ndarray) -> np.ndarray:
    return image + cover[..., None] * (other - image)


def _drawn(size: int, paths: list[np.ndarray], width: float, blur: float) -> np.ndarray:
    """Return the coverage of lines through ``(column, row)`` pixels; of areas if width is 0."""
    image = Image.new("L", (4 * size, 4 * size))
    pen = ImageDraw.Draw(image)
    for path in paths:
        points = [tuple(p) for p in 4 * path + 2]
        if width:
            pen.line(points, fill=255, width=max(1, round(4 * width)), joint="curve")
        else:
            pen.polygon(points, fill=255)
    image = image.resize((size, size), Image.Resampling.BOX)
    cover = image.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(cover, dtype=np.float32) / 255


def _blob(row: int, column: int, radius: float, rng: np.random.Generator) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    lengths = radius * rng.uniform(0.6, 1.3, 12)[:, None]
    return np.array((column, row)) + lengths * np.stack([np.cos(turn), np.sin(turn)], 1)


def _cut_paste(image: np.ndarray, at: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    size = len(image)
    row, column = _place(image, rng)
    moved = np.roll(image, (at[0] - row, at[1] - column), (0, 1)) * rng.normal(1, 0.1, 3)
    outline = _blob(*at, rng.uniform(0.02, 0.05) * size, rng)
    return _blended(image, moved, _drawn(size, [outline], 0, 0.5))


def _scar(image: np.ndarray, at: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    size, n = len(image), 10
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.25, n))
    steps = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.05, 0.2) * size / n
    path = np.array((at[1], at[0])) + np.cumsum(steps, 0)
    cover = _drawn(size, [path], rng.uniform(0.004, 0.012) * size, 0.4)
    tone = image[at] + rng.choice((-1, 1)) * rng.uniform(40, 140) + rng.normal(0, 15, 3)
    return _blended(image, tone.astype(np.float32), rng.uniform(0.4, 0.9) * cover)


def _stain(image: np.ndarray, at: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    size = len(image)
    outline = _blob(*at, rng.uniform(0.012, 0.04) * size, rng)
    tone = image[at] + rng.choice((-1, 1)) * rng.uniform(25, 100) + rng.normal(0, 20, 3)
    cover = _drawn(size, [outline], 0, rng.uniform(0.3, 0.3 + 0.01 * size))
    return _blended(image, tone.astype(np.float32), rng.uniform(0.5, 1.0) * cover)


def _bend(image: np.ndarray, at: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    size = len(image)
    rows, columns = np.mgrid[:size, :size]
    radius = rng.uniform(0.03, 0.08) * size
    near = np.exp(-((rows - at[0]) ** 2 + (columns - at[1]) ** 2) / (2 * radius**2))
    angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.05) * size
    source_row = (rows + depth * near * np.sin(angle)).clip(0, size - 1.001)
    source_column = (columns + depth * near * np.cos(angle)).clip(0, size - 1.001)
    r, c = source_row.astype(int), source_column.astype(int)
    fr, fc = (source_row - r)[..., None], (source_column - c)[..., None]
    above = image[r, c] * (1 - fc) + image[r, c + 1] * fc
    below = image[r + 1, c] * (1 - fc) + image[r + 1, c + 1] * fc
    return (above * (1 - fr) + below * fr).astype(np.float32)

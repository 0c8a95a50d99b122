"""Rendered capsules: images of a two-coloured capsule, good or with one of five defects.

They stand in for MVTec AD's capsules, with the same defect names, and with masks that are exact
because the defect was drawn.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from datasets.defect_set import GOOD
from datasets.rendered.capsule_defects import (
    BLACK,
    BODY,
    CAP,
    HALF,
    LOGO,
    ORANGE,
    PAPER,
    PRINT,
    SEAM,
    Defect,
    Look,
    draw_defect,
    places,
)
from datasets.rendered.strokes import shrunk

OVERSAMPLING = 2
_LIGHT = (-0.15, -0.55, 0.82)


def render(
    kind: str, size: int, rng: np.random.Generator, *, look: Look | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one capsule.

    Args:
        kind: ``"good"`` or one of ``KINDS``.
        size: pixels on each side.
        rng: where everything random about it comes from.
        look: of the capsule; drawn too if ``None``.

    Returns:
        The image, shape ``(size, size, 3)``, uint8, and the mask of its defect, shape
        ``(size, size)``, booleans.
    """
    look = look or Look.draw(rng)
    side = size * OVERSAMPLING
    x, y = places(side, look)
    defect = draw_defect(kind, side, rng, look)
    scene, changed = _scene(x, y, look, defect)
    small = shrunk(scene, OVERSAMPLING)
    # Sensor noise has about the same strength whatever the size of the image.
    small += 0.006 * rng.standard_normal(small.shape, np.float32)
    small += 0.004 * rng.standard_normal((size, size, 1), np.float32)
    mask = shrunk(changed.astype(np.float32), OVERSAMPLING) > 0.3
    if kind != GOOD and not mask.any():  # it fell where nothing shows it
        return render(kind, size, rng, look=look)
    return (small.clip(0, 1) * 255 + 0.5).astype(np.uint8), mask


def _scene(
    x: np.ndarray, y: np.ndarray, look: Look, defect: Defect
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image, from 0 to 1, and where the defect changed it."""
    scene = _paper(x, y, look)
    changed = np.zeros_like(x, dtype=bool)
    # The capsule lies across the middle: the other half of the rows is paper.
    rows = np.flatnonzero((np.abs(y) < CAP + 0.02).any(1))
    band = slice(rows[0], rows[-1] + 1)
    _put_capsule(scene[band], changed[band], x[band], y[band], look, defect.part(band))
    return scene, changed


def _put_capsule(
    scene: np.ndarray,
    changed: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    look: Look,
    defect: Defect,
) -> None:
    """Draw the capsule and its defect into ``scene``; mark in ``changed`` where the defect is."""
    moved = y + sum((_dent(x, y, *dent) for dent in defect.dents), np.float32(0))
    body, body_cover = _shell(x, moved, BODY, look, ORANGE, right=True)
    cap, cap_cover = _shell(x, moved, CAP, look, BLACK, right=False)
    # The edge of the cap throws a thin shadow on the body.
    seam = np.exp(-(((x - SEAM) / 0.006) ** 2)) * (x > SEAM)
    body *= (1 - 0.35 * seam)[..., None]
    clean, digits = _digits(x, moved, look, defect)
    logo = _printed("genlab", x + 0.21, moved, CAP, look.roll[1])
    body += (0.85 * digits)[..., None] * (PRINT * _shade(moved / BODY) - body)
    cap += (0.8 * logo)[..., None] * (LOGO - cap)
    scene += body_cover[..., None] * (body - scene)
    scene += cap_cover[..., None] * (cap - scene)
    cover = np.maximum(body_cover, cap_cover)
    changed |= _grown(np.abs(digits - clean) > 0.15, 0.008) & (cover > 0.5)
    if defect.creases is not None:
        scene *= 1 + (defect.creases * cover)[..., None]
        still = np.maximum(_cover(x, y, BODY, True), _cover(x, y, CAP, False))
        bent = (np.abs(still - cover) > 0.5) | (np.abs(defect.creases) > 0.12)
        changed |= _grown(bent, 0.01) & (np.maximum(still, cover) > 0.3)
    for alpha, colour in defect.paint:
        alpha = alpha * cover
        scene += alpha[..., None] * (colour.astype(np.float32) - scene)
        changed |= alpha > 0.12


def _digits(
    x: np.ndarray, y: np.ndarray, look: Look, defect: Defect
) -> tuple[np.ndarray, np.ndarray]:
    """Return the coverage of the print as it should be and as it is."""
    clean = digits = _printed("500", x - 0.155, y, BODY, look.roll[0])
    if defect.ghost:
        ghost = _printed("500", x - 0.155 - defect.ghost, y, BODY, look.roll[0] + 0.15)
        digits = np.maximum(digits, ghost)
    if defect.erased is not None:
        digits = digits * (1 - defect.erased)
    return clean, digits


def _paper(x: np.ndarray, y: np.ndarray, look: Look) -> np.ndarray:
    """Return the lit paper with the capsule's soft shadow and its reflection."""
    distance = np.hypot(np.maximum(np.abs(x) - (HALF - CAP), 0), y) - CAP
    shadow = 0.30 * np.exp(-np.maximum(distance, 0) / 0.022)
    shadow += 0.10 * np.exp(-np.maximum(distance, 0) / 0.11)
    light = look.light * (1 - shadow) * (1 + look.sideways * x - 0.03 * np.abs(y))
    paper = PAPER * look.tint * light[..., None]
    glow = np.exp(-(((x - 0.2) / 0.16) ** 2) - (((y + 0.17) / 0.06) ** 2))
    return paper + glow[..., None] * np.array((0.035, -0.035, -0.02), np.float32)


def _shade(v: np.ndarray) -> np.ndarray:
    """Return how bright a cylinder is at height v in [-1, 1], shape ``(..., 1)``."""
    depth = np.sqrt(np.maximum(1 - v * v, 0))
    return (0.62 + 0.42 * np.maximum(-v * 0.45 + depth * 0.85, 0))[..., None]


def _cover(x: np.ndarray, y: np.ndarray, radius: float, right: bool) -> np.ndarray:
    """Return what fraction of each pixel a half of the capsule covers."""
    pixel = 1 / x.shape[1]
    outside = np.hypot(np.maximum(np.abs(x) - (HALF - radius), 0), y) - radius
    half = (x - SEAM) if not right else -(x + 0.03)  # the body goes on inside the cap
    return (0.5 - np.maximum(outside, half) / pixel).clip(0, 1)


def _shell(
    x: np.ndarray, y: np.ndarray, radius: float, look: Look, colour: np.ndarray, *, right: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return a half of the capsule, lit, and its cover."""
    along = np.maximum(np.abs(x) - (HALF - radius), 0) * np.sign(x) / radius
    v = y / radius
    depth = np.sqrt(np.maximum(1 - along * along - v * v, 0.0))
    facing = np.maximum(_LIGHT[0] * along + _LIGHT[1] * v + _LIGHT[2] * depth, 0)
    diffuse = 0.42 + 0.62 * facing - 0.22 * np.exp(-((depth / 0.25) ** 2))
    # A lamp above: a long faint streak, and a small spot where the end curves away.
    streak = np.exp(-(((v + 0.18) / 0.05) ** 2)) * np.exp(-((along / 0.25) ** 2))
    rim = np.exp(-(((v + 0.80) / 0.10) ** 2)) * depth
    shine = (0.05 if right else 0.035) * streak + 0.10 * rim
    lit = colour * (diffuse * look.light)[..., None] + shine[..., None]
    return lit, _cover(x, y, radius, right)


@cache
def _word(text: str) -> np.ndarray:
    """Return a printed word as coverage, large, shape ``(h, w)``."""
    font = ImageFont.load_default(120)
    left, top, right, bottom = font.getbbox(text, stroke_width=5 if text == "500" else 1)
    image = Image.new("L", (right - left + 16, bottom - top + 16))
    ImageDraw.Draw(image).text(
        (8 - left, 8 - top), text, fill=255, font=font, stroke_width=5 if text == "500" else 1
    )
    return np.asarray(image.filter(ImageFilter.GaussianBlur(2)), dtype=np.float32) / 255


def _printed(text: str, x: np.ndarray, y: np.ndarray, radius: float, roll: float) -> np.ndarray:
    """Return the coverage of a word printed round the shell, centred at ``x = 0``."""
    word = _word(text)
    height = 0.078 if text == "500" else 0.054
    width = height * word.shape[1] / word.shape[0]
    around = np.arcsin((y / radius).clip(-1, 1)) - roll  # radians
    column = (x / width + 0.5) * word.shape[1] - 0.5
    row = (around * radius / height + 0.5) * word.shape[0] - 0.5
    inside = (
        (row >= 0) & (row < word.shape[0] - 1) & (column >= 0) & (column < word.shape[1] - 1)
    ) & (np.abs(y) < radius)
    out = np.zeros_like(x)
    out[inside] = word[row[inside].astype(int), column[inside].astype(int)]
    return out


def _grown(mask: np.ndarray, by: float) -> np.ndarray:
    """Return a mask widened by so many widths of the image."""
    reach = 2 * max(1, round(by * mask.shape[1])) + 1
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.filter(ImageFilter.MaxFilter(reach))) > 0


def _dent(
    x: np.ndarray, y: np.ndarray, at: float, width: float, depth: float, below: float
) -> np.ndarray:
    """Return how far the shell is pushed towards its axis, at each place."""
    side = (1 + np.tanh(below * y / 0.04)) / 2
    return (below * depth * np.exp(-(((x - at) / width) ** 2)) * side).astype(np.float32)

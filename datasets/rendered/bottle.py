"""A rendered bottle seen from above, and the four defects that it may have."""

from __future__ import annotations

import numpy as np

from datasets.rendered.strokes import blob, lines, shrunk

__all__ = ["KINDS", "render"]

KINDS = ("broken_large", "broken_small", "contamination", "crack")

OVERSAMPLING = 2
# Radii, in widths of the image, and what the glass looks like between them, from outside.
_RADII = np.array((0.0, 0.06, 0.20, 0.215, 0.27, 0.285, 0.345, 0.36, 0.405, 0.415, 0.425, 0.9))
_GREYS = np.array((0.24, 0.20, 0.15, 0.42, 0.30, 0.10, 0.13, 0.50, 0.34, 0.20, 0.93, 0.95))
_TINT = np.array((1.06, 0.98, 0.88), np.float32)  # brown glass
_RIM = (0.345, 0.42)


def render(kind: str, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one bottle.

    Args:
        kind: ``"good"`` or one of ``KINDS``.
        size: pixels on each side.
        rng: where everything random about it comes from.

    Returns:
        The image, shape ``(size, size, 3)``, uint8, and the mask of its defect, shape
        ``(size, size)``, booleans.
    """
    side = size * OVERSAMPLING
    steps = ((np.arange(side) + 0.5) / side - 0.5).astype(np.float32)
    shift = rng.normal(0, 0.004, 2).astype(np.float32)
    x, y = steps[None, :] - shift[0], steps[:, None] - shift[1]
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    clean = _glass(radius, angle, rng)
    broken = clean if kind == "good" else _DEFECTS[kind](clean, radius, angle, shift, rng)
    noise = 0.008 * rng.standard_normal((size, size, 3), np.float32)
    small = shrunk(broken, OVERSAMPLING) + noise
    mask = np.abs(shrunk(broken - clean, OVERSAMPLING)).max(-1) > 0.03
    if kind != "good" and mask.sum() < 4:  # it fell where nothing shows it
        return render(kind, size, rng)
    return (small.clip(0, 1) * 255 + 0.5).astype(np.uint8), mask


def _glass(radius: np.ndarray, angle: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a good bottle, from 0 to 1, shape ``(side, side, 3)``."""
    waves = sum(
        np.float32(rng.normal(0, 0.0012)) * np.cos(n * angle + np.float32(rng.uniform(0, 6.3)))
        for n in range(2, 7)
    )
    grey = np.interp(radius + waves * (radius > 0.2), _RADII, _GREYS).astype(np.float32)
    # Two windows and a lamp shine in the rim and in the neck; the bottle is turned, they are not.
    for at, width, low, high, strength in (
        (-2.3, 0.30, 0.355, 0.405, 0.35),
        (0.7, 0.16, 0.365, 0.40, 0.30),
        (-2.2, 0.35, 0.21, 0.27, 0.20),
        (2.6, 0.10, 0.22, 0.26, 0.12),
    ):
        turned = np.cos(angle - np.float32(at + rng.normal(0, 0.03)))
        near = np.exp((turned - 1) * np.float32(2 / width**2)) * _between(radius, low, high)
        grey += np.float32(rng.normal(1, 0.12) * strength) * near
    marks = np.float32(rng.uniform(0, 2 * np.pi))  # knurls of the neck turn with the bottle
    grey += np.float32(0.03) * np.cos(36 * (angle - marks)) * _between(radius, 0.29, 0.34)
    glass = (radius < 0.425)[..., None]
    return (
        grey[..., None] * np.where(glass, _TINT, np.float32(1)) * np.float32(rng.normal(1, 0.015))
    )


def _between(radius: np.ndarray, low: float, high: float) -> np.ndarray:
    inside = np.minimum(radius - np.float32(low), np.float32(high) - radius) / np.float32(0.008)
    return (0.5 + inside).clip(0, 1)


# -- defects -----------------------------------------------------------------------------------


def _painted(scene: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return scene + cover[..., None] * (colour - scene)


def _on_rim(shift: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    turn, radius = rng.uniform(0, 2 * np.pi), rng.uniform(*_RIM)
    return shift + radius * np.array((np.cos(turn), np.sin(turn)))


def _chipped(scene: np.ndarray, size: float, shift: np.ndarray, rng) -> np.ndarray:
    """Break a piece off the rim: a rough edge, bright faces, and the ground shining through."""
    centre, side = _on_rim(shift, rng), len(scene)
    piece = lines(side, [blob(centre, size, 0.4, rng)], 0, blur=0.4, fill=True)
    scene = _painted(scene, 0.9 * piece, np.float32(rng.uniform(0.25, 0.75)) * _TINT)
    for _ in range(rng.integers(1, 4)):
        at = centre + rng.normal(0, 0.4 * size, 2)
        face = lines(side, [blob(at, 0.45 * size, 0.5, rng)], 0, blur=0.3, fill=True) * piece
        scene = _painted(scene, 0.8 * face, np.float32(rng.choice((0.1, 0.95))) * _TINT)
    return scene


def _broken_large(scene, radius, angle, shift, rng):
    return _chipped(scene, rng.uniform(0.035, 0.07), shift, rng)


def _broken_small(scene, radius, angle, shift, rng):
    return _chipped(scene, rng.uniform(0.008, 0.02), shift, rng)


def _contamination(scene, radius, angle, shift, rng):
    """Something in the bottle: a soft flake or a fibre, light or dark."""
    side, turn = len(scene), rng.uniform(0, 2 * np.pi)
    centre = shift + rng.uniform(0, 0.26) * np.array((np.cos(turn), np.sin(turn)))
    tone = np.float32(rng.choice((0.03, 0.55))) * rng.normal(1, 0.1, 3).astype(np.float32)
    if rng.random() < 0.4:
        bends = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.5, 9))
        path = centre + 0.008 * np.cumsum(np.stack([np.cos(bends), np.sin(bends)], 1), 0)
        cover = lines(side, [path], rng.uniform(0.004, 0.008), blur=0.6)
    else:
        area = [blob(centre, rng.uniform(0.01, 0.04), 0.4, rng)]
        cover = lines(side, area, 0, blur=1.5, fill=True)
    return _painted(scene, rng.uniform(0.3, 0.9) * cover, tone)


def _crack(scene, radius, angle, shift, rng):
    """A fine bright line along or across the rim."""
    start = rng.uniform(0, 2 * np.pi)
    turns = start + np.linspace(0, rng.uniform(0.1, 0.4), 10)
    radii = rng.uniform(0.36, 0.40) + np.cumsum(rng.normal(0, 0.003, 10))
    path = shift + radii[:, None] * np.stack([np.cos(turns), np.sin(turns)], 1)
    cover = lines(len(scene), [path], rng.uniform(0.003, 0.006), blur=0.4)
    return _painted(scene, rng.uniform(0.4, 0.9) * cover, np.float32(rng.choice((0.06, 0.9))))


_DEFECTS = {
    "broken_large": _broken_large,
    "broken_small": _broken_small,
    "contamination": _contamination,
    "crack": _crack,
}

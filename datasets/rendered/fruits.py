"""Rendered apples and oranges: two worlds without pairs, of which everything is known.

Shape, light, texture, stalk and ground vary from image to image. The mask of each fruit and the
hue it was painted with are exact, so that a translation can be measured. Everything follows from a
seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.rendered.colours import rgb_of

APPLE, ORANGE = "apple", "orange"
KINDS = (APPLE, ORANGE)

# Hues are in degrees: 0 is red, 30 orange, 60 yellow.
HUES = {APPLE: (357.0, 5.0), ORANGE: (30.0, 3.0)}  # mean and standard deviation
BORDER = 15.0  # the hue rule: a fruit is an orange above it, an apple below, ...
REDDEST, YELLOWEST = -45.0, 60.0  # ... and neither beyond these
VIVID = 0.22  # chroma from which a pixel of a warm hue counts as fruit
CHUNK = 128  # images drawn at once

_LIGHTS = 0.62  # how far the light may come from the side
_BRUSHES = 6  # waves that a texture is made of


@dataclass(frozen=True, eq=False)
class Fruits:
    """Images of one kind of fruit.

    Attributes:
        images: shape ``(n, 3, s, s)``, uint8.
        masks: where the fruit is, without its stalk, shape ``(n, s, s)``, booleans.
        hues: the hue that each was painted with, in degrees, shape ``(n,)``; shading, flush and
            noise come on top.
    """

    images: np.ndarray
    masks: np.ndarray
    hues: np.ndarray


def render_fruits(kind: str, count: int, size: int, *, seed: int = 0) -> Fruits:
    """Draw images of one kind of fruit.

    Args:
        kind: ``"apple"`` or ``"orange"``.
        count: how many; the first of them are the same however many there are.
        size: pixels on each side.
        seed: same seed, same images.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}.")
    parts = []
    for chunk in range(-(-count // CHUNK)):
        # A chunk is always drawn whole and from a generator of its own.
        rng = np.random.default_rng((seed, KINDS.index(kind), chunk))
        look = _Look.draw(kind, CHUNK, rng)
        parts.append(_render(kind, look, size, min(CHUNK, count - chunk * CHUNK)))
    if not parts:
        raise ValueError("count must be at least 1.")
    return Fruits(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


# -- the rules -------------------------------------------------------------------------------


def hue_and_chroma(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return hue in degrees, from -180 to 180, and chroma, from 0 to 1, of each pixel.

    Args:
        images: uint8, shape ``(n, 3, h, w)``.
    """
    red, green, blue = np.moveaxis(images.astype(np.float32) / 255, 1, 0)
    across = red - 0.5 * (green + blue)
    up = np.float32(3**0.5 / 2) * (green - blue)
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return np.degrees(np.arctan2(up, across)), chroma


def mean_hue(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the mean hue of each image inside its mask, in degrees, shape ``(n,)``.

    The mean goes around the circle of hues, and each pixel counts by its chroma: grey has no hue.

    Args:
        images: uint8, shape ``(n, 3, h, w)``.
        masks: shape ``(n, h, w)``, booleans.
    """
    hue, chroma = hue_and_chroma(images)
    weight = np.where(masks, chroma, 0)
    turn = np.radians(hue)
    up, across = (weight * np.sin(turn)).sum((1, 2)), (weight * np.cos(turn)).sum((1, 2))
    return np.degrees(np.arctan2(up, across))


def is_kind(kind: str, images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return, by the hue rule, which images show a kind of fruit, shape ``(n,)``, booleans.

    An image shows an orange if the mean hue inside its mask is between 15 and 60 degrees, an apple
    if it is between -45 and 15, and neither if it is grey there or of another hue.
    """
    hue = mean_hue(images, masks)
    _, chroma = hue_and_chroma(images)
    inside = np.maximum(masks.sum((1, 2)), 1)
    vivid = (chroma * masks).sum((1, 2)) / inside >= VIVID
    low, high = (BORDER, YELLOWEST) if kind == ORANGE else (REDDEST, BORDER)
    return vivid & (hue >= low) & (hue < high)


def found_masks(images: np.ndarray) -> np.ndarray:
    """Return where fruit seems to be: vivid pixels of a warm hue, shape ``(n, h, w)``, booleans.

    The grounds are cold or grey, so that colour alone finds a fruit, whoever painted it.
    """
    hue, chroma = hue_and_chroma(images)
    brightness = images.max(1) / np.float32(255)
    # In the dark the same paint has less chroma: it is the fraction of the brightness that counts.
    vivid = (chroma >= 0.5 * np.maximum(brightness, 0.16)) & (chroma > 0.08)
    return vivid & (hue >= REDDEST) & (hue <= YELLOWEST + 10)


def overlap(masks: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return intersection over union of two stacks of masks ``(n, h, w)``, shape ``(n,)``."""
    both = (masks & others).sum((1, 2))
    either = (masks | others).sum((1, 2))
    return both / np.maximum(either, 1)


# -- how they are drawn ------------------------------------------------------------------------


def _column(values: np.ndarray) -> np.ndarray:
    """Make numbers, one per image, spread over its pixels: ``(n,)`` to ``(n, 1, 1)``."""
    return values.astype(np.float32)[:, None, None]


@dataclass(frozen=True, eq=False)
class _Look:
    """What is drawn at random of some images; the first axis counts them."""

    place: np.ndarray  # (n, 2), of the fruit's centre; units are widths of the image
    radius: np.ndarray
    squash: np.ndarray  # height over width
    tilt: np.ndarray  # radians
    dip: np.ndarray  # depth of an apple's hollow
    bumps: np.ndarray  # (n, 3, 2), of the outline
    hue: np.ndarray
    deep: np.ndarray  # saturation
    bright: np.ndarray
    light: np.ndarray  # (n, 3), where it comes from
    ambient: np.ndarray
    gloss: np.ndarray
    waves: np.ndarray  # (n, waves, 4), of the texture: three frequencies and a phase
    flush: np.ndarray  # (n, 2), of an apple: how much, and where around it
    stalk: np.ndarray  # (n, 3): length, lean, bend
    ground: np.ndarray  # (n, 2, 3), of the wall and of the table: hue, saturation, brightness
    horizon: np.ndarray
    grain: np.ndarray  # one seed of the noise per image

    @classmethod
    def draw(cls, kind: str, n: int, rng: np.random.Generator) -> _Look:
        orange = kind == ORANGE
        light = np.stack([rng.uniform(-_LIGHTS, _LIGHTS, n), rng.uniform(-0.8, -0.35, n)], 1)
        light = np.concatenate([light, np.full((n, 1), 0.8)], 1)
        stretch = (20.0, 20.0, 20.0) if orange else (6.0, 0.6, 6.0)
        waves = rng.normal(0, 1, (n, _BRUSHES, 3)) * stretch
        phases = rng.uniform(0, 2 * np.pi, (n, _BRUSHES, 1))
        ground = np.stack(
            [
                rng.uniform(150, 260, (n, 2)),
                rng.uniform(0, 0.3, (n, 2)),
                rng.uniform(0.4, 0.95, (n, 2)),
            ],
            2,
        )
        return cls(
            place=np.stack([rng.uniform(-0.07, 0.07, n), rng.uniform(-0.03, 0.09, n)], 1),
            radius=rng.uniform(0.27, 0.36, n),
            squash=rng.normal(0.95, 0.02, n),
            tilt=rng.normal(0, 0.16, n),
            dip=rng.uniform(0.02, 0.05, n) if orange else rng.uniform(0.07, 0.14, n),
            bumps=rng.normal(0, 0.007, (n, 3, 2)),
            hue=rng.normal(*HUES[kind], n),
            deep=rng.uniform(0.82, 0.97, n),
            bright=rng.uniform(0.85, 1.0, n) if orange else rng.uniform(0.68, 0.9, n),
            light=light / np.linalg.norm(light, axis=1, keepdims=True),
            ambient=rng.uniform(0.35, 0.55, n),
            gloss=rng.uniform(0.1, 0.25, n) if orange else rng.uniform(0.35, 0.7, n),
            waves=np.concatenate([waves, phases], 2),
            flush=np.stack([rng.uniform(0, 0.55, n), rng.uniform(0, 2 * np.pi, n)], 1),
            stalk=np.stack(
                [rng.uniform(0.09, 0.17, n), rng.normal(0, 0.35, n), rng.normal(0, 0.3, n)], 1
            ),
            ground=ground,
            horizon=rng.uniform(0.02, 0.25, n),
            grain=rng.integers(0, 2**63, n),
        )

    def first(self, count: int) -> _Look:
        return _Look(*(getattr(self, name)[:count] for name in self.__dataclass_fields__))


def _render(
    kind: str, look: _Look, size: int, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images, masks and hues of the first ``count`` looks."""
    look = look.first(count)
    steps = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    x, y = steps[None, None, :], steps[None, :, None]
    scene = _ground(x, y, look)
    dx, dy = x - _column(look.place[:, 0]), y - _column(look.place[:, 1])
    c, s = _column(np.cos(look.tilt)), _column(np.sin(look.tilt))
    u, v = c * dx + s * dy, (c * dy - s * dx) / _column(look.squash)
    around = np.arctan2(v, u)
    edge = _outline(around, kind, look)
    far = np.hypot(u, v)
    cover = ((edge - far) * size + 0.5).clip(0, 1)
    skin = _skin(kind, look, u / edge, v / edge)
    scene += cover[:, None] * (skin - scene)
    _top(kind, look, scene, u, v, size)
    # Noise comes last, from a generator per image: a size has its own.
    for image, seed in zip(scene, look.grain, strict=True):
        image += 0.012 * np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    images = (scene.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return images, cover > 0.5, (look.hue + 180) % 360 - 180


def _outline(around: np.ndarray, kind: str, look: _Look) -> np.ndarray:
    """Return how far the fruit reaches in each direction, ``(n, s, s)``."""
    up = np.cos(around + np.pi / 2)  # 1 straight up, -1 straight down
    # An apple has shoulders beside its hollow, and is narrower below; an orange hardly.
    hollow = np.exp((up - 1) / 0.035)
    shape = 1 - _column(look.dip) * hollow
    if kind == APPLE:
        shape += 0.035 * up - 0.03 * np.exp((-up - 1) / 0.03)
    for k in range(look.bumps.shape[1]):
        a, b = _column(look.bumps[:, k, 0]), _column(look.bumps[:, k, 1])
        shape += a * np.cos((k + 2) * around) + b * np.sin((k + 2) * around)
    return _column(look.radius) * shape


def _skin(kind: str, look: _Look, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the lit fruit, ``(n, 3, s, s)``; at its edge ``u`` and ``v`` are 1 from its middle."""
    depth = np.sqrt(np.maximum(1 - u * u - v * v, 0))
    waves = _texture(look, u, v, depth)
    paint = colour(look.hue, look.deep, look.bright)[:, :, None, None]
    if kind == ORANGE:
        # Pores: small dark dots, each with a rim that catches the light.
        tone = 1 - 0.13 * np.maximum(waves - 0.4, 0) + 0.04 * waves
        paint = paint * tone[:, None]
    else:
        # A flush of yellow near the hollow and on one side, in streaks from top to bottom.
        side = np.cos(np.arctan2(u, depth) - _column(look.flush[:, 1]))
        yellow = colour(look.hue * 0 + 46, look.deep * 0.85, look.bright * 0.98)[:, :, None, None]
        near_top = np.exp(-((v + 0.95) ** 2 + 0.6 * u * u) / 0.12)
        flush = _column(look.flush[:, 0]) * (0.5 * side.clip(0, 1) + 0.9 * near_top)
        flush = (flush * (1 + 0.8 * waves)).clip(0, 0.6)[:, None]
        paint = paint * (1 - 0.10 * waves[:, None].clip(-1, 1)) * (1 - flush) + yellow * flush
    lx, ly, lz = (_column(look.light[:, k]) for k in range(3))
    lit = np.maximum(lx * u + ly * v + lz * depth, 0)
    shade = _column(look.ambient) + (1 - _column(look.ambient)) * lit
    # Seen from the front, the mirror direction of the light is (2 (n . l) n - l).
    mirror = np.maximum(2 * lit * depth - lz, 0)
    shine = _column(look.gloss) * mirror ** (12 if kind == ORANGE else 40)
    return paint * shade[:, None] + shine[:, None]


def _texture(look: _Look, u: np.ndarray, v: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return the texture on a sphere, about standard normal, ``(n, s, s)``."""
    total = np.zeros_like(u)
    for k in range(_BRUSHES):
        a, b, c, phase = (_column(look.waves[:, k, j]) for j in range(4))
        total += np.sin(a * u + b * v + c * depth + phase)
    return total / np.float32((_BRUSHES / 2) ** 0.5)


def _top(
    kind: str, look: _Look, scene: np.ndarray, u: np.ndarray, v: np.ndarray, size: int
) -> None:
    """Draw an apple's stalk, or the green button of an orange, into ``scene``."""
    radius = _column(look.radius)
    length, lean, bend = (_column(look.stalk[:, k]) for k in range(3))
    if kind == APPLE:
        start = -radius * (0.97 - _column(look.dip))
        along = (start - v) / length  # 0 in the hollow, 1 at the end
        middle = length * along * (lean + bend * along)
        width = 0.013 + 0.006 * along.clip(0, 1)
        cover = ((width - np.abs(u - middle)) * size + 0.5).clip(0, 1)
        cover = cover * ((along > -0.25) & (along < 1))
        tone = np.float32((0.33, 0.24, 0.13))
    else:
        across, down = u - radius * lean * 0.5, v + radius * 0.86
        turn = np.arctan2(down, across)
        reach = 0.045 * radius / 0.3 * (1 + 0.35 * np.cos(5 * turn + 6 * bend))
        cover = ((reach - np.hypot(across, 1.8 * down)) * size + 0.5).clip(0, 1)
        tone = np.float32((0.30, 0.38, 0.16))
    scene += 0.9 * cover[:, None] * (tone[:, None, None] - scene)


def _ground(x: np.ndarray, y: np.ndarray, look: _Look) -> np.ndarray:
    """Return a wall, a table and the fruit's shadow on it, ``(n, 3, s, s)``."""
    wall, table = (colour(*look.ground[:, k].T)[:, :, None, None] for k in range(2))
    below = ((y - _column(look.horizon)) * 24).clip(0, 1)[:, None]
    fade = 1 + 0.25 * (_column(look.light[:, 0]) * -x - 0.4 * y)[:, None]
    scene = (wall + below * (table - wall)) * fade
    side = _column(look.place[:, 0]) - 0.22 * _column(look.light[:, 0]) / 0.8
    low = _column(look.place[:, 1] + 0.95 * look.radius * look.squash)
    near = ((x - side) / _column(1.05 * look.radius)) ** 2 + ((y - low) / 0.075) ** 2
    return (scene * (1 - 0.5 * np.exp(-near))[:, None]).astype(np.float32)


def colour(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return RGB ``(n, 3)`` of hue in degrees, saturation and value, each ``(n,)``."""
    return rgb_of(hue / 360, saturation, value).astype(np.float32)

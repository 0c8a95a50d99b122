"""Rendered capsules: images of a two-coloured capsule, good or with one of five defects.

They stand in for MVTec AD's capsules, with the same defect names and layout, and with masks that
are exact because the defect was drawn. Everything follows from a seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from datasets.defects import GOOD, DefectSet, save_layout

KINDS = ("crack", "faulty_imprint", "poke", "scratch", "squeeze")
OVERSAMPLING = 2

# The capsule lies along x; units are widths of the image, its centre is the origin.
HALF, CAP, BODY, SEAM = 0.425, 0.137, 0.130, 0.005  # half length, two radii, where they meet
BLACK, ORANGE, PRINT, LOGO, PAPER = np.array(
    [(27, 25, 36), (184, 82, 61), (214, 160, 146), (96, 97, 112), (217, 216, 219)], np.float32
) / np.float32(255)
_LIGHT = (-0.15, -0.55, 0.82)


@dataclass(frozen=True)
class _Look:
    """How one capsule lies and is lit; drawn once per image."""

    shift: np.ndarray
    angle: float
    roll: tuple[float, float]  # of the body and of the cap, radians
    light: float
    tint: np.ndarray
    sideways: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Look:
        return cls(
            rng.normal(0, 0.003, 2),
            float(rng.normal(0, 0.006)),
            (float(rng.normal(-0.05, 0.14)), float(rng.uniform(-0.2, 2.6))),
            float(rng.normal(1, 0.02)),
            rng.normal(1, 0.004, 3).astype(np.float32),
            float(rng.normal(0, 0.03)),
        )


@dataclass
class _Defect:
    """What a defect changes: the outline, the print, or paint on top."""

    kind: str = GOOD
    dents: list[tuple[float, float, float, float]] = field(default_factory=list)  # x, width, depth
    creases: np.ndarray | None = None
    erased: np.ndarray | None = None
    ghost: float = 0.0
    paint: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # cover and colour

    def part(self, rows: slice) -> _Defect:
        """Return the same for some rows of the image."""
        return replace(
            self,
            creases=None if self.creases is None else self.creases[rows],
            erased=None if self.erased is None else self.erased[rows],
            paint=[(cover[rows], colour) for cover, colour in self.paint],
        )


def render(
    kind: str, size: int, rng: np.random.Generator, *, look: _Look | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one capsule.

    Args:
        kind: ``"good"`` or one of ``KINDS``.
        size: pixels on each side.
        rng: where everything random about it comes from.

    Returns:
        The image, shape ``(size, size, 3)``, uint8, and the mask of its defect, shape
        ``(size, size)``, booleans.
    """
    look = look or _Look.draw(rng)
    side = size * OVERSAMPLING
    x, y = _places(side, look)
    defect = _defect(kind, side, rng, look)
    scene, changed = _scene(x, y, look, defect)
    small = _shrunk(scene)
    # Sensor noise has about the same strength whatever the size of the image.
    small += 0.006 * rng.standard_normal(small.shape, np.float32)
    small += 0.004 * rng.standard_normal((size, size, 1), np.float32)
    mask = _shrunk(changed.astype(np.float32)) > 0.3
    if kind != GOOD and not mask.any():  # it fell where nothing shows it
        return render(kind, size, rng, look=look)
    return (small.clip(0, 1) * 255 + 0.5).astype(np.uint8), mask


def _places(side: int, look: _Look) -> tuple[np.ndarray, np.ndarray]:
    """Return where the pixels are in the capsule's own coordinates, each ``(side, side)``."""
    steps = ((np.arange(side) + 0.5) / side - 0.5).astype(np.float32)
    dx = steps[None, :] + 0.005 - look.shift[0]
    dy = steps[:, None] + 0.002 - look.shift[1]
    c, s = np.cos(look.angle), np.sin(look.angle)
    return (c * dx + s * dy).astype(np.float32), (c * dy - s * dx).astype(np.float32)


def _shrunk(v: np.ndarray) -> np.ndarray:
    n = OVERSAMPLING
    return sum(v[i::n, j::n] for i in range(n) for j in range(n)) / np.float32(n * n)


def _scene(
    x: np.ndarray, y: np.ndarray, look: _Look, defect: _Defect
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
    look: _Look,
    defect: _Defect,
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
    x: np.ndarray, y: np.ndarray, look: _Look, defect: _Defect
) -> tuple[np.ndarray, np.ndarray]:
    """Return the coverage of the print as it should be and as it is."""
    clean = digits = _printed("500", x - 0.155, y, BODY, look.roll[0])
    if defect.ghost:
        ghost = _printed("500", x - 0.155 - defect.ghost, y, BODY, look.roll[0] + 0.15)
        digits = np.maximum(digits, ghost)
    if defect.erased is not None:
        digits = digits * (1 - defect.erased)
    return clean, digits


def _paper(x: np.ndarray, y: np.ndarray, look: _Look) -> np.ndarray:
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
    """Return what share of each pixel a half of the capsule covers."""
    pixel = 1 / x.shape[1]
    outside = np.hypot(np.maximum(np.abs(x) - (HALF - radius), 0), y) - radius
    half = (x - SEAM) if not right else -(x + 0.03)  # the body goes on inside the cap
    return (0.5 - np.maximum(outside, half) / pixel).clip(0, 1)


def _shell(
    x: np.ndarray, y: np.ndarray, radius: float, look: _Look, colour: np.ndarray, *, right: bool
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


# -- defects ----------------------------------------------------------------------------------


def _defect(kind: str, side: int, rng: np.random.Generator, look: _Look) -> _Defect:
    make = {
        "crack": _crack,
        "scratch": _scratch,
        "poke": _poke,
        "faulty_imprint": _faulty_imprint,
        "squeeze": _squeeze,
    }
    return make[kind](side, rng, look) if kind != GOOD else _Defect()


def _spot(rng: np.random.Generator, *, margin: float = 0.03) -> np.ndarray:
    """Return a place on the capsule."""
    return np.array(
        (rng.uniform(-HALF + CAP / 2, HALF - CAP / 2), rng.uniform(-1, 1) * (BODY - margin))
    )


def _lines(
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


def _walk(
    start: np.ndarray, angle: float, length: float, bend: float, rng: np.random.Generator
) -> np.ndarray:
    """Return a path that turns at random, shape ``(n, 2)``."""
    n = 12
    angles = angle + np.cumsum(rng.normal(0, bend, n))
    steps = np.stack([np.cos(angles), np.sin(angles)], 1) * length / n
    return np.concatenate([start[None], start + np.cumsum(steps, 0)])


def _crack(side: int, rng: np.random.Generator, look: _Look) -> _Defect:
    """A broken line, often along the seam or the rim, with a light edge and chips."""
    if rng.random() < 0.4:  # along the edge of the cap
        start, angle = np.array((SEAM, rng.uniform(-0.12, 0.02))), np.pi / 2
    else:
        start, angle = _spot(rng), rng.uniform(0, 2 * np.pi)
    trunk = _walk(start, angle, rng.uniform(0.07, 0.2), 0.35, rng)
    paths = [trunk]
    for _ in range(rng.integers(1, 4)):
        at = trunk[rng.integers(2, len(trunk))]
        paths.append(
            _walk(at, angle + rng.choice((-1, 1)) * rng.uniform(0.5, 1.2), 0.045, 0.4, rng)
        )
    width = rng.uniform(0.004, 0.008)
    dark = _lines(side, paths, width)
    light = _lines(side, [p + 0.6 * width for p in paths], 0.8 * width)
    chips = []
    for _ in range(rng.integers(0, 4)):
        centre, radius = trunk[rng.integers(len(trunk))], rng.uniform(0.004, 0.014)
        turn = np.sort(rng.uniform(0, 2 * np.pi, 7))
        corners = radius * rng.uniform(0.5, 1.3, (7, 1)) * np.stack([np.cos(turn), np.sin(turn)], 1)
        chips.append(centre + corners)
    bright = np.array((0.83, 0.78, 0.76))
    paint = [(0.7 * light, bright), (0.85 * dark, np.array((0.12, 0.07, 0.07)))]
    if chips:
        paint.append((0.95 * _lines(side, chips, 0, fill=True), bright))
    return _Defect("crack", paint=paint)


def _scratch(side: int, rng: np.random.Generator, look: _Look) -> _Defect:
    """A few fine light lines, nearly parallel."""
    start, angle = _spot(rng), rng.uniform(0, 2 * np.pi)
    paths = [
        _walk(
            start + rng.normal(0, 0.012, 2),
            angle + rng.normal(0, 0.12),
            rng.uniform(0.05, 0.16),
            0.05,
            rng,
        )
        for _ in range(rng.integers(1, 5))
    ]
    cover = _lines(side, paths, rng.uniform(0.0025, 0.0045))
    strength = rng.uniform(0.4, 0.8)
    tone = np.array((0.82, 0.66, 0.60)) if start[0] > SEAM else np.array((0.55, 0.54, 0.57))
    return _Defect("scratch", paint=[(strength * cover, tone)])


def _poke(side: int, rng: np.random.Generator, look: _Look) -> _Defect:
    """A small hole with a dark rim and powder showing."""
    centre, radius = _spot(rng, margin=0.045), rng.uniform(0.011, 0.026)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)

    def ring(scale: float, rough: float) -> np.ndarray:
        lengths = radius * scale * (1 + rng.normal(0, rough, 24))[:, None]
        return centre + lengths * np.stack([np.cos(turn), np.sin(turn)], 1)

    rim = _lines(side, [ring(1.0, 0.08)], 0, fill=True, blur=1)
    hole = _lines(side, [ring(0.75, 0.12) + 0.1 * radius], 0, fill=True)
    grains = [centre + rng.normal(0, 0.35 * radius, 2) + 0.18 * ring(1, 0.3) for _ in range(5)]
    powder = _lines(side, [g - 0.18 * centre for g in grains], 0, fill=True)
    tone = np.array((0.40, 0.17, 0.13)) if centre[0] > SEAM else np.array((0.22, 0.21, 0.24))
    light = np.array((0.86, 0.74, 0.68)) if centre[0] > SEAM else np.array((0.60, 0.59, 0.60))
    return _Defect(
        "poke",
        paint=[(0.7 * rim, tone), (0.8 * hole, 0.5 * tone), (rng.uniform(0.5, 1) * powder, light)],
    )


def _faulty_imprint(side: int, rng: np.random.Generator, look: _Look) -> _Defect:
    """Print that is missing, partly rubbed off or doubled."""
    defect = _Defect("faulty_imprint")
    way = rng.choice(["missing", "rubbed", "doubled"], p=[0.2, 0.5, 0.3])
    if way == "doubled":
        defect.ghost = rng.uniform(0.008, 0.02) * rng.choice((-1, 1))
    elif way == "missing":
        defect.erased = np.ones((side, side), dtype=np.float32)
    else:
        centre = np.array((0.15 + rng.uniform(-0.06, 0.06), rng.uniform(-0.02, 0.02)))
        paths = [
            _walk(centre + rng.normal(0, 0.02, 2), rng.uniform(0, 6), 0.07, 0.9, rng)
            for _ in range(3)
        ]
        defect.erased = _lines(side, paths, rng.uniform(0.012, 0.03), blur=2)
        smear = _lines(side, paths[:1], 0.02, blur=6)
        defect.paint = [(0.35 * smear, np.array((0.73, 0.42, 0.35)))]
    return defect


def _squeeze(side: int, rng: np.random.Generator, look: _Look) -> _Defect:
    """A shell pressed in: a bent outline and creases that run from there."""
    at = rng.uniform(-0.32, 0.34)
    below = rng.choice((-1.0, 1.0))
    width, depth = rng.uniform(0.03, 0.07), rng.uniform(0.012, 0.038)
    x, y = _places(side, look)
    edge = np.array((at, below * (BODY - 0.3 * depth)))
    bands = np.zeros_like(x)
    for _ in range(rng.integers(2, 5)):
        angle = np.arctan2(-below, rng.normal(0, 0.8))
        path = _walk(edge + rng.normal(0, 0.012, 2), angle, rng.uniform(0.08, 0.16), 0.15, rng)
        line = _lines(side, [path], 0.010, blur=2.5)
        shadow = _lines(side, [path + 0.007], 0.010, blur=2.5)
        bands += 0.45 * line - 0.55 * shadow
    near = np.exp(-(((x - at) / (1.2 * width)) ** 2) - ((y - edge[1]) / 0.07) ** 2)
    return _Defect("squeeze", dents=[(at, width, depth, below)], creases=bands - 0.25 * near)


def _dent(
    x: np.ndarray, y: np.ndarray, at: float, width: float, depth: float, below: float
) -> np.ndarray:
    """Return how far the shell is pushed towards its axis, at each place."""
    side = (1 + np.tanh(below * y / 0.04)) / 2
    return (below * depth * np.exp(-(((x - at) / width) ** 2)) * side).astype(np.float32)


# -- sets -------------------------------------------------------------------------------------


TRAIN, TEST_GOOD, TEST_EACH = 200, 30, 20  # images in a whole set


def rendered_capsules(
    size: int = 128,
    *,
    train: int = TRAIN,
    good: int = TEST_GOOD,
    each: int = TEST_EACH,
    seed: int = 0,
) -> DefectSet:
    """Draw a whole set.

    Args:
        size: pixels on each side.
        train: good images to learn from.
        good: good images in the test part.
        each: images of each of the five defects.
        seed: same seed, same images.
    """
    kinds = [GOOD] * (train + good) + [kind for kind in KINDS for _ in range(each)]
    counts: dict[str, int] = {}
    images, masks = [], []
    for kind in kinds:
        number = counts[kind] = counts.get(kind, 0) + 1
        image, mask = _numbered(kind, number, size, seed)
        images.append(image)
        masks.append(mask)
    stack = np.stack(images).transpose(0, 3, 1, 2).copy()
    return DefectSet(
        name="rendered capsules",
        train=stack[:train],
        test=stack[train:],
        kinds=tuple(kinds[train:]),
        masks=np.stack(masks[train:]),
    )


def rendered_test_image(place: int, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Draw one test image of :func:`rendered_capsules` as it is by default, without the others.

    Returns:
        The image, shape ``(3, size, size)``, uint8, and its mask, ``(size, size)``, booleans.
    """
    if place < TEST_GOOD:
        image, mask = _numbered(GOOD, TRAIN + place + 1, size, 0)
    else:
        kind, number = divmod(place - TEST_GOOD, TEST_EACH)
        image, mask = _numbered(KINDS[kind], number + 1, size, 0)
    return image.transpose(2, 0, 1), mask


def _numbered(kind: str, number: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    # A generator per image: more of one kind leave the others as they are.
    return render(kind, size, np.random.default_rng((seed, (GOOD, *KINDS).index(kind), number)))


def write_capsules(folder: Path | str, size: int = 256, **counts: int) -> Path:
    """Write a set as a folder in MVTec's layout; return the folder.

    Raises:
        OSError: it cannot be written.
    """
    return save_layout(rendered_capsules(size, **counts), folder)

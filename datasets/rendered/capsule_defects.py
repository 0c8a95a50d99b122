"""How a rendered capsule lies, and the five defects that it may have."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from datasets.rendered.strokes import lines, walk

__all__ = ["KINDS", "Defect", "Look", "draw_defect", "places"]

KINDS = ("crack", "faulty_imprint", "poke", "scratch", "squeeze")

# The capsule lies along x; units are widths of the image, its centre is the origin.
HALF, CAP, BODY, SEAM = 0.425, 0.137, 0.130, 0.005  # half length, two radii, where they meet
BLACK, ORANGE, PRINT, LOGO, PAPER = np.array(
    [(27, 25, 36), (184, 82, 61), (214, 160, 146), (96, 97, 112), (217, 216, 219)], np.float32
) / np.float32(255)


@dataclass(frozen=True)
class Look:
    """How one capsule lies and is lit; drawn once per image."""

    shift: np.ndarray
    angle: float
    roll: tuple[float, float]  # of the body and of the cap, radians
    light: float
    tint: np.ndarray
    sideways: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Look:
        """Draw how one capsule lies and is lit."""
        return cls(
            rng.normal(0, 0.003, 2),
            float(rng.normal(0, 0.006)),
            (float(rng.normal(-0.05, 0.14)), float(rng.uniform(-0.2, 2.6))),
            float(rng.normal(1, 0.02)),
            rng.normal(1, 0.004, 3).astype(np.float32),
            float(rng.normal(0, 0.03)),
        )


@dataclass
class Defect:
    """What a defect changes: the outline, the print, or paint on top."""

    kind: str = "good"
    dents: list[tuple[float, float, float, float]] = field(default_factory=list)  # x, width, depth
    creases: np.ndarray | None = None
    erased: np.ndarray | None = None
    ghost: float = 0.0
    paint: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # cover and colour

    def part(self, rows: slice) -> Defect:
        """Return the same for some rows of the image."""
        return replace(
            self,
            creases=None if self.creases is None else self.creases[rows],
            erased=None if self.erased is None else self.erased[rows],
            paint=[(cover[rows], colour) for cover, colour in self.paint],
        )


def places(side: int, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Return where the pixels are in the capsule's own coordinates, each ``(side, side)``."""
    steps = ((np.arange(side) + 0.5) / side - 0.5).astype(np.float32)
    dx = steps[None, :] + 0.005 - look.shift[0]
    dy = steps[:, None] + 0.002 - look.shift[1]
    c, s = np.cos(look.angle), np.sin(look.angle)
    return (c * dx + s * dy).astype(np.float32), (c * dy - s * dx).astype(np.float32)


def draw_defect(kind: str, side: int, rng: np.random.Generator, look: Look) -> Defect:
    """Draw a defect of a kind for an image of some pixels per side; ``"good"`` has none."""
    make = {
        "crack": _crack,
        "scratch": _scratch,
        "poke": _poke,
        "faulty_imprint": _faulty_imprint,
        "squeeze": _squeeze,
    }
    return make[kind](side, rng, look) if kind != "good" else Defect()


def _spot(rng: np.random.Generator, *, margin: float = 0.03) -> np.ndarray:
    """Return a place on the capsule."""
    return np.array(
        (rng.uniform(-HALF + CAP / 2, HALF - CAP / 2), rng.uniform(-1, 1) * (BODY - margin))
    )


def _crack(side: int, rng: np.random.Generator, look: Look) -> Defect:
    """A broken line, often along the seam or the rim, with a light edge and chips."""
    if rng.random() < 0.4:  # along the edge of the cap
        start, angle = np.array((SEAM, rng.uniform(-0.12, 0.02))), np.pi / 2
    else:
        start, angle = _spot(rng), rng.uniform(0, 2 * np.pi)
    trunk = walk(start, angle, rng.uniform(0.07, 0.2), 0.35, rng)
    paths = [trunk]
    for _ in range(rng.integers(1, 4)):
        at = trunk[rng.integers(2, len(trunk))]
        paths.append(walk(at, angle + rng.choice((-1, 1)) * rng.uniform(0.5, 1.2), 0.045, 0.4, rng))
    width = rng.uniform(0.004, 0.008)
    dark = lines(side, paths, width)
    light = lines(side, [p + 0.6 * width for p in paths], 0.8 * width)
    chips = []
    for _ in range(rng.integers(0, 4)):
        centre, radius = trunk[rng.integers(len(trunk))], rng.uniform(0.004, 0.014)
        turn = np.sort(rng.uniform(0, 2 * np.pi, 7))
        corners = radius * rng.uniform(0.5, 1.3, (7, 1)) * np.stack([np.cos(turn), np.sin(turn)], 1)
        chips.append(centre + corners)
    bright = np.array((0.83, 0.78, 0.76))
    paint = [(0.7 * light, bright), (0.85 * dark, np.array((0.12, 0.07, 0.07)))]
    if chips:
        paint.append((0.95 * lines(side, chips, 0, fill=True), bright))
    return Defect("crack", paint=paint)


def _scratch(side: int, rng: np.random.Generator, look: Look) -> Defect:
    """A few fine light lines, nearly parallel."""
    start, angle = _spot(rng), rng.uniform(0, 2 * np.pi)
    paths = [
        walk(
            start + rng.normal(0, 0.012, 2),
            angle + rng.normal(0, 0.12),
            rng.uniform(0.05, 0.16),
            0.05,
            rng,
        )
        for _ in range(rng.integers(1, 5))
    ]
    cover = lines(side, paths, rng.uniform(0.0025, 0.0045))
    strength = rng.uniform(0.4, 0.8)
    tone = np.array((0.82, 0.66, 0.60)) if start[0] > SEAM else np.array((0.55, 0.54, 0.57))
    return Defect("scratch", paint=[(strength * cover, tone)])


def _poke(side: int, rng: np.random.Generator, look: Look) -> Defect:
    """A small hole with a dark rim and powder showing."""
    centre, radius = _spot(rng, margin=0.045), rng.uniform(0.011, 0.026)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)

    def ring(scale: float, rough: float) -> np.ndarray:
        lengths = radius * scale * (1 + rng.normal(0, rough, 24))[:, None]
        return centre + lengths * np.stack([np.cos(turn), np.sin(turn)], 1)

    rim = lines(side, [ring(1.0, 0.08)], 0, fill=True, blur=1)
    hole = lines(side, [ring(0.75, 0.12) + 0.1 * radius], 0, fill=True)
    grains = [centre + rng.normal(0, 0.35 * radius, 2) + 0.18 * ring(1, 0.3) for _ in range(5)]
    powder = lines(side, [g - 0.18 * centre for g in grains], 0, fill=True)
    tone = np.array((0.40, 0.17, 0.13)) if centre[0] > SEAM else np.array((0.22, 0.21, 0.24))
    light = np.array((0.86, 0.74, 0.68)) if centre[0] > SEAM else np.array((0.60, 0.59, 0.60))
    return Defect(
        "poke",
        paint=[(0.7 * rim, tone), (0.8 * hole, 0.5 * tone), (rng.uniform(0.5, 1) * powder, light)],
    )


def _faulty_imprint(side: int, rng: np.random.Generator, look: Look) -> Defect:
    """Print that is missing, partly rubbed off or doubled."""
    defect = Defect("faulty_imprint")
    way = rng.choice(["missing", "rubbed", "doubled"], p=[0.2, 0.5, 0.3])
    if way == "doubled":
        defect.ghost = rng.uniform(0.008, 0.02) * rng.choice((-1, 1))
    elif way == "missing":
        defect.erased = np.ones((side, side), dtype=np.float32)
    else:
        centre = np.array((0.15 + rng.uniform(-0.06, 0.06), rng.uniform(-0.02, 0.02)))
        paths = [
            walk(centre + rng.normal(0, 0.02, 2), rng.uniform(0, 6), 0.07, 0.9, rng)
            for _ in range(3)
        ]
        defect.erased = lines(side, paths, rng.uniform(0.012, 0.03), blur=2)
        smear = lines(side, paths[:1], 0.02, blur=6)
        defect.paint = [(0.35 * smear, np.array((0.73, 0.42, 0.35)))]
    return defect


def _squeeze(side: int, rng: np.random.Generator, look: Look) -> Defect:
    """A shell pressed in: a bent outline and creases that run from there."""
    at = rng.uniform(-0.32, 0.34)
    below = rng.choice((-1.0, 1.0))
    width, depth = rng.uniform(0.03, 0.07), rng.uniform(0.012, 0.038)
    x, y = places(side, look)
    edge = np.array((at, below * (BODY - 0.3 * depth)))
    bands = np.zeros_like(x)
    for _ in range(rng.integers(2, 5)):
        angle = np.arctan2(-below, rng.normal(0, 0.8))
        path = walk(edge + rng.normal(0, 0.012, 2), angle, rng.uniform(0.08, 0.16), 0.15, rng)
        line = lines(side, [path], 0.010, blur=2.5)
        shadow = lines(side, [path + 0.007], 0.010, blur=2.5)
        bands += 0.45 * line - 0.55 * shadow
    near = np.exp(-(((x - at) / (1.2 * width)) ** 2) - ((y - edge[1]) / 0.07) ** 2)
    return Defect("squeeze", dents=[(at, width, depth, below)], creases=bands - 0.25 * near)

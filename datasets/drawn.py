"""What a user drew by hand: strokes of a brush, made into points of the plane or into an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from datasets.files.errors import DataError
from datasets.own import OwnData

__all__ = [
    "NOTHING",
    "PRESETS",
    "WINDOW",
    "Stroke",
    "coverage",
    "draw_points",
    "own_drawing",
    "paint_over",
]

WINDOW = (-2.0, 2.0, -2.0, 2.0)  # x0, x1, y0, y1 of the plane in which one draws
NOTHING = "Nothing is drawn yet: draw at least one stroke."
POINTS = 5_000  # that a drawing becomes
_SEED = 0  # the same drawing gives the same points
_ROUNDS = 40  # of drawing points before the eraser is said to have left nothing
_FINE = 448  # pixels along a side in which strokes are painted: 16 for each one of a digit


@dataclass(frozen=True)
class Stroke:
    """One line of a drawing.

    Attributes:
        at: its corners, in units of where it was drawn; a single one is a dot.
        radius: of the brush, in the same units.
        weight: how much it counts beside others.
        erase: whether it takes away what was drawn before it.
    """

    at: tuple[tuple[float, float], ...]
    radius: float
    weight: float = 1.0
    erase: bool = False


# -- points --------------------------------------------------------------------------------------


def own_drawing(strokes: Sequence[Stroke]) -> OwnData:
    """Return the points of a drawing as a user's own data.

    Raises:
        DataError: nothing is drawn, or the eraser left nothing of it.
    """
    return OwnData("points", draw_points(strokes), "your drawing")


def draw_points(strokes: Sequence[Stroke], n: int = POINTS, seed: int = _SEED) -> np.ndarray:
    """Draw points along the strokes, in proportion to their length times their weight.

    Across a stroke they lie as a Gaussian whose standard deviation is half the brush's radius, cut
    off at the radius: no point lies where nothing was painted. A stroke shorter than its brush is
    wide counts as long as that.

    Args:
        strokes: in the order in which they were drawn.
        n: the number of points.
        seed: of the generator, which is used for nothing else.

    Returns:
        Points with shape (n, 2), float32.

    Raises:
        DataError: nothing is drawn, or the eraser left less than a fortieth of it.
    """
    if all(stroke.erase for stroke in strokes):
        raise DataError(NOTHING)
    lines = _segments(strokes)
    erased = _erased_by(strokes, lines)
    rng, found, kept = np.random.default_rng(seed), [], 0
    for _ in range(_ROUNDS):
        points, owner = _along(lines, n, rng)
        found.append(points[~erased(points, owner)])
        kept += len(found[-1])
        if kept >= n:
            return np.concatenate(found)[:n].astype(np.float32)
    raise DataError("The eraser has taken nearly everything away: draw some more.")


def _segments(strokes: Sequence[Stroke]) -> np.ndarray:
    """Return the pieces of what is drawn: x, y, dx, dy, radius, mass and number of the stroke."""
    pieces = []
    for number, stroke in enumerate(strokes):
        if stroke.erase:
            continue
        at = np.array(stroke.at if len(stroke.at) > 1 else 2 * stroke.at)
        way = np.diff(at, axis=0)
        lengths = np.hypot(*way.T)
        whole = lengths.sum()
        part = lengths / whole if whole > 0 else np.full(len(way), 1 / len(way))
        mass = stroke.weight * max(whole, 2 * stroke.radius) * part
        same = np.full(len(way), stroke.radius), mass, np.full(len(way), number)
        pieces.append(np.column_stack([at[:-1], way, *same]))
    return np.concatenate(pieces)


def _along(lines: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw n points along pieces of strokes; return them and the number of each one's stroke."""
    mass = lines[:, 5]
    chosen = lines[rng.choice(len(lines), n, p=mass / mass.sum())]
    start, way, radius = chosen[:, :2], chosen[:, 2:4], chosen[:, 4:5]
    angle = rng.uniform(0, 2 * np.pi, n)
    # Distances from the middle of a Gaussian in 2-D, up to two standard deviations.
    inner = rng.uniform(0, 1 - np.exp(-2), (n, 1))
    away = radius / 2 * np.sqrt(-2 * np.log1p(-inner))
    offset = away * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return start + rng.uniform(0, 1, (n, 1)) * way + offset, chosen[:, 6]


def _erased_by(strokes: Sequence[Stroke], lines: np.ndarray) -> Callable:
    """Return what says which points an eraser passed over after their stroke was drawn."""
    ends = np.concatenate([lines[:, :2], lines[:, :2] + lines[:, 2:4]])
    corner = ends.min(0) - lines[:, 4].max()
    scale = _FINE / (ends.max(0) + lines[:, 4].max() - corner).max()
    # A pixel holds the number of the last eraser that passed over it.
    sheet = Image.new("I", (_FINE, _FINE), -1)
    for number, stroke in enumerate(strokes):
        if stroke.erase:
            _brush(sheet, (np.array(stroke.at) - corner) * scale, stroke.radius * scale, number)
    last = np.asarray(sheet)

    def erased(points: np.ndarray, owner: np.ndarray) -> np.ndarray:
        column, row = np.clip((points - corner) * scale, 0, _FINE - 1).astype(int).T
        return last[row, column] > owner

    return erased


def _brush(sheet: Image.Image, at: np.ndarray, radius: float, ink: int) -> None:
    """Draw a line with round ends and corners; all in pixels, from the top left corner."""
    # What is far outside has to cost no more than what is seen.
    at, radius = np.clip(at, -sheet.width, 2 * sheet.width) - 0.5, min(radius, 2 * sheet.width)
    pen, corners = ImageDraw.Draw(sheet), [tuple(corner) for corner in at.tolist()]
    pen.line(corners, ink, max(1, round(2 * radius)))
    reach = max(0, radius - 0.5)  # to the middle of the last pixel
    for x, y in corners:
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), ink)


# -- images --------------------------------------------------------------------------------------


def coverage(strokes: Sequence[Stroke], size: float, side: int) -> np.ndarray:
    """Return how much of each pixel is painted, from 0 to 1.

    Args:
        strokes: on a square sheet, from its bottom left corner; weights count for nothing.
        size: of the sheet, in the strokes' units.
        side: pixels along each side of the image.

    Returns:
        Values with shape (side, side), the top row first, float32.
    """
    fine = max(4, _FINE // side)
    sheet = Image.new("L", (side * fine, side * fine))
    scale = sheet.width / size
    for stroke in strokes:
        at = np.array(stroke.at) * (1, -1) + (0, size)
        _brush(sheet, at * scale, stroke.radius * scale, 0 if stroke.erase else 255)
    small = sheet.resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255


def paint_over(pixels: np.ndarray, covered: np.ndarray, grey: int) -> np.ndarray:
    """Return an image with paint on it.

    Args:
        pixels: with shape (c, h, w), uint8.
        covered: how much of each pixel is painted, with shape (h, w), from 0 to 1.
        grey: level of the paint, from 0 to 255.
    """
    return np.rint(pixels * (1 - covered) + grey * covered).astype(np.uint8)


# -- to start from -------------------------------------------------------------------------------

_BRUSH = 0.16


def _heart() -> tuple[Stroke, ...]:
    t = np.linspace(0, 2 * np.pi, 120)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t) + 2.5
    return (_line(0.1 * x, 0.1 * y),)


def _spiral() -> tuple[Stroke, ...]:
    t = np.linspace(0.03, 1, 160)
    angle, radius = 5 * np.pi * np.sqrt(t), 0.15 + 1.5 * np.sqrt(t)
    return (_line(radius * np.cos(angle), radius * np.sin(angle)),)


def _letter() -> tuple[Stroke, ...]:
    legs = _line(np.array([-1.2, 0, 1.2]), np.array([-1.5, 1.5, -1.5]))
    return legs, _line(np.array([-0.72, 0.72]), np.array([-0.3, -0.3]))


def _line(x: np.ndarray, y: np.ndarray) -> Stroke:
    corners = np.round(np.column_stack([x, y]), 3).tolist()
    return Stroke(tuple((a, b) for a, b in corners), _BRUSH)


PRESETS = {"Heart": _heart(), "Spiral": _spiral(), "Letter": _letter()}

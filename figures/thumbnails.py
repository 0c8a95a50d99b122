"""A snapshot as one small image, whatever its family draws: to tell runs apart at a glance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from figures.image_figures import tile
from figures.images import density_image, peak_of, points_image
from figures.palette import palette

SHEETS = ("samples", "ab")  # arrays of images in snapshots, the ones that say most first
EACH_WAY = 3  # images in a row of a sheet, and rows
MARGIN = 0.3  # around points that no window is known for, in their standard deviations

Arrays = Mapping[str, np.ndarray]


def thumbnail(snapshot: Arrays, target: Arrays, theme: str, side: int) -> Image.Image | None:
    """Paint a snapshot.

    Args:
        snapshot: of a run.
        target: of the same run.
        theme: ``"light"`` or ``"dark"``.
        side: pixels along each side.

    Returns:
        The image, or ``None`` where the snapshot has nothing of a kind that is known here.
    """
    if "density" in snapshot:
        truth = target.get("density", snapshot["density"])
        return density_image(snapshot["density"], peak_of(truth), theme, side)
    sheet = next((snapshot[name] for name in SHEETS if name in snapshot), None)
    if sheet is None:
        return None
    if sheet.ndim == 2:
        return points_image(sheet, _window(sheet, target), palette(theme).model, theme, side)
    if sheet.shape[-1] == 3 and sheet.shape[1] != 3:
        sheet = sheet.transpose(0, 3, 1, 2)
    columns = EACH_WAY if len(sheet) >= EACH_WAY**2 else 1 if len(sheet) < 4 else 2
    chosen = np.linspace(0, len(sheet) - 1, columns**2).round().astype(int)
    return tile(sheet[chosen], columns, theme, scale=1).resize((side, side), _filter(sheet, side))


def _window(points: np.ndarray, target: Arrays) -> tuple[float, float, float, float]:
    if "box" in target:
        x0, x1, y0, y1 = map(float, target["box"])
        return x0, x1, y0, y1
    low, high = points.min(0) - MARGIN, points.max(0) + MARGIN
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])


def _filter(sheet: np.ndarray, side: int) -> Image.Resampling:
    """Return how to resize: pixels that grow stay squares."""
    small = EACH_WAY * sheet.shape[-1] < side
    return Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS

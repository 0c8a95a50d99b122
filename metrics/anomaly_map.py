"""Anomaly maps: where images differ from good ones, and by how much.

Raw maps are what a model says of each place, in nats per dimension and of the shape
``(N, P, m, m)``: P maps of each image, m cells on a side. An anomaly map is their distance from
what good images have at that place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

POWER = 8  # of the mean that makes a spread: close to the largest, which a speck of dust decides
SOFT = 0.05  # nats per dimension: keeps a score from dividing by almost nothing


@dataclass(frozen=True, eq=False)
class Calibration:
    """What good images look like to a model.

    Attributes:
        mean: of the raw maps of good training images, shape ``(P, m, m)``, nats per dimension.
        spread: of their anomaly maps, shape ``(m, m)``, see :func:`spread`.
        held_out: scores of the held-out good training images.
        threshold: the score that 5 % of those exceed.
        map_threshold: what the anomaly maps of 5 % of those exceed somewhere, nats per dimension.
    """

    mean: Tensor
    spread: Tensor
    held_out: np.ndarray
    threshold: float
    map_threshold: float


def anomaly_maps(raw: Tensor, mean: Tensor, sigma: float) -> Tensor:
    """Return how far raw maps are from those of good images, nats per dimension.

    Both ways: bare shell where the print belongs is likelier than the print. What several maps of
    an image say is added up.

    Args:
        raw: shape ``(N, P, m, m)``.
        mean: of good images, shape ``(P, m, m)``.
        sigma: standard deviation of the smoothing, in cells.

    Returns:
        Shape ``(N, m, m)``.
    """
    return _smooth(raw - mean, sigma).abs().sum(1)


def spread(maps: Tensor) -> Tensor:
    """Return how large anomaly maps ``(N, m, m)`` of good images are, shape ``(m, m)``.

    The eighth root of the mean of the eighth powers: a place where one of them has a speck of dust
    has seen specks; a standard deviation would hardly know of it.
    """
    return maps.pow(POWER).mean(0).pow(1 / POWER)


def scores(maps: Tensor, spread: Tensor) -> Tensor:
    """Return the anomaly score of each image: its most anomalous place, in spreads of good ones.

    Maps have the shape ``(N, m, m)``, the spread ``(m, m)``, the result ``(N,)``.
    """
    return highest(maps / (spread + SOFT))


def highest(maps: Tensor) -> Tensor:
    """Return the largest value of each map ``(N, m, m)``, shape ``(N,)``."""
    return maps.flatten(1).amax(1)


def half(maps: np.ndarray) -> np.ndarray:
    """Return maps in half precision; what lies further out than that reaches, ends there.

    Of any shape; the result has the same.
    """
    return np.nan_to_num(maps.clip(-6e4, 6e4)).astype(np.float16)


def stride_of(side: int, patch: int, cells: int) -> int:
    """Return the pixels between two patches of a map that has so many cells on a side."""
    return (side - patch) // max(cells - 1, 1) or 1


def stretched(maps: Tensor, side: int, patch: int) -> Tensor:
    """Bring maps ``(N, m, m)`` to the size of the images, ``(N, S, S)``.

    Args:
        maps: a cell for each pixel, or for each patch.
        side: pixels on each side of the images.
        patch: pixels on each side of a patch.
    """
    cells = maps.shape[-1]
    if cells == side:
        return maps
    stride = stride_of(side, patch, cells)
    wide = functional.interpolate(
        maps[:, None], size=cells * stride, mode="bilinear", align_corners=False
    )
    # The first cell is centred at half a patch, not at half a stride.
    before = (patch - stride) // 2
    after = side - cells * stride - before
    if after < 0:
        wide, after = wide[..., :after, :after], 0
    return functional.pad(wide, (before, after, before, after), mode="replicate")[:, 0]


def _smooth(maps: Tensor, sigma: float) -> Tensor:
    """Blur maps ``(N, P, m, m)`` by a Gaussian; their edge is continued."""
    reach = max(1, round(3 * sigma))
    x = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    kernel = (-0.5 * (x / sigma).square()).exp()
    kernel = (kernel / kernel.sum())[None, None, None]
    wide = functional.pad(maps.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
    smooth = functional.conv2d(functional.conv2d(wide, kernel), kernel.mT)
    return smooth.view(maps.shape)

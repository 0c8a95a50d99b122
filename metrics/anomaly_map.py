"""Anomaly maps: where images differ from good ones, and by how much.

Raw maps are what a model says of each place, of the shape ``(N, P, m, m)``: P maps of each image, m
cells on a side. An anomaly map is their distance from what good images have at that place, in
spreads of the good ones; an image is called defective where it is above the threshold anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

POWER = 8  # of the mean that makes a spread: close to the largest, which a speck of dust decides
TOGETHER = 4  # power of the sum in which the maps of two models meet
SOFT = 0.05  # nats per dimension: keeps a score from dividing by almost nothing
SOFT_FRACTION = 0.1  # of the mean standard deviation, for the same


@dataclass(frozen=True)
class Rule:
    """How raw maps of a kind become anomaly maps.

    Attributes:
        sigma: standard deviation of the smoothing, in cells.
        window: pixels on each side of what a cell is of.
        both_ways: less than good images have counts, too.
        spread: what good images decide about the unit: the power mean of :func:`spread`, the
            standard deviation, or nothing: raw maps are compared as they are.
        fine: standard deviation of the smoothing of maps that tell pixels apart, in cells; they are
            in the units of raw maps. If it is ``None``, the anomaly maps do that.
    """

    sigma: float
    window: int
    both_ways: bool
    spread: Literal["power", "deviation", "none"]
    fine: float | None = None

    def reference(self, raw: Tensor) -> Reference:
        """Return what good images with raw maps ``(N, P, m, m)`` look like."""
        mean = raw.mean(0)
        plain = Reference(self, mean, torch.ones_like(mean[0]))
        if self.spread == "none":
            return plain
        maps = plain.maps(raw)
        if self.spread == "power":
            return replace(plain, spread=spread(maps) + SOFT)
        deviation = maps.std(0)
        floor = SOFT_FRACTION * deviation.mean()
        return replace(plain, spread=(deviation + floor).clamp_min(1e-6))


@dataclass(frozen=True, eq=False)
class Reference:
    """What raw maps of good images look like, and so what maps of others are in their units.

    Attributes:
        rule: how raw maps are compared.
        mean: of the raw maps of good images, shape ``(P, m, m)``.
        spread: unit of the anomaly maps at each place, shape ``(m, m)``.
        unit: of all places, by which maps of several models become comparable.
    """

    rule: Rule
    mean: Tensor
    spread: Tensor
    unit: float = 1.0

    NAMES: ClassVar[tuple[str, ...]] = ("mean", "spread", "unit", "rule")

    def arrays(self) -> dict[str, np.ndarray]:
        """Return it as arrays by name, one of them JSON."""
        rule = np.array(json.dumps(asdict(self.rule)))
        mean, spread = (v.cpu().numpy() for v in (self.mean, self.spread))
        return {"mean": mean, "spread": spread, "unit": np.array(self.unit), "rule": rule}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Reference:
        """Return what gave these arrays."""
        mean, spread = (torch.from_numpy(arrays[name]) for name in ("mean", "spread"))
        rule = Rule(**json.loads(str(arrays["rule"])))
        return cls(rule, mean, spread, float(arrays["unit"]))

    def maps(self, raw: Tensor) -> Tensor:
        """Return the anomaly maps ``(N, m, m)`` of raw maps ``(N, P, m, m)``."""
        away = _smooth(raw - self.mean, self.rule.sigma)
        away = away.abs() if self.rule.both_ways else away
        return away.sum(1) / (self.spread * self.unit)

    def fine_maps(self, raw: Tensor) -> Tensor:
        """Return maps ``(N, m, m)`` that tell pixels apart, of raw maps ``(N, P, m, m)``."""
        if self.rule.fine is None:
            return self.maps(raw)
        return anomaly_maps(raw, self.mean, self.rule.fine)

    def in_units_of(self, held_out: Tensor) -> Reference:
        """Return the same in units of the mean highest place of held-out good images.

        Their raw maps have the shape ``(N, P, m, m)``.
        """
        unit = float(highest(self.maps(held_out)).mean())
        return replace(self, unit=unit if unit > 1e-3 else 1.0)  # good images that are all equal


@dataclass(frozen=True, eq=False)
class Calibration:
    """What good images look like to a model.

    Attributes:
        references: of each of its raw maps.
        held_out: scores of the held-out good training images, shape ``(n,)``.
        map_threshold: what the anomaly maps of 5 % of those exceed somewhere.
    """

    references: tuple[Reference, ...]
    held_out: np.ndarray
    map_threshold: float


def combined(references: Sequence[Reference], raws: Sequence[Tensor], side: int) -> Tensor:
    """Bring the anomaly maps of several models of the same images together.

    The fourth root of the sum of the fourth powers: one that is far out is enough, and the noise of
    the others hardly counts.

    Args:
        references: of each model.
        raws: raw maps of each, ``(N, P, m, m)``; what comes after the last reference is left out.
        side: pixels on each side of the images.

    Returns:
        Maps ``(N, m, m)`` on the grid of the last model; of one model alone its own.
    """
    *others, (last, raw) = zip(references, raws, strict=False)
    maps = last.maps(raw)
    if not others:
        return maps
    total = maps.clamp_min(0).pow(TOGETHER)
    for one, its in others:
        wide = stretched(one.maps(its), side, one.rule.window)
        coarse = functional.adaptive_avg_pool2d(wide, maps.shape[-2:])
        total = total + coarse.clamp_min(0).pow(TOGETHER)
    return total.pow(1 / TOGETHER)


def anomaly_maps(raw: Tensor, mean: Tensor, sigma: float) -> Tensor:
    """Return how far raw maps are from those of good images, nats per dimension.

    Both ways: bare shell where the print belongs is likelier than the print. What several maps of
    an image say is added up.

    Args:
        raw: shape ``(N, P, m, m)``, nats per dimension.
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
    if not sigma:
        return maps
    reach = max(1, round(3 * sigma))
    x = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    kernel = (-0.5 * (x / sigma).square()).exp()
    kernel = (kernel / kernel.sum())[None, None, None]
    wide = functional.pad(maps.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
    smooth = functional.conv2d(functional.conv2d(wide, kernel), kernel.mT)
    return smooth.view(maps.shape)

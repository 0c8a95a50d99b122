"""A small classifier of two sets of images, so that a translation can be asked which it is of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.samples import FLAT, cells, noise_like

LARGE = 64  # pixels per side that larger images are shrunk to
RIDGE = 0.1  # per image: so that it overfits less where features are many and images few
APART = 0.3  # difference of what two sets are taken for, below which they are too much alike


@dataclass(frozen=True, eq=False)
class TwoSets:
    """A linear classifier by colours, contrasts and edges: of the one set, the other, or neither.

    It is solved for, not trained: the same every time, in a fraction of a second.

    Attributes:
        mean: of the features over the training images, ``(d,)``.
        unit: their standard deviations, ``(d,)``.
        weights: of the three scores, ``(d + 1, 3)``; the last row alone.
    """

    mean: Tensor
    unit: Tensor
    weights: Tensor

    def taken_for(self, images: Tensor, second: bool) -> float:
        """Return the fraction of uint8 images ``(n, 3, s, s)`` taken for one of both sets."""
        x = (_features(images) - self.mean) / self.unit
        scores = x @ self.weights[:-1] + self.weights[-1]
        return float((scores.argmax(1) == int(second)).double().mean())


def two_sets(a: Tensor, b: Tensor) -> TwoSets:
    """Return the classifier of two sets of training images, uint8 ``(n, 3, s, s)`` each.

    Least squares on 0 and 1 with a ridge; all three count the same, whatever their size. Without
    the third, what a poor generator makes would have to be of one of the two.
    """
    parts = [_features(part) for part in (a, b, torch.cat([_spoiled(a), _spoiled(b)]))]
    x = torch.cat(parts)
    mean, unit = x.mean(0), x.std(0).clamp(min=FLAT)
    x = torch.cat([(x - mean) / unit, torch.ones_like(x[:, :1])], 1)
    counts = torch.tensor([len(part) for part in parts])
    wanted = torch.eye(3, dtype=x.dtype).repeat_interleave(counts, 0)
    each = (len(x) / 3 / counts.double()).repeat_interleave(counts)
    weighted = (x * each[:, None]).T
    ridge = RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    return TwoSets(mean, unit, torch.linalg.solve(weighted @ x + ridge, weighted @ wanted))


def _spoiled(images: Tensor) -> Tensor:
    """Return what is of neither set: mixtures of images, each one's mean colour, and noise."""
    x = images.float()
    mixed = (x + x.roll(1, 0) + x.roll(2, 0) + x.roll(3, 0)) / 4
    flat = x.mean((2, 3), keepdim=True).expand_as(x)
    return torch.cat([mixed.byte(), flat.byte(), noise_like(images).to(images.device)])


def _features(images: Tensor) -> Tensor:
    """Return what images are told apart by, ``(n, d)``, on the CPU in float64."""
    x = images.float() / 255
    if x.shape[-1] > LARGE:
        x = torch.nn.functional.interpolate(x, (LARGE, LARGE), mode="area")
    steps = x.diff(dim=3).abs(), x.diff(dim=2).abs()
    edges = [torch.nn.functional.adaptive_avg_pool2d(step, 4).flatten(1) for step in steps]
    return torch.cat([cells(x), *edges], 1).double().cpu()

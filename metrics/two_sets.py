"""A small classifier of two sets of images, so that a translation can be asked which it is of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.samples import FLAT, cells

LARGE = 64  # pixels per side that larger images are shrunk to
RIDGE = 0.1  # per image: so that it overfits less where features are many and images few
APART = 0.3  # difference of what two sets are taken for, below which they are too much alike


@dataclass(frozen=True, eq=False)
class TwoSets:
    """A linear classifier by colours, contrasts and edges; positive scores mean the second set.

    It is solved for, not trained: the same every time, in a fraction of a second.

    Attributes:
        mean, unit: of the features over the training images, ``(d,)``.
        weights: ``(d + 1,)``, the last one alone.
    """

    mean: Tensor
    unit: Tensor
    weights: Tensor

    def taken_for(self, images: Tensor, second: bool) -> float:
        """Return the fraction of uint8 images ``(n, 3, s, s)`` taken for one of both sets."""
        x = (_features(images) - self.mean) / self.unit
        scores = x @ self.weights[:-1] + self.weights[-1]
        return float(((scores > 0) == second).double().mean())


def two_sets(a: Tensor, b: Tensor) -> TwoSets:
    """Return the classifier of two sets of training images, uint8 ``(n, 3, s, s)`` each.

    Least squares on -1 and 1 with a ridge; both sets count the same, whatever their size.
    """
    x = torch.cat([_features(a), _features(b)])
    mean, unit = x.mean(0), x.std(0).clamp(min=FLAT)
    x = torch.cat([(x - mean) / unit, torch.ones_like(x[:, :1])], 1)
    wanted = torch.cat([-torch.ones(len(a)), torch.ones(len(b))]).double()
    each = torch.cat([torch.full((len(part),), len(x) / 2 / len(part)) for part in (a, b)])
    weighted = (x * each[:, None]).T
    ridge = RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    return TwoSets(mean, unit, torch.linalg.solve(weighted @ x + ridge, weighted @ wanted))


def _features(images: Tensor) -> Tensor:
    """Return what images are told apart by, ``(n, d)``, on the CPU in float64."""
    x = images.float() / 255
    if x.shape[-1] > LARGE:
        x = torch.nn.functional.interpolate(x, (LARGE, LARGE), mode="area")
    steps = x.diff(dim=3).abs(), x.diff(dim=2).abs()
    edges = [torch.nn.functional.adaptive_avg_pool2d(step, 4).flatten(1) for step in steps]
    return torch.cat([cells(x), *edges], 1).double().cpu()

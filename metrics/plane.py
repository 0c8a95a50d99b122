"""How samples in 2-D compare with a density that is known: modes, good samples, KL and JS.

All of it works from samples alone, since a GAN has no density. Every number has a floor: what as
many samples of the truth itself score.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from datasets.plane import Plane
from datasets.toy import GaussianMixture

SAMPLES = 20_000  # with few, a perfect generator looks bad
BINS = 40  # along each side of a histogram
REACH = 3.0  # standard deviations around a mode within which a sample is good
TIMED = 10_000  # samples that are timed
REPEATS = 5  # of that time; the median is reported
COVERED = 0.1  # of the samples that a mode should get, for it to count as covered


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of a 2-D density, in the standardised units that models see.

    Attributes:
        plane: the data set; its density must be known.
        box: window of the histogram, ``(x0, x1, y0, y1)``.
    """

    plane: Plane
    box: tuple[float, float, float, float]

    @classmethod
    def of(cls, plane: Plane) -> Truth | None:
        """Return the truth about a data set, or ``None`` where nobody knows it."""
        return None if plane.density is None else cls(plane.to("cpu"), plane.box())

    @property
    def mixture(self) -> GaussianMixture | None:
        """The density, if it has modes to count."""
        density = self.plane.density
        return density if isinstance(density, GaussianMixture) else None

    @cached_property
    def weights(self) -> Tensor:
        """The fractions of the modes, shape ``(k,)``."""
        return self.mixture.cumulative.diff(prepend=torch.zeros(1, dtype=torch.float64))

    @cached_property
    def masses(self) -> Tensor:
        """The mass of each bin, row by row from below, and at last that outside; they sum to 1.

        Shape ``(b + 1,)``.
        """
        x0, x1, y0, y1 = self.box
        narrow = self.plane.density.resolution / float(self.plane.std.max())
        # Midpoints no further apart than half the shortest length over which the density changes.
        parts = max(2, math.ceil((x1 - x0) / BINS / (0.5 * narrow)))
        places = (torch.arange(BINS * parts, dtype=torch.float64) + 0.5) / (BINS * parts)
        y, x = torch.meshgrid(y0 + places * (y1 - y0), x0 + places * (x1 - x0), indexing="ij")
        points = torch.stack([x, y], -1).view(-1, 2)
        fine = self.plane.log_prob(points).exp().view(BINS, parts, BINS, parts)
        cell = (x1 - x0) * (y1 - y0) / (BINS * parts) ** 2
        inside = (fine.sum((1, 3)) * cell).flatten()
        outside = (1 - inside.sum()).clamp(min=1e-9)
        masses = torch.cat([inside, outside[None]])
        return masses / masses.sum()

    def counts(self, x: Tensor) -> Tensor:
        """Return how many points fall into each bin, and how many outside: each counts once.

        Args:
            x: points ``(n, 2)``, standardised. One that is not finite lies outside.

        Returns:
            Counts with shape ``(BINS * BINS + 1,)``, float64, that sum to n.
        """
        x0, x1, y0, y1 = self.box
        x = x.double()
        column = ((x[:, 0] - x0) / (x1 - x0) * BINS).floor()
        row = ((x[:, 1] - y0) / (y1 - y0) * BINS).floor()
        inside = (column >= 0) & (column < BINS) & (row >= 0) & (row < BINS)
        bins = torch.where(inside, row * BINS + column, BINS * BINS).long()
        return torch.bincount(bins, minlength=BINS * BINS + 1).double()

    def modes_of(self, x: Tensor) -> Tensor:
        """Return the nearest mode of each point ``(n, 2)``, or -1 if none is within reach."""
        mixture = self.mixture
        apart = self.plane.restore(x.double())[:, None] - mixture.centres  # (n, k, 2)
        z = torch.einsum("kij,nkj->nki", mixture.whiten, apart)
        distance, mode = z.square().sum(-1).min(1)
        return mode.where(distance <= REACH**2, -1)

    def score(self, x: Tensor) -> dict[str, float]:
        """Compare samples with the truth.

        Args:
            x: at least ``SAMPLES`` standardised points, ``(n, 2)``.

        Returns:
            ``kl`` and ``js`` in nats, and where the density has modes ``modes`` (how many are
            covered) and ``good`` (the fraction of samples within reach of one).
        """
        x = x.cpu()
        counts = self.counts(x)
        numbers = {"kl": kl_of_counts(self.masses, counts), "js": js_of_counts(self.masses, counts)}
        if self.mixture is not None:
            mode = self.modes_of(x)
            hits = torch.bincount(mode[mode >= 0], minlength=len(self.weights))
            covered = hits >= COVERED * self.weights * len(x)
            numbers["modes"] = float(covered.sum())
            numbers["good"] = float((mode >= 0).double().mean())
        return numbers

    def floor(self, count: int = SAMPLES) -> Mapping[str, float]:
        """Return what a perfect generator scores: fresh samples of the truth itself."""
        eval_generator = torch.Generator().manual_seed(4)
        return self.score(self.plane.standardise(self.plane.density.sample(count, eval_generator)))


def kl_of_counts(masses: Tensor, counts: Tensor) -> float:
    """Return KL(truth || samples) in nats, from the masses of bins and the counts in them.

    Half a count is added to each bin, or an empty bin would make the distance infinite.

    Args:
        masses: of the bins under the truth, shape ``(b,)``, with the sum 1.
        counts: samples in each bin, shape ``(b,)``.

    Examples:
        >>> kl_of_counts(torch.tensor([0.5, 0.5]), torch.tensor([50, 50]))
        0.0
        >>> round(kl_of_counts(torch.tensor([0.5, 0.5]), torch.tensor([100, 0])), 3)
        1.963

    References:
        The performance of universal encoding (Krichevsky, Trofimov, 1981): the half count.
    """
    q = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return float((torch.xlogy(masses, masses) - torch.xlogy(masses, q)).sum())


def js_of_counts(masses: Tensor, counts: Tensor) -> float:
    """Return the Jensen-Shannon divergence in nats: 0 for the same, log 2 for nothing shared.

    Masses and counts of the bins have the shape ``(b,)``.
    """
    q = counts.double() / counts.sum()
    middle = (masses + q) / 2

    def to_middle(p: Tensor) -> Tensor:
        return (torch.xlogy(p, p) - torch.xlogy(p, middle)).sum()

    return float((to_middle(masses) + to_middle(q)) / 2)


def diversity(x: Tensor, real: Tensor) -> float:
    """Return the mean distance within samples over that within real examples.

    Near 1 samples are spread as the data are; near 0 they are all the same.

    Args:
        x: samples ``(n, ...)``.
        real: real examples ``(m, ...)``.
    """
    return float(_spread(x) / _spread(real).clamp(min=1e-12))


def _spread(x: Tensor) -> Tensor:
    # Each with its neighbour in the list: the order is random, and no table of distances is needed.
    x = x.flatten(1).float()
    return (x - x.roll(1, 0)).norm(dim=1).mean()


@torch.no_grad()
def summarise(
    model: nn.Module,
    plane: Plane,
    truth: Truth | None,
    draw: Callable[[int, torch.Generator], Tensor],
    nll: Callable[[Tensor], float] | None = None,
) -> dict[str, float]:
    """Measure a trained model in 2-D as any other: by its size, its time and its samples.

    Args:
        model: its parameters are counted.
        plane: the data, on the model's device.
        truth: what is known of the data, or ``None``.
        draw: returns so many samples ``(n, 2)``, standardised, from a source of randomness.
        nll: returns the exact NLL of points ``(n, 2)``, nats in data units; ``None`` if the model
            has none.

    Returns:
        ``parameters``; ``sample_seconds``, the median time for 10,000 samples; where the truth is
        known ``kl_samples``, ``js_samples`` and ``kl_floor``, ``js_floor`` (the same of samples of
        the truth), ``modes`` and ``good`` as in :meth:`Truth.score`; for a finite set and an exact
        NLL ``nll_split_train`` and ``nll_split_test``, over its two parts.
    """
    eval_generator = torch.Generator(plane.mean.device).manual_seed(6)
    numbers: dict[str, float] = {"parameters": sum(p.numel() for p in model.parameters())}
    numbers["sample_seconds"] = _median_time(lambda: draw(TIMED, eval_generator).cpu())
    if truth is not None:
        found, floor = truth.score(draw(SAMPLES, eval_generator)), truth.floor()
        for name in ("kl", "js"):
            numbers |= {f"{name}_samples": found.pop(name), f"{name}_floor": floor[name]}
        numbers |= found
    if nll is not None and plane.train is not None:
        numbers |= {"nll_split_train": nll(plane.train), "nll_split_test": nll(plane.test)}
    return numbers


def _median_time(work: Callable[[], object]) -> float:
    """Return the median seconds of some repeats, after one that warms up."""
    work()
    times = []
    for _ in range(REPEATS):
        before = time.perf_counter()
        work()  # its result is on the CPU: nothing is left waiting on a device
        times.append(time.perf_counter() - before)
    return statistics.median(times)

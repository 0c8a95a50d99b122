r"""The density that an image is: each pixel a box of mass, blurred."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from datasets.densities import (
    REACH,
    TERMS_AT_ONCE,
    Box,
    Density,
    choose,
    cumulative,
    midpoints,
    normal,
)

__all__ = ["PixelDensity"]


class PixelDensity(Density):
    r"""A grid of pixels, each of constant density, blurred by Gaussian noise.

    The blur of a box is a product of differences of normal CDFs, so that
    :math:`p(x, y) = \Phi_y(y)^T W \Phi_x(x)` with one entry of :math:`\Phi` per row and column.

    Args:
        weights: the mass of each pixel up to a factor, at least 0, with shape (h, w). The first
            row is the top one, as in an image.
        box: the edges (x0, x1, y0, y1) of the grid, in data units; y points upwards.
        noise: the standard deviation of the blur, in data units. 0 leaves the pixels sharp.

    Raises:
        ValueError: a weight is negative or not finite, or all are 0.
    """

    def __init__(self, weights: Tensor, box: Box, noise: float = 0.0) -> None:
        weights = torch.as_tensor(weights, dtype=torch.float64).flip(0)
        if weights.ndim != 2 or not bool(weights.isfinite().all()) or bool((weights < 0).any()):
            raise ValueError("weights must be a table of finite numbers that are at least 0.")
        if not float(weights.sum()) > 0:
            raise ValueError("weights must not all be 0.")
        if not noise >= 0:
            raise ValueError(f"noise must be at least 0, got {noise}.")

        self.box, self.noise = box, noise
        self.weights = weights / weights.sum()  # (h, w), the first row at the bottom
        self.cumulative = cumulative(weights)
        h, w = weights.shape
        self.x_edges = torch.linspace(*box[:2], w + 1, dtype=torch.float64)
        self.y_edges = torch.linspace(*box[2:], h + 1, dtype=torch.float64)
        self.pixel = ((box[1] - box[0]) / w, (box[3] - box[2]) / h)

        x_mean, x_std = self._moments(self.weights.sum(0), self.x_edges)
        y_mean, y_std = self._moments(self.weights.sum(1), self.y_edges)
        self.mean = torch.tensor([x_mean, y_mean])
        self.std = torch.tensor([x_std, y_std])
        self.resolution = noise or min(self.pixel)
        self._terms = h * w

    def _moments(self, mass: Tensor, edges: Tensor) -> tuple[float, float]:
        centres, width = (edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0])
        mean = float(mass @ centres)
        variance = float(mass @ (centres - mean).square()) + width**2 / 12 + self.noise**2
        return mean, math.sqrt(variance)

    def extent(self, reach: float = 4.0) -> Box:
        x0, x1, y0, y1 = self.box
        margin = reach * self.noise
        return x0 - margin, x1 + margin, y0 - margin, y1 + margin

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        cell = choose(self.cumulative, n, generator)
        corner = torch.stack([cell % self.weights.shape[1], cell // self.weights.shape[1]], dim=1)
        place = corner + torch.rand(n, 2, generator=generator, device=generator.device)
        # Filled in, not copied from a list: a copy would make a GPU wait at each batch.
        x = place[:, 0] * self.pixel[0] + self.box[0]
        y = place[:, 1] * self.pixel[1] + self.box[2]
        return torch.stack([x, y], dim=1) + self.noise * normal(n, generator)

    def _log_prob(self, x: Tensor) -> Tensor:
        if self.noise == 0:
            return self._log_prob_sharp(x)
        log_columns = _log_normal_mass(x[:, 0], self.x_edges, self.noise)  # (n, w)
        log_rows = _log_normal_mass(x[:, 1], self.y_edges, self.noise)  # (n, h)

        # One common factor per point is taken out, so that points far outside do not underflow.
        top_column, top_row = log_columns.amax(1), log_rows.amax(1)
        columns = (log_columns - top_column[:, None]).exp()
        rows = (log_rows - top_row[:, None]).exp()
        mass = ((rows @ self.weights) * columns).sum(1)
        log_mass = top_column + top_row + mass.log()

        # Opposite an empty pixel even that is not enough: those few are summed term by term.
        lost = mass < 1e-280
        if bool(lost.any()):
            row, column = self.weights.nonzero(as_tuple=True)
            terms = log_rows[lost][:, row] + log_columns[lost][:, column]
            log_mass[lost] = torch.logsumexp(terms + self.weights[row, column].log(), dim=1)
        return log_mass - math.log(self.pixel[0] * self.pixel[1])

    def _log_prob_sharp(self, x: Tensor) -> Tensor:
        x0, x1, y0, y1 = self.box
        h, w = self.weights.shape
        inside = (x[:, 0] >= x0) & (x[:, 0] <= x1) & (x[:, 1] >= y0) & (x[:, 1] <= y1)
        # A point on the last edge belongs to the last pixel: float32 samples do land there.
        column = ((x[:, 0] - x0) / self.pixel[0]).clamp(0, w - 1).long()
        row = ((x[:, 1] - y0) / self.pixel[1]).clamp(0, h - 1).long()
        mass = self.weights[row, column].where(inside, 0)
        return mass.log() - math.log(self.pixel[0] * self.pixel[1])

    def _quadrature(self) -> float:
        """Integrate as all densities do, but row by row: on a grid the CDFs factorise."""
        if self.noise == 0:
            return self._entropy_sharp()
        step = self.resolution / 2
        x0, x1, y0, y1 = self.extent(REACH)
        columns = _log_normal_mass(midpoints(x0, x1, step), self.x_edges, self.noise).exp()
        rows = _log_normal_mass(midpoints(y0, y1, step), self.y_edges, self.noise).exp()

        by_column = self.weights @ columns.T / (self.pixel[0] * self.pixel[1])  # (h, columns)
        parts = rows.split(max(1, TERMS_AT_ONCE // len(columns)))
        total = sum(float(torch.special.entr(part @ by_column).sum()) for part in parts)
        return total * step**2

    def _entropy_sharp(self) -> float:
        return float(torch.special.entr(self.weights).sum()) + math.log(math.prod(self.pixel))


def _log_normal_mass(centre: Tensor, edges: Tensor, std: float) -> Tensor:
    """Log-mass that a normal distribution puts between neighbouring edges.

    Args:
        centre: its means, with shape (n,).
        edges: increasing edges, with shape (m + 1,).
        std: its standard deviation.

    Returns:
        Logarithms, finite far into the tails, with shape (n, m).
    """
    low = (edges[:-1] - centre[:, None]) / std
    high = (edges[1:] - centre[:, None]) / std
    # The difference of two CDFs near 1 has no digits left; near 0, after a reflection, it has all.
    above = low + high > 0
    low, high = torch.where(above, -high, low), torch.where(above, -low, high)
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return log_high + (-torch.expm1(log_low - log_high)).log()

r"""2-D densities whose log-density and entropy are known exactly.

Densities are immutable once built, in float64 on the CPU, and draw only from the generator that
they are given, on its device: in float32 where that has no float64.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["Box", "CurveDensity", "Density", "GaussianMixture", "Pinwheel", "in_float64"]

# Devices that compute in float64. Apple's Metal does not, and not every one of Intel's.
FLOAT64 = ("cpu", "cuda")

Box = tuple[float, float, float, float]

# Terms (points x components) that are evaluated at once: 2 MB in float64, which stays near the
# processor and keeps a million points from asking for gigabytes.
TERMS_AT_ONCE = 2**18

# Standard deviations that the quadrature looks beyond: the mass further out is below 1e-11.
REACH = 7.0


def in_float64(x: Tensor) -> Tensor:
    """Return numbers of any shape in float64, on the CPU where their device has none."""
    # First moved, then converted: the other way round would happen on the device.
    return (x if x.device.type in FLOAT64 else x.cpu()).double()


class Density(ABC):
    """A 2-D probability density.

    Attributes:
        mean: exact mean of each coordinate, with shape (2,), float32.
        std: exact standard deviation of each coordinate, with shape (2,), float32.
        resolution: the shortest length over which the density changes, in the data's units.
    """

    mean: Tensor
    std: Tensor
    resolution: float

    # How many components one point is compared with.
    _terms: int = 1
    _entropy: float | None = None

    @abstractmethod
    def _draw(self, n: int, generator: torch.Generator) -> Tensor: ...

    @abstractmethod
    def _log_prob(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def extent(self, reach: float = 4.0) -> Box:
        """Return the box (x0, x1, y0, y1) that ends `reach` standard deviations outside."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw independent points.

        Args:
            n: the number of points.
            generator: the only source of randomness; the points lie on its device.

        Returns:
            Points in data units, with shape (n, 2), float32.
        """
        return self._on(generator.device)._draw(n, generator).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Evaluate the log-density in float64, on the CPU where the points' device has none.

        Args:
            x: points in data units, with shape (n, 2), of any floating type.

        Returns:
            Nats, with shape (n,), of the type of `x` and on its device.

        Raises:
            ValueError: `x` has another shape.
        """
        if x.ndim != 2 or x.shape[1] != 2:
            raise ValueError(f"x must have shape (n, 2), got {tuple(x.shape)}.")

        points = in_float64(x)
        here = self._on(points.device)
        rows = max(1, TERMS_AT_ONCE // self._terms)
        return torch.cat([here._log_prob(part) for part in points.split(rows)]).to(x)

    def entropy(self) -> float:
        """Return the differential entropy in nats, accurate to about 1e-6 and computed once."""
        if self._entropy is None:
            self._entropy = self._quadrature()
        return self._entropy

    def _on(self, device: torch.device) -> Density:
        """Return the same density as `device` computes with it; made once for each device."""
        if device == self.mean.device and device.type in FLOAT64:
            return self
        copies = vars(self).setdefault("_copies", {})
        if device not in copies:
            copies[device] = self._moved(device)
        return copies[device]

    def _moved(self, device: torch.device) -> Density:
        moved = copy.copy(self)
        for key, value in vars(self).items():
            if isinstance(value, Density):
                setattr(moved, key, value._on(device))
            elif isinstance(value, Tensor):
                single = device.type not in FLOAT64
                setattr(moved, key, (value.float() if single else value).to(device))
        return moved

    def _quadrature(self) -> float:
        """Integrate -p log p on a square grid of half the resolution, where there is mass.

        On a smooth function that vanishes at the border, equal weights converge exponentially.
        The plane is looked at in tiles of 4 x 4 points first. Outside the support the density
        falls like exp(-d^2 / 2) or faster, d in standard deviations, and a tile's centre is less
        than 1.5 from its corners: 40 nats below the summit, nothing within 7 is left out.
        """
        step = self.resolution / 2
        centres = _grid(self.extent(REACH), 4 * step)
        log_p = self.log_prob(centres)
        centres = centres[log_p > log_p.max() - 40]

        offsets = (torch.arange(4, dtype=torch.float64) - 1.5) * step
        points = centres[:, None] + torch.cartesian_prod(offsets, offsets)  # (tiles, 16, 2)
        log_p = self.log_prob(points.flatten(0, 1))
        return -float((log_p.exp() * log_p).nan_to_num(0.0).sum()) * step**2


def midpoints(start: float, stop: float, step: float) -> Tensor:
    """Centres of the cells of width `step` that cover [start, stop], with shape (cells,)."""
    cells = math.ceil((stop - start) / step)
    return start + step * (torch.arange(cells, dtype=torch.float64) + 0.5)


def _grid(box: Box, step: float) -> Tensor:
    """Centres of the square cells that cover `box`, with shape (cells, 2), float64."""
    return torch.cartesian_prod(midpoints(*box[:2], step), midpoints(*box[2:], step))


def cumulative(weights: Tensor) -> Tensor:
    """Running sums of `weights` of any shape, scaled to end at exactly 1; with shape (n,)."""
    sums = weights.double().flatten().cumsum(0)
    return sums / sums[-1]


def choose(cumulative: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw indices with shape (n,) by cumulative probabilities; weight 0 is never chosen."""
    u = torch.rand(n, generator=generator, device=generator.device, dtype=cumulative.dtype)
    return torch.searchsorted(cumulative, u, right=True)


def normal(n: int, generator: torch.Generator) -> Tensor:
    """Draw standard normal points with shape (n, 2)."""
    return torch.randn(n, 2, generator=generator, device=generator.device)


class GaussianMixture(Density):
    """A weighted sum of Gaussians.

    Args:
        means: the centres, with shape (k, 2).
        std: one standard deviation for all, one for each with shape (k,), or factors A of the
            covariances A A^T with shape (k, 2, 2).
        weights: relative weights, with shape (k,). Equal if None.
    """

    def __init__(
        self,
        means: Tensor | Sequence[Sequence[float]],
        std: float | Tensor | Sequence[float],
        weights: Tensor | Sequence[float] | None = None,
    ) -> None:
        means = torch.as_tensor(means, dtype=torch.float64)
        k = len(means)
        factors = torch.as_tensor(std, dtype=torch.float64)
        if factors.ndim < 3:
            factors = factors.expand(k)[:, None, None] * torch.eye(2, dtype=torch.float64)
        weights = torch.ones(k) if weights is None else torch.as_tensor(weights)
        weights = weights.double() / weights.double().sum()

        self.centres = means  # (k, 2)
        self.factors = factors  # (k, 2, 2)
        self.whiten = torch.linalg.inv(factors)  # (k, 2, 2)
        self.cumulative = cumulative(weights)
        self.log_summit = weights.log() - torch.linalg.slogdet(factors)[1] - math.log(2 * math.pi)

        spread = factors.square().sum(-1)  # (k, 2): variance of each component along x and y
        mean = weights @ means
        self.mean = mean.float()
        self.std = (weights @ (spread + (means - mean).square())).sqrt().float()
        self.reach = spread.sqrt()
        self.resolution = float(torch.linalg.svdvals(factors).min())
        self._terms = 2 * k

    def extent(self, reach: float = 4.0) -> Box:
        low = (self.centres - reach * self.reach).amin(0).tolist()
        high = (self.centres + reach * self.reach).amax(0).tolist()
        return low[0], high[0], low[1], high[1]

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        k = choose(self.cumulative, n, generator)
        noise = normal(n, generator).to(self.factors.dtype)[:, :, None]  # (n, 2, 1)
        return torch.baddbmm(self.centres[k][:, :, None], self.factors[k], noise).squeeze(2)

    def _log_prob(self, x: Tensor) -> Tensor:
        apart = x[:, None] - self.centres  # (n, k, 2)
        z = (self.whiten * apart[:, :, None]).sum(-1)  # (n, k, 2)
        return torch.logsumexp(self.log_summit - z.square().sum(-1) / 2, dim=1)


class CurveDensity(Density):
    r"""Scaled and shifted copies of one curve, blurred by Gaussian noise.

    A point is :math:`o_k + s_k c(t) + \sigma \epsilon`, with the copy k and the place t on the
    interval uniform. Its density is an integral over t, which Gauss-Legendre panels of 12 standard
    deviations with 24 nodes solve to about 1e-9 of its value (1e-5 far from the curve): to that
    accuracy, the density is a mixture of equally wide Gaussians at the nodes.

    Args:
        curve: a smooth curve, from t with shape (n,) to points with shape (n, 2).
        interval: the range of t.
        scales: the factor of each copy, with length k.
        offsets: the shift of each copy, with shape (k, 2).
        noise: the standard deviation of the blur, in data units, more than 0.
    """

    def __init__(
        self,
        curve: Callable[[Tensor], Tensor],
        interval: tuple[float, float],
        scales: Sequence[float],
        offsets: Sequence[Sequence[float]],
        noise: float,
    ) -> None:
        self.curve, self.interval, self.noise = curve, interval, noise
        self.scales = torch.tensor(scales, dtype=torch.float64)
        self.offsets = torch.tensor(offsets, dtype=torch.float64)
        self.resolution = noise

        t, weights = _gauss_legendre(interval, self._panels())
        copies = self.offsets[:, None] + self.scales[:, None, None] * curve(t)  # (k, nodes, 2)
        self.nodes = copies.flatten(0, 1)
        weights = weights.repeat(len(scales)) / len(scales)
        self.log_weights = weights.log() - math.log(2 * math.pi * noise**2)

        mean = weights @ self.nodes
        self.mean = mean.float()
        self.std = (weights @ (self.nodes - mean).square() + noise**2).sqrt().float()
        self._terms = len(self.nodes)

    def _panels(self) -> int:
        t = torch.linspace(*self.interval, 2001, dtype=torch.float64)
        longest_step = self.curve(t).diff(dim=0).norm(dim=1).max() * self.scales.abs().max()
        return math.ceil(2000 * float(longest_step) / (12 * self.noise))

    def extent(self, reach: float = 4.0) -> Box:
        low = (self.nodes.amin(0) - reach * self.noise).tolist()
        high = (self.nodes.amax(0) + reach * self.noise).tolist()
        return low[0], high[0], low[1], high[1]

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        device = generator.device
        k = torch.randint(len(self.scales), (n,), generator=generator, device=device)
        start, stop = self.interval
        t = start + (stop - start) * torch.rand(n, generator=generator, device=device)
        x = self.offsets[k] + self.scales[k, None] * self.curve(t)
        return x + self.noise * normal(n, generator)

    def _log_prob(self, x: Tensor) -> Tensor:
        # |x - c|^2 multiplied out, so that the work is one matrix product; float64 can afford it.
        x, nodes = x / self.noise, self.nodes / self.noise
        log_terms = torch.addmm(self.log_weights - nodes.square().sum(1) / 2, x, nodes.T)
        return torch.logsumexp(log_terms, dim=1) - x.square().sum(1) / 2


def _gauss_legendre(interval: tuple[float, float], panels: int) -> tuple[Tensor, Tensor]:
    """Nodes, and weights that sum to 1, of panels with 24 nodes, each with shape (24 panels,)."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(24))
    edges = torch.linspace(*interval, panels + 1, dtype=torch.float64)
    t = edges[:-1, None] + (nodes + 1) / 2 * edges.diff()[:, None]
    return t.flatten(), (weights / (2 * panels)).repeat(panels)


class Pinwheel(Density):
    r"""Five Gaussian blades, bent into a pinwheel without changing any area.

    A blade is a Gaussian about (1, 0) with standard deviation 0.3 along the radius and `noise`
    across it; five of them stand around the origin. The twist turns each point v about the origin
    by an angle that depends on its radius alone, :math:`x = R(a(|v|)) v` with
    :math:`a(r) = e^r / 4`. In polar coordinates that is :math:`(r, \theta + a(r))`, a shear, so
    the Jacobian's determinant is 1 everywhere: the log-density is that of the straight blades at
    the untwisted point, and the entropy is theirs too.

    Args:
        noise: the standard deviation across a blade, in data units, more than 0.

    References:
        The shape is from Composing graphical models with neural networks (Johnson et al., 2016),
        whose angle depends on the coordinate along the blade instead, which does change areas.
    """

    def __init__(self, noise: float) -> None:
        angles = torch.arange(5, dtype=torch.float64) * (2 * math.pi / 5)
        turns = _rotation(angles)  # (5, 2, 2)
        stretch = torch.tensor([0.3, noise], dtype=torch.float64)
        self.blades = GaussianMixture(turns[:, :, 0], turns * stretch)

        # A twist keeps |v|, and five-fold symmetry makes the covariance a multiple of 1.
        self.mean = torch.zeros(2)
        self.std = torch.full((2,), math.sqrt((1 + 0.3**2 + noise**2) / 2))
        self.resolution = self.blades.resolution
        self.noise = noise
        self._terms = self.blades._terms

    def extent(self, reach: float = 4.0) -> Box:
        radius = math.hypot(1 + reach * 0.3, reach * self.noise)
        return -radius, radius, -radius, radius

    def twist(self, v: Tensor, sign: float = 1.0) -> Tensor:
        """Bend points with shape (n, 2); with `sign` -1, straighten them."""
        angle = v.norm(dim=1).exp() * (sign / 4)
        turn = torch.polar(torch.ones_like(angle), angle)
        return torch.view_as_real(torch.view_as_complex(v.contiguous()) * turn)

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        return self.twist(self.blades._draw(n, generator))

    def _log_prob(self, x: Tensor) -> Tensor:
        return self.blades._log_prob(self.twist(x, -1.0))

    def _quadrature(self) -> float:
        return self.blades.entropy()


def _rotation(angles: Tensor) -> Tensor:
    """Rotation matrices with shape (k, 2, 2) for angles with shape (k,)."""
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)

r"""Toy densities in the plane whose log-density and entropy are known exactly.

What makes them worth having: with the truth known, a trained model's distance to it is a number,
:math:`KL(p \| q) = -E_p[\log q] - H(p)`, in nats, and not an impression from a scatter plot.

Densities are immutable once built, draw only from the generator they are given, and follow the
device of the generator or of the points.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "NOISE_MAX",
    "NOISE_MIN",
    "TOY",
    "CurveDensity",
    "Density",
    "GaussianMixture",
    "Pinwheel",
    "PixelDensity",
    "Recipe",
    "make",
]

NOISE_MIN, NOISE_MAX = 0.02, 0.5

Box = tuple[float, float, float, float]

# Terms (points x components) that are evaluated at once: 2 MB in float64, which stays near the
# processor and keeps a million points from asking for gigabytes.
_TERMS_AT_ONCE = 2**18

# Standard deviations that the quadrature looks beyond: the mass further out is below 1e-11.
_REACH = 7.0


class Density(ABC):
    """A probability density in the plane.

    Attributes:
        mean: Exact mean of each coordinate, with shape (2,), float32.
        std: Exact standard deviation of each coordinate, with shape (2,), float32.
        resolution: The shortest length over which the density changes, in the data's units.
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
            n: The number of points.
            generator: The only source of randomness; the points lie on its device.

        Returns:
            Points in data units, with shape (n, 2), float32.
        """
        return self.to(generator.device)._draw(n, generator).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Evaluate the log-density, computed in float64.

        Args:
            x: Points in data units, with shape (n, 2), of any floating type.

        Returns:
            Nats, with shape (n,), in the type of `x`.

        Raises:
            ValueError: `x` has another shape.
        """
        if x.ndim != 2 or x.shape[1] != 2:
            raise ValueError(f"x must have shape (n, 2), got {tuple(x.shape)}.")

        here = self.to(x.device)
        rows = max(1, _TERMS_AT_ONCE // self._terms)
        return torch.cat([here._log_prob(part) for part in x.double().split(rows)]).to(x.dtype)

    def entropy(self) -> float:
        """Return the differential entropy in nats, accurate to about 1e-6 and computed once."""
        if self._entropy is None:
            self._entropy = self.to("cpu")._quadrature()
        return self._entropy

    def to(self, device: torch.device | str) -> Density:
        """Return the same density with its tensors on `device` (itself if they are there)."""
        if self.mean.to(device) is self.mean:
            return self
        moved = copy.copy(self)
        for key, value in vars(self).items():
            if isinstance(value, Tensor | Density):
                setattr(moved, key, value.to(device))
        return moved

    def _quadrature(self) -> float:
        """Integrate -p log p on a square grid of half the resolution, where there is mass.

        On a smooth function that vanishes at the border, equal weights converge exponentially.
        The plane is looked at in tiles of 4 x 4 points first. Outside the support the density
        falls like exp(-d^2 / 2) or faster, d in standard deviations, and a tile's centre is less
        than 1.5 from its corners: 40 nats below the summit, nothing within 7 is left out.
        """
        step = self.resolution / 2
        centres = _grid(self.extent(_REACH), 4 * step)
        log_p = self.log_prob(centres)
        centres = centres[log_p > log_p.max() - 40]

        offsets = (torch.arange(4, dtype=torch.float64) - 1.5) * step
        points = centres[:, None] + torch.cartesian_prod(offsets, offsets)  # (tiles, 16, 2)
        log_p = self.log_prob(points.flatten(0, 1))
        return -float((log_p.exp() * log_p).nan_to_num(0.0).sum()) * step**2


def _midpoints(start: float, stop: float, step: float) -> Tensor:
    """Centres of the cells of width `step` that cover [start, stop], with shape (cells,)."""
    cells = math.ceil((stop - start) / step)
    return start + step * (torch.arange(cells, dtype=torch.float64) + 0.5)


def _grid(box: Box, step: float) -> Tensor:
    """Centres of the square cells that cover `box`, with shape (cells, 2), float64."""
    return torch.cartesian_prod(_midpoints(*box[:2], step), _midpoints(*box[2:], step))


def _cumulative(weights: Tensor) -> Tensor:
    """Running sums of `weights`, scaled to end at exactly 1."""
    sums = weights.double().flatten().cumsum(0)
    return sums / sums[-1]


def _choose(cumulative: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw n indices with the given cumulative probabilities; weight 0 is never chosen."""
    u = torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64)
    return torch.searchsorted(cumulative, u, right=True)


def _normal(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 2, generator=generator, device=generator.device)


class GaussianMixture(Density):
    """A weighted sum of Gaussians.

    Args:
        means: The centres, with shape (k, 2).
        std: One standard deviation for all, one for each with shape (k,), or factors A of the
            covariances A A^T with shape (k, 2, 2).
        weights: Relative weights, with shape (k,). Equal if None.
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
        self.cumulative = _cumulative(weights)
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
        k = _choose(self.cumulative, n, generator)
        noise = _normal(n, generator).double()[:, :, None]  # (n, 2, 1)
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
        curve: A smooth curve, from t with shape (n,) to points with shape (n, 2).
        interval: The range of t.
        scales: The factor of each copy, with length k.
        offsets: The shift of each copy, with shape (k, 2).
        noise: The standard deviation of the blur, in data units, more than 0.
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
        return x + self.noise * _normal(n, generator)

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


class PixelDensity(Density):
    r"""A grid of pixels, each of constant density, blurred by Gaussian noise.

    The blur of a box is a product of differences of normal CDFs, so that
    :math:`p(x, y) = \Phi_y(y)^T W \Phi_x(x)` with one entry of :math:`\Phi` per row and column.

    Args:
        weights: The mass of each pixel up to a factor, at least 0, with shape (h, w). The first
            row is the top one, as in an image.
        box: The edges (x0, x1, y0, y1) of the grid, in data units; y points upwards.
        noise: The standard deviation of the blur, in data units. 0 leaves the pixels sharp.

    Raises:
        ValueError: A weight is negative or not finite, or all are 0.
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
        self.cumulative = _cumulative(weights)
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
        cell = _choose(self.cumulative, n, generator)
        corner = torch.stack([cell % self.weights.shape[1], cell // self.weights.shape[1]], dim=1)
        place = corner + torch.rand(n, 2, generator=generator, device=generator.device)
        # Filled in, not copied from a list: a copy would make a GPU wait at each batch.
        x = place[:, 0] * self.pixel[0] + self.box[0]
        y = place[:, 1] * self.pixel[1] + self.box[2]
        return torch.stack([x, y], dim=1) + self.noise * _normal(n, generator)

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
        x0, x1, y0, y1 = self.extent(_REACH)
        columns = _log_normal_mass(_midpoints(x0, x1, step), self.x_edges, self.noise).exp()
        rows = _log_normal_mass(_midpoints(y0, y1, step), self.y_edges, self.noise).exp()

        by_column = self.weights @ columns.T / (self.pixel[0] * self.pixel[1])  # (h, columns)
        parts = rows.split(max(1, _TERMS_AT_ONCE // len(columns)))
        total = sum(float(torch.special.entr(part @ by_column).sum()) for part in parts)
        return total * step**2

    def _entropy_sharp(self) -> float:
        return float(torch.special.entr(self.weights).sum()) + math.log(math.prod(self.pixel))


def _log_normal_mass(centre: Tensor, edges: Tensor, std: float) -> Tensor:
    """Log-mass that a normal distribution puts between neighbouring edges.

    Args:
        centre: Its means, with shape (n,).
        edges: Increasing edges, with shape (m + 1,).
        std: Its standard deviation.

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


class Pinwheel(Density):
    r"""Five Gaussian blades, bent into a pinwheel without changing any area.

    A blade is a Gaussian about (1, 0) with standard deviation 0.3 along the radius and `noise`
    across it; five of them stand around the origin. The twist turns each point v about the origin
    by an angle that depends on its radius alone, :math:`x = R(a(|v|)) v` with
    :math:`a(r) = e^r / 4`. In polar coordinates that is :math:`(r, \theta + a(r))`, a shear, so
    the Jacobian's determinant is 1 everywhere: the log-density is that of the straight blades at
    the untwisted point, and the entropy is theirs too.

    Args:
        noise: The standard deviation across a blade, in data units, more than 0.

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


def _arc(t: Tensor) -> Tensor:
    return torch.stack([t.cos(), t.sin()], dim=1)


def _spiral(t: Tensor) -> Tensor:
    # The square root makes the speed nearly constant, so that points are spread evenly.
    angle = t.sqrt()
    return angle[:, None] * _arc(angle) * (2 / (3.5 * math.pi))


def _two_moons(noise: float) -> Density:
    # scikit-learn's: the lower moon is the upper one turned by half a turn about (0.5, 0.25).
    return CurveDensity(_arc, (0, math.pi), [1, -1], [[0, 0], [1, 0.5]], noise)


def _ring(noise: float) -> Density:
    angles = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    return GaussianMixture(_arc(angles), noise)


def _square_grid(noise: float) -> Density:
    places = torch.arange(-2.0, 3.0)
    return GaussianMixture(torch.cartesian_prod(places, places), noise)


def _mixture(noise: float) -> Density:
    means = [[-1.7, -0.8], [-0.8, 1.3], [0.2, -0.1], [1.3, 1.2], [1.6, -1.2]]
    widths = torch.tensor([1.2, 1.0, 0.7, 1.4, 1.0])
    return GaussianMixture(means, noise * widths, [0.3, 0.25, 0.15, 0.1, 0.2])


def _spirals(noise: float) -> Density:
    start, stop = 0.5 * math.pi, 3.5 * math.pi
    return CurveDensity(_spiral, (start**2, stop**2), [1, -1], [[0, 0], [0, 0]], noise)


def _checkerboard(noise: float) -> Density:
    row, column = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    return PixelDensity((row + column) % 2, (-2, 2, -2, 2), noise)


def _circles(noise: float) -> Density:
    return CurveDensity(_arc, (0, 2 * math.pi), [1, 0.5], [[0, 0], [0, 0]], noise)


@dataclass(frozen=True)
class Recipe:
    """How a toy set is called, what it shows, and how it is made.

    Attributes:
        label: Its name on a page.
        about: One line about it.
        noise: The default noise, in data units.
        build: Makes the density for a noise.
    """

    label: str
    about: str
    noise: float
    build: Callable[[float], Density]


TOY: dict[str, Recipe] = {
    "two_moons": Recipe(
        "Two moons", "Two half circles that hook into each other.", 0.1, _two_moons
    ),
    "ring": Recipe("Ring of 8", "Eight Gaussians on a circle: which are missed?", 0.1, _ring),
    "grid": Recipe("Grid of 25", "Twenty-five Gaussians, five by five.", 0.05, _square_grid),
    "mixture": Recipe(
        "Mixture of 5", "Five unequal Gaussians, as 1,000 fixed points.", 0.25, _mixture
    ),
    "pinwheel": Recipe("Pinwheel", "Five blades that bend as they go outwards.", 0.05, Pinwheel),
    "spirals": Recipe("Two spirals", "Two arms that wind around each other.", 0.05, _spirals),
    "checkerboard": Recipe(
        "Checkerboard", "Eight squares with sharp edges and corners.", 0.05, _checkerboard
    ),
    "circles": Recipe("Two circles", "One closed curve inside another.", 0.05, _circles),
}


@lru_cache(maxsize=128)
def make(name: str, noise: float | None = None) -> Density:
    """Return the toy density `name`; the same object, its entropy kept, for the same arguments.

    Args:
        name: A key of `TOY`.
        noise: The width of the set's Gaussian noise in data units, from 0.02 to 0.5: of each
            Gaussian (ring, grid; times 0.7 to 1.4 in the mixture), across a blade (pinwheel), or
            of the blur (all others). The recipe's default if None.

    Returns:
        The density, on the CPU.

    Raises:
        ValueError: The name is unknown, or the noise is out of its range.

    Examples:
        >>> moons = make("two_moons", 0.05)
        >>> round(moons.entropy(), 3)  # nats: no model has a lower NLL
        0.289
        >>> moons.sample(3, torch.Generator().manual_seed(0)).shape
        torch.Size([3, 2])
    """
    if name not in TOY:
        raise ValueError(f"name must be one of {', '.join(TOY)}; got {name!r}.")
    recipe = TOY[name]
    noise = recipe.noise if noise is None else noise
    if not NOISE_MIN <= noise <= NOISE_MAX:
        raise ValueError(f"noise must be between {NOISE_MIN} and {NOISE_MAX}, got {noise}.")
    return recipe.build(noise)

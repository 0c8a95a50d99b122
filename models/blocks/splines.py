"""Couplings that bend: monotone curves made of rational-quadratic pieces (Durkan et al., 2019)."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.layers import Coupling, Result

Tails = Literal["linear", "circular", "free"]

# No piece is narrower or lower than this fraction of the box, and no slope at a knot is smaller.
LEAST = 1e-3
# softplus(_SLOPE_ONE) + LEAST = 1: a raw slope of zero means slope one.
_SLOPE_ONE = math.log(math.expm1(1 - LEAST))


class SplineCoupling(Coupling):
    """Bend the active half by a monotone rational-quadratic spline with knots set by the other.

    Outside ``[-tail, tail]`` the map is the identity; with a zero conditioner it is so everywhere.

    Args:
        conditioner: network with :func:`parameters_of` outputs per active coordinate.
        flip: see :class:`~models.blocks.layers.Coupling`.
        bins: pieces of the spline.
        tail: half the width of the interval that is bent, in standardised units.
        tails: see :func:`rational_quadratic`.

    References:
        Neural Spline Flows (Durkan, Bekasov, Murray, Papamakarios, 2019), equations 4-8.
        https://arxiv.org/abs/1906.04032
    """

    def __init__(
        self,
        conditioner: nn.Module,
        *,
        flip: bool = False,
        bins: int = 8,
        tail: float = 4.0,
        tails: Tails = "linear",
    ) -> None:
        super().__init__(conditioner, flip=flip)
        self.bins = bins
        self.tail = tail
        self.tails = tails

    def _to_data(self, active: Tensor, parameters: Tensor) -> Result:
        return self._spline(active, parameters, inverse=True)

    def _to_latent(self, active: Tensor, parameters: Tensor) -> Result:
        return self._spline(active, parameters, inverse=False)

    def _spline(self, active: Tensor, parameters: Tensor, *, inverse: bool) -> Result:
        parameters = parameters.view(*active.shape, parameters_of(self.bins, self.tails))
        moved, log_slope = rational_quadratic(
            active, parameters, tail=self.tail, tails=self.tails, inverse=inverse
        )
        return moved, log_slope.flatten(1).sum(1)


def parameters_of(bins: int, tails: Tails = "linear") -> int:
    """Return how many numbers describe a spline: widths, heights, and the slopes not given.

    Examples:
        >>> parameters_of(8), parameters_of(8, "circular")
        (23, 24)
    """
    return 3 * bins + {"linear": -1, "circular": 0, "free": 1}[tails]


def rational_quadratic(
    x: Tensor,
    parameters: Tensor,
    *,
    tail: float,
    tails: Tails = "linear",
    inverse: bool = False,
    least: float = LEAST,
) -> Result:
    """Bend numbers by monotone splines; also return the logarithm of the slope at each.

    A spline goes through knots from ``(-tail, -tail)`` to ``(tail, tail)``. Outside that box it is
    the identity.

    Args:
        x: where to look, any shape ``(...)``.
        parameters: of the spline of each number, ``(..., parameters_of(bins, tails))``: K raw
            widths, K raw heights, raw slopes at knots. Zeros are the identity. Where many share a
            spline, dimensions of size one will do.
        tail: half the side of the box.
        tails: ``"linear"``: slope one at both ends, so that the curve leaves the box without a
            bend. ``"circular"``: numbers are angles, and both ends of the box are one place: its
            slope is learned, the first of K. ``"free"``: all K + 1 slopes are learned, for numbers
            that are never outside.
        inverse: go from the height of the curve to the place.
        least: no piece is narrower or lower than this fraction of the box.

    Returns:
        Places on the other axis, and log-slopes of the way taken, both of the shape of ``x``.

    References:
        Neural Spline Flows (Durkan et al., 2019), equations 4-8. https://arxiv.org/abs/1906.04032
        Normalizing Flows on Tori and Spheres (Rezende et al., 2020), section 2.1.2: circles.
        https://arxiv.org/abs/2002.02428
    """
    place = x.clamp(-tail, tail)
    x0, y0, width, height, d0, d1 = _pieces(place, parameters, tail, tails, least, by=int(inverse))
    slope = height / width
    excess = d0 + d1 - 2 * slope
    # How far along its piece a number is, from 0 to 1.
    t = _solve(place - y0, height, slope, d0, excess) if inverse else (place - x0) / width
    mixed = t * (1 - t)
    below = slope + excess * mixed
    moved = x0 + t * width if inverse else y0 + height * (slope * t * t + d0 * mixed) / below
    above = d1 * t * t + 2 * slope * mixed + d0 * (1 - t) ** 2
    log_slope = above.log() + 2 * (slope.log() - below.log())
    inside = place == x
    moved = torch.where(inside, moved, x)
    return moved, torch.where(inside, -log_slope if inverse else log_slope, 0.0)


def _pieces(
    place: Tensor, parameters: Tensor, tail: float, tails: Tails, least: float, *, by: int
) -> tuple[Tensor, ...]:
    """Return of the piece that each place is on: left end, foot, width, height, slopes at its ends.

    All of the shape of ``place``, which is a place from left to right (``by`` 0) or a height (1).
    """
    # What describes a spline comes first: sums over it then run along whole batches at once.
    raw = parameters.movedim(-1, 0)
    bins = (len(raw) + 1) // 3
    fractions = raw[: 2 * bins].unflatten(0, (2, bins)).softmax(1)
    sizes = 2 * tail * (least + (1 - least * bins) * fractions)
    starts = sizes.cumsum(1) - sizes - tail
    # An index instead of a mask: nothing on the host has to know how many are inside.
    index = (place >= starts[by, 1:]).sum(0).expand(4, 1, *place.shape)
    table = torch.cat([starts, sizes]).expand(4, bins, *place.shape)
    x0, y0, width, height = table.gather(1, index).squeeze(1)
    slopes = _knots(raw[2 * bins :], tails).expand(bins + 1, *place.shape)
    ends = torch.cat([index[0], index[0] + 1])
    d0, d1 = F.softplus(slopes.gather(0, ends) + _SLOPE_ONE) + LEAST
    return x0, y0, width, height, d0, d1


def _knots(slopes: Tensor, tails: Tails) -> Tensor:
    """Return raw slopes at all knots, ``(K + 1, ...)``, from those that are learned."""
    if tails == "free":
        return slopes
    if tails == "circular":
        return torch.cat([slopes, slopes[:1]])
    return F.pad(slopes, (0, 0) * (slopes.dim() - 1) + (1, 1))


def _solve(rise: Tensor, height: Tensor, slope: Tensor, d0: Tensor, excess: Tensor) -> Tensor:
    """Return where a piece has risen so far, from 0 to 1: equations 6-8 of the paper."""
    a = rise * excess + height * (slope - d0)
    b = height * d0 - rise * excess
    c = -slope * rise
    # Rounded below zero, it would have no root; at zero, the root no slope.
    root = (b * b - 4 * a * c).clamp_min(torch.finfo(a.dtype).tiny).sqrt()
    return (2 * c / (-b - root)).clamp(0, 1)


class MarginalSplines(nn.Module):
    """Spread each pixel evenly over [0, 1]: towards the latent, by a monotone spline of its own.

    With the distribution function of each pixel in the place of its value, layers behind it need
    not learn that most of a digit's frame is black.

    Args:
        shape: of an image, with values in [0, 1].
        bins: pieces of each spline; :meth:`initialise` makes them hold equally many values each.
    """

    LEAST = 1e-6  # a byte is 1/256 wide, and all of a spline may be needed inside it

    def __init__(self, shape: tuple[int, ...], *, bins: int = 12) -> None:
        super().__init__()
        self.bins = bins
        self.curves = nn.Parameter(torch.zeros(*shape, parameters_of(bins, "free")))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set the splines from images ``(B, ...)``: quantiles of each pixel become its knots."""
        inner = torch.linspace(0, 1, self.bins + 1, device=x.device)[1:-1]
        knots = F.pad(x.quantile(inner, dim=0).movedim(0, -1), (1, 0))
        widths = torch.cat([knots, torch.ones_like(knots[..., :1])], -1).diff()
        fractions = (widths - self.LEAST).clamp_min(self.LEAST)
        slopes = 1 / (self.bins * widths.clamp_min(self.LEAST))
        at_knots = (F.pad(slopes, (1, 0)) + F.pad(slopes, (0, 1))) / 2
        at_knots[..., 0], at_knots[..., -1] = slopes[..., 0], slopes[..., -1]
        soft = (at_knots - LEAST).clamp_min(LEAST)
        raw = soft + (-(-soft).expm1()).log() - _SLOPE_ONE  # what softplus undoes
        self.curves.copy_(torch.cat([fractions.log(), torch.zeros_like(widths), raw], -1))

    def inverse(self, x: Tensor) -> Result:
        """Map images ``(B, ...)`` to the same shape; also ``log |det dz/dx|``, shape ``(B,)``."""
        return self._bend(x, inverse=False)

    def forward(self, z: Tensor) -> Result:
        """Map ``(B, ...)`` to images; also ``log |det dx/dz|``, shape ``(B,)``."""
        return self._bend(z, inverse=True)

    def _bend(self, v: Tensor, *, inverse: bool) -> Result:
        moved, log_slope = rational_quadratic(
            2 * v - 1, self.curves[None], tail=1, tails="free", inverse=inverse, least=self.LEAST
        )
        return (moved + 1) / 2, log_slope.flatten(1).sum(1)

"""Flow matching: learn the velocity of a path from noise to data, and follow it by a solver.

Time runs from 0, noise, to 1, data. What is learned is a continuous normalizing flow: one
invertible layer, whose log-determinant is the integral of the divergence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.functional import silu

from models.flow import Flow
from models.layers import Result, blank
from models.ode import states
from models.priors import Gaussian

FREQUENCIES = 8  # of the waves that tell a network the time
EDGE = 1e-3  # times closer to an end than this are not asked for where a prediction is divided by
EXACT = 8  # dimensions up to which the divergence is exact; beyond, it is estimated


# -- paths: where a point is between noise and data ------------------------------------------------


@dataclass(frozen=True, slots=True)
class Weights:
    """Of a path at some times: ``x = data * x1 + noise * x0``, and the derivatives by time.

    Each is a tensor of the shape of the times.
    """

    data: Tensor
    noise: Tensor
    data_rate: Tensor
    noise_rate: Tensor


def straight(t: Tensor) -> Weights:
    """Return the weights of the straight path, at times of any shape: ``x = t x1 + (1 - t) x0``.

    References:
        Flow Matching for Generative Modeling (Lipman et al., 2022), equation 20, for the smallest
        standard deviation 0. https://arxiv.org/abs/2210.02747
        Flow Straight and Fast (Liu, Gong, Liu, 2022), equation 1. https://arxiv.org/abs/2209.03003
    """
    one = torch.ones_like(t)
    return Weights(t, 1 - t, one, -one)


def variance_preserving(t: Tensor) -> Weights:
    """Return the weights of a path that keeps the variance, at times of any shape.

    The squares of both weights add up to 1, as in diffusion. How fast the noise goes is one of many
    clocks: here a quarter of a circle, which has a velocity at both ends.

    References:
        Denoising Diffusion Probabilistic Models (Ho, Jain, Abbeel, 2020), equation 4.
        https://arxiv.org/abs/2006.11239
        Score-Based Generative Modeling through Stochastic Differential Equations (Song et al.,
        2020), section 3.4. https://arxiv.org/abs/2011.13456
        Building Normalizing Flows with Stochastic Interpolants (Albergo, Vanden-Eijnden, 2022),
        equation 5: the quarter of a circle. https://arxiv.org/abs/2209.15571
    """
    sine, cosine = torch.sin(t * math.pi / 2), torch.cos(t * math.pi / 2)
    return Weights(sine, cosine, math.pi / 2 * cosine, -math.pi / 2 * sine)


PATHS = {
    "straight": straight,
    "variance_preserving": variance_preserving,
    "optimal_transport": straight,  # between pairs that are not drawn, but chosen
}


def paired(noise: Tensor, data: Tensor) -> Tensor:
    """Return a batch of noise in the order that makes the ways to the data shortest in all.

    Args:
        noise: ``(B, ...)``.
        data: ``(B, ...)``.

    References:
        Improving and generalizing flow-based generative models with minibatch optimal transport
        (Tong et al., 2023), section 3.2.4. https://arxiv.org/abs/2302.00482
    """
    from scipy.optimize import linear_sum_assignment  # a second, that only this path has to wait

    far = torch.cdist(data.flatten(1).double(), noise.flatten(1).double()).square()
    _, order = linear_sum_assignment(far.cpu().numpy())
    return noise[torch.from_numpy(order).to(noise.device)]


# -- targets: what the network is asked for --------------------------------------------------------


def wanted(target: str, weights: Weights, noise: Tensor, data: Tensor) -> Tensor:
    """Return what the network should say, of the shape of ``data``.

    Args:
        target: a name in ``TARGETS``.
        weights: of the path, of a shape that spreads over that of the data.
        noise: one end of the path, ``(B, ...)``.
        data: the other, of the same shape.
    """
    if target == "velocity":
        return weights.data_rate * data + weights.noise_rate * noise
    return noise if target == "noise" else data


def velocity_of(target: str, weights: Weights, x: Tensor, said: Tensor) -> Tensor:
    """Return the velocity at ``x`` that follows from what the network says there.

    Of the two ends of a path one is predicted, the other one is what is missing to ``x``.

    Args:
        target: a name in ``TARGETS``.
        weights: of the path, of a shape that spreads over that of ``x``.
        x: points on their way, ``(B, ...)``.
        said: by the network, of the same shape.
    """
    if target == "velocity":
        return said
    if target == "noise":
        noise, data = said, (x - weights.noise * said) / weights.data
    else:
        noise, data = (x - weights.data * said) / weights.noise, said
    return weights.data_rate * data + weights.noise_rate * noise


TARGETS = ("velocity", "noise", "data")


# -- networks --------------------------------------------------------------------------------------


def waves(t: Tensor) -> Tensor:
    """Return times ``(B,)`` as cosines and sines of growing frequency, ``(B, 2 FREQUENCIES)``."""
    turns = math.pi * t[:, None] * torch.arange(1, FREQUENCIES + 1, device=t.device, dtype=t.dtype)
    return torch.cat([turns.cos(), turns.sin()], dim=1)


class VelocityNet(nn.Module):
    """A fully connected network of a point and a time.

    Args:
        features: D, the dimension of the points.
        hidden: width of the hidden layers.
        depth: number of hidden layers.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        depth: int,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        widths = [features + 2 * FREQUENCIES, *[hidden] * depth, features]
        self.layers = nn.ModuleList(blank(nn.Linear, a, b) for a, b in pairwise(widths))
        for layer in self.layers:
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return what is predicted of points ``(B, D)`` at times ``(B,)``, shape ``(B, D)``."""
        h = torch.cat([x, waves(t)], dim=1)
        *inner, last = self.layers
        for layer in inner:
            h = silu(layer(h))
        return last(h)


# -- the layer -------------------------------------------------------------------------------------


class Transport(nn.Module):
    """An invertible layer that follows a velocity: from noise, time 0, to data, time 1.

    Solver and number of steps are no weights: they can be changed at any time.

    Args:
        network: predicts, of points and times, the target.
        path: a name in ``PATHS``.
        target: a name in ``TARGETS``.

    Attributes:
        solver: a name in ``models.ode.SOLVERS``.
        steps: of it, from one end to the other.

    References:
        Neural Ordinary Differential Equations (Chen, Rubanova, Bettencourt, Duvenaud, 2018),
        theorem 1: the change of the density. https://arxiv.org/abs/1806.07366
        FFJORD (Grathwohl et al., 2018), section 3.1: Hutchinson's estimate of the divergence.
        https://arxiv.org/abs/1810.01367
    """

    def __init__(
        self, network: nn.Module, *, path: str = "straight", target: str = "velocity"
    ) -> None:
        super().__init__()
        self.network = network
        self.path = path
        self.target = target
        self.solver = "rk4"
        self.steps = 16

    def velocity(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Return the velocity of points ``(B, ...)`` at one time or at times ``(B,)``."""
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x))
        if self.target != "velocity":
            t = t.clamp(EDGE, 1 - EDGE)
        weights = PATHS[self.path](t.view(-1, *[1] * (x.dim() - 1)))
        return velocity_of(self.target, weights, x, self.network(x, t))

    def loss(self, noise: Tensor, data: Tensor, t: Tensor) -> Tensor:
        """Return the squared error of what the network says on the way, a mean over all.

        Args:
            noise: one end of each path, ``(B, ...)``.
            data: the other, of the same shape.
            t: times, ``(B,)``.
        """
        weights = PATHS[self.path](t.view(-1, *[1] * (data.dim() - 1)))
        x = weights.data * data + weights.noise * noise
        said = self.network(x, t)
        return (said - wanted(self.target, weights, noise, data)).square().mean()

    def divergence(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Return the velocity of points ``(B, D)`` and its divergence, shape ``(B,)``, exactly.

        A derivative along each coordinate, all at once: D times as many points go forward with it.
        """
        count, features = x.shape
        along = torch.eye(features, dtype=x.dtype, device=x.device)
        along = along.repeat_interleave(count, dim=0)
        velocity, change = self._derivative(x.repeat(features, 1), t, along)
        diagonal = (change * along).sum(1).view(features, count)
        return velocity[:count], diagonal.sum(0)

    def _derivative(self, x: Tensor, t: float, along: Tensor) -> tuple[Tensor, Tensor]:
        """Return the velocity, and its derivative along a direction of each point."""
        with forward_ad.dual_level():
            dual = self.velocity(forward_ad.make_dual(x, along), t)
            velocity, change = forward_ad.unpack_dual(dual)
        return velocity, change

    def follow(self, x: Tensor, *, start: float = 0.0, end: float = 1.0) -> Tensor:
        """Return where points ``(B, ...)`` get to between two times."""
        *_, (_, x) = self.way(x, start=start, end=end)
        return x

    def way(
        self, x: Tensor, *, start: float = 0.0, end: float = 1.0
    ) -> Iterator[tuple[float, Tensor]]:
        """Yield time and points ``(B, ...)`` at the start and after each step of the solver."""
        how = {"solver": self.solver, "steps": self.steps}
        return states(lambda t, y: self.velocity(y, t), x, start=start, end=end, **how)

    def forward(self, z: Tensor) -> Result:
        """Map noise ``(B, D)`` to data; also return ``log |det dx/dz|``, shape ``(B,)``."""
        *_, (_, x, log_det) = self.way_with_log_det(z)
        return x, log_det

    def inverse(self, x: Tensor) -> Result:
        """Map data ``(B, D)`` to noise; also return ``log |det dz/dx|``, shape ``(B,)``."""
        *_, (_, z, log_det) = self.way_with_log_det(x, start=1.0, end=0.0)
        return z, log_det

    def way_with_log_det(
        self, x: Tensor, *, start: float = 0.0, end: float = 1.0
    ) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Yield time, points ``(B, D)`` and ``log |det|`` of the way so far, shape ``(B,)``."""

        def velocity(t: float, y: Tensor) -> Tensor:
            change, divergence = self.divergence(y[:, :-1], t)
            return torch.cat([change, divergence[:, None]], dim=1)

        y = torch.cat([x, x.new_zeros(len(x), 1)], dim=1)
        how = {"solver": self.solver, "steps": self.steps}
        for t, state in states(velocity, y, start=start, end=end, **how):
            yield t, state[:, :-1], state[:, -1]


def flow_matching(
    *,
    features: int = 2,
    hidden: int = 128,
    depth: int = 3,
    path: str = "straight",
    target: str = "velocity",
    generator: torch.Generator | None = None,
) -> Flow:
    """Build a flow over points of shape ``(B, features)`` that is one transport.

    Args:
        features: dimension of the data.
        hidden: width of the hidden layers of the network.
        depth: number of them.
        path: a name in ``PATHS``.
        target: a name in ``TARGETS``.
        generator: source of the initial weights.

    References:
        Flow Matching for Generative Modeling. https://arxiv.org/abs/2210.02747
    """
    network = VelocityNet(features, hidden, depth, generator=generator)
    return Flow(Gaussian(features), [Transport(network, path=path, target=target)])

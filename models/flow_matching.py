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
from torch.nn.functional import silu

from models.blocks.image_layers import ImageShape
from models.blocks.layers import Result, blank, given
from models.blocks.ode import states
from models.blocks.priors import Gaussian
from models.blocks.unet import UNet
from models.flow import Flow

TIMES, PLACES = 8, 4  # frequencies of the waves that tell a network the time, and the place
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


def ends_of(weights: Weights, x: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    """Return noise and data that a place and a velocity there belong to, ``(B, ...)`` each.

    With a mean velocity they are means, too: what is expected of both ends, given the place. The
    score is the first one over ``-weights.noise``.

    Args:
        weights: of the path, of a shape that spreads over that of ``x``.
        x: points on their way, ``(B, ...)``.
        velocity: of the same shape.
    """
    area = weights.data * weights.noise_rate - weights.data_rate * weights.noise
    noise = (weights.data * velocity - weights.data_rate * x) / area
    data = (weights.noise_rate * x - weights.noise * velocity) / area
    return noise, data


TARGETS = ("velocity", "noise", "data")


# -- networks --------------------------------------------------------------------------------------


def waves(v: Tensor, count: int, unit: float) -> Tensor:
    """Return numbers ``(B, N)`` as cosines and sines, ``(B, 2 N count)``, finer and finer.

    A network learns fine detail of what comes in waves far sooner than of plain numbers.

    Args:
        v: numbers.
        count: of frequencies.
        unit: the lowest one; the others are its multiples.

    References:
        Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains
        (Tancik et al., 2020), section 4. https://arxiv.org/abs/2006.10739
    """
    steps = unit * torch.arange(1, count + 1, device=v.device, dtype=v.dtype)
    turns = (v[:, :, None] * steps).flatten(1)
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
        widths = [features * (1 + 2 * PLACES) + 2 * TIMES, *[hidden] * depth, features]
        self.layers = nn.ModuleList(blank(nn.Linear, a, b) for a, b in pairwise(widths))
        for layer in self.layers:
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return what is predicted of points ``(B, D)`` at times ``(B,)``, shape ``(B, D)``."""
        h = torch.cat([x, waves(x, PLACES, 1.0), waves(t[:, None], TIMES, math.pi)], dim=1)
        *inner, last = self.layers
        for layer in inner:
            h = silu(layer(h))
        return last(h)


# -- the layer -------------------------------------------------------------------------------------


class Transport(nn.Module):
    """An invertible layer that follows a velocity: from noise, time 0, to data, time 1.

    Solver, steps, guidance and probes are no weights: ``solved`` changes them without training.

    Args:
        network: predicts, of points and times, the target.
        path: a name in ``PATHS``.
        target: a name in ``TARGETS``.

    Attributes:
        solver: a name in ``models.blocks.ode.SOLVERS``.
        steps: of it, from one end to the other.
        guidance: how far beyond the velocity of any class to go towards that of the given one; 1
            goes all the way, more makes it more typical. The density is then that of the velocity.
        probes: of the divergence beyond ``EXACT`` dimensions.
        probe_seed: of their source of randomness.

    References:
        Neural Ordinary Differential Equations (Chen, Rubanova, Bettencourt, Duvenaud, 2018),
        theorem 1: the change of the density. https://arxiv.org/abs/1806.07366
        FFJORD (Grathwohl et al., 2018), section 3.1: Hutchinson's estimate of the divergence.
        https://arxiv.org/abs/1810.01367
        Classifier-Free Diffusion Guidance (Ho, Salimans, 2022), equation 6.
        https://arxiv.org/abs/2207.12598
    """

    def __init__(
        self, network: nn.Module, *, path: str = "straight", target: str = "velocity"
    ) -> None:
        super().__init__()
        self.network = network
        self.path = path
        self.target = target
        self.solver = "rk4"
        self.steps = 12
        self.guidance = 1.0
        self.probes = 1
        self.probe_seed = 0

    def at(self, t: Tensor, like: Tensor) -> Weights:
        """Return the weights of the path at times ``(B,)``, to multiply ``like``, ``(B, ...)``."""
        return PATHS[self.path](t.view(-1, *[1] * (like.dim() - 1)))

    def velocity(self, x: Tensor, t: float, context: Tensor | None = None) -> Tensor:
        """Return the velocity of points ``(B, ...)`` at a time; ``context`` is ``(B, K)``."""
        if self.target != "velocity":
            t = min(max(t, EDGE), 1 - EDGE)
        times = torch.full((len(x),), t, dtype=x.dtype, device=x.device)
        said = self.network(x, times, **given(self.network, context))
        if context is not None and self.guidance != 1:
            free = self.network(x, times, torch.zeros_like(context))
            said = free + self.guidance * (said - free)
        return velocity_of(self.target, self.at(times, x), x, said)

    def loss(self, noise: Tensor, data: Tensor, t: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the squared error of what the network says on the way, a mean for each, ``(B,)``.

        Args:
            noise: one end of each path, ``(B, ...)``.
            data: the other, of the same shape.
            t: times, ``(B,)``.
            context: ``(B, K)``, all zeros where the class is hidden.
        """
        at = self.at(t, data)
        x = at.data * data + at.noise * noise
        said = self.network(x, t, **given(self.network, context))
        return (said - wanted(self.target, at, noise, data)).square().flatten(1).mean(1)

    def divergence(
        self, x: Tensor, t: float, context: Tensor | None = None, probes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the velocity of points ``(B, ...)`` and its divergence, shape ``(B,)``.

        Args:
            x: points.
            t: time.
            context: ``(B, K)``.
            probes: directions ``(P, B, ...)`` whose entries are 1 or -1; what is expected of their
                mean is the divergence. The exact one, coordinate by coordinate, if ``None``.
        """
        onward = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            velocity = self.velocity(x, t, context)
            if probes is None:
                units = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device)
                along = units.view(-1, 1, *x.shape[1:]).expand(-1, *x.shape)
            else:
                along = probes
            parts = [
                torch.autograd.grad(velocity, x, v, retain_graph=True, create_graph=onward)[0] * v
                for v in along
            ]
        total = sum(part.flatten(1).sum(1) for part in parts)
        divergence = total if probes is None else total / len(probes)
        return (velocity, divergence) if onward else (velocity.detach(), divergence.detach())

    def follow(
        self, x: Tensor, context: Tensor | None = None, *, start: float = 0.0, end: float = 1.0
    ) -> Tensor:
        """Return where points ``(B, ...)`` get to between two times."""
        *_, (_, x) = self.trajectory(x, context, start=start, end=end)
        return x

    def trajectory(
        self, x: Tensor, context: Tensor | None = None, *, start: float = 0.0, end: float = 1.0
    ) -> Iterator[tuple[float, Tensor]]:
        """Yield time and points ``(B, ...)`` at the start and after each step of the solver."""
        how = {"solver": self.solver, "steps": self.steps}
        return states(lambda t, y: self.velocity(y, t, context), x, start=start, end=end, **how)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Result:
        """Map noise ``(B, ...)`` to data; also return ``log |det dx/dz|``, shape ``(B,)``."""
        *_, (_, x, log_det) = self.trajectory_with_log_det(z, context)
        return x, log_det

    def inverse(self, x: Tensor, context: Tensor | None = None) -> Result:
        """Map data ``(B, ...)`` to noise; also return ``log |det dz/dx|``, shape ``(B,)``."""
        *_, (_, z, log_det) = self.trajectory_with_log_det(x, context, start=1.0, end=0.0)
        return z, log_det

    def trajectory_with_log_det(
        self, x: Tensor, context: Tensor | None = None, *, start: float = 0.0, end: float = 1.0
    ) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Yield time, points ``(B, ...)`` and ``log |det|`` of the way so far, shape ``(B,)``.

        Beyond ``EXACT`` dimensions the last one is an estimate without bias, by probes that stay
        the same all the way.
        """
        shape, probes = x.shape, self._drawn_probes(x)

        def velocity(t: float, y: Tensor) -> Tensor:
            at = y[:, :-1].reshape(shape)
            change, divergence = self.divergence(at, t, context, probes)
            return torch.cat([change.flatten(1), divergence[:, None]], dim=1)

        y = torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], dim=1)
        how = {"solver": self.solver, "steps": self.steps}
        for t, state in states(velocity, y, start=start, end=end, **how):
            yield t, state[:, :-1].reshape(shape), state[:, -1]

    def _drawn_probes(self, x: Tensor) -> Tensor | None:
        if x[0].numel() <= EXACT:
            return None
        source = torch.Generator().manual_seed(self.probe_seed)
        signs = torch.randint(0, 2, (self.probes, *x.shape), generator=source)
        return (2 * signs - 1).to(x)


class Centred(nn.Module):
    """Pixels in [0, 1] towards the data, in [-1, 1] towards the noise."""

    def inverse(self, x: Tensor) -> Result:
        """Map images ``(B, ...)``; also return the log-determinant, shape ``(B,)``."""
        return 2 * x - 1, self._log_det(x)

    def forward(self, z: Tensor) -> Result:
        """Map back to images ``(B, ...)``; also return the log-determinant, shape ``(B,)``."""
        return (z + 1) / 2, -self._log_det(z)

    def _log_det(self, x: Tensor) -> Tensor:
        return x.new_full((len(x),), x[0].numel() * math.log(2))


def solved(flow: Flow, **how: str | float) -> Flow:
    """Return a flow with the same weights whose transport, its last layer, is followed otherwise.

    Args:
        flow: from ``flow_matching`` or ``flow_matching_images``.
        how: attributes of :class:`Transport` that are other ones: ``solver``, ``steps``, and so on.

    Examples:
        >>> flow = flow_matching(generator=torch.Generator().manual_seed(0))
        >>> few = solved(flow, solver="euler", steps=2)
        >>> few.chain[-1].steps
        2
    """
    *before, old = flow.chain
    transport = Transport(old.network, path=old.path, target=old.target)
    for name in ("solver", "steps", "guidance", "probes", "probe_seed"):
        setattr(transport, name, how.get(name, getattr(old, name)))
    return Flow(flow.prior, [*before, transport], context=flow.context)


# -- recipes ---------------------------------------------------------------------------------------


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


def flow_matching_images(
    *,
    shape: ImageShape,
    channels: int = 32,
    blocks: int = 1,
    classes: int = 0,
    path: str = "straight",
    target: str = "velocity",
    generator: torch.Generator | None = None,
) -> Flow:
    """Build a flow over images ``(B, C, H, W)`` with values in [0, 1] that is one transport.

    Args:
        shape: of the images; both sides are multiples of four.
        channels: of the finer level of the U-Net.
        blocks: in each of its levels.
        classes: that it is given; 0 for none.
        path: a name in ``PATHS``.
        target: a name in ``TARGETS``.
        generator: source of the initial weights.

    References:
        Flow Matching for Generative Modeling. https://arxiv.org/abs/2210.02747
    """
    network = UNet(shape, channels, blocks, classes=classes, generator=generator)
    transport = Transport(network, path=path, target=target)
    return Flow(Gaussian(*shape), [Centred(), transport], context=classes)

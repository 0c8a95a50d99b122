"""Glow: actnorm, invertible 1x1 convolution and affine coupling, in levels; and in the plane.

Kingma, Dhariwal, 2018.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from models.flow import Flow
from models.image_layers import (
    ConvNet,
    Flatten,
    ImageShape,
    InvertibleConv,
    InvertibleLinear,
    Logit,
    Squeeze,
    squeezed,
)
from models.layers import MLP, ActNorm, AffineCoupling, Split
from models.priors import Gaussian

BOUND = 2.0  # largest log-scale of a coupling
# Largest log-scale of all couplings on a pixel's way, together. Deep flows moved all their scales
# the same way in the first steps and overflowed, which float32 does at exp(88).
REACH = 50.0


def glow(
    *,
    shape: ImageShape = (1, 28, 28),
    levels: int = 2,
    steps: int = 8,
    hidden: int = 128,
    classes: int = 0,
    alpha: float = 1e-6,
    generator: torch.Generator | None = None,
) -> Flow:
    """Build a Glow over images ``(B, C, H, W)`` with values in [0, 1].

    Args:
        shape: channels, height and width; height and width must be multiples of ``2 ** levels``.
        levels: L, how often the image is squeezed.
        steps: K, steps of flow in each level: actnorm, invertible convolution, affine coupling.
        hidden: channels inside each coupling's network.
        classes: width of the one-hot class that couplings see; 0 for none.
        alpha: see :class:`~models.image_layers.Logit`.
        generator: source of the initial weights.

    Raises:
        ValueError: the image cannot be squeezed so often.

    References:
        Glow: Generative Flow with Invertible 1x1 Convolutions. https://arxiv.org/abs/1807.03039
    """

    depth = levels * (steps + 1) - 1
    bound = min(BOUND, REACH / depth)

    def coupling(channels: int) -> AffineCoupling:
        half = channels // 2
        net = ConvNet(half, hidden, 2 * half, depth=depth, context=classes, generator=generator)
        return AffineCoupling(net, bound=bound)

    def step(channels: int) -> list[nn.Module]:
        mix = InvertibleConv(channels, generator=generator)
        return [ActNorm(channels), mix, coupling(channels)]

    layers: list[nn.Module] = [Logit(alpha)]
    part = shape
    for level in range(levels):
        part = squeezed(part)
        layers.append(Squeeze())
        for _ in range(steps):
            layers += step(part[0])
        if level < levels - 1:
            # The half that leaves here is scaled by what it looks like from the half that stays.
            layers.append(coupling(part[0]))
            part = (part[0] // 2, *part[1:])
            layers.append(Split(part))
    return Flow(Gaussian(math.prod(shape)), [*layers, Flatten(part)], context=classes)


def glow_plane(
    *,
    features: int = 2,
    steps: int = 8,
    hidden: int = 64,
    depth: int = 2,
    generator: torch.Generator | None = None,
) -> Flow:
    """Build a Glow over points of shape ``(B, features)``: the same step, without pixels or levels.

    From data to latent, each step is an actnorm, an invertible linear map and an affine coupling.
    The map mixes the coordinates, so the first half can be the passive one in every coupling.

    Args:
        features: dimension of the data.
        steps: K, steps of flow.
        hidden: width of the hidden layers of each conditioner.
        depth: number of hidden layers of each conditioner.
        generator: source of the initial weights.

    References:
        Glow: Generative Flow with Invertible 1x1 Convolutions, section 3.
        https://arxiv.org/abs/1807.03039
    """
    passive, active = (features + 1) // 2, features // 2
    layers: list[nn.Module] = []  # from the latent on
    for _ in range(steps):
        net = MLP(passive, *[hidden] * depth, 2 * active, generator=generator)
        mix = InvertibleLinear(features, generator=generator)
        layers += [AffineCoupling(net), mix, ActNorm(features)]
    return Flow(Gaussian(features), reversed(layers))

"""Glow: actnorm, invertible 1x1 convolution and affine coupling, in levels; and in 2-D.

Kingma, Dhariwal, 2018.
"""

from __future__ import annotations

import torch
from torch import nn

from models.blocks.image_layers import (
    ConvNet,
    ImageShape,
    InvertibleConv,
    InvertibleLinear,
    Squeeze,
)
from models.blocks.layers import MLP, ActNorm, AffineCoupling, shared_bound
from models.blocks.priors import Gaussian
from models.flow import Flow
from models.levels import BOUND, REACH, multi_scale

# Largest log-scale of all couplings of a 2-D flow together, see REACH.
PLANE_REACH = 12.0


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
        alpha: see :class:`~models.blocks.image_layers.Logit`.
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

    def level(channels: int, last: bool) -> list[nn.Module]:
        channels, layers = 4 * channels, [Squeeze()]
        for _ in range(steps):
            mix = InvertibleConv(channels, generator=generator)
            layers += [ActNorm(channels), mix, coupling(channels)]
        # The half that leaves here is scaled by what it looks like from the half that stays.
        return layers if last else [*layers, coupling(channels)]

    return multi_scale(level, shape=shape, levels=levels, classes=classes, alpha=alpha)


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
    bound = shared_bound(min(AffineCoupling.BOUND, PLANE_REACH / steps), steps)
    layers: list[nn.Module] = []  # from the latent on
    for _ in range(steps):
        net = MLP(passive, *[hidden] * depth, 2 * active, generator=generator)
        mix = InvertibleLinear(features, generator=generator)
        layers += [AffineCoupling(net, bound=bound), mix, ActNorm(features)]
    return Flow(Gaussian(features), reversed(layers))

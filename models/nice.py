"""NICE: additive couplings and one diagonal scaling (Dinh, Krueger, Bengio, 2014)."""

from __future__ import annotations

import math

import torch

from models.blocks.image_layers import ImageShape, Vectorise
from models.blocks.layers import MLP, AdditiveCoupling, DiagonalScale
from models.blocks.priors import PRIORS
from models.flow import Flow


def nice(
    *,
    features: int = 2,
    layers: int = 8,
    hidden: int = 128,
    depth: int = 2,
    prior: str = "gaussian",
    generator: torch.Generator | None = None,
) -> Flow:
    """Build a NICE flow over points of shape ``(B, features)``.

    Args:
        features: dimension of the data.
        layers: number of additive couplings; they take turns in which half is passive.
        hidden: width of the hidden layers of each conditioner.
        depth: number of hidden layers of each conditioner.
        prior: ``"gaussian"`` or ``"logistic"``.
        generator: source of the initial weights.

    References:
        NICE: Non-linear Independent Components Estimation. https://arxiv.org/abs/1410.8516
    """
    first, second = (features + 1) // 2, features // 2

    def coupling(flip: bool) -> AdditiveCoupling:
        passive, active = (second, first) if flip else (first, second)
        net = MLP(passive, *[hidden] * depth, active, identity=False, generator=generator)
        return AdditiveCoupling(net, flip=flip)

    couplings = [coupling(flip=bool(i % 2)) for i in range(layers)]  # from the latent on
    # The scaling stands on the latent side, as in the paper: z = exp(-s) * h(x).
    chain = [*reversed(couplings), DiagonalScale(features)]
    return Flow(PRIORS[prior](features), chain)


def nice_images(
    *,
    shape: ImageShape = (1, 28, 28),
    layers: int = 4,
    hidden: int = 1000,
    depth: int = 5,
    prior: str = "logistic",
    generator: torch.Generator | None = None,
) -> Flow:
    """Build the paper's NICE for MNIST over images ``(B, C, H, W)`` with values in [0, 1].

    Pixels are one long vector; those with an even place are one half of it, the others the other.

    Args:
        shape: channels, height and width.
        layers: number of additive couplings; the paper has 4.
        hidden: width of the hidden layers of each conditioner; the paper has 1000.
        depth: number of hidden layers of each conditioner; the paper has 5.
        prior: ``"gaussian"`` or ``"logistic"``; the paper takes the logistic one.
        generator: source of the initial weights.

    References:
        NICE: Non-linear Independent Components Estimation, section 5.1.
        https://arxiv.org/abs/1410.8516
    """
    features = math.prod(shape)
    flow = nice(
        features=features,
        layers=layers,
        hidden=hidden,
        depth=depth,
        prior=prior,
        generator=generator,
    )
    *couplings, _ = flow.chain
    scale = DiagonalScale(features, from_data=True)
    return Flow(flow.prior, [Vectorise(shape), *couplings, scale])

"""NICE: additive couplings and one diagonal scaling (Dinh, Krueger, Bengio, 2014)."""

from __future__ import annotations

import torch

from models.flow import Flow
from models.layers import MLP, AdditiveCoupling, DiagonalScale
from models.priors import PRIORS


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

    couplings = [coupling(flip=bool(i % 2)) for i in range(layers)]
    # The scaling stands on the latent side, as in the paper: z = exp(-s) * h(x).
    return Flow(PRIORS[prior](features), [DiagonalScale(features), *couplings])

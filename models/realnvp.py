"""RealNVP: affine couplings, or splines in their place.

Dinh, Sohl-Dickstein, Bengio, 2016; Durkan et al., 2019.
"""

from __future__ import annotations

import torch
from torch import nn

from models.flow import Flow
from models.layers import MLP, ActNorm, AffineCoupling, Coupling, SplineCoupling
from models.priors import Gaussian


def realnvp(
    *,
    features: int = 2,
    blocks: int = 8,
    hidden: int = 64,
    depth: int = 2,
    coupling: str = "affine",
    bins: int = 8,
    actnorm: bool = False,
    generator: torch.Generator | None = None,
) -> Flow:
    """Build a RealNVP flow over points of shape ``(B, features)``.

    Args:
        features: dimension of the data.
        blocks: number of couplings; they take turns in which half is passive.
        hidden: width of the hidden layers of each conditioner.
        depth: number of hidden layers of each conditioner.
        coupling: ``"affine"`` or ``"spline"`` (rational-quadratic).
        bins: pieces of each spline.
        actnorm: put an ``ActNorm`` before each coupling (call :meth:`~models.flow.Flow.initialise`
            with data then).
        generator: source of the initial weights.

    References:
        Density estimation using Real NVP. https://arxiv.org/abs/1605.08803
        Neural Spline Flows. https://arxiv.org/abs/1906.04032
    """
    first, second = (features + 1) // 2, features // 2

    def build(flip: bool) -> Coupling:
        passive, active = (second, first) if flip else (first, second)
        per_coordinate = 2 if coupling == "affine" else 3 * bins - 1
        net = MLP(passive, *[hidden] * depth, active * per_coordinate, generator=generator)
        if coupling == "affine":
            return AffineCoupling(net, flip=flip)
        return SplineCoupling(net, flip=flip, bins=bins)

    layers: list[nn.Module] = []
    for i in range(blocks):
        layers += [ActNorm(features)] if actnorm else []
        layers += [build(flip=bool(i % 2))]
    return Flow(Gaussian(features), layers)

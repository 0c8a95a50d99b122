"""RealNVP: affine couplings, or splines in their place.

Dinh, Sohl-Dickstein, Bengio, 2016; Durkan et al., 2019.
"""

from __future__ import annotations

import torch
from torch import nn

from models.blocks.image_layers import (
    ConvNet,
    ImageShape,
    Squeeze,
    Unsqueeze,
)
from models.blocks.layers import MLP, ActNorm, AffineCoupling, Coupling, shared_bound
from models.blocks.priors import Gaussian
from models.blocks.splines import SplineCoupling, parameters_of
from models.flow import Flow
from models.levels import BOUND, REACH, multi_scale


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
        per_coordinate = 2 if coupling == "affine" else parameters_of(bins)
        net = MLP(passive, *[hidden] * depth, active * per_coordinate, generator=generator)
        if coupling == "affine":
            bound = shared_bound(AffineCoupling.BOUND, blocks)
            return AffineCoupling(net, flip=flip, bound=bound)
        return SplineCoupling(net, flip=flip, bins=bins)

    layers: list[nn.Module] = []  # from the latent on
    for i in range(blocks):
        layers += [ActNorm(features)] if actnorm else []
        layers += [build(flip=bool(i % 2))]
    return Flow(Gaussian(features), reversed(layers))


def realnvp_images(
    *,
    shape: ImageShape = (1, 28, 28),
    levels: int = 2,
    couplings: int = 4,
    hidden: int = 64,
    classes: int = 0,
    alpha: float = 1e-6,
    generator: torch.Generator | None = None,
) -> Flow:
    """Build a multi-scale RealNVP over images ``(B, C, H, W)`` with values in [0, 1].

    Each level has couplings over a checkerboard of pixels, then a squeeze, then couplings over
    halves of the channels; half of the channels leave as latents.

    Args:
        shape: channels, height and width; height and width must be multiples of ``2 ** levels``.
        levels: how often the image is squeezed.
        couplings: number of couplings of either kind in each level.
        hidden: channels inside each coupling's network.
        classes: width of the one-hot class that couplings see; 0 for none.
        alpha: see :class:`~models.blocks.image_layers.Logit`.
        generator: source of the initial weights.

    Raises:
        ValueError: the image cannot be squeezed so often.

    References:
        Density estimation using Real NVP, sections 3.4-3.6. https://arxiv.org/abs/1605.08803
    """
    depth = 2 * couplings * levels
    bound = min(BOUND, REACH / depth)

    def run(channels: int, checkerboard: bool) -> list[nn.Module]:
        layers: list[nn.Module] = [Squeeze(checkerboard=checkerboard)]
        for i in range(couplings):
            half = 2 * channels
            net = ConvNet(half, hidden, 2 * half, depth=depth, context=classes, generator=generator)
            flip = bool((couplings - 1 - i) % 2)  # the half that leaves the level moves last
            layers += [ActNorm(4 * channels), AffineCoupling(net, flip=flip, bound=bound)]
        return layers

    def level(channels: int, last: bool) -> list[nn.Module]:
        there = [*run(channels, checkerboard=True), Unsqueeze(checkerboard=True)]
        return there + run(channels, checkerboard=False)

    return multi_scale(level, shape=shape, levels=levels, classes=classes, alpha=alpha)

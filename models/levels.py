"""Flows over images in several levels: what Glow and RealNVP share."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from models.blocks.image_layers import Flatten, ImageShape, Logit, squeezed
from models.blocks.layers import Split
from models.blocks.priors import Gaussian
from models.flow import Flow

BOUND = 2.0  # largest log-scale of a coupling
# Largest log-scale of all couplings on a pixel's way, together. Deep flows moved all their scales
# the same way in the first steps and overflowed, which float32 does at exp(88).
REACH = 50.0


def multi_scale(
    level: Callable[[int, bool], list[nn.Module]],
    *,
    shape: ImageShape,
    levels: int,
    classes: int,
    alpha: float,
) -> Flow:
    """Build a flow of levels; behind each but the last, half of the channels leave as latents.

    Args:
        level: makes the layers of a level, which squeeze the image once, from the channels that
            come in and whether it is the last one.
        shape: channels, height and width of the images.
        levels: how many there are.
        classes: width of the one-hot class that couplings see; 0 for none.
        alpha: see :class:`~models.blocks.image_layers.Logit`.

    Raises:
        ValueError: the image cannot be squeezed so often.

    References:
        Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), section 3.6.
        https://arxiv.org/abs/1605.08803
    """
    layers: list[nn.Module] = [Logit(alpha)]
    prior, last = Gaussian(math.prod(shape)), levels - 1
    for i in range(levels):
        layers += level(shape[0], i == last)
        shape = squeezed(shape)
        if i < last:
            shape = shape[0] // 2, *shape[1:]
            layers.append(Split(shape))
    return Flow(prior, [*layers, Flatten(shape)], context=classes)

"""Ways through the latent space of a GAN."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from analysis.image_latents import blend


def path(corners: Tensor, steps: int, *, spherical: bool) -> Tensor:
    """Return latents on the way through some, first and last included, ``(T, D)``.

    Args:
        corners: latents ``(K, D)``, K at least 2.
        steps: from one to the next, at least 1; T is ``(K - 1) * steps + 1``.
        spherical: go along arcs instead of straight lines.
    """
    fractions = torch.linspace(0, 1, steps + 1)[:-1]
    ways = [blend(a, b, fractions, spherical=spherical) for a, b in pairwise(corners)]
    return torch.cat([*ways, corners[-1:]])


def directions(latent: int, seed: int) -> Tensor:
    """Return two orthogonal directions of length 1 in the latent space, ``(2, latent)``."""
    draws = torch.randn(latent, 2, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(draws).Q.T


def plane(base: Tensor, ways: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return latents on the plane through one along two directions, ``(T, D)``.

    Args:
        base: where the plane begins, ``(D,)``.
        ways: see :func:`directions`.
        first: how far along the first, ``(T,)``.
        second: how far along the second, ``(T,)``.
    """
    return base + first[:, None] * ways[0] + second[:, None] * ways[1]

"""Ways through the latent space of a GAN."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from analysis.image_latents import blend
from models.gan import GAN

# Of the search for the latent of an image.
_DRAWS, _STARTS, _STEPS, _RATE = 256, 8, 100, 0.05


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


def closest(model: GAN, image: Tensor) -> tuple[Tensor, float]:
    """Look for the latent whose sample comes closest to an image, pixel by pixel.

    Adam goes down from the eight best of 256 draws, within the prior's bounds where it has some: as
    Lipton and Tripathi, 2017, "Precise recovery of latent vectors from generative adversarial
    networks". It may end in a minimum that is not the lowest.

    Args:
        model: with its running statistics in use.
        image: with values in [-1, 1], ``(C, S, S)``.

    Returns:
        The latent ``(1, latent)``, and the root mean square of what is left, between 0 and 2.
    """
    with torch.no_grad():
        draws = model.draw(_DRAWS, torch.Generator().manual_seed(0))
        z = draws[_apart(model(draws), image).topk(_STARTS, largest=False).indices]
    z.requires_grad_()
    optimiser = torch.optim.Adam([z], _RATE)
    for _ in range(_STEPS):
        optimiser.zero_grad()
        _apart(model(z), image).sum().backward()
        optimiser.step()
        if model.prior == "uniform":
            z.data.clamp_(-1, 1)
    with torch.no_grad():
        left = _apart(model(z), image)
    best = int(left.argmin())
    return z[best : best + 1].detach(), float(left[best].sqrt())


def _apart(samples: Tensor, image: Tensor) -> Tensor:
    """Return the mean squared difference of samples ``(B, C, S, S)`` from an image, ``(B,)``."""
    return (samples - image).square().mean((1, 2, 3))

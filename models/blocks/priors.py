"""Latent distributions with independent coordinates.

``log_prob`` is in nats, ``sample`` draws from a private generator.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus


class Prior(nn.Module):
    """A factorised density over latents of shape ``(B, *shape)``."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, shape ``(B,)``."""
        return self.log_density(z).flatten(1).sum(1)

    def forward(self, count: int = 1) -> tuple[Tensor, Tensor]:
        """Return latents ``(count, *shape)`` and log p of each, as ``normflows`` asks of a base.

        Its models have no source of randomness of their own: they come from the global one.
        """
        z = self.sample(count)
        return z, self.log_prob(z)

    def sample(
        self,
        count: int,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Return latents of shape ``(count, *shape)``, their spread multiplied by ``temperature``.

        Drawn on the generator's own device, then moved, so that the same seed gives the same
        latents everywhere.
        """
        source = generator.device if generator is not None else device
        u = self._draw((count, *self.shape), generator, source)
        return (u * temperature).to(device or source)

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log density of each coordinate, in nats, of the shape of ``z``."""
        raise NotImplementedError

    def _draw(self, shape: tuple[int, ...], generator: torch.Generator | None, device) -> Tensor:
        raise NotImplementedError


class Gaussian(Prior):
    """The standard normal distribution."""

    def log_density(self, z: Tensor) -> Tensor:
        return -0.5 * (z.square() + math.log(2 * math.pi))

    def _draw(self, shape: tuple[int, ...], generator: torch.Generator | None, device) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)


class Logistic(Prior):
    """The standard logistic distribution; NICE prefers its heavier tails for smoother gradients.

    References:
        NICE (Dinh, Krueger, Bengio, 2014), section 3.4. https://arxiv.org/abs/1410.8516
    """

    def log_density(self, z: Tensor) -> Tensor:
        return -(softplus(z) + softplus(-z))

    def _draw(self, shape: tuple[int, ...], generator: torch.Generator | None, device) -> Tensor:
        u = torch.rand(shape, generator=generator, device=device).clamp(1e-7, 1 - 1e-7)
        return u.log() - (-u).log1p()


PRIORS: dict[str, type[Prior]] = {"gaussian": Gaussian, "logistic": Logistic}

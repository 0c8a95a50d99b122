"""A normalizing flow is a list of invertible layers and a prior; density and sampling live here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.layers import Result
from models.priors import Prior


@dataclass(frozen=True, slots=True)
class State:
    """Where the points are between two layers.

    Attributes:
        value: the points, shape ``(B, ...)``.
        log_det: log-determinant of everything applied so far, in nats, shape ``(B,)``.
        layer: the layer that was applied last; ``None`` before the first one.
    """

    value: Tensor
    log_det: Tensor
    layer: nn.Module | None


class Flow(nn.Module):
    """A sequence of invertible layers is an invertible layer.

    Args:
        prior: distribution of the latents.
        layers: from the latent side to the data side, each with the interface of
            :mod:`models.layers` (any layer of ``normflows`` will do).

    Examples:
        >>> from models.layers import DiagonalScale
        >>> from models.priors import Gaussian
        >>> flow = Flow(Gaussian(2), [DiagonalScale(2)])
        >>> flow.log_prob(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    def __init__(self, prior: Prior, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.prior = prior
        self.layers = nn.ModuleList(layers)

    def forward(self, z: Tensor) -> Result:
        """Map latents ``(B, ...)`` to data; also return ``log |det dx/dz|``, shape ``(B,)``."""
        return _last(self.forward_states(z))

    def inverse(self, x: Tensor) -> Result:
        """Map data ``(B, ...)`` to latents; also return ``log |det dz/dx|``, shape ``(B,)``."""
        return _last(self.inverse_states(x))

    def forward_states(self, z: Tensor) -> Iterator[State]:
        """Yield the points before the first layer and after each one, from latent to data.

        Latents ``z`` have the shape ``(B, ...)``; see :class:`~models.flow.State`.
        """
        return _states(z, ((layer, layer.forward) for layer in self.layers))

    def inverse_states(self, x: Tensor) -> Iterator[State]:
        """Yield the points before the first layer and after each one, from data to latent.

        Data ``x`` has the shape ``(B, ...)``; see :class:`~models.flow.State`.
        """
        return _states(x, ((layer, layer.inverse) for layer in reversed(self.layers)))

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats, shape ``(B,)``.

        Change of variables: ``log p(x) = log p(z) + log |det dz/dx|``.
        """
        z, log_det = self.inverse(x)
        return self.prior.log_prob(z) + log_det

    def sample(
        self, count: int, *, generator: torch.Generator | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Return ``count`` points of the learned density; ``temperature`` scales the latents.

        The shape is ``(count, ...)``, that of the prior's latents.
        """
        like = next(self.parameters())
        z = self.prior.sample(
            count, generator=generator, temperature=temperature, device=like.device
        )
        return self.forward(z.to(like.dtype))[0]

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Give each layer that asks for it (``ActNorm``) a batch of data as it arrives there.

        ``x`` has the shape ``(B, ...)``.
        """
        for layer in reversed(self.layers):
            if hasattr(layer, "initialise"):
                layer.initialise(x)
            x, _ = layer.inverse(x)


def _states(value: Tensor, steps: Iterable) -> Iterator[State]:
    log_det = value.new_zeros(len(value))
    yield State(value, log_det, None)
    for layer, move in steps:
        value, change = move(value)
        log_det = log_det + change
        yield State(value, log_det, layer)


def _last(states: Iterator[State]) -> Result:
    *_, state = states
    return state.value, state.log_det

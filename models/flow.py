"""A normalizing flow: a chain of invertible layers, and the density of what it ends in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise, zip_longest

import torch
from torch import Tensor, nn

from models.blocks.image_layers import Flatten
from models.blocks.layers import Result, Split, given
from models.blocks.priors import Prior


@dataclass(frozen=True, slots=True)
class State:
    """Where the points are between two layers.

    Attributes:
        value: the points, shape ``(B, ...)``; behind a split, what goes on of them.
        log_det: log-determinant of everything applied so far, in nats, shape ``(B,)``.
        layer: the layer that was applied last; ``None`` before the first one.
        left: latents that left at splits and are not joined again, the finest level first.
    """

    value: Tensor
    log_det: Tensor
    layer: nn.Module | None = None
    left: tuple[Tensor, ...] = ()


class Flow(nn.Module):
    """A chain of invertible layers is an invertible layer, and with a prior a density.

    With a :class:`~models.blocks.layers.Split` in the chain, latents are one vector per image,
    ``(B, D)``: what leaves first stands first.

    Args:
        prior: distribution of the latents.
        layers: from data to latent, each with the interface of :mod:`models.blocks.layers`. Layers
            of ``normflows`` mix in; in its models these layers do, where no context is passed, and
            the priors.
        context: width of the vector that the density is conditioned on, 0 for none.
        encoder: network from that vector to the one that layers see.

    Attributes:
        chain: the layers, from data to latent.

    References:
        Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), section 3.6.
        https://arxiv.org/abs/1605.08803

    Examples:
        >>> from models.blocks.layers import DiagonalScale
        >>> from models.blocks.priors import Gaussian
        >>> flow = Flow(Gaussian(2), [DiagonalScale(2)])
        >>> flow.log_prob(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    def __init__(
        self,
        prior: Prior,
        layers: Iterable[nn.Module],
        *,
        context: int = 0,
        encoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.prior = prior
        self.chain = nn.ModuleList(layers)
        self.context = context
        self.encoder = encoder

    def inverse(self, x: Tensor, context: Tensor | None = None) -> Result:
        """Map data ``(B, ...)`` to latents; also return ``log |det dz/dx|``, shape ``(B,)``."""
        *_, end = self.inverse_states(x, context)
        if not end.left:
            return end.value, end.log_det
        return torch.cat([z.flatten(1) for z in (*end.left, end.value)], dim=1), end.log_det

    def forward(self, z: Tensor, context: Tensor | None = None) -> Result:
        """Map latents to data ``(B, ...)``; also return ``log |det dx/dz|``, shape ``(B,)``."""
        *_, end = self.forward_states(z, context)
        return end.value, end.log_det

    def inverse_states(self, x: Tensor, context: Tensor | None = None) -> Iterator[State]:
        """Yield the points before the first layer and after each one, from data to latent.

        Data ``x`` has the shape ``(B, ...)``; see :class:`~models.flow.State`.
        """
        context = self.encoded(context)
        state = State(x, x.new_zeros(len(x)))
        yield state
        for layer in self.chain:
            if isinstance(layer, Split):
                stays, leaves = layer.part(state.value)
                state = State(stays, state.log_det, layer, (*state.left, leaves))
            else:
                x, change = layer.inverse(state.value, **given(layer, context))
                state = State(x, state.log_det + change, layer, state.left)
            yield state

    def forward_states(self, z: Tensor, context: Tensor | None = None) -> Iterator[State]:
        """Yield the points before the first layer and after each one, from latent to data.

        Latents ``z`` have the shape of the prior's; see :class:`~models.flow.State`.
        """
        context = self.encoded(context)
        *left, z = self.split(z)
        state = State(z, z.new_zeros(len(z)), None, tuple(left))
        yield state
        for layer in reversed(self.chain):
            if isinstance(layer, Split):
                *left, joins = state.left
                state = State(layer.join(state.value, joins), state.log_det, layer, tuple(left))
            else:
                z, change = layer.forward(state.value, **given(layer, context))
                state = State(z, state.log_det + change, layer, state.left)
            yield state

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x), or log p(x | context), in nats, shape ``(B,)``.

        Change of variables: ``log p(x) = log p(z) + log |det dz/dx|``.
        """
        z, log_det = self.inverse(x, context)
        return self.prior.log_prob(z) + log_det

    def sample(
        self,
        count: int,
        *,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Return ``count`` points of the learned density; ``temperature`` scales the latents.

        The shape is ``(count, ...)``, that of the data; ``context``, if any, has ``count`` rows.
        """
        like = self._weight()
        z = self.prior.sample(
            count, generator=generator, temperature=temperature, device=like.device
        )
        return self.forward(z.to(like.dtype), context)[0]

    def _weight(self) -> Tensor:
        """Return a weight that says where and how precisely the flow computes."""
        numbers = (p for p in self.parameters() if p.is_floating_point())
        return next(numbers, torch.empty(0))  # a chain of permutations has none

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor | None = None) -> None:
        """Give each layer that asks for it (``ActNorm``) a batch of data as it arrives there.

        ``x`` has the shape ``(B, ...)``.
        """
        if not any(hasattr(layer, "initialise") for layer in self.chain):
            return
        for before, layer in zip_longest(self.inverse_states(x, context), self.chain):
            if hasattr(layer, "initialise"):
                layer.initialise(before.value)

    def encoded(self, context: Tensor | None) -> Tensor | None:
        """Return the context that layers see, ``(B, K)``."""
        return context if self.encoder is None or context is None else self.encoder(context)

    # -- the latents of each level ---------------------------------------------------------------

    @property
    def features(self) -> int:
        """D, the dimensions of the density."""
        return math.prod(self.prior.shape)

    @property
    def latent_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of what leaves at each split, and of what is left at the end, the finest first."""
        shapes = [layer.shape for layer in self.chain if isinstance(layer, Split)]
        rest = self.features - sum(map(math.prod, shapes))
        last = self.chain[-1]
        return [*shapes, last.shape if isinstance(last, Flatten) else (rest,)]

    @property
    def latent_slices(self) -> list[slice]:
        """Per level, where its latents are in the vector of all."""
        ends = accumulate(map(math.prod, self.latent_shapes), initial=0)
        return [slice(start, stop) for start, stop in pairwise(ends)]

    def split(self, z: Tensor) -> list[Tensor]:
        """Return the latents ``(B, D)`` as they left: of each split in its shape, then the rest."""
        splits = [layer for layer in self.chain if isinstance(layer, Split)]
        if not splits:
            return [z]
        *left, rest = (z[:, place] for place in self.latent_slices)
        parts = zip(left, splits, strict=True)
        return [*(part.reshape(-1, *layer.shape) for part, layer in parts), rest]

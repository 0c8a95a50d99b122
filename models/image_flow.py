"""A flow over images in several levels; half of what is left becomes latent at each of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.flow import State
from models.layers import Result
from models.priors import Prior

Shape = tuple[int, int, int]  # channels, height, width


class ImageFlow(nn.Module):
    """A multi-scale flow: towards the latent, each level ends with half of its channels done.

    The second half of the channels that leave a level is latent, the first half goes on to the next
    one; the last level gives all. A level that ends with a coupling whose active half is the second
    one has a learned, conditional prior for what it gives, as Glow does.

    Latents are one vector per image, ``(B, D)`` with ``D = C H W``: the finest level comes first.

    Args:
        prior: distribution of the latents ``(B, D)``.
        levels: from the data side to the latent side; in each, the layers in that order, too.
        shape: channels, height and width of the images.
        context: width of the vector that layers may be conditioned on, 0 for none.

    Attributes:
        latent_shapes: per level, channels, height and width of the latents it gives (or, of
            vectors, their length).

    References:
        Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), section 3.6.
        https://arxiv.org/abs/1605.08803
    """

    def __init__(
        self,
        prior: Prior,
        levels: Iterable[Iterable[nn.Module]],
        shape: Shape,
        *,
        context: int = 0,
    ) -> None:
        super().__init__()
        self.prior = prior
        self.levels = nn.ModuleList(nn.ModuleList(level) for level in levels)
        self.shape = shape
        self.context = context
        self.latent_shapes = self._trace(shape)

    @property
    def features(self) -> int:
        """D, the number of pixels times channels."""
        return math.prod(self.shape)

    @property
    def latent_slices(self) -> list[slice]:
        """Per level, where its latents are in the vector of all."""
        ends = [0]
        for shape in self.latent_shapes:
            ends.append(ends[-1] + math.prod(shape))
        return [slice(a, b) for a, b in pairwise(ends)]

    def inverse(self, x: Tensor, context: Tensor | None = None) -> Result:
        """Map images ``(B, C, H, W)`` to latents ``(B, D)``; also ``log |det dz/dx|``, ``(B,)``."""
        log_det = x.new_zeros(len(x))
        latents = []
        for i, level in enumerate(self.levels):
            for layer in level:
                x, change = layer.inverse(x, *self._given(layer, context))
                log_det = log_det + change
            if i < len(self.levels) - 1:
                x, done = x.chunk(2, dim=1)
                latents.append(done.flatten(1))
        return torch.cat([*latents, x.flatten(1)], dim=1), log_det

    def forward(self, z: Tensor, context: Tensor | None = None) -> Result:
        """Map latents ``(B, D)`` to images; also ``log |det dx/dz|``, shape ``(B,)``."""
        *_, state = self.forward_states(z, context)
        return state.value, state.log_det

    def forward_states(self, z: Tensor, context: Tensor | None = None) -> Iterator[State]:
        """Yield what there is of the images after each layer, from the coarsest level on.

        Latents ``z`` have the shape ``(B, D)``; the images of a state are ``(B, C', H', W')``.
        """
        log_det = z.new_zeros(len(z))
        latents = self.split(z)
        x = latents.pop()
        yield State(x, log_det, None)
        for level in reversed(self.levels):
            for layer in reversed(level):
                x, change = layer.forward(x, *self._given(layer, context))
                log_det = log_det + change
                yield State(x, log_det, layer)
            if latents:
                x = torch.cat([x, latents.pop()], dim=1)

    def split(self, z: Tensor) -> list[Tensor]:
        """Return the latents ``(B, D)`` of each level, finest first, in their shapes."""
        parts = zip(self.latent_slices, self.latent_shapes, strict=True)
        return [z[:, place].reshape(-1, *shape) for place, shape in parts]

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x), or log p(x | context), in nats per image, shape ``(B,)``."""
        z, log_det = self.inverse(x, context)
        return self.prior.log_prob(z) + log_det

    def sample(
        self,
        count: int,
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Return ``count`` images; ``temperature`` scales the latents.

        The shape is ``(count, C, H, W)``; ``context``, if any, is ``(count, classes)``.
        """
        like = next(self.parameters())
        z = self.prior.sample(
            count, generator=generator, temperature=temperature, device=like.device
        )
        return self.forward(z.to(like.dtype), context)[0]

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor | None = None) -> None:
        """Give each layer that asks for it (``ActNorm``) a batch of data as it arrives there.

        Images ``x`` have the shape ``(B, C, H, W)``; ``context`` is ``(B, classes)``.
        """
        for i, level in enumerate(self.levels):
            for layer in level:
                if hasattr(layer, "initialise"):
                    layer.initialise(x)
                x, _ = layer.inverse(x, *self._given(layer, context))
            if i < len(self.levels) - 1:
                x = x.chunk(2, dim=1)[0]

    @staticmethod
    def _given(layer: nn.Module, context: Tensor | None) -> tuple[Tensor, ...]:
        return (context,) if getattr(layer, "context", 0) else ()

    def _trace(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the shapes of the latents of each level, by following how layers squeeze."""
        shapes = []
        for i, level in enumerate(self.levels):
            for layer in level:
                shape = layer.latent_shape(shape) if hasattr(layer, "latent_shape") else shape
            if i < len(self.levels) - 1:
                channels, height, width = shape
                shape = (channels // 2, height, width)
            shapes.append(shape)
        return shapes

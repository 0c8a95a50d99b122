"""A causal transformer: each token sees those before it, all at once or one after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.layers import blank

Cache = list[tuple[Tensor, Tensor]]  # keys and values of each layer, (B, heads, tokens, width)


class CausalTransformer(nn.Module):
    """Tokens in, numbers for the token that comes next out: the ``i``-th sees those before ``i``.

    Its last layer starts at zero.

    Args:
        tokens: N, how many there are.
        features: D, numbers of each token.
        outputs: numbers that are wanted for each.
        width: of the layers, a multiple of ``heads``.
        layers: of attention and a network behind it.
        heads: of the attention.
        context: width of a vector that all tokens see, 0 for none.
        generator: source of the initial weights.

    Attributes:
        mixed: compute in bfloat16 where all tokens are seen at once. Input, output and weights stay
            float32.

    References:
        Attention Is All You Need (Vaswani et al., 2017). https://arxiv.org/abs/1706.03762
        Language Models are Unsupervised Multitask Learners (Radford et al., 2019), section 2.3:
        norms come first, and weights start at 0.02.
    """

    def __init__(
        self,
        tokens: int,
        features: int,
        outputs: int,
        *,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        context: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.context = context
        self.mixed = False
        self.embed = _linear(features, width, generator)
        self.start = _drawn(
            width, generator=generator
        )  # stands where the first token has none before it
        self.places = _drawn(tokens, width, generator=generator)
        self.given = _drawn(context, width, generator=generator) if context else None
        self.layers = nn.ModuleList(_Layer(width, heads, generator) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = blank(nn.Linear, width, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map tokens ``(B, N, D)``, and a context ``(B, K)``, to ``(B, N, outputs)``."""
        start = self.start.expand(len(x), 1, -1)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.mixed):
            hidden = torch.cat([start, self.embed(x[:, :-1])], dim=1) + self.places
            hidden = hidden + self._given(context)
            for layer in self.layers:
                hidden, _ = layer(hidden, None)
            out = self.head(self.norm(hidden))
        return out.to(x.dtype)

    def step(
        self, before: Tensor | None, context: Tensor | None, cache: Cache, count: int
    ) -> tuple[Tensor, Cache]:
        """Return what is wanted for the next token, and all keys and values until then.

        Args:
            before: the token before it, ``(B, D)``; ``None`` for the first.
            context: as in :meth:`forward`.
            cache: what the last step returned, an empty list at first.
            count: batch size B.

        Returns:
            ``(B, outputs)``, as :meth:`forward` has it at this place, and the cache.
        """
        place = cache[0][0].shape[2] if cache else 0
        hidden = self.start.expand(count, -1) if before is None else self.embed(before)
        hidden = (hidden + self.places[place])[:, None] + self._given(context)
        grown: Cache = []
        for i, layer in enumerate(self.layers):
            hidden, kept = layer(hidden, cache[i] if cache else None)
            grown.append(kept)
        return self.head(self.norm(hidden))[:, 0], grown

    def _given(self, context: Tensor | None) -> Tensor | float:
        return 0.0 if self.given is None or context is None else (context @ self.given)[:, None]


class _Layer(nn.Module):
    """Attention to the tokens so far, then a network for each token by itself."""

    def __init__(self, width: int, heads: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.attend = _linear(width, 3 * width, generator)
        self.join = _linear(width, width, generator)
        self.norm_inside = nn.LayerNorm(width)
        self.wide = _linear(width, 4 * width, generator)
        self.narrow = _linear(4 * width, width, generator)

    def forward(
        self, hidden: Tensor, cache: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Map ``(B, T, W)`` to the same; T is 1 where there is a cache of the tokens before."""
        parts = self.attend(self.norm(hidden)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (B, heads, T, width) each
        if cache is not None:
            key, value = (torch.cat(pair, dim=2) for pair in zip(cache, (key, value), strict=True))
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=cache is None)
        hidden = hidden + self.join(seen.transpose(1, 2).flatten(2))
        inside = F.gelu(self.wide(self.norm_inside(hidden)), approximate="tanh")
        return hidden + self.narrow(inside), (key, value)


def _linear(width_in: int, width_out: int, generator: torch.Generator | None) -> nn.Linear:
    layer = blank(nn.Linear, width_in, width_out)
    nn.init.normal_(layer.weight, std=0.02, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def _drawn(*shape: int, generator: torch.Generator | None = None) -> nn.Parameter:
    return nn.Parameter(nn.init.normal_(torch.empty(shape), std=0.02, generator=generator))

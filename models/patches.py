"""MAF on images, patch after patch: its network is a causal transformer (Zhai et al., 2024)."""

from __future__ import annotations

import copy
import math
from functools import partial

import torch
from torch import Tensor, nn

from models.blocks.image_layers import Flatten, ImageShape, Logit
from models.blocks.layers import Result, kept
from models.blocks.priors import Gaussian
from models.blocks.splines import MarginalSplines
from models.blocks.transformer import CausalTransformer
from models.flow import Flow

BOUND = 5.0  # largest log-scale of a block
REACH = 20.0  # of all blocks together


class Patches(nn.Module):
    """Cut an image into squares: towards the latent, each becomes a token, row by row.

    ``(B, N, C side^2)`` on the latent side, ``(B, C, H, W)`` on the data side; ``log_det`` is 0.

    Args:
        shape: channels, height and width of the images.
        side: pixels along each side of a patch, of which height and width are multiples.

    Raises:
        ValueError: they are not.
    """

    def __init__(self, shape: ImageShape, side: int) -> None:
        super().__init__()
        channels, height, width = shape
        if height % side or width % side:
            raise ValueError(f"{height} x {width} pixels are not a whole number of patches.")
        self.rows, self.columns, self.side = height // side, width // side, side
        self.tokens, self.features = self.rows * self.columns, channels * side**2

    def inverse(self, x: Tensor) -> Result:
        """Map ``(B, C, H, W)`` to ``(B, N, C side^2)``; ``log_det`` is 0, shape ``(B,)``."""
        cut = x.unflatten(3, (self.columns, self.side)).unflatten(2, (self.rows, self.side))
        tokens = cut.permute(0, 2, 4, 1, 3, 5).reshape(len(x), self.tokens, self.features)
        return tokens, x.new_zeros(len(x))

    def forward(self, z: Tensor) -> Result:
        """Map ``(B, N, C side^2)`` to ``(B, C, H, W)``; ``log_det`` is 0, shape ``(B,)``."""
        cut = z.reshape(len(z), self.rows, self.columns, -1, self.side, self.side)
        return cut.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3), z.new_zeros(len(z))


class PatchAutoregressive(nn.Module):
    """Each token is shifted and scaled by numbers that depend on those before it.

    :class:`~models.maf.MaskedAutoregressive` with tokens for dimensions and a transformer for MADE.
    From data to latent, ``z_i = (x_i - m_i) exp(-a_i)``, number for number: all tokens in one pass.
    From latent to data, one token after the other, with the keys and values of those before it
    kept. Starts as the identity.

    Args:
        tokens: N.
        features: numbers of each token.
        reverse: the last token comes first.
        bound: largest absolute log-scale, approached smoothly, in nats per number.
        network: further settings of :class:`~models.blocks.transformer.CausalTransformer`.

    Attributes:
        guidance: how far shifts and log-scales are pushed, from latent to data, from what they are
            without a context beyond what they are with it; 0 is the density that was learned.

    References:
        Normalizing Flows are Capable Generative Models (Zhai et al., 2024), equations 4-6 and
        section 2.6. https://arxiv.org/abs/2412.06329
    """

    bound: Tensor

    def __init__(
        self,
        tokens: int,
        features: int,
        *,
        reverse: bool = False,
        bound: float = BOUND,
        **network: object,
    ) -> None:
        super().__init__()
        self.reverse = reverse
        self.guidance = 0.0
        self.net = CausalTransformer(tokens, features, 2 * features, **network)
        self.register_buffer("bound", kept(bound))

    def inverse(self, x: Tensor, context: Tensor | None = None) -> Result:
        """Map data ``(B, N, D)``, and a context ``(B, K)``, to latents; also their ``log_det``."""
        x = self._ordered(x)
        shift, log_scale = self._shift_and_scale(self.net(x, context))
        z = (x - shift) * (-log_scale).exp()
        return self._ordered(z), -log_scale.flatten(1).sum(1)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Result:
        """Map latents ``(B, N, D)``, and a context ``(B, K)``, to data; also their ``log_det``."""
        contexts = [context, torch.zeros_like(context)] if self._guided(context) else [context]
        caches: list = [[] for _ in contexts]
        found, log_det, x = [], z.new_zeros(len(z)), None
        for now in self._ordered(z).unbind(1):
            towards = []
            for i, given in enumerate(contexts):
                out, caches[i] = self.net.step(x, given, caches[i], len(z))
                towards.append(self._shift_and_scale(out))
            shift, log_scale = self._towards(towards)
            x = torch.addcmul(shift, now, log_scale.exp())
            found.append(x)
            log_det = log_det + log_scale.sum(1)
        return self._ordered(torch.stack(found, dim=1)), log_det

    def forward_plain(self, z: Tensor, context: Tensor | None = None) -> Result:
        """Map latents ``(B, N, D)`` to data by one full pass per token: N times the work."""
        z = self._ordered(z)
        x, log_det = torch.zeros_like(z), z.new_zeros(len(z))
        for i in range(z.shape[1]):
            shift, log_scale = (v[:, i] for v in self._shift_and_scale(self.net(x, context)))
            x[:, i] = z[:, i] * log_scale.exp() + shift
            log_det = log_det + log_scale.sum(1)
        return self._ordered(x), log_det

    def _guided(self, context: Tensor | None) -> bool:
        return self.guidance != 0 and context is not None and self.net.context > 0

    def _towards(self, towards: list[Result]) -> Result:
        """Return shift and log-scale, pushed away from what they are without a context."""
        if len(towards) == 1:
            return towards[0]
        (shift, log_scale), (free_shift, free_log_scale) = towards
        return (
            shift + self.guidance * (shift - free_shift),
            log_scale + self.guidance * (log_scale - free_log_scale),
        )

    def _ordered(self, v: Tensor) -> Tensor:
        return v.flip(1) if self.reverse else v

    def _shift_and_scale(self, out: Tensor) -> Result:
        shift, raw = out.chunk(2, dim=-1)
        return shift, self.bound * torch.tanh(raw / self.bound)


def guided(flow: Flow, guidance: float) -> Flow:
    """Return a flow of the same weights whose samples are pushed towards their class.

    It is no inverse of the other direction any more, and its samples are of another density.

    Args:
        flow: of :class:`PatchAutoregressive` blocks, trained without the class, too.
        guidance: see there.

    References:
        Classifier-Free Diffusion Guidance (Ho, Salimans, 2022), equation 6.
        https://arxiv.org/abs/2207.12598
    """
    chain = [copy.copy(layer) for layer in flow.chain]
    for layer in chain:
        if isinstance(layer, PatchAutoregressive):
            layer.guidance = guidance
    return Flow(flow.prior, chain, context=flow.context)


def maf_images(
    *,
    shape: ImageShape = (1, 28, 28),
    patch: int = 4,
    blocks: int = 6,
    layers: int = 2,
    width: int = 128,
    classes: int = 0,
    alpha: float = 1e-6,
    generator: torch.Generator | None = None,
) -> Flow:
    """Build a MAF over the patches of images ``(B, C, H, W)`` with values in [0, 1].

    Args:
        shape: channels, height and width, the last two multiples of ``patch``.
        patch: pixels along each side of a patch.
        blocks: autoregressive blocks; they take turns in which end comes first.
        layers: of the transformer in each block.
        width: of its layers, a multiple of 32: each head of its attention has 32.
        classes: width of the one-hot class that tokens see; 0 for none.
        alpha: see :class:`~models.blocks.image_layers.Logit`.
        generator: source of the initial weights.

    References:
        Normalizing Flows are Capable Generative Models (Zhai et al., 2024).
        https://arxiv.org/abs/2412.06329
    """
    cut = Patches(shape, patch)
    block = partial(
        PatchAutoregressive,
        cut.tokens,
        cut.features,
        bound=min(BOUND, REACH / blocks),
        width=width,
        layers=layers,
        heads=width // 32,
        context=classes,
        generator=generator,
    )
    chain = [block(reverse=bool(i % 2)) for i in range(blocks)]
    end = Flatten((cut.tokens, cut.features))
    ends = [MarginalSplines(shape), Logit(alpha)]
    return Flow(Gaussian(math.prod(shape)), [*ends, cut, *chain, end], context=classes)

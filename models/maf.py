"""MAF: masked autoregressive flow, and a sampler that uses the order of its dimensions."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from models.blocks.layers import MLP, ActNorm, Result, given, kept
from models.blocks.made import MADE, Known
from models.blocks.priors import Gaussian
from models.flow import Flow


class MaskedAutoregressive(nn.Module):
    """Each dimension is shifted and scaled by numbers that depend on those before it.

    From data to latent, ``z_i = (x_i - m_i) exp(-a_i)`` with ``m_i, a_i`` of ``x_1 ... x_{i-1}``:
    one pass, and ``log_det = -sum a``. From latent to data, ``x_i = z_i exp(a_i) + m_i``: one
    degree of the hidden units after the other. Starts as the identity.

    Args:
        features: dimension D.
        hidden: width of the hidden layers of its :class:`~models.blocks.made.MADE`.
        reverse: the last dimension comes first.
        bound: largest absolute log-scale, approached smoothly, in nats per dimension.
        made: further settings of :class:`~models.blocks.made.MADE`.

    References:
        Masked Autoregressive Flow for Density Estimation (Papamakarios, Pavlakou, Murray, 2017),
        equations 3-5. https://arxiv.org/abs/1705.07057
    """

    BOUND = 5.0  # where nothing else is asked for
    bound: Tensor

    def __init__(
        self, features: int, hidden: int, *, reverse: bool = False, bound: float = BOUND, **made
    ) -> None:
        super().__init__()
        self.made = MADE(features, hidden, **made)
        self.reverse = reverse
        self.register_buffer("bound", kept(bound))

    def inverse(self, x: Tensor, context: Tensor | None = None) -> Result:
        """Map data ``(B, D)``, and a context ``(B, K)``, to latents; also their ``log_det``."""
        z, log_scale = self.inverse_terms(x, context)
        return z, -log_scale.sum(1)

    def inverse_terms(self, x: Tensor, context: Tensor | None = None) -> Result:
        """Map data to latents; also return the log-scale of each dimension, shape ``(B, D)``."""
        x = self._ordered(x)
        shift, log_scale = self._shift_and_scale(self.made(x, context))
        z = (x - shift) * (-log_scale).exp()
        return self._ordered(z), self._ordered(log_scale)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Result:
        """Map latents ``(B, D)``, and a context ``(B, K)``, to data; also their ``log_det``.

        Exact, with the arithmetic of one pass. Faster under ``torch.no_grad``.
        """
        for x, log_scale, _ in self.forward_steps(z, context):  # noqa: B007
            pass
        return self._ordered(x), log_scale.sum(1)

    def forward_steps(
        self, z: Tensor, context: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield data, log-scales, and how many dimensions (in the layer's own order) are known.

        Under ``torch.no_grad`` both have shape ``(B, D)``, are filled in place, and hold anything
        beyond the known; with gradients they have shape ``(B, known)``.
        """
        z = self._ordered(z)
        _, sizes = self.made.sizes()
        x, log_scales = Known(z, sizes), Known(z, sizes)
        steps = self.made.steps(x, context)
        for out, now in zip(steps, z.split(sizes, dim=1), strict=True):
            shift, log_scale = self._shift_and_scale(out)
            x.append(torch.addcmul(shift, now, log_scale.exp()))
            log_scales.append(log_scale)
            yield x.value, log_scales.value, x.size

    def forward_plain(
        self, z: Tensor, context: Tensor | None = None, *, first: int | None = None
    ) -> Result:
        """Do the same with one full pass per dimension: the textbook's way, D times as slow.

        Args:
            z: latents, shape ``(B, D)``.
            context: shape ``(B, K)``.
            first: stop after so many dimensions, to time them; the others stay zero.
        """
        z = self._ordered(z)
        x, log_det = torch.zeros_like(z), z.new_zeros(len(z))
        for i in range(z.shape[1] if first is None else first):
            shift, log_scale = self._shift_and_scale(self.made(x, context))
            now = z[:, i] * log_scale[:, i].exp() + shift[:, i]
            x = torch.cat([x[:, :i], now[:, None], x[:, i + 1 :]], dim=1)
            log_det = log_det + log_scale[:, i]
        return self._ordered(x), log_det

    def _ordered(self, v: Tensor) -> Tensor:
        return v.flip(1) if self.reverse else v

    def _shift_and_scale(self, out: Tensor) -> Result:
        shift, raw = out.unbind(-1)
        return shift, self.bound * torch.tanh(raw / self.bound)


def log_prob_terms(flow: Flow, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Return what each dimension of ``x`` adds to log p(x) of a MAF, shape ``(B, D)``.

    Each layer's Jacobian is triangular with a known diagonal, so the sum splits.
    """
    context = flow.encoded(context)
    terms = torch.zeros_like(x)
    for layer in flow.chain:
        if isinstance(layer, MaskedAutoregressive):
            x, log_scale = layer.inverse_terms(x, **given(layer, context))
            terms = terms - log_scale
        else:
            x, _ = layer.inverse(x)
            terms = terms - layer.log_scale
    return terms + flow.prior.log_density(x)


def maf(
    *,
    features: int = 2,
    blocks: int = 5,
    hidden: int = 128,
    depth: int = 2,
    context: int = 0,
    encoded: int = 64,
    actnorm: bool = False,
    bound: float = MaskedAutoregressive.BOUND,
    pieces: int | None = None,
    generator: torch.Generator | None = None,
) -> Flow:
    """Build a MAF over points of shape ``(B, features)``; blocks take turns in their order.

    Args:
        features: dimension of the data.
        blocks: number of masked autoregressive layers.
        hidden: width of the hidden layers of each MADE.
        depth: number of hidden layers of each MADE.
        context: width of the vector that the density is conditioned on; 0 for none.
        encoded: width to which a small network brings that vector first.
        actnorm: put an ``ActNorm`` on the data side of each block.
        bound: largest absolute log-scale per block and dimension, in nats.
        pieces: see :class:`~models.blocks.made.MADE`.
        generator: source of the initial weights.

    References:
        Masked Autoregressive Flow for Density Estimation. https://arxiv.org/abs/1705.07057
    """
    layers: list[nn.Module] = []  # from the latent on
    for i in range(blocks):
        block = MaskedAutoregressive(
            features,
            hidden,
            reverse=bool((blocks - 1 - i) % 2),
            bound=bound,
            depth=depth,
            context=encoded if context else 0,
            pieces=pieces,
            generator=generator,
        )
        layers += [block, ActNorm(features)] if actnorm else [block]
    encoder = None
    if context:
        encoder = MLP(context, 2 * encoded, encoded, identity=False, generator=generator)
    return Flow(Gaussian(features), reversed(layers), context=context, encoder=encoder)


def position_features(positions: Tensor, frequencies: int = 6) -> Tensor:
    """Return sines and cosines of places in the unit square.

    Args:
        positions: ``(row, column)`` between 0 and 1, shape ``(B, 2)``.
        frequencies: octaves, from half a period to ``2^(frequencies - 2)`` periods.

    Returns:
        Shape ``(B, 4 * frequencies)``.

    References:
        Attention Is All You Need (Vaswani et al., 2017), section 3.5.
        https://arxiv.org/abs/1706.03762
    """
    octaves = math.pi * 2.0 ** torch.arange(frequencies, device=positions.device)
    angles = (positions[:, :, None] * octaves.to(positions.dtype)).flatten(1)  # (B, 2F)
    return torch.cat([angles.sin(), angles.cos()], dim=1)

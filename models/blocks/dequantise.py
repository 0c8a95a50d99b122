"""Variational dequantisation: the noise inside each byte is learned (Ho et al., 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.blocks.image_layers import ConvNet, ImageShape
from models.blocks.layers import Result
from models.blocks.splines import parameters_of, rational_quadratic

BINS = 4
HIDDEN = 32


class VariationalNoise(nn.Module):
    """Bend the noise inside each byte; the bytes themselves stay.

    A pixel ``x = (v + u) / 256`` is a byte v and noise u in [0, 1]. Towards the latent, u goes
    through a monotone spline whose knots depend on the bytes around and on the noise of the
    neighbours: first that of the black squares of a checkerboard, then that of the white ones. So
    uniform noise becomes noise of a density ``q(u | v)`` that the layers behind find easy, and
    ``log_det`` is ``-log q``: with it, the mean log-density is Flow++'s bound on ``log P(v)``. The
    map is one to one on every byte, so the probability of a byte is what it is without this layer.
    Starts as the identity, which is uniform dequantisation.

    Args:
        shape: channels, height and width of the images.
        generator: source of the initial weights.

    References:
        Flow++: Improving Flow-Based Generative Models with Variational Dequantization and
        Architecture Design (Ho et al., 2019), section 3.1, equation 12.
        https://arxiv.org/abs/1902.00275
    """

    black: Tensor

    def __init__(self, shape: ImageShape, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        channels, height, width = shape
        numbers = channels * parameters_of(BINS, "free")
        # A net sees bytes, and the noise that stays.
        self.nets = nn.ModuleList(
            ConvNet(2 * channels, HIDDEN, numbers, generator=generator) for _ in range(2)
        )
        place = torch.arange(height)[:, None] + torch.arange(width)
        self.register_buffer("black", place % 2 == 0, persistent=False)

    def inverse(self, x: Tensor) -> Result:
        """Map images ``(B, C, H, W)`` to such; also ``log |det dz/dx|``, shape ``(B,)``."""
        return self._bend(x, (0, 1), inverse=False)

    def forward(self, z: Tensor) -> Result:
        """Undo :meth:`inverse`; also ``log |det dx/dz|``, shape ``(B,)``."""
        return self._bend(z, (1, 0), inverse=True)

    def _bend(self, x: Tensor, order: tuple[int, int], *, inverse: bool) -> Result:
        byte = (256 * x).floor().clamp(0, 255)
        noise, log_det = 256 * x - byte, x.new_zeros(len(x))
        for i in order:
            moves = self.black if i == 0 else ~self.black
            seen = torch.cat([byte / 127.5 - 1, noise.masked_fill(moves, 0.5) - 0.5], dim=1)
            curves = self.nets[i](seen).unflatten(1, (x.shape[1], -1)).movedim(2, -1)
            # The box of a spline is [-1, 1].
            moved, log_slope = rational_quadratic(
                2 * noise - 1, curves, tail=1, tails="free", inverse=inverse
            )
            noise = torch.where(moves, (moved + 1) / 2, noise)
            log_det = log_det + log_slope.masked_fill(~moves, 0).flatten(1).sum(1)
        # A larger one would be rounded into the next byte, see training.core.images.dequantise.
        return (byte + noise.clamp(max=1 - 2**-16)) / 256, log_det

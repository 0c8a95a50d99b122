"""Features of images that nothing has to learn: derivatives of Gaussians on several levels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 4  # of the pyramid, each half as large as the last
KINDS = 8  # of features: mean, two first and three second derivatives, two magnitudes
_REACH = 3  # pixels on either side of the middle of a filter, whose Gaussian has sigma = 1
# Brightness and two colour differences.
_OPPONENT = ((0.30, 0.59, 0.11), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5))


class Derivatives(nn.Module):
    """Mean, gradient, second derivatives, and the magnitudes of both, per level and channel.

    Each level of a pyramid is filtered with a Gaussian of one of its pixels and its derivatives,
    and brought to the same grid. Nothing in it is learned.

    Args:
        cells: of the grid on each side.

    References:
        Scale-Space Theory in Computer Vision (Lindeberg, 1994), section 13.1.
        The Laplacian Pyramid as a Compact Image Code (Burt, Adelson, 1983), section II.
    """

    COUNT = LEVELS * KINDS * len(_OPPONENT)  # features of each cell

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.register_buffer("opponent", torch.tensor(_OPPONENT), persistent=False)
        self.register_buffer("filters", _filters(), persistent=False)

    def forward(self, levels: Tensor) -> Tensor:
        """Return the features of images.

        Args:
            levels: from 0 to 255, shape ``(N, 3, S, S)``, S at least 8 pixels.

        Returns:
            Shape ``(N, F, m, m)``.
        """
        colours = torch.einsum("ck,nkij->ncij", self.opponent, levels / 255)
        x, found = colours.flatten(0, 1)[:, None], []
        for _ in range(LEVELS):
            found.append(self._of_level(x))
            x = functional.avg_pool2d(found[-1][1], 2, ceil_mode=True)
        cells = torch.cat([features for features, _ in found], 1)
        return cells.unflatten(0, (len(levels), -1)).flatten(1, 2)

    def _of_level(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return eight features of channels ``(B, 1, S, S)``, and the channels blurred."""
        wide = functional.pad(x, (_REACH,) * 4, mode="replicate")
        maps = functional.conv2d(wide, self.filters)
        mean, fx, fy, fxx, fxy, fyy = maps.split(1, 1)
        first = (fx.square() + fy.square()).sqrt()
        second = (fxx.square() + 2 * fxy.square() + fyy.square()).sqrt()
        every = torch.cat([maps, first, second], 1)
        side = every.shape[-1]
        if side >= self.cells:
            return functional.adaptive_avg_pool2d(every, self.cells), mean
        grid = functional.interpolate(every, size=self.cells, mode="bilinear", align_corners=False)
        return grid, mean


def _filters() -> Tensor:
    """Return a Gaussian and its derivatives as filters, shape ``(6, 1, 7, 7)``."""
    x = torch.arange(-_REACH, _REACH + 1.0)
    zero = (-0.5 * x.square()).exp()
    zero = zero / zero.sum()
    one, two = x * zero, (x.square() - 1) * zero
    pairs = (zero, zero), (zero, one), (one, zero), (zero, two), (one, one), (two, zero)
    return torch.stack([torch.outer(rows, columns) for rows, columns in pairs])[:, None]

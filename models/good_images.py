"""Two models of good images that nothing has to learn: a Gaussian per pixel, and the images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.derivatives import Derivatives

TOLERANCE = 1  # cells that a part may be shifted by
FOLDS = 5  # of the good images: each is compared with those of the other folds
_BANDS = 8  # into which the bank is cut: what is in float32 at a time
_FAR = 1e6  # a distance that no image has
_SHIFTS = [(i, j) for i in range(2 * TOLERANCE + 1) for j in range(2 * TOLERANCE + 1)]


class PixelGaussian(nn.Module):
    """Mean and standard deviation of every pixel and channel of good images.

    Args:
        side: pixels on each side of the images.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, side, side))
        self.register_buffer("deviation", torch.ones(3, side, side))

    def fit(self, levels: Tensor) -> None:
        """Take over good images ``(N, 3, S, S)``, levels from 0 to 255."""
        self.mean.copy_(levels.mean(0))
        # Rounding alone has a standard deviation of 0.29 levels: no pixel is surer than that.
        self.deviation.copy_((levels.var(0, correction=0) + 1 / 12).sqrt())

    def forward(self, levels: Tensor, folds: Tensor | None = None) -> Tensor:
        """Return how far pixels are from the mean, in standard deviations.

        Root mean square of the three channels, shape ``(N, S, S)``. ``folds`` changes nothing: one
        image among many hardly moves a mean.
        """
        return ((levels - self.mean) / self.deviation).square().mean(1).sqrt()


class NearestGood(nn.Module):
    """How far each place of an image is from the good image that is most alike there.

    Features are standardised at each place. An image may be shifted against a good one by a cell,
    and each place has a nearest image of its own.

    Args:
        cells: of the grid on each side.

    References:
        Towards Total Recall in Industrial Anomaly Detection (Roth et al., CVPR 2022), section 3:
        the same idea with features of a pretrained network, and without the place.
    """

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.features = Derivatives(cells)
        shape = Derivatives.COUNT, cells, cells
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))
        # Of the good images, by place: it is as large as they are, and made of them anew.
        self.register_buffer("bank", torch.zeros(cells, cells, shape[0], 0), persistent=False)

    def fit(self, levels: Tensor) -> None:
        """Take over good images ``(N, 3, S, S)``, levels from 0 to 255."""
        found = torch.cat([self.features(some) for some in levels.split(8)])
        self.mean.copy_(found.mean(0))
        variance = found.var(0, correction=0)
        # Where all good images agree, a feature counts no more than at a quiet place.
        floor = 0.3 * variance.sqrt().mean((1, 2), keepdim=True)
        self.deviation.copy_((variance + floor.square()).sqrt().clamp_min(1e-4))
        bank = (found - self.mean) / self.deviation
        self.bank = bank.permute(2, 3, 1, 0).to(torch.float16).contiguous()

    def forward(self, levels: Tensor, folds: Tensor | None = None) -> Tensor:
        """Return distances to the nearest good image.

        Root mean square of the standardised features, shape ``(N, m, m)``.

        Args:
            levels: images, shape ``(N, 3, S, S)``, from 0 to 255.
            folds: of each image, shape ``(N,)``, if they are among the good ones: those of the
                bank that are in the same fold, themselves first of all, do not count.
        """
        found = (self.features(levels) - self.mean) / self.deviation
        query = found.permute(2, 3, 0, 1)  # (m, m, N, F)
        wide = functional.pad(query, (0, 0, 0, 0, *(TOLERANCE,) * 4))
        closed = None
        if folds is not None:
            members = torch.arange(self.bank.shape[-1], device=folds.device) % FOLDS
            closed = folds[:, None] == members
        cells = len(query)
        band = max(1, cells // _BANDS)
        rows = [
            self._band(wide, first, min(first + band, cells), closed)
            for first in range(0, cells, band)
        ]
        return (self._nearest(torch.cat(rows, 1)) / found.shape[1]).sqrt()

    def _band(self, wide: Tensor, first: int, last: int, closed: Tensor | None) -> Tensor:
        """Return the squared distances of some rows of the bank to images shifted in nine ways.

        By shift, row, column and image; at the place of the bank.
        """
        bank = self.bank[first:last].float()  # (r, m, F, M)
        size, cells, found = bank.square().sum(2)[:, :, None], bank.shape[1], []
        for i, j in _SHIFTS:
            query = wide[first + i : last + i, j : j + cells]  # (r, m, N, F)
            away = size - 2 * query @ bank
            if closed is not None:
                away = away.masked_fill(closed, _FAR)
            found.append((away.amin(-1) + query.square().sum(-1)).clamp_min(0))
        return torch.stack(found)

    @staticmethod
    def _nearest(away: Tensor) -> Tensor:
        """Return the least of nine distances of each place of the images, shape ``(N, m, m)``."""
        cells, far = away.shape[1], functional.pad(away, (0, 0, *(TOLERANCE,) * 4), value=_FAR)
        moved = [
            far[number, 2 * TOLERANCE - i :, 2 * TOLERANCE - j :][:cells, :cells]
            for number, (i, j) in enumerate(_SHIFTS)
        ]
        return torch.stack(moved).amin(0).permute(2, 0, 1)

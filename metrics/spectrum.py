"""Whether images have a checkerboard: a peak in their spectrum where upsampling leaves one."""

from __future__ import annotations

import torch
from torch import Tensor

# Cycles per pixel down and across, of patterns that come again every two or every four pixels.
FREQUENCIES = ((0.5, 0.0), (0.0, 0.5), (0.5, 0.5), (0.25, 0.0), (0.0, 0.25), (0.25, 0.25))
NEAR, FAR = 2, 5  # bins around a frequency that it is compared with: from where to where


@torch.no_grad()
def checkerboard(images: Tensor) -> float:
    """Return how far the spectrum of images stands out at the frequencies of a checkerboard.

    The largest, over ``FREQUENCIES``, of the mean power there over that of the bins around: about 1
    for images without one. A Hann window keeps edges of images out of it.

    Args:
        images: uint8, ``(N, C, S, S)``, with S a multiple of 4, at least 32.

    References:
        Deconvolution and Checkerboard Artifacts (Odena, Dumoulin, Olah, 2016).
        https://doi.org/10.23915/distill.00003
        Watch your Up-Convolution: CNN Based Generative Deep Neural Networks are Failing to
        Reproduce Spectral Distributions (Durall, Keuper, Keuper, 2020).
        https://arxiv.org/abs/2003.01826
    """
    x = images.double()
    side = x.shape[-1]
    hann = torch.hann_window(side, periodic=False, dtype=torch.float64)
    x = (x - x.mean((2, 3), keepdim=True)) * hann[:, None] * hann
    power = torch.fft.fft2(x).abs().square().mean((0, 1))  # (S, S)
    return max(_peak(power, down, across) for down, across in FREQUENCIES)


def _peak(power: Tensor, down: float, across: float) -> float:
    side = len(power)
    offsets = torch.arange(-FAR, FAR + 1)
    rows, columns = (round(place * side) + offsets for place in (down, across))
    around = power[rows[:, None] % side, columns % side]
    far = torch.maximum(offsets.abs()[:, None], offsets.abs())
    return float(power[rows[FAR] % side, columns[FAR] % side] / around[far >= NEAR].median())

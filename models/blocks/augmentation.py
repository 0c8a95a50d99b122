"""Random changes of images that gradients pass through.

References:
    Differentiable Augmentation for Data-Efficient GAN Training (Zhao et al., 2020), section 3.2 and
    the authors' code. https://arxiv.org/abs/2006.10738
"""

from __future__ import annotations

import torch
from torch import Tensor

SHIFT = 1 / 8  # of a side, at most, that an image is moved by
HOLE = 1 / 2  # of a side, that is cut out


def augmented(x: Tensor, kinds: str, generator: torch.Generator) -> Tensor:
    """Change images at random, each in its own way.

    Args:
        x: with values around [-1, 1], ``(B, C, H, W)``.
        kinds: ``"colour"``, ``"translation"`` and ``"cutout"``, those that it names, in that order.
        generator: of what is drawn, on their device.

    Returns:
        Images of the same shape, through which gradients flow to ``x``.
    """
    for kind, change in KINDS.items():
        if kind in kinds:
            x = change(x, generator)
    return x


def coloured(x: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness, saturation and contrast of images ``(B, C, H, W)``."""
    light, colour, contrast = torch.rand(
        (3, len(x), 1, 1, 1), generator=generator, device=x.device
    ).unbind()
    x = x + light - 0.5
    grey = x.mean(1, keepdim=True)
    x = grey + 2 * colour * (x - grey)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (0.5 + contrast) * (x - mean)


def translated(x: Tensor, generator: torch.Generator) -> Tensor:
    """Move images ``(B, C, H, W)`` by up to an eighth of a side; zero moves in."""
    most = round(SHIFT * x.shape[-1])
    rows, columns = (_places(x, most, generator) for _ in range(2))
    padded = torch.nn.functional.pad(x, [most] * 4)
    which = torch.arange(len(x), device=x.device)[:, None, None]
    down = torch.arange(x.shape[-2], device=x.device)[None, :, None] + rows
    right = torch.arange(x.shape[-1], device=x.device)[None, None, :] + columns
    return padded.permute(0, 2, 3, 1)[which, down, right].permute(0, 3, 1, 2)


def cut_out(x: Tensor, generator: torch.Generator) -> Tensor:
    """Set a square of half a side to zero in each image ``(B, C, H, W)``."""
    height, width = x.shape[-2:]
    half = HOLE * width / 2
    row, column = torch.rand((2, len(x), 1, 1), generator=generator, device=x.device)
    down = torch.arange(height, device=x.device)[:, None] + 0.5
    right = torch.arange(width, device=x.device) + 0.5
    inside = ((down - height * row).abs() < half) & ((right - width * column).abs() < half)
    return x.masked_fill(inside[:, None], 0)


def _places(x: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return where in their padded rows images begin, ``(B, 1, 1)``: from 0 to twice ``most``."""
    shape = len(x), 1, 1
    return torch.randint(2 * most + 1, shape, generator=generator, device=x.device)


KINDS = {"colour": coloured, "translation": translated, "cutout": cut_out}

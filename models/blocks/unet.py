"""A small U-Net that is given the time and the class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.blocks.image_layers import ImageShape
from models.blocks.layers import blank

GROUPS = 8  # of channels that are normalised together
PATCH = 2  # pixels along each side that the finest level takes as one place
WAVES = 16  # frequencies that tell the time


class Block(nn.Module):
    """Two convolutions beside a short cut; between them, time and class scale and shift.

    Args:
        channels: of the input.
        width: channels of the output.
        embedded: width of the embedding of time and class.

    References:
        Diffusion Models Beat GANs on Image Synthesis (Dhariwal, Nichol, 2021), section 3.1: scale
        and shift. https://arxiv.org/abs/2105.05233
    """

    def __init__(self, channels: int, width: int, embedded: int) -> None:
        super().__init__()
        self.before = nn.GroupNorm(GROUPS, channels, device=torch.get_default_device())
        self.first = blank(nn.Conv2d, channels, width, 3, padding=1)
        self.embedded = blank(nn.Linear, embedded, 2 * width)
        self.between = nn.GroupNorm(GROUPS, width, device=torch.get_default_device())
        self.second = blank(nn.Conv2d, width, width, 3, padding=1)
        self.short = None if channels == width else blank(nn.Conv2d, channels, width, 1)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` and ``(B, embedded)`` to ``(B, width, H, W)``."""
        h = self.first(F.silu(self.before(x)))
        scale, shift = self.embedded(embedded)[:, :, None, None].chunk(2, dim=1)
        h = self.second(F.silu(self.between(h) * (1 + scale) + shift))
        return h + (x if self.short is None else self.short(x))


class UNet(nn.Module):
    """Down to a coarse level and back up, with what was seen on the way down at hand.

    Args:
        shape: of the images; both sides are multiples of four.
        channels: of the finer level; the coarser one has twice as many.
        blocks: in each level, on the way down as on the way up.
        classes: width of the vector of the class; 0 for none.
        generator: source of the initial weights.

    References:
        U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger, Fischer, Brox,
        2015). https://arxiv.org/abs/1505.04597
        Denoising Diffusion Probabilistic Models (Ho, Jain, Abbeel, 2020), appendix B.
        https://arxiv.org/abs/2006.11239
    """

    def __init__(
        self,
        shape: ImageShape,
        channels: int,
        blocks: int,
        *,
        classes: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.context = classes
        fine, coarse, embedded = channels, 2 * channels, 4 * channels
        pixels = shape[0] * PATCH**2
        self.time = blank(nn.Linear, 2 * WAVES, embedded)
        self.label = blank(nn.Linear, classes, embedded) if classes else None
        self.embedded = blank(nn.Linear, embedded, embedded)
        self.enter = blank(nn.Conv2d, pixels, fine, 3, padding=1)
        self.down = nn.ModuleList(Block(fine, fine, embedded) for _ in range(blocks))
        self.shrink = blank(nn.Conv2d, fine, coarse, 3, stride=2, padding=1)
        self.middle = nn.ModuleList(Block(coarse, coarse, embedded) for _ in range(2 * blocks))
        self.grow = blank(nn.Conv2d, coarse, fine, 3, padding=1)
        self.up = nn.ModuleList(Block(2 * fine, fine, embedded) for _ in range(blocks))
        self.after = nn.GroupNorm(GROUPS, fine, device=torch.get_default_device())
        self.leave = blank(nn.Conv2d, fine, pixels, 3, padding=1)
        _initialise(self, generator)

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None = None) -> Tensor:
        """Return what is predicted of images, of their shape.

        Args:
            x: images ``(B, C, H, W)`` on their way from noise to data.
            t: times, ``(B,)``.
            context: the class of each as a one-hot vector ``(B, K)``; all zeros for any class.
        """
        return self._predict(x, self._embedded(t, context))

    def _embedded(self, t: Tensor, context: Tensor | None) -> Tensor:
        turns = torch.pi * t[:, None] * torch.arange(1, WAVES + 1, device=t.device, dtype=t.dtype)
        embedded = self.time(torch.cat([turns.cos(), turns.sin()], dim=1))
        if self.label is not None and context is not None:
            embedded = embedded + self.label(context)
        return F.silu(self.embedded(F.silu(embedded)))

    def _predict(self, x: Tensor, embedded: Tensor) -> Tensor:
        h = self.enter(F.pixel_unshuffle(x, PATCH).contiguous(memory_format=torch.channels_last))
        seen = []
        for block in self.down:
            h = block(h, embedded)
            seen.append(h)
        h = self.shrink(h)
        for block in self.middle:
            h = block(h, embedded)
        h = self.grow(F.interpolate(h, scale_factor=2.0))
        for block in self.up:
            h = block(torch.cat([h, seen.pop()], dim=1), embedded)
        return F.pixel_shuffle(self.leave(F.silu(self.after(h))), PATCH)


def _initialise(net: UNet, generator: torch.Generator | None) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(module.bias)
    # Blocks begin as their short cuts, and the whole at zero.
    for block in (*net.down, *net.middle, *net.up):
        nn.init.zeros_(block.second.weight)
    nn.init.zeros_(net.leave.weight)

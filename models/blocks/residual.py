"""Small residual networks without normalisation, from images to numbers and back.

They stand in the VAE and in the GAN: an encoder or discriminator that halves the image twice, and a
decoder or generator that doubles it twice, with residual blocks at both sizes.

References:
    Deep Residual Learning for Image Recognition (He et al., 2015). https://arxiv.org/abs/1512.03385
    Fixup Initialization: Residual Learning Without Normalization (Zhang, Dauphin, Ma, 2019): what a
    block adds starts small. https://arxiv.org/abs/1901.09321
    The GAN is dead; long live the GAN! A Modern GAN Baseline (Huang et al., 2024): no
    normalisation, resizing by interpolation. https://arxiv.org/abs/2501.05441
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from models.blocks.image_layers import ImageShape
from models.blocks.layers import blank

WIDTHS = (32, 64)  # channels at half and at a quarter of the side
NARROW = 16  # channels between the images' places and the fully connected layer
SLOPE = 0.2  # of the leaky ReLU
FIRST = 0.1  # of the usual size: the last convolution of a block at the start


class Residual(nn.Module):
    """A block that adds to its input what two convolutions make of it.

    Args:
        channels: of input and output, ``(B, C, H, W)``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = blank(nn.Conv2d, channels, channels, 3, padding=1)
        self.last = blank(nn.Conv2d, channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, C, H, W)``."""
        change = self.first(leaky_relu(x, SLOPE))
        return x + self.last(leaky_relu(change, SLOPE))


class Cropped(nn.Module):
    """A network whose images are cut to size.

    Args:
        layers: network to images that are at least as large.
        shape: of an image.
    """

    def __init__(self, layers: nn.Module, shape: ImageShape) -> None:
        super().__init__()
        self.layers, self.sides = layers, shape[1:]

    def forward(self, z: Tensor) -> Tensor:
        """Map latents ``(B, latent)`` to ``(B, C, H, W)``."""
        height, width = self.sides
        return self.layers(z)[..., :height, :width]


def residual_encoder(shape: ImageShape, out: int, blocks: int) -> nn.Sequential:
    """Return a network from images ``(B, C, H, W)`` to ``(B, out)``.

    Args:
        shape: of an image.
        out: numbers that come out.
        blocks: residual blocks at half and at a quarter of the side each.
    """
    channels, height, width = shape
    few, many = WIDTHS
    return nn.Sequential(
        # To multiples of four, so that both halvings come out even.
        nn.ZeroPad2d((0, -width % 4, 0, -height % 4)),
        blank(nn.Conv2d, channels, few, 4, stride=2, padding=1),
        *(Residual(few) for _ in range(blocks)),
        blank(nn.Conv2d, few, many, 4, stride=2, padding=1),
        *(Residual(many) for _ in range(blocks)),
        blank(nn.Conv2d, many, NARROW, 1),
        nn.LeakyReLU(SLOPE),
        nn.Flatten(),
        blank(nn.Linear, math.prod(_places(shape)), out),
    )


def residual_decoder(shape: ImageShape, latent: int, blocks: int) -> Cropped:
    """Return a network from latents ``(B, latent)`` to images ``(B, C, H, W)`` without bounds.

    Args:
        shape: of an image.
        latent: numbers that an image is made from.
        blocks: residual blocks at a quarter and at half of the side each.
    """
    few, many = WIDTHS
    layers = nn.Sequential(
        blank(nn.Linear, latent, math.prod(_places(shape))),
        nn.Unflatten(1, _places(shape)),
        blank(nn.Conv2d, NARROW, many, 1),
        *(Residual(many) for _ in range(blocks)),
        nn.Upsample(scale_factor=2),
        blank(nn.Conv2d, many, few, 3, padding=1),
        *(Residual(few) for _ in range(blocks)),
        nn.LeakyReLU(SLOPE),
        nn.Upsample(scale_factor=2),
        blank(nn.Conv2d, few, shape[0], 3, padding=1),
    )
    return Cropped(layers, shape)


def _places(shape: ImageShape) -> ImageShape:
    return NARROW, -(-shape[1] // 4), -(-shape[2] // 4)


@torch.no_grad()
def start_residual(network: nn.Module, generator: torch.Generator | None) -> None:
    """Draw weights so that signals keep their size, and let each block start near the identity."""
    gain = nn.init.calculate_gain("leaky_relu", SLOPE)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            inputs = layer.weight[0].numel()
            layer.weight.normal_(0, gain * inputs**-0.5, generator=generator)
            layer.bias.zero_()
    for block in network.modules():
        if isinstance(block, Residual):
            block.last.weight.mul_(FIRST)

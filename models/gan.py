"""Generative adversarial networks: a generator and a discriminator, in 2-D and on images."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm

from models.blocks.image_layers import ImageShape
from models.blocks.layers import MLP, blank
from models.blocks.residual import residual_decoder, residual_encoder, start_residual

Noise = Literal["uniform", "gaussian"]

SLOPE = 0.2  # of a leaky ReLU in a discriminator of images


class GAN(nn.Module):
    """Two networks against each other: one makes examples, the other separates them from real ones.

    Args:
        generator: latents ``(B, latent)`` to examples ``(B, ...)``.
        discriminator: examples to one score each, ``(B,)``: a logit, not a probability. The higher,
            the more real.
        latent: numbers that an example is made from.
        prior: where latents come from: evenly from [-1, 1] each, or standard normal.

    Attributes:
        average: a generator whose weights a training makes the average of those of ``generator``,
            if it was asked to; it is what samples come from.

    References:
        Generative Adversarial Nets (Goodfellow et al., 2014). https://arxiv.org/abs/1406.2661
    """

    def __init__(
        self, generator: nn.Module, discriminator: nn.Module, latent: int, prior: Noise
    ) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.latent = latent
        self.prior = prior
        self.average: nn.Module | None = None

    def keep_average(self) -> None:
        """Add the average, which starts as the generator."""
        self.average = copy.deepcopy(self.generator).requires_grad_(False)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw latents ``(count, latent)`` on the device of a source of randomness."""
        shape, device = (count, self.latent), generator.device
        if self.prior == "uniform":
            return 2 * torch.rand(shape, generator=generator, device=device) - 1
        return torch.randn(shape, generator=generator, device=device)

    def forward(self, z: Tensor) -> Tensor:
        """Return the examples that latents ``(B, latent)`` stand for."""
        return (self.generator if self.average is None else self.average)(z)


class CriticNorm(nn.BatchNorm2d):
    """Batch normalisation, or with the same weights layer normalisation.

    Which of the two is a switch, not another network, since the loss can be changed while a duel
    runs, and so all weights load.

    Attributes:
        each_alone: normalise each image alone, for a critic whose gradient is penalised image by
            image. In a batch norm, the gradient at an image is also that of its neighbours.

    References:
        Improved Training of Wasserstein GANs (Gulrajani et al., 2017), section 4, "No critic batch
        normalization". https://arxiv.org/abs/1704.00028
    """

    each_alone = False

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, H, W)``."""
        if self.each_alone:
            return group_norm(x, 1, self.weight, self.bias, self.eps)
        return super().forward(x)


class Score(nn.Module):
    """Flatten what a discriminator ends with, ``(B, 1)`` or ``(B, 1, 1, 1)``, to ``(B,)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of shape ``(B,)``."""
        return x.flatten()


def plane_gan(
    *,
    hidden: int,
    depth: int,
    latent: int = 2,
    prior: Noise = "uniform",
    generator: torch.Generator | None = None,
) -> GAN:
    """Return a GAN over 2-D points, ``(B, 2)``.

    Args:
        hidden: width of the hidden layers of either network.
        depth: hidden layers of either network.
        latent: numbers that a point is made from; with two, the latent square can be drawn.
        prior: where latents come from.
        generator: source of the initial weights.

    References:
        Generative Adversarial Nets (Goodfellow et al., 2014). https://arxiv.org/abs/1406.2661
    """
    widths = [hidden] * depth
    return GAN(
        MLP(latent, *widths, 2, identity=False, generator=generator),
        nn.Sequential(MLP(2, *widths, 1, identity=False, generator=generator), Score()),
        latent,
        prior,
    )


def image_gan(
    *,
    shape: ImageShape,
    hidden: int,
    latent: int,
    generator: torch.Generator | None = None,
) -> GAN:
    """Return a GAN of fully connected networks over images with values in [-1, 1].

    Args:
        shape: of an image.
        hidden: width of the two hidden layers of either network.
        latent: numbers that an image is made from, standard normal.
        generator: source of the initial weights.

    References:
        Generative Adversarial Nets (Goodfellow et al., 2014). https://arxiv.org/abs/1406.2661
    """
    dims = math.prod(shape)
    paint = MLP(latent, hidden, hidden, dims, identity=False, generator=generator)
    # Without its normalisation the generator is left behind: a few pixels are all it finds.
    layers = [
        nn.Sequential(layer, nn.BatchNorm1d(hidden)) if i in (0, 2) else layer
        for i, layer in enumerate(paint)
    ]
    discriminator = MLP(dims, hidden, hidden, 1, identity=False, generator=generator)
    for i in (1, 3):
        discriminator[i] = nn.LeakyReLU(SLOPE, inplace=True)
    return GAN(
        nn.Sequential(*layers, nn.Tanh(), nn.Unflatten(1, shape)),
        nn.Sequential(nn.Flatten(), discriminator, Score()),
        latent,
        "gaussian",
    )


def dcgan(
    *,
    shape: ImageShape,
    maps: int,
    latent: int,
    generator: torch.Generator | None = None,
) -> GAN:
    """Return a convolutional GAN over images with values in [-1, 1].

    Convolutions of 4 x 4 with stride 2 halve an image until 4 to 7 places per side are left, while
    their channels double; the generator goes the same way back with transposed ones.

    Args:
        shape: of an image; its sides must be those that :func:`dcgan_side` returns.
        maps: feature maps next to the image.
        latent: numbers that an image is made from, standard normal.
        generator: source of the initial weights.

    References:
        Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks
        (Radford, Metz, Chintala, 2015). https://arxiv.org/abs/1511.06434
    """
    channels, side, _ = shape
    halvings = _halvings(side)
    base = side >> halvings
    widths = [maps << i for i in range(halvings)]  # from the image inwards
    gan = GAN(
        nn.Sequential(*_generator(channels, widths, base, latent)),
        nn.Sequential(*_discriminator(channels, widths, base)),
        latent,
        "gaussian",
    )
    for module in gan.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0, 0.02, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.02, generator=generator)
    return gan


def residual_gan(
    *,
    shape: ImageShape,
    latent: int,
    blocks: int,
    generator: torch.Generator | None = None,
) -> GAN:
    """Return a GAN of small residual networks without normalisation, over images in [-1, 1].

    Args:
        shape: of an image.
        latent: numbers that an image is made from, standard normal.
        blocks: residual blocks of either network at half and at a quarter of the side each.
        generator: source of the initial weights.

    References:
        The GAN is dead; long live the GAN! A Modern GAN Baseline (Huang et al., 2024), section 3:
        what of a network a well-behaved loss can do without. https://arxiv.org/abs/2501.05441
    """
    gan = GAN(
        nn.Sequential(residual_decoder(shape, latent, blocks), nn.Tanh()),
        nn.Sequential(residual_encoder(shape, 1, blocks), Score()),
        latent,
        "gaussian",
    )
    start_residual(gan, generator)
    return gan


def dcgan_side(side: int) -> int:
    """Return the pixels per side, at least ``side``, that can be halved down to 4 to 7 places."""
    unit = 1 << _halvings(side)
    return -(-side // unit) * unit


def _halvings(side: int) -> int:
    return max(1, int(math.log2(side / 4)))


def _generator(channels: int, widths: list[int], base: int, latent: int) -> list[nn.Module]:
    inner = widths[-1]
    layers: list[nn.Module] = [nn.Unflatten(1, (latent, 1, 1))]
    layers += [_up(latent, inner, base, 1, 0), nn.BatchNorm2d(inner), nn.ReLU(inplace=True)]
    for wide, narrow in pairwise(reversed(widths)):
        layers += [_up(wide, narrow, 4, 2, 1), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)]
    return [*layers, _up(widths[0], channels, 4, 2, 1), nn.Tanh()]


def _discriminator(channels: int, widths: list[int], base: int) -> list[nn.Module]:
    layers: list[nn.Module] = [_down(channels, widths[0], 4, 2, 1)]
    layers.append(nn.LeakyReLU(SLOPE, inplace=True))
    for narrow, wide in pairwise(widths):
        layers += [_down(narrow, wide, 4, 2, 1), CriticNorm(wide)]
        layers.append(nn.LeakyReLU(SLOPE, inplace=True))
    return [*layers, _down(widths[-1], 1, base, 1, 0), Score()]


def _up(*sizes: int) -> nn.Module:
    # No bias: a batch norm, or the mean of the data, takes it away again.
    return blank(nn.ConvTranspose2d, *sizes, bias=False)


def _down(*sizes: int) -> nn.Module:
    return blank(nn.Conv2d, *sizes, bias=False)

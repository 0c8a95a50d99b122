"""CycleGAN: two generators that undo each other, and two discriminators that score patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.blocks.layers import blank

SLOPE = 0.2  # of a leaky ReLU in a discriminator
SPREAD = 0.02  # standard deviation of the initial weights


class InstanceNorm(nn.Module):
    """Give each channel of each image mean 0 and variance 1; nothing is learned.

    References:
        Instance Normalization: The Missing Ingredient for Fast Stylization (Ulyanov, Vedaldi,
        Lempitsky, 2016). https://arxiv.org/abs/1607.08022
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, shape ``(B, C, H, W)``, with mean 0 and variance 1 in each channel."""
        # A group norm with one channel per group: the same numbers, on a CPU in a fifth of the time
        # of torch's instance norm.
        return nn.functional.group_norm(x, x.shape[1])


class ResidualBlock(nn.Module):
    """Two convolutions of 3 x 3 whose result is added to what came in, ``(B, C, H, W)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.ReflectionPad2d(1),
            _conv(channels, channels, 3),
            InstanceNorm(),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            _conv(channels, channels, 3),
            InstanceNorm(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus what the block changes, both of shape ``(B, C, H, W)``."""
        return x + self.change(x)


class ToImage(nn.Module):
    """The last convolution of a generator: 7 x 7, from ``channels`` to red, green and blue."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3, channels, 7, 7))
        self.bias = nn.Parameter(torch.empty(3))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, 3, H, W)`` for an ``x`` with 3 more pixels on each side."""
        if x.device.type == "cpu" and x.dtype == torch.float32:
            # The same sum as a transposed convolution: with so few channels to go to, a CPU finds
            # its gradient in a third of the time.
            turned = self.weight.transpose(0, 1).flip(2, 3)
            return nn.functional.conv_transpose2d(x, turned, self.bias, padding=6)
        return nn.functional.conv2d(x, self.weight, self.bias)


def _transposed(channels: int, wide: int) -> nn.Module:
    """Spread each pixel by weights that overlap: neighbours are sums of more and of fewer."""
    options = {"stride": 2, "padding": 1, "output_padding": 1, "bias": False}
    return blank(nn.ConvTranspose2d, channels, wide, 3, **options)


def _resized(channels: int, wide: int) -> nn.Module:
    """Repeat each pixel, then convolve: every pixel of the result sees as many weights."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1), _conv(channels, wide, 3)
    )


UPSAMPLINGS = {"resize": _resized, "transposed": _transposed}
"""What doubles the sides of ``(B, C, H, W)``.

A transposed convolution of 3 x 3 with stride 2 reaches some pixels with one weight and others with
two or four, which is where a checkerboard comes from.
"""


class ResNetGenerator(nn.Module):
    """Translate images: halve them twice, change them in residual blocks, double them twice.

    Args:
        width: channels next to the image; four times as many in the blocks.
        blocks: residual blocks; the paper has 6 for 128 pixels and 9 for 256.
        upsampling: a key of ``UPSAMPLINGS``; the paper has transposed convolutions.

    References:
        Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu, Park,
        Isola, Efros, 2017), appendix 7.2. https://arxiv.org/abs/1703.10593
        Deconvolution and Checkerboard Artifacts (Odena, Dumoulin, Olah, 2016): resizing.
        https://doi.org/10.23915/distill.00003
    """

    def __init__(self, *, width: int, blocks: int, upsampling: str = "transposed") -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), _conv(3, width, 7)]
        layers += [InstanceNorm(), nn.ReLU(inplace=True)]
        for wide in (2 * width, 4 * width):
            layers += [_conv(wide // 2, wide, 3, stride=2, padding=1), InstanceNorm()]
            layers.append(nn.ReLU(inplace=True))
        layers += [ResidualBlock(4 * width) for _ in range(blocks)]
        for wide in (4 * width, 2 * width):
            up = UPSAMPLINGS[upsampling](wide, wide // 2)
            layers += [up, InstanceNorm(), nn.ReLU(inplace=True)]
        layers += [nn.ReflectionPad2d(3), ToImage(width), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return translations of images ``(B, 3, H, W)`` with values in [-1, 1], as large as they.

        Raises:
            ValueError: height or width cannot be halved twice.
        """
        if x.shape[-1] % 4 or x.shape[-2] % 4:
            size = f"{x.shape[-2]} x {x.shape[-1]}"
            raise ValueError(f"Sides must be multiples of 4 pixels; {size} are not.")
        return self.layers(x)


class PatchDiscriminator(nn.Module):
    """Score each patch of 70 x 70 pixels by itself: is it real?

    Args:
        width: channels next to the image.

    References:
        Image-to-Image Translation with Conditional Adversarial Networks (Isola, Zhu, Zhou, Efros,
        2016), section 3.2.2. https://arxiv.org/abs/1611.07004
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, width, 4, stride=2, padding=1, bias=True)]
        layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        for wide, stride in ((2 * width, 2), (4 * width, 2), (8 * width, 1)):
            layers += [_conv(wide // 2, wide, 4, stride=stride, padding=1), InstanceNorm()]
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        layers.append(_conv(8 * width, 1, 4, padding=1, bias=True))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of the patches of images ``(B, 3, H, W)``: ``(B, 1, H/8 - 2, W/8 - 2)``.

        1 stands for real and 0 for fake.
        """
        return self.layers(x)


class CycleGAN(nn.Module):
    """Two generators between A and B, and a discriminator for each of these.

    Args:
        width: channels next to the image in the generators.
        blocks: residual blocks of either generator.
        discriminator_width: channels next to the image in the discriminators.
        upsampling: of the generators, a key of ``UPSAMPLINGS``.
    """

    def __init__(
        self, *, width: int, blocks: int, discriminator_width: int, upsampling: str = "transposed"
    ) -> None:
        super().__init__()
        sizes = {"width": width, "blocks": blocks, "upsampling": upsampling}
        self.a_to_b = ResNetGenerator(**sizes)
        self.b_to_a = ResNetGenerator(**sizes)
        self.discriminator_a = PatchDiscriminator(width=discriminator_width)
        self.discriminator_b = PatchDiscriminator(width=discriminator_width)

    @property
    def generators(self) -> nn.ModuleList:
        """The two generators, A to B first."""
        return nn.ModuleList([self.a_to_b, self.b_to_a])

    @property
    def discriminators(self) -> nn.ModuleList:
        """The two discriminators, that of A first."""
        return nn.ModuleList([self.discriminator_a, self.discriminator_b])


def cyclegan(
    *,
    width: int,
    blocks: int,
    discriminator_width: int,
    upsampling: str = "transposed",
    generator: torch.Generator | None = None,
) -> CycleGAN:
    """Return untrained networks: weights are normal, with the standard deviation 0.02.

    Args:
        width: channels next to the image in the generators.
        blocks: residual blocks of either generator.
        discriminator_width: channels next to the image in the discriminators.
        upsampling: of the generators, a key of ``UPSAMPLINGS``.
        generator: source of the initial weights.

    References:
        Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu, Park,
        Isola, Efros, 2017), section 4. https://arxiv.org/abs/1703.10593
    """
    model = CycleGAN(
        width=width,
        blocks=blocks,
        discriminator_width=discriminator_width,
        upsampling=upsampling,
    )
    start(model, generator)
    return model


def start(model: nn.Module, generator: torch.Generator | None) -> None:
    """Draw all weights from a normal distribution of standard deviation 0.02; biases are 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | ToImage):
            nn.init.normal_(module.weight, 0, SPREAD, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def receptive_field(discriminator: PatchDiscriminator, place: int) -> tuple[int, int]:
    """Return the first and the last pixel that an output sees, along one side.

    Args:
        discriminator: whose output it is.
        place: of the output along that side. Pixels may lie in the padding, beyond the image.
    """
    first = last = place
    for layer in reversed(discriminator.layers):
        if isinstance(layer, nn.Conv2d):
            stride, padding, kernel = layer.stride[0], layer.padding[0], layer.kernel_size[0]
            first = first * stride - padding
            last = last * stride - padding + kernel - 1
    return first, last


def _conv(
    channels: int, wide: int, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = False
) -> nn.Module:
    # Without a bias where an instance norm follows, which takes it away again.
    options = {"stride": stride, "padding": padding, "bias": bias}
    return blank(nn.Conv2d, channels, wide, kernel, **options)

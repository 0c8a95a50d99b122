"""Invertible layers for images, with the interface of :mod:`models.blocks.layers`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.layers import Result, blank

ImageShape = tuple[int, int, int]  # channels, height, width


class Squeeze(nn.Module):
    """Trade space for channels: towards the latent, each 2x2 block of pixels becomes 4 channels.

    ``(B, 4C, H/2, W/2)`` on the latent side, ``(B, C, H, W)`` on the data side; ``log_det`` is 0.

    Args:
        checkerboard: order the blocks so that the two halves of the channels are the black and the
            white squares of a checkerboard. A coupling behind it is RealNVP's masked one, without
            the half of the work that a mask throws away.

    References:
        Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), sections 3.4 and
        3.6. https://arxiv.org/abs/1605.08803

    Examples:
        >>> image = torch.arange(16.0).view(1, 1, 4, 4)
        >>> Squeeze().inverse(image)[0].shape
        torch.Size([1, 4, 2, 2])
    """

    def __init__(self, *, checkerboard: bool = False) -> None:
        super().__init__()
        self.checkerboard = checkerboard

    def inverse(self, x: Tensor) -> Result:
        """Map ``(B, C, H, W)`` to ``(B, 4C, H/2, W/2)``; ``log_det`` is 0, shape ``(B,)``."""
        batch, channels, height, width = x.shape
        x = x.reshape(batch, channels, height // 2, 2, width // 2, 2)
        x = x.permute(3, 5, 0, 1, 2, 4)  # (2, 2, B, C, H/2, W/2)
        corners = x[0, 0], x[0, 1], x[1, 0], x[1, 1]
        if self.checkerboard:
            corners = x[0, 0], x[1, 1], x[0, 1], x[1, 0]
        return torch.cat(corners, dim=1), x.new_zeros(batch)

    def forward(self, z: Tensor) -> Result:
        """Map ``(B, 4C, H/2, W/2)`` to ``(B, C, H, W)``; ``log_det`` is 0, shape ``(B,)``."""
        batch, channels, height, width = z.shape
        a, b, c, d = z.chunk(4, dim=1)
        rows = ((a, c), (d, b)) if self.checkerboard else ((a, b), (c, d))
        # (B, C, H/2, 2, W/2, 2)
        x = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=3)
        return x.reshape(batch, channels // 4, 2 * height, 2 * width), z.new_zeros(batch)


def squeezed(shape: ImageShape) -> ImageShape:
    """Return channels, height and width on the latent side of a :class:`Squeeze`.

    Raises:
        ValueError: height or width is odd.
    """
    channels, height, width = shape
    if height % 2 or width % 2:
        raise ValueError(f"{height} x {width} pixels cannot be halved once more.")
    return 4 * channels, height // 2, width // 2


class Unsqueeze(nn.Module):
    """The opposite of :class:`Squeeze`: towards the latent, 4 channels become 2x2 pixels again."""

    def __init__(self, *, checkerboard: bool = False) -> None:
        super().__init__()
        self.squeeze = Squeeze(checkerboard=checkerboard)

    def inverse(self, x: Tensor) -> Result:
        """Map ``(B, 4C, H/2, W/2)`` to ``(B, C, H, W)``; ``log_det`` is 0, shape ``(B,)``."""
        return self.squeeze.forward(x)

    def forward(self, z: Tensor) -> Result:
        """Map ``(B, C, H, W)`` to ``(B, 4C, H/2, W/2)``; ``log_det`` is 0, shape ``(B,)``."""
        return self.squeeze.inverse(z)


class InvertibleConv(nn.Module):
    """A 1x1 convolution: the same invertible matrix mixes the channels of every pixel.

    Towards the latent, ``z = W x`` with ``W = P L (U + diag(s))``; P is a fixed permutation, L is
    lower triangular with ones on its diagonal, U strictly upper triangular. So ``log_det`` is
    ``H W sum log|s|``, and no determinant has to be computed.

    Args:
        channels: C.
        generator: source of the random rotation that it starts as.

    References:
        Glow (Kingma, Dhariwal, 2018), section 3.2, equation 10. https://arxiv.org/abs/1807.03039
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        rotation, _ = torch.linalg.qr(torch.randn(channels, channels, generator=generator))
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", diagonal.sign())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_scale = nn.Parameter(diagonal.abs().log())

    def matrix(self) -> Tensor:
        """Return W, shape ``(C, C)``."""
        lower, upper = self._factors()
        return self.permutation @ lower @ upper

    def inverse(self, x: Tensor) -> Result:
        """Map data ``(B, C, H, W)`` to latents; ``log_det`` is ``H W sum log |r|``, ``(B,)``."""
        return _mix(x, self.matrix()), self._log_det(x)

    def forward(self, z: Tensor) -> Result:
        """Map latents ``(B, C, H, W)`` to data by two triangular systems; ``log_det``: ``(B,)``."""
        lower, upper = self._factors()
        undone = torch.linalg.solve_triangular(lower, self.permutation.T, upper=False)
        undone = torch.linalg.solve_triangular(upper, undone, upper=True)
        return _mix(z, undone), -self._log_det(z)

    def _factors(self) -> tuple[Tensor, Tensor]:
        ones = torch.eye(len(self.log_scale), dtype=self.lower.dtype, device=self.lower.device)
        scale = torch.diag(self.sign * self.log_scale.exp())
        return self.lower.tril(-1) + ones, self.upper.triu(1) + scale

    def _log_det(self, v: Tensor) -> Tensor:
        return (self.log_scale.sum() * v[0, 0].numel()).expand(len(v))


class InvertibleLinear(InvertibleConv):
    """The same matrix for the coordinates of a vector ``(B, D)``: ``log_det = sum log|s|``.

    A 1x1 convolution over an image of one pixel.

    References:
        Glow (Kingma, Dhariwal, 2018), section 3.2, equation 10. https://arxiv.org/abs/1807.03039
    """


def _mix(v: Tensor, matrix: Tensor) -> Tensor:
    if v.dim() == 2:
        return v @ matrix.T
    return torch.einsum("ij, bjhw -> bihw", matrix, v)  # what a 1x1 convolution computes


class Logit(nn.Module):
    """Let pixels in [0, 1] reach the whole line: towards the latent, ``logit(a + (1 - 2a) x)``.

    Args:
        alpha: a, which keeps 0 and 1 away from infinity. The paper takes 0.05; with that, all the
            dark pixels of a digit share a narrow range, and a flow learns them more slowly.

    References:
        Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), section 4.1.
        https://arxiv.org/abs/1605.08803
    """

    def __init__(self, alpha: float = 0.05) -> None:
        super().__init__()
        self.alpha = alpha

    def inverse(self, x: Tensor) -> Result:
        """Map pixels in [0, 1], ``(B, ...)``, to the line; ``log_det`` has the shape ``(B,)``."""
        limits = torch.finfo(x.dtype)
        # Samples of a flow may round to a place just outside: it has no logarithm.
        p = (self.alpha + (1 - 2 * self.alpha) * x).clamp(limits.tiny, 1 - limits.eps)
        z = p.log() - (-p).log1p()
        return z, self._log_slope(z)

    def forward(self, z: Tensor) -> Result:
        """Map numbers on the line, ``(B, ...)``, to pixels; ``log_det`` has the shape ``(B,)``."""
        x = (z.sigmoid() - self.alpha) / (1 - 2 * self.alpha)
        return x, -self._log_slope(z)

    def _log_slope(self, z: Tensor) -> Tensor:
        """Return log |dz/dx| summed over each image, at the latent side ``z``."""
        slope = math.log(1 - 2 * self.alpha) - F.logsigmoid(z) - F.logsigmoid(-z)
        return slope.flatten(1).sum(1)


class Vectorise(nn.Module):
    """Make one vector of an image: towards the latent, pixels at even places first, odd ones last.

    ``(B, D)`` on the latent side, ``(B, C, H, W)`` on the data side.
    ``log_det`` is 0.

    Args:
        shape: channels, height and width.
    """

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.shape = shape

    def inverse(self, x: Tensor) -> Result:
        """Map ``(B, C, H, W)`` to ``(B, D)``, even places first; ``log_det`` is 0."""
        x = x.flatten(1)
        return torch.cat([x[:, ::2], x[:, 1::2]], dim=1), x.new_zeros(len(x))

    def forward(self, z: Tensor) -> Result:
        """Map ``(B, D)`` back to ``(B, C, H, W)``; ``log_det`` is 0."""
        x = torch.empty_like(z)
        half = (z.shape[1] + 1) // 2
        x[:, ::2], x[:, 1::2] = z[:, :half], z[:, half:]
        return x.reshape(-1, *self.shape), z.new_zeros(len(z))


class Flatten(nn.Module):
    """End the last level: towards the latent, what is left of an image becomes a vector.

    Args:
        shape: channels, height and width on the data side.
    """

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.shape = shape

    def inverse(self, x: Tensor) -> Result:
        """Map ``(B, C, H, W)`` to ``(B, D)``; ``log_det`` is 0."""
        return x.flatten(1), x.new_zeros(len(x))

    def forward(self, z: Tensor) -> Result:
        """Map ``(B, D)`` to ``(B, C, H, W)``; ``log_det`` is 0."""
        return z.reshape(-1, *self.shape), z.new_zeros(len(z))


# Hidden channels, and couplings in a row, up to which a conditioner's output is taken as it is.
# Depth takes all from the log-scales but only its root from the shifts. That was found by trial:
# with nothing taken from them, RealNVP of 32 couplings still jumps to 60 bits/dim for a step; with
# all, flows are stable too but learn more slowly.
BASE_WIDTH = 64
BASE_DEPTH = 8


class ConvNet(nn.Module):
    """Glow's conditioner: 3x3, 1x1 and 3x3 convolutions with ReLU between them.

    It gives ``(shift, raw log-scale)``, as :class:`~models.blocks.layers.AffineCoupling` wants
    them. The last convolution starts at zero, so that its coupling starts as the identity. Adam
    moves each of its weights by as much whatever its width, so what it gives would move in
    proportion to that; and as all couplings of a flow first move the same way, the sum of their
    log-scales, which sits in an exponent, would move in proportion to their number. From
    ``BASE_WIDTH`` and ``BASE_DEPTH`` on, factors take it back. Without them wide or deep flows
    explode in their first steps.

    Args:
        channels: of its input.
        hidden: of the layers between.
        outputs: channels of its output, an even number: the second half are log-scales.
        depth: couplings with such a network on a pixel's way through the flow.
        context: width of a vector that shifts the first hidden layer, 0 for none.
        generator: source of the initial weights.

    Attributes:
        gain: factors of its output, ``(outputs, 1, 1)``.
        mixed: compute in bfloat16, two to three times as fast where the processor knows it. Input,
            output and weights stay float32.

    References:
        Glow (Kingma, Dhariwal, 2018), section B. https://arxiv.org/abs/1807.03039
        Tensor Programs V (Yang et al., 2022), table 3: the output of a net of width n is scaled by
        1/n. https://arxiv.org/abs/2203.03466
    """

    gain: Tensor

    def __init__(
        self,
        channels: int,
        hidden: int,
        outputs: int,
        *,
        depth: int = 1,
        context: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.context = context
        self.mixed = False
        deep = min(1.0, BASE_DEPTH / depth)
        gain = torch.full((outputs, 1, 1), min(1.0, BASE_WIDTH / hidden))
        gain[: outputs // 2] *= math.sqrt(deep)
        gain[outputs // 2 :] *= deep
        self.register_buffer("gain", gain)  # weights alone do not say what it is
        self.first = _conv(channels, hidden, 3, generator)
        self.middle = _conv(hidden, hidden, 1, generator)
        self.last = _conv(hidden, outputs, 3, generator)
        nn.init.zeros_(self.last.weight)
        self.shift = nn.Parameter(torch.zeros(hidden, context)) if context else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map ``(B, channels, H, W)`` to ``(B, outputs, H, W)``."""
        # The layout in which convolutions are fastest, and products with 1x1 ones plain matrices.
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.mixed):
            hidden = self.first(x)
            if self.shift is not None:
                hidden += (context @ self.shift.T)[:, :, None, None]
            hidden = F.relu(self.middle(F.relu(hidden, inplace=True)), inplace=True)
            out = _few_outputs(self.last, hidden) if x.device.type == "cpu" else self.last(hidden)
        return out.to(x.dtype) * self.gain


def _few_outputs(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Compute ``conv(x)`` for a 3x3 kernel, in less time where outputs are few and inputs many.

    oneDNN rounds the number of outputs up to 16. So one matrix product finds what every pixel gives
    to each output of its nine neighbours (at most 36 numbers for a grey image's first level), and
    ``fold`` adds up what arrives. The sum is in float32 even where the product is in bfloat16.
    """
    batch, _, height, width = x.shape
    # A kernel reads from its neighbours; mirrored, it says what is given to them.
    weight = conv.weight.flip(2, 3).permute(0, 2, 3, 1).flatten(0, 2)  # (9 outputs, inputs)
    given = F.linear(x.permute(0, 2, 3, 1).flatten(0, 2), weight)
    given = given.to(conv.bias.dtype).unflatten(0, (batch, height * width))
    arrived = F.fold(given.transpose(1, 2), (height, width), 3, padding=1)
    return arrived + conv.bias[:, None, None]


def _conv(width_in: int, width_out: int, side: int, generator: torch.Generator | None) -> nn.Conv2d:
    """Return a convolution that keeps the size of the image."""
    conv = blank(nn.Conv2d, width_in, width_out, side, padding=side // 2)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu", generator=generator)
    nn.init.zeros_(conv.bias)
    return conv

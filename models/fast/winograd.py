"""Convolutions of 3 x 3 with a quarter of the multiplications: Winograd's minimal filtering.

A square of 4 x 4 results is found from the 6 x 6 numbers that it sees. Both these and the weights
are first transformed; then 36 products of each pair of channels do what takes 144 without, and a
last transform gives the results. Over all squares of an image, each of the 36 is a product of
matrices, which is what a processor does best. Between wide layers that is where the time goes; with
few channels the transforms cost more than they save.

References:
    Fast Algorithms for Convolutional Neural Networks (Lavin, Gray, 2015), sections 4.2 and 4.3.
    https://arxiv.org/abs/1509.09308
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

TILE, FIELD = 4, 6  # sides of a square of results, and of what it sees
# As measured on a CPU, it pays from so many channels on both sides and so many squares on.
WIDE, MANY = 128, 64

# Section 4.3, F(4, 3): of the numbers, of the weights, and back.
_SEEN = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_WEIGHT = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_BACK = [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
]


class Conv3x3(nn.Conv2d):
    """A convolution of 3 x 3 without bias, stride or padding, in the way that is faster.

    Weights are those of torch's layer, shape ``(D, C, 3, 3)``.

    Args:
        channels: C, of what comes in.
        wide: D, of what goes out.
        device: where the weights lie.
    """

    def __init__(
        self, channels: int, wide: int, *, device: torch.device | str | None = None
    ) -> None:
        super().__init__(channels, wide, 3, bias=False, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, D, H, W)`` for an ``x`` of shape ``(B, C, H + 2, W + 2)``."""
        return convolve(x, self.weight) if pays(x, self.weight) else super().forward(x)


def pays(x: Tensor, weight: Tensor) -> bool:
    """Tell whether :func:`convolve` can be used and is faster than torch's convolution.

    Args:
        x: what comes in, shape ``(B, C, H + 2, W + 2)``.
        weight: shape ``(D, C, 3, 3)``.
    """
    # What computes in bfloat16 is faster without.
    exact = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    rows, columns = _grid(x)
    whole = x.shape[2:] == (rows * TILE + 2, columns * TILE + 2) and x.is_contiguous()
    many = len(x) * rows * columns >= MANY and min(weight.shape[:2]) >= WIDE
    return x.device.type == "cpu" and exact and whole and many


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve without padding, as :func:`torch.nn.functional.conv2d` does but for rounding.

    Args:
        x: shape ``(B, C, H + 2, W + 2)``, of floats.
        weight: shape ``(D, C, 3, 3)``.

    Returns:
        Shape ``(B, D, H, W)``; both inputs have gradients, once.

    Raises:
        ValueError: H or W is not a multiple of 4, or the shapes do not fit one another.
    """
    if min(x.shape[2:]) < FIELD or any(side % TILE != FIELD - TILE for side in x.shape[2:]):
        size = f"{x.shape[-2]} x {x.shape[-1]}"
        raise ValueError(f"Sides must be multiples of {TILE}, and 2 more; {size} are not.")
    if x.shape[1] != weight.shape[1] or weight.shape[2:] != (3, 3):
        raise ValueError(f"Weights {tuple(weight.shape)} do not fit {x.shape[1]} channels.")
    return _Winograd.apply(x, weight)


class _Winograd(torch.autograd.Function):
    """All steps are linear in either input, so each gradient goes through them backwards.

    The 36 numbers of a square come first, then channels, then all squares of all images, T:
    ``(36, C, T)``.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        batch, wide, (rows, columns) = len(x), len(weight), _grid(x)
        back = _matrices(x.dtype, x.device)[2]
        results = back @ torch.bmm(_weights(weight), _numbers(x)).view(FIELD**2, -1)
        results = results.view(TILE, TILE, wide, batch, rows, columns).permute(3, 2, 4, 0, 5, 1)
        # The transforms are up to four times as large as what they are made of. They are made
        # again rather than kept: that takes no longer than to be given the memory.
        ctx.save_for_backward(x, weight)
        return results.reshape(batch, wide, rows * TILE, columns * TILE)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        batch, wide, (rows, columns) = len(x), len(weight), _grid(x)
        seen, turn, back = _matrices(grad.dtype, grad.device)
        grad = grad.reshape(batch, wide, rows, TILE, columns, TILE).permute(3, 5, 1, 0, 2, 4)
        grad = (back.T @ grad.reshape(TILE**2, -1)).view(FIELD**2, wide, -1)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            fields = torch.bmm(_weights(weight).transpose(1, 2), grad)
            fields = (seen.T @ fields.view(FIELD**2, -1)).view(FIELD**2, -1, batch, rows * columns)
            # Squares see what their neighbours see, too: there the gradients add up.
            fields = fields.permute(2, 1, 0, 3).reshape(batch, -1, rows * columns)
            of_x = nn.functional.fold(fields, x.shape[2:], FIELD, stride=TILE)
        if ctx.needs_input_grad[1]:
            of_weight = torch.bmm(grad, _numbers(x).transpose(1, 2)).view(FIELD**2, -1)
            of_weight = (turn.T @ of_weight).T.reshape(weight.shape)
        return of_x, of_weight


def _weights(weight: Tensor) -> Tensor:
    """Return the transformed weights, ``(36, D, C)``."""
    turn = _matrices(weight.dtype, weight.device)[1]
    return (turn @ weight.reshape(-1, 9).T).view(FIELD**2, *weight.shape[:2])


def _numbers(x: Tensor) -> Tensor:
    """Return, transformed, the numbers that each square sees, ``(36, C, T)``."""
    image, channel, row, column = x.stride()
    shape = (FIELD, FIELD, x.shape[1], len(x), *_grid(x))
    strides = (row, column, channel, image, TILE * row, TILE * column)
    squares = x.as_strided(shape, strides).reshape(FIELD**2, -1)
    seen = _matrices(x.dtype, x.device)[0]
    return (seen @ squares).view(FIELD**2, x.shape[1], -1)


def _grid(x: Tensor) -> tuple[int, int]:
    """Return how many squares there are in a column and in a row."""
    return (x.shape[-2] - 2) // TILE, (x.shape[-1] - 2) // TILE


@cache
def _matrices(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the transforms along both sides at once: ``(36, 36)``, ``(36, 9)``, ``(16, 36)``."""
    sides = (torch.tensor(matrix, dtype=dtype, device=device) for matrix in (_SEEN, _WEIGHT, _BACK))
    seen, turn, back = (torch.kron(side, side) for side in sides)
    return seen, turn, back

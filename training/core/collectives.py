"""What the processes of one training compute together; nothing changes for one alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor


class LostProcess(ConnectionError):
    """Another process of the training has ended."""


def size() -> int:
    """Return how many processes train together; 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def leads() -> bool:
    """Return whether this process is the one that keeps the run's folder."""
    return size() == 1 or dist.get_rank() == 0


def shard(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the rows of each batch ``(B, ...)`` that are this process's; together they are all."""
    if size() == 1:
        return tensors
    return tuple(t.tensor_split(size())[dist.get_rank()] for t in tensors)


def mean(values: Tensor, of: int) -> Tensor:
    """Return this process's part of a mean.

    Args:
        values: one value per row of its shard, ``(b,)``.
        of: rows of the whole batch. The parts add up to the mean over these.
    """
    return values.mean() if size() == 1 else values.sum() / of


def total(gradient: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
    """Return gradient ``(P,)`` and scalar loss, added up over all processes."""
    if size() == 1:
        return gradient, loss
    both = torch.cat([gradient, loss.reshape(1).to(gradient.dtype)])
    with_all(dist.all_reduce, both)
    return both[:-1], both[-1]


def with_all(call: Callable, values: object, **options: int) -> None:
    """Call something that all processes call at the same time.

    Raises:
        LostProcess: one of them has ended.
    """
    try:
        call(values, **options)
    except RuntimeError as error:  # so say gloo and NCCL
        raise LostProcess(
            "Another process of this training has ended. Resume goes on from the last checkpoint."
        ) from error

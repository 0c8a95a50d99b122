"""What a device without float64, and one that computes while Python goes on, would not forgive.

On a CPU all of it passes unnoticed: float64 is there, and nothing is ever waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ATEN = torch.ops.aten
# What needs a number on the host, or a shape that depends on numbers.
ASKING = {
    ATEN._local_scalar_dense,
    ATEN.equal,
    ATEN.is_nonzero,
    ATEN.masked_select,
    ATEN.nonzero,
}
INDEXING = {ATEN.index, ATEN.index_put, ATEN.index_put_, ATEN._index_put_impl_}
# What a CPU answers without any kernel.
READING = {
    Tensor.cpu,
    Tensor.item,
    Tensor.numpy,
    Tensor.tolist,
    Tensor.__array__,
    Tensor.__bool__,
    Tensor.__float__,
    Tensor.__int__,
}


class GuardError(AssertionError):
    """Something was done that another device cannot do, or has to be awaited for."""


@contextmanager
def without_float64(device: torch.device | str) -> Iterator[None]:
    """Raise :class:`GuardError` where a float64 tensor is made on a device or moved there."""
    with _NoFloat64(torch.device(device)):
        yield


@contextmanager
def without_waiting() -> Iterator[None]:
    """Raise :class:`GuardError` where Python would have to wait for what a device computes."""
    with _NoReading(), _NoAsking():
        yield


class _NoFloat64(TorchDispatchMode):
    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(
        self, function: Callable, _types: object, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tensors(result):
            if tensor.dtype == torch.float64 and tensor.device == self.device:
                raise GuardError(f"{function} makes float64 on {self.device}")
        return result


class _NoAsking(TorchDispatchMode):
    def __torch_dispatch__(
        self, function: Callable, _types: object, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        packet = function.overloadpacket
        masked = packet in INDEXING and any(t.dtype == torch.bool for t in tensors(args[1]))
        if packet in ASKING or masked:
            raise GuardError(f"{function} waits for the device")
        return function(*args, **(kwargs or {}))


class _NoReading(TorchFunctionMode):
    def __torch_function__(
        self, function: Callable, _types: object, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in READING:
            raise GuardError(f"{function.__name__} waits for the device")
        if function is Tensor.to and "cpu" in _words(args, kwargs):
            raise GuardError('to("cpu") waits for the device')
        return function(*args, **kwargs)


def _words(args: tuple, kwargs: dict) -> list[str]:
    """Return the strings among arguments: a device that is named, not one that is the CPU here."""
    return [each for each in (*args[1:], *kwargs.values()) if isinstance(each, str)]


def tensors(tree: object) -> list[Tensor]:
    """Return all tensors in lists, tuples and dicts."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]

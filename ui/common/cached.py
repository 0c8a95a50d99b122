"""What takes time is made once, and kept by what it depends on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import streamlit as st
import torch

T = TypeVar("T")

PAINTED = 500  # images of some 100 kB, over all runs and visitors
KEPT = 48  # models, latents and scores: some MB each


def painted(make: Callable[..., T], by: tuple, *args: Any, words: str = "") -> T:
    """Return ``make(*args)``, an image say, made once for each value of ``by``.

    Args:
        make: a function of a module, not one made on the spot: it is known by its name.
        by: what the result depends on: numbers, words, arrays, tensors, dataclasses of these.
        args: what ``make`` is called with.
        words: what to say meanwhile, if it takes long.
    """
    return _data(words)(_name(make), by, make, args)


def kept(make: Callable[..., T], by: tuple, *args: Any, words: str = "") -> T:
    """Return ``make(*args)`` as ``painted`` does, for what is shared and must not be changed."""
    return _resource(words)(_name(make), by, make, args)


def _name(make: Callable) -> str:
    return f"{make.__module__}.{make.__qualname__}"


# Streamlit's own takes a sample of large arrays, and two images may differ elsewhere.
_EXACT = {
    np.ndarray: lambda array: (array.shape, array.dtype.str, array.tobytes()),
    torch.Tensor: lambda tensor: tensor.numpy(),
}


@functools.cache
def _data(words: str) -> Callable:
    @st.cache_data(max_entries=PAINTED, show_spinner=words or False, hash_funcs=_EXACT)
    def data(name: str, by: tuple, _make: Callable, _args: tuple) -> Any:
        return _make(*_args)

    return data


@functools.cache
def _resource(words: str) -> Callable:
    @st.cache_resource(max_entries=KEPT, show_spinner=words or False, hash_funcs=_EXACT)
    def resource(name: str, by: tuple, _make: Callable, _args: tuple) -> Any:
        return _make(*_args)

    return resource

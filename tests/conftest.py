"""What several test files need: waiting for a condition, small trainings, torch on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 60.0, every: float = 0.01) -> T:
    """Return the first true value of ``condition()``; fail if ``timeout`` seconds bring none."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"Not so within {timeout:g} s; the last value was {value!r}.")
        time.sleep(every)


@pytest.fixture(autouse=True)
def one_thread():
    """What must be equal bit for bit runs on one thread: other sums are other numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

"""What several test files need: waiting for a condition, small trainings, torch on one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
import torch

from benchmarks.kills import patiently

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 60.0, every: float = 0.01) -> T:
    """Return the first true value of ``condition()``; fail if ``timeout`` seconds bring none."""
    try:
        return patiently(condition, timeout, every)
    except TimeoutError as error:
        pytest.fail(str(error))


@pytest.fixture(autouse=True)
def one_thread():
    """What must be equal bit for bit runs on one thread: other sums are other numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

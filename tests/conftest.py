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


def pytest_sessionstart():
    # Before the first fixture of a module, which may train: two threads wait for each other without
    # end where a core has something else to do.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread():
    """What must be equal bit for bit runs on one thread: other sums are other numbers."""
    yield
    torch.set_num_threads(1)

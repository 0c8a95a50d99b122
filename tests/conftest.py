"""What several test files need: waiting for a condition, small trainings, torch on one thread."""

from __future__ import annotations

import logging
import os
import signal
import sys
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


NAMES = set(os.environ) - {"PYTEST_CURRENT_TEST"}  # libraries add some when they are imported
MAIN = sys.modules["__main__"]
SIGNALS = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


@pytest.fixture(autouse=True)
def leaves_no_trace():
    """After each test the process is as it was: the next one must not depend on who came before.

    What pages and the command line change by their nature is put back: ``__main__`` is the page,
    and a process that is started would run it; the first Ctrl-C only asks a training to end. What
    must be equal bit for bit runs on one thread: other sums are other numbers. What a test changes
    itself, it puts back itself.
    """
    before, path = _state(), list(sys.path)
    yield
    sys.modules["__main__"], sys.path[:] = MAIN, path
    for number, handler in SIGNALS.items():
        signal.signal(number, handler)
    torch.set_num_threads(1)
    after = _state()
    changed = {k: after.get(k) for k in before | after if before.get(k) != after.get(k)}
    assert not changed, f"not put back: {changed}"


def _state() -> dict[str, object]:
    return {
        **{name: os.environ.get(name) for name in (*NAMES, "RANK", "WORLD_SIZE")},
        **{name: value for name, value in os.environ.items() if name.startswith("GENLAB_")},
        "folder": os.getcwd(),
        "gradients": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "processes": torch.distributed.is_initialized(),
        "logging": (logging.root.level, logging.root.manager.disable),
        "cores": os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None,
    }

"""What the numbers were measured on, and the number of threads they were measured with."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

# Asked before anybody changes it: what a program gets that sets nothing.
DEFAULT_THREADS = torch.get_num_threads()


def describe() -> str:
    """Return a line about the machine: processor, cores, versions, threads, load."""
    return (
        f"{_processor()}, {cores()} cores; Python {platform.python_version()}, "
        f"torch {torch.__version__} with {DEFAULT_THREADS} threads by default; load {load()}"
    )


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> str:
    """Return the load averages over 1 and 5 minutes, this benchmark's own included."""
    if not hasattr(os, "getloadavg"):
        return "unknown"
    one, five, _ = os.getloadavg()
    return f"{one:.2f} (1 min), {five:.2f} (5 min)"


def peak_memory() -> float:
    """Return the most memory this process has held at one time, in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux hands ru_maxrss of a parent on to the program that its child starts, this not.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads inside the block, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()

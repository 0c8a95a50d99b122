"""What processes do with memory: the server's does not creep up, and a training's has a limit."""

from __future__ import annotations

import ctypes
import faulthandler
import re
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

ARENAS = 2  # heaps that threads share
EVERY = 30.0  # seconds between two trims
_M_ARENA_MAX = -8  # of malloc.h


def keep_small(done: threading.Event) -> None:
    """Have all threads share a few heaps, and give back what is free in them until ``done``.

    Each page is computed in a thread of its own. With a heap for each, as glibc has it, what one
    frees is of no use to the next. Elsewhere than on Linux with glibc nothing changes.
    """
    libc = _glibc()
    if libc is None:
        return
    libc.mallopt(_M_ARENA_MAX, ARENAS)

    def trim() -> None:
        while not done.wait(EVERY):
            libc.malloc_trim(0)

    threading.Thread(target=trim, name="lab-trim", daemon=True).start()


def dump_threads_on_signal() -> None:
    """Write where all threads are to standard error whenever this process gets ``SIGUSR1``."""
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, file=sys.__stderr__, all_threads=True)


def limit_memory(megabytes: int) -> None:
    """Let this process take so many megabytes beyond what it has; what asks for more gets an error.

    Counted is memory for data, not what devices hold. Elsewhere than on Linux nothing changes.
    """
    status = Path("/proc/self/status")
    if not megabytes or not status.exists():
        return
    import resource

    held = 1024 * int(re.findall(r"^VmData:\s+(\d+) kB", status.read_text(), re.MULTILINE)[0])
    most = held + int(megabytes * 1e6)
    with suppress(ValueError, OSError):  # the system allows even less
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there was no more memory, of the machine or a device."""
    # torch raises a RuntimeError for most of it, with the words of the library underneath.
    words = ("out of memory", "allocate memory", "bad_alloc", "could not create a primitive")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(each in str(error) for each in words)
    )


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None

"""What a server of many threads does to last: its memory does not creep up, and it can be asked."""

from __future__ import annotations

import ctypes
import faulthandler
import signal
import sys
import threading

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


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None

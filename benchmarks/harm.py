"""Disks that are full or read-only, and clocks that jump: real ones, of one folder or process.

Disks need the right to mount, clocks a C compiler; without these, `Unavailable` says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.options import Unavailable


class Mounts:
    """What is mounted over the folders of runs, until it is undone."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack

    def small_disk(self, path: Path, megabytes: int) -> None:
        """Put a small file system in the place of a folder, with the same files in it."""
        beside = path.with_name(f".{path.name}")
        shutil.copytree(path, beside)
        self._mount(path, "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs")
        shutil.copytree(beside, path, dirs_exist_ok=True)
        shutil.rmtree(beside)

    def read_only(self, path: Path) -> None:
        """Take the right to write below a folder from everybody, root among them."""
        self._mount(path, "--bind", str(path))
        # Refused while somebody is writing there, which takes a moment.
        for _ in range(200):
            with contextlib.suppress(Unavailable):
                return _mount("-o", "remount,bind,ro", str(path))
            time.sleep(0.02)
        _mount("-o", "remount,bind,ro", str(path))

    def undo(self) -> None:
        """Give all folders back."""
        self.stack.close()

    def _mount(self, path: Path, *what: str) -> None:
        _mount(*what, str(path))
        # Lazily: whoever looks into it this moment does not keep it.
        self.stack.callback(_call, "umount", "--lazy", str(path))


@contextmanager
def mounts() -> Iterator[Mounts]:
    """Yield a place to mount from; at its end everything is as it was."""
    with ExitStack() as stack:
        yield Mounts(stack)


def _mount(*arguments: str) -> None:
    _call("mount", *arguments)


def _call(name: str, *arguments: str) -> None:
    program = shutil.which(name)
    if program is None:
        raise Unavailable(f"It needs {name}.")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"It needs the right to mount: {done.stderr.strip()}")


def fill(path: Path) -> None:
    """Write until the disk is full, to the last byte."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


# -- the clock ------------------------------------------------------------------------------------

_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile int64_t *offset(void) {
    static volatile int64_t *shared;
    if (!shared) {
        const char *name = getenv("GENLAB_CLOCK");
        int file = name ? open(name, O_RDONLY) : -1;
        if (file < 0) return 0;
        shared = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    }
    return shared;
}
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, t);
    if (!failed && id == CLOCK_REALTIME && offset()) t->tv_sec += *offset();
    return failed;
}
int gettimeofday(struct timeval *t, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}
"""


class Clock:
    """The wall clock of processes that are started with :attr:`env`."""

    def __init__(self, folder: Path) -> None:
        compiler = next((c for name in ("cc", "gcc", "clang") if (c := shutil.which(name))), None)
        if compiler is None:
            raise Unavailable("It needs a C compiler, for a library that sets the clock.")
        source, library = folder / "clock.c", folder / "clock.so"
        source.write_text(_SHIM)
        command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True)
        self.file = folder / "offset"
        self.set(0)
        self.env = {"LD_PRELOAD": str(library), "GENLAB_CLOCK": str(self.file)}

    def set(self, seconds: int) -> None:
        """Let the clock be so many seconds ahead of the system's, or behind it."""
        with self.file.open(
            "r+b" if self.file.exists() else "wb"
        ) as file:  # in place: it is mapped
            file.write(bytes(ctypes.c_int64(seconds)))

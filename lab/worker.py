"""The child process that trains one run. It imports no page and does not outlive the server."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import filelock
import torch

from lab.driver import Command, Report, drive
from lab.memory import limit_memory
from lab.store import Run
from registry import FAMILIES

GRACE = 4.0  # seconds to write a checkpoint after the server has died


def wait_for_run(work: Callable[..., None], memory: int, connection: Connection) -> None:
    """Import what trainings need, then work on the run that comes through the connection.

    Args:
        work: :func:`work`, or the same for a cluster.
        memory: megabytes that the run may take; 0 for no limit.
        connection: brings the other arguments of ``work``; closed without, nothing is to be done.
    """
    _offer_to_be_killed_first()
    for family in FAMILIES.values():
        if not connection.poll():
            family.training  # noqa: B018  imported, since there is time
    try:
        order = connection.recv()
    except (EOFError, OSError):  # the lab has closed, or an edit has made this process outdated
        return
    limit_memory(memory)
    work(*order, connection)


def work(path: str, device: str, threads: int, core: int | None, connection: Connection) -> None:
    """Train the run in ``path``; reports go out through ``connection``, commands come in."""
    torch.set_num_threads(threads)
    if core is not None:
        _keep_to(core)
    send, receive = line_to_lab(connection)
    with contextlib.suppress(filelock.Timeout):
        drive(Run(Path(path)), device=device, send=send, receive=receive)


def line_to_lab(
    connection: Connection,
) -> tuple[Callable[[Report], None], Callable[[float | None], Command | None]]:
    """Return ``send`` and ``receive`` of :func:`lab.driver.drive`, and end with the lab."""
    orphaned = threading.Event()
    threading.Thread(target=_watch_parent, args=(orphaned,), daemon=True).start()

    def receive(timeout: float | None) -> Command | None:
        # A pause waits here: in slices, so that the death of the server is noticed.
        waited = 0.0
        while not orphaned.is_set():
            slice_ = 0.5 if timeout is None else min(0.5, timeout - waited)
            with contextlib.suppress(EOFError, OSError):
                if connection.poll(max(slice_, 0)):
                    return connection.recv()
            waited += 0.5
            if timeout is not None and waited >= timeout:
                return None
        return ("interrupt", "The lab ended while this run was training. Resume goes on from here.")

    def send(report: Report) -> None:
        with contextlib.suppress(OSError):  # the server may be gone; the folder has it all
            connection.send(report)

    return send, receive


def _keep_to(core: int) -> None:
    """Stay on one core: moved about by a busy browser, a small net loses up to half its speed."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {core})


def _offer_to_be_killed_first() -> None:
    """When memory runs out, the kernel should pick a trainer and not the lab."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("600")


def _watch_parent(orphaned: threading.Event) -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    orphaned.set()
    time.sleep(GRACE)  # the loop is between two steps long before
    os._exit(1)

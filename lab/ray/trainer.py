"""The actor that trains one run, on whatever node of the cluster it finds itself."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import filelock
import torch

from lab.driver import Command, Report, drive
from lab.store import Run, RunError


class Trainer:
    """The actor: it trains one run, somewhere on the cluster."""

    def __init__(self) -> None:
        self.commands: queue.SimpleQueue[Command] = queue.SimpleQueue()

    def obey(self, command: Command) -> None:
        """Take a command; the training reads it between two steps."""
        self.commands.put(command)

    def train(
        self, path: str, device: str, threads: int, patience: float
    ) -> Iterator[Report | None]:
        """Train to the end and yield each report; only ``None`` if another process trains it.

        Args:
            path: the folder of the run.
            device: where to train.
            threads: CPUs to use.
            patience: seconds to wait for the lock of the run.

        Raises:
            RunError: this node does not see the folder.
        """
        if not (Path(path) / "config.json").is_file():
            raise RunError(
                f"{path} is not to be seen on the node {os.uname().nodename}: "
                "all nodes need the folder of runs under the same name."
            )
        reports: queue.SimpleQueue = queue.SimpleQueue()
        done = object()

        def receive(timeout: float | None) -> Command | None:
            with suppress(queue.Empty):
                return self.commands.get(timeout=timeout)
            return None

        def go() -> None:
            torch.set_num_threads(threads)  # of the thread that trains
            deadline = time.monotonic() + patience
            try:
                while True:
                    with suppress(filelock.Timeout):
                        drive(Run(path), device=device, send=reports.put, receive=receive)
                        return
                    if time.monotonic() > deadline:
                        reports.put(None)
                        return
            finally:
                reports.put(done)

        threading.Thread(target=go, name="training", daemon=True).start()
        while (report := reports.get()) is not done:
            yield report

"""The lab in numbers, and what is wrong with it: for the admin page and for monitoring."""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import CollectorRegistry, GaugeMetricFamily
from prometheus_client.exposition import start_http_server
from prometheus_client.registry import Collector

from lab.lab import Lab
from lab.view import View

logger = logging.getLogger(__name__)

LEAST_DISK = 200e6  # bytes; less than the checkpoints of a few runs
STATES = ("starting", "running", "paused", "queued")


@dataclass(frozen=True, slots=True)
class AtWork:
    """A run with a worker: its view, process, memory in bytes, seconds since somebody looked."""

    view: View
    pid: int
    memory: int
    unseen: float


@dataclass(frozen=True, slots=True)
class Census:
    """A lab at one moment; sizes in bytes. ``memory`` is of the server alone."""

    at_work: tuple[AtWork, ...]
    waiting: tuple[View, ...]
    slots: int
    runs: int
    disk: int
    memory: int


def census(lab: Lab) -> Census:
    """Count what a lab has and does now. Walks over all run folders: not for every tick."""
    runs = list(lab.store)
    waiting = [view for view in lab.active() if view.status.state == "queued"]
    at_work = [AtWork(view, pid, resident(pid), unseen) for view, pid, unseen in lab.workers()]
    disk = sum(run.size() for run in runs)
    own = resident(os.getpid())
    return Census(tuple(at_work), tuple(waiting), len(lab.devices), len(runs), disk, own)


def resident(pid: int) -> int:
    """Return the bytes of memory that a process holds, or 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


class LabCollector(Collector):
    """Reads a lab each time that Prometheus asks. No names: neither of people nor of runs."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics."""
        now = census(self.lab)
        states = Counter(view.status.state for view in self.lab.active())
        active = GaugeMetricFamily("genlab_active_runs", "Runs by state.", labels=["state"])
        for state in STATES:
            active.add_metric([state], states[state])
        yield active
        people = len({work.view.access.owner for work in now.at_work})
        rate = sum(work.view.rate for work in now.at_work)
        for name, words, value in (
            ("slots", "Trainings that may run at a time.", now.slots),
            ("owners_at_work", "People with a run at work.", people),
            ("steps_per_second", "Optimiser steps per second of all runs.", rate),
            ("runs", "Run folders.", now.runs),
            ("runs_bytes", "Bytes that all run folders take.", now.disk),
            ("server_memory_bytes", "Resident memory of the server.", now.memory),
            (
                "workers_memory_bytes",
                "Resident memory of all workers; what they share is counted in each.",
                sum(work.memory for work in now.at_work),
            ),
        ):
            yield GaugeMetricFamily(f"genlab_{name}", words, value=value)


def serve_metrics(lab: Lab, port: int) -> int:
    """Answer Prometheus on this machine only, in a thread of its own; return the port.

    Args:
        lab: the lab to read.
        port: where to listen; 0 for any free one.

    Raises:
        OSError: the port is taken.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LabCollector(lab))
    server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)
    return server.server_port


def serve_as_ruled(lab: Lab) -> None:
    """Answer Prometheus on the port that the rules of a lab name, if they name one."""
    if not lab.rules.metrics_port:
        return
    try:
        serve_metrics(lab, lab.rules.metrics_port)
    except OSError as error:  # no reason to keep anybody out
        logger.error("No metrics on port %d: %s.", lab.rules.metrics_port, error)


def faults(lab: Lab | None) -> list[str]:
    """Return sentences that name no person, run or path: whoever reaches the server may read them.

    Args:
        lab: of this server; ``None`` if it could not be made.
    """
    if lab is None:
        return ["There is no lab: the log says why. Each visit tries again."]
    found = []
    if not lab.listens:
        found.append("Nobody listens to the trainings any more: restart the service.")
    if not lab.can_start:
        found.append("No training can be started: the process that starts them is not there.")
    root = lab.store.root
    if not os.access(root, os.W_OK):
        return [*found, "The folder of runs cannot be written."]
    free = shutil.disk_usage(root).free
    if free < LEAST_DISK:
        found.append(f"The disk of the runs has {free / 1e6:.0f} MB left.")
    return found

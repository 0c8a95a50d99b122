"""What the pages show of a run: where it stands, its curves, its newest snapshot."""

from __future__ import annotations

import zipfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace

from lab.driver import Report
from lab.runs.access import Access
from lab.store import Run, Status
from training.core.experiment import Snapshot

CURVE = 400  # points kept of each curve for the pages


@dataclass
class View:
    """What the pages show of a run. Replaced or extended by the pump, only read by the pages.

    Attributes:
        run: its folder.
        status: where it stands.
        rate: steps per second.
        rows: rows of its metrics, thinned to about ``CURVE``.
        step: step of ``snapshot``.
        snapshot: its newest one.
        live: values of the knobs that can be changed while it runs.
        seq: grows with each change, so that a page knows what it has drawn already.
        devices: those of the lab on which it trains, one entry per training at a time; empty if it
            was neither started nor put in line since the lab began.
        ahead: runs before it in the queue that wait for the same devices.
        wait: seconds until it starts, as far as anybody knows.
        held: whether it waits for another run of its owner, however many slots are free.
        access: to whom it belongs.
    """

    run: Run
    status: Status
    rate: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    step: int = 0
    snapshot: Snapshot | None = None
    live: dict[str, float] = field(default_factory=dict)
    seq: int = 0
    devices: list[str] = field(default_factory=list)
    ahead: int = 0
    wait: float | None = None
    held: bool = False
    access: Access = field(default_factory=Access)

    def take(self, report: Report) -> None:
        """Take over what a worker reports."""
        self.status = report.status
        self.rate = report.rate
        if report.rows:
            # After a resume the steps since the last checkpoint come once more.
            first = report.rows[0]["step"]
            self.rows = thin([row for row in self.rows if row["step"] < first] + report.rows)
        self.live = report.live
        if report.snapshot is not None:
            self.step, self.snapshot = report.step, report.snapshot
        self.seq += 1

    def seconds_left(self) -> float | None:
        """Return how long it still trains at its present pace, if that can be estimated."""
        return (self.status.total - self.status.step) / self.rate if self.rate else None


def view_of(run: Run) -> View:
    """Return what to show of a run that is not at work here, read from its folder."""
    view = View(run, run.status(), rows=thin(run.metrics.rows()), access=run.notes.access())
    for step in reversed(run.snapshots.steps()):
        with suppress(OSError, ValueError, EOFError, zipfile.BadZipFile):  # damaged, or just gone
            view.step, view.snapshot = step, run.snapshots.load(step)
            break
    if view.step > view.status.total:  # its status was damaged: pages count from 0 to the total
        view.status = replace(view.status, step=view.step, total=view.step)
    return view


def thin(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return at most ``CURVE`` rows, evenly spread over the steps.

    The first and the last stay, and so do those with metrics as long as they are few.
    """
    if len(rows) <= CURVE:
        return rows
    # Metrics may come at steps at which no losses are logged.
    counts = Counter(name for row in rows for name in row)
    rare = {name for name, count in counts.items() if count <= CURVE // 4}
    first, last = rows[0]["step"], rows[-1]["step"]
    width = max(last - first, 1) / (CURVE // 2)
    kept, seen = [], None
    for row in rows:
        place = (row["step"] - first) // width
        if place != seen or row is rows[-1] or rare & row.keys():
            kept.append(row)
        seen = place
    return kept

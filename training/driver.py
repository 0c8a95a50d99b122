"""Pull a training forward, keep its folder, and obey commands between two steps.

The command line drives in its own process, the lab in a worker process; both through :func:`drive`.
"""

from __future__ import annotations

import math
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from training.loop import Experiment, Progress, Snapshot, TrainingDiverged, Wishes, train
from training.store import Run, RunError, Status

PICTURE_EVERY = 0.4  # seconds between two live pictures, at least
REPORT_EVERY = 0.15  # seconds between two reports, at least
CHECKPOINT_EVERY = 4.0  # seconds between two checkpoints, at least
SHARE = 0.05  # of the time that pictures, and that checkpoints, may take

Command = (
    tuple  # ("pause",) | ("resume",) | ("step",) | ("stop",) | ("park",) | ("set", name, value)
)


@dataclass(frozen=True, slots=True)
class Report:
    """What whoever watches a run is told.

    Attributes:
        status: where it stands.
        rate: optimiser steps per second over the last seconds, or 0 if it is not running.
        rows: rows of ``metrics.csv`` since the last report.
        step: step of ``snapshot``.
        snapshot: the newest picture, if there is one since the last report.
        live: values of the knobs that can be changed while it runs.
    """

    status: Status
    rate: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    step: int = 0
    snapshot: Snapshot | None = None
    live: dict[str, float] = field(default_factory=dict)


class Pace:
    """Says when something costly is due again: after ``every`` seconds, and never more than ``SHARE`` of the time."""

    def __init__(self, every: float) -> None:
        self.every = every
        self.due = 0.0

    def is_due(self) -> bool:
        return time.monotonic() >= self.due

    def took(self, seconds: float) -> None:
        self.due = time.monotonic() + max(self.every, seconds / SHARE)


class Rate:
    """Steps per second over the last few seconds of running."""

    def __init__(self, window: float = 3.0) -> None:
        self.window = window
        self.marks: deque[tuple[float, int]] = deque()

    def mark(self, step: int) -> None:
        now = time.monotonic()
        self.marks.append((now, step))
        while now - self.marks[0][0] > self.window:
            self.marks.popleft()

    def value(self) -> float:
        if len(self.marks) < 2:
            return 0.0
        (t0, s0), (t1, s1) = self.marks[0], self.marks[-1]
        return (s1 - s0) / (t1 - t0) if t1 > t0 else 0.0


def drive(
    run: Run,
    *,
    device: str,
    send: Callable[[Report], None],
    receive: Callable[[float | None], Command | None],
) -> Status:
    """Train a run to its end, or until it is told to stop, from its last checkpoint if it has one.

    Args:
        run: its folder; this call holds its lock.
        device: where to train.
        send: called with each report.
        receive: returns the next command, waiting up to so many seconds for it (``None``: for as long as it takes).

    Returns:
        The last status: finished, stopped, interrupted, diverged or failed. Errors of the training are told there, not raised.

    Raises:
        filelock.Timeout: another process trains this run.
    """
    with run.lock():
        status = replace(run.status(), state="starting", message="", device=device)
        try:
            return _Drive(run, status, device, send, receive).go()
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            status = replace(run.status(), state="failed", message=message)
            (run.path / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            run.write_status(status)
            send(Report(status))
            return status


class _Drive:
    def __init__(self, run: Run, status: Status, device: str, send, receive) -> None:
        self.run, self.status, self.send, self.receive = run, status, send, receive
        self.wishes = Wishes(picture=True)
        self.experiment: Experiment = run.experiment(device)
        self._restore()
        self.columns = [
            "step",
            "seconds",
            "learning_rate",
            *self.experiment.LOSSES,
            *self.experiment.METRICS,
        ]
        self.milestones = {round(self.experiment.total * tenth / 10) for tenth in range(11)}
        self.pictures, self.reports = Pace(PICTURE_EVERY), Pace(REPORT_EVERY)
        self.checkpoints = Pace(CHECKPOINT_EVERY)
        self.rate = Rate()
        self.rows: list[dict[str, float]] = []
        self.picture: tuple[int, Snapshot] | None = None
        self.started = time.monotonic() - self.status.seconds  # pauses are added to it
        self.paused_at: float | None = None
        self.allowed = math.inf  # steps until the next pause
        self.saved = -1  # step of the last checkpoint

    def _restore(self) -> None:
        try:
            state = self.run.checkpoint()
        except RunError as error:
            raise RunError(f"{error} Start the run again from its settings.") from error
        if state is not None:
            self.experiment.load_state_dict(state["experiment"])
        step = self.experiment.step
        seconds = state["seconds"] if state is not None else 0.0
        self.status = replace(self.status, total=self.experiment.total, step=step, seconds=seconds)

    def go(self) -> Status:
        self.run.start_metrics(self.columns, self.experiment.step)
        self.run.drop_snapshots(self.experiment.step)
        self.status = replace(self.status, state="running")
        self.run.write_status(self.status)
        training = train(self.experiment, wishes=self.wishes)
        try:
            return self._pull(training)
        except TrainingDiverged as error:
            return self._end("diverged", str(error))
        finally:
            training.close()

    def _pull(self, training: Iterator[Progress]) -> Status:
        while True:
            # With no step allowed this waits for a command: that is all there is to a pause.
            while (command := self.receive(0 if self.allowed else None)) is not None:
                ending = self._obey(command)
                if ending is not None:
                    return self._end(*ending)
            before = time.monotonic()
            event = next(training)
            self.allowed -= 1
            self._take(event, time.monotonic() - before)
            if event.step == event.total:
                return self._end("finished")
            if not self.allowed:
                self._hold()

    def _take(self, event: Progress, cost: float) -> None:
        """Keep what an event brings, and tell of it if a report is due."""
        seconds = time.monotonic() - self.started
        self.status = replace(
            self.status,
            step=event.step,
            seconds=seconds,
            skipped=max(event.skipped, self.status.skipped),
        )
        self.rate.mark(event.step)
        if event.losses or event.metrics:
            row = {"step": event.step, "seconds": seconds, **event.losses, **event.metrics}
            row["learning_rate"] = self.experiment.live.get("learning_rate")
            self.run.append_metrics(self.columns, row)
            self.rows.append(row)
        if event.snapshot is not None:
            self.picture = event.step, event.snapshot
            self._report()  # before the disk: someone is waiting for the first picture
            self._keep_picture(event.step, event.snapshot)
            self.pictures.took(cost)
        if self.checkpoints.is_due():
            self._checkpoint()
        if self.reports.is_due():
            self._report()
        if self.pictures.is_due():
            self.wishes.picture = True

    def _keep_picture(self, step: int, snapshot: Snapshot) -> None:
        if self.run.target() is None:
            self.run.save_target(self.experiment.target())
        self.run.save_snapshot(step, snapshot, self.milestones)

    def _obey(self, command: Command) -> tuple[str, str] | None:
        """Carry out a command; return how the run ends (state, message) if that is what it asks for."""
        match command:
            case ("pause",):
                self._hold()
            case ("resume",):
                self._go_on(math.inf)
                self.status = replace(self.status, state="running")
            case ("step",):
                self._go_on(1)
                self.wishes.picture = self.wishes.losses = True
            case ("stop",):
                return "stopped", ""
            case ("park", reason):
                return "interrupted", reason
            case ("set", name, value):
                try:
                    self.experiment.set(name, value)
                    self.status = replace(self.status, message="")
                except ValueError as error:
                    self.status = replace(self.status, message=str(error))
        self._report()
        return None

    def _hold(self) -> None:
        """Pause: allow no further step."""
        if self.paused_at is None:
            self.paused_at = time.monotonic()
        self.allowed = 0
        self.status = replace(self.status, state="paused")
        self._checkpoint()
        self._report()

    def _go_on(self, steps: float) -> None:
        """Allow so many steps; the time spent paused does not count as training."""
        if self.paused_at is not None:
            self.started += time.monotonic() - self.paused_at
            self.paused_at = None
            self.rate = Rate()
        self.allowed = steps

    def _checkpoint(self) -> None:
        if self.saved == self.experiment.step:
            return
        before = time.monotonic()
        try:
            state = {"experiment": self.experiment.state_dict(), "seconds": self.status.seconds}
            self.run.save_checkpoint(state)
            self.run.save_weights(self.experiment.model, self.experiment.step)
            self.run.write_status(self.status)
            self.saved = self.experiment.step
        except OSError as error:
            kept = (
                f"the checkpoint of step {self.saved} is intact"
                if self.saved >= 0
                else "there is no checkpoint yet"
            )
            message = f"Saving failed ({error.strerror}); {kept}, and the training goes on."
            self.status = replace(self.status, message=message)
        self.checkpoints.took(time.monotonic() - before)

    def _report(self) -> None:
        running = self.status.state == "running"
        step, snapshot = self.picture or (self.status.step, None)
        live = dict(self.experiment.live)
        self.send(
            Report(
                self.status, self.rate.value() if running else 0.0, self.rows, step, snapshot, live
            )
        )
        self.rows, self.picture = [], None
        self.reports.took(0.0)

    def _end(self, state: str, message: str = "") -> Status:
        self.status = replace(self.status, state=state, message=message)
        self._checkpoint()
        self.run.write_status(self.status)
        self._report()
        return self.status

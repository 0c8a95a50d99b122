"""Pull a training forward, keep its folder, and obey commands between two steps.

The command line drives in its own process, the lab in a worker process; both through :func:`drive`.
"""

from __future__ import annotations

import math
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from datasets.own import DataError
from lab.runs.tensorboard import EventLog
from lab.store import Run, RunError, Status
from training.core.collectives import LostProcess
from training.core.config import ConfigError
from training.core.experiment import Experiment, Snapshot
from training.core.loop import Progress, TrainingDiverged, Wishes, train

SNAPSHOT_EVERY = 0.4  # seconds between two live snapshots, at least
REPORT_EVERY = 0.15  # seconds between two reports, at least
CHECKPOINT_EVERY = 4.0  # seconds between two checkpoints, at least
SHARE = 0.05  # of the time that snapshots, and that checkpoints, may take
LOCK_PATIENCE = 1.0  # seconds; whoever only asks whether a run is trained holds its lock for less

NOT_SAVED = "Saving failed"
DELAY = "delay"  # name of a live knob: seconds between two steps

# ("pause",) | ("resume",) | ("step",) | ("step", part) | ("set", name, value)
# | ("stop",) | ("stop", reason) | ("interrupt", reason) | ("park", reason)
Command = tuple


@dataclass(frozen=True, slots=True)
class Report:
    """What whoever watches a run is sent.

    Attributes:
        status: where it stands.
        rate: optimiser steps per second over the last seconds, or 0 if it is not running.
        rows: rows of ``metrics.csv`` since the last report.
        step: step of ``snapshot``.
        snapshot: the newest one, if there is one since the last report.
        live: values of the knobs that can be changed while it runs.
    """

    status: Status
    rate: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    step: int = 0
    snapshot: Snapshot | None = None
    live: dict[str, float] = field(default_factory=dict)


class Pace:
    """Says when something costly is due again.

    After ``every`` seconds, or later, so that it takes no more than ``SHARE`` of the time; but not
    later than ``patience`` seconds, whatever it costs: someone is watching.
    """

    def __init__(self, every: float, patience: float = math.inf) -> None:
        self.every, self.patience = every, patience
        self.due = 0.0

    def is_due(self) -> bool:
        """Tell whether it is time again."""
        return time.monotonic() >= self.due

    def took(self, seconds: float) -> None:
        """Say what it cost, in seconds; the next time follows from that."""
        self.due = time.monotonic() + min(max(self.every, seconds / SHARE), self.patience)


class Rate:
    """Steps per second over the last few seconds of running."""

    def __init__(self, window: float = 3.0) -> None:
        self.window = window
        self.marks: deque[tuple[float, int]] = deque()

    def mark(self, step: int) -> None:
        """Note that a step is done now."""
        now = time.monotonic()
        self.marks.append((now, step))
        while now - self.marks[0][0] > self.window:
            self.marks.popleft()

    def value(self) -> float:
        """Return steps per second over the window; 0 before there are two marks."""
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
    """Train a run to its end, or until a command stops it, from its last checkpoint if it has one.

    Args:
        run: its folder; this call holds its lock.
        device: where to train.
        send: called with each report.
        receive: returns the next command, waiting up to so many seconds for it (``None``: for as
            long as it takes).

    Returns:
        The last status: finished, stopped, interrupted, diverged or failed. Errors of the training
        are reported there, not raised.

    Raises:
        filelock.Timeout: another process trains this run.
    """
    with run.lock().acquire(timeout=LOCK_PATIENCE):
        run.sweep()
        status = replace(run.status(), state="starting", message="", device=device)
        try:
            return _Drive(run, status, device, send, receive).go()
        except Exception as error:
            status = replace(run.status(), state="failed", message=_sentence(error))
            with suppress(OSError):
                run.write_status(status)
                (run.path / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            send(Report(status))
            return status


def _sentence(error: Exception) -> str:
    if isinstance(error, RunError | ConfigError | DataError):
        return str(error)
    return f"{type(error).__name__}: {error}".splitlines()[0]


class _Drive:
    def __init__(self, run: Run, status: Status, device: str, send, receive) -> None:
        self.run, self.status, self.send, self.receive = run, status, send, receive
        self.wishes = Wishes(snapshot=True)
        self.experiment: Experiment = run.experiment(device)
        self.saved = -1  # step of the last checkpoint
        self._restore()
        self.columns = [
            "step",
            "seconds",
            "learning_rate",
            *self.experiment.LOSSES,
            *self.experiment.METRICS,
        ]
        tenths = (round(self.experiment.total * tenth / 10) for tenth in range(11))
        self.milestones = {*tenths, *self.experiment.landmarks}
        self.snapshots = Pace(SNAPSHOT_EVERY, self.experiment.SNAPSHOT_PATIENCE)
        self.reports = Pace(REPORT_EVERY)
        self.checkpoints = Pace(CHECKPOINT_EVERY)
        self.rate = Rate()
        self.unlogged: list[dict[str, float]] = []  # rows that TensorBoard has not seen
        self.events = EventLog(run.path, self.status.created)
        self.rows: list[dict[str, float]] = []  # not yet reported
        self.unwritten: deque[dict[str, float]] = deque()  # longer than one while the disk is full
        self.unsent: tuple[int, Snapshot] | None = None
        self.shown = -1  # step of the last snapshot
        self.started = time.monotonic() - self.status.seconds  # pauses are added to it
        self.paused_at: float | None = None
        self.allowed = math.inf  # steps until the next pause
        self.parts: deque[str | None] = deque()  # what those steps are about
        self.unsaved = True  # something happened since
        self.logged = -1  # step of the last row of metrics.csv

    def _restore(self) -> None:
        seconds = 0.0
        state, self.note = self.run.checkpoints.last_with_note()
        if state is not None:
            try:
                self.experiment.load_state_dict(state["experiment"])
                seconds = float(state["seconds"])
            except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
                message = f"The checkpoint of {self.run.path} does not fit its settings."
                raise RunError(message) from error
            self.saved = self.experiment.step
        step = self.experiment.step
        self.status = replace(
            self.status, total=self.experiment.total, step=step, seconds=seconds, message=self.note
        )

    def go(self) -> Status:
        self.run.metrics.start(self.columns, self.experiment.step)
        self.run.snapshots.drop(self.experiment.step)
        known = self.run.metrics.rows()
        self.logged = max((row["step"] for row in known), default=-1)
        with self._saving():
            self.events.begin(known)
        self.status = replace(self.status, state="running")
        self.run.write_status(self.status)
        if self.run.snapshots.target() is None:  # pages draw it beside the first snapshot
            with self._saving():
                self.run.snapshots.save_target(self.experiment.target())
        training = train(self.experiment, wishes=self.wishes)
        try:
            return self._pull(training)
        except TrainingDiverged as error:
            return self._end("diverged", str(error))
        except LostProcess as error:
            self.unsaved = False  # in the middle of a step: nothing to go on from
            return self._end("interrupted", str(error))
        finally:
            training.close()

    def _pull(self, training: Iterator[Progress]) -> Status:
        while True:
            before = time.monotonic()
            self.experiment.part = self.parts.popleft() if self.parts else None
            event = next(training)
            self._take(event, time.monotonic() - before)
            if event.step == event.total:
                next(training, None)  # a training may diverge on its last step, too
                self._summarise()
                return self._end("finished")
            if not self.allowed:
                self._hold()
            # With no step allowed this waits for a command: that is all there is to a pause.
            patience = self._delay()
            while (command := self.receive(patience if self.allowed else None)) is not None:
                ending = self._obey(command)
                if ending is not None:
                    return self._end(*ending)
                patience = 0.0
            self.allowed -= 1
            if not self.allowed:  # what comes before a pause is looked at
                self.wishes.snapshot = self.wishes.losses = True

    def _delay(self) -> float:
        """Return the seconds until the next step: slow motion, for families that know it."""
        # A step that was asked for by itself comes at once.
        return float(self.experiment.live.get(DELAY, 0.0)) if self.allowed == math.inf else 0.0

    def _take(self, event: Progress, cost: float) -> None:
        """Keep what an event brings, and send a report if one is due."""
        seconds = time.monotonic() - self.started
        self.status = replace(
            self.status,
            step=event.step,
            seconds=seconds,
            skipped=max(event.skipped, self.status.skipped),
        )
        self.unsaved = True
        self.rate.mark(event.step)
        if (event.losses or event.metrics) and event.step > self.logged:
            row = {"step": event.step, "seconds": seconds, **event.losses, **event.metrics}
            row["learning_rate"] = self.experiment.live.get("learning_rate")
            self.rows.append(row)
            self.unlogged.append(row)
            self.unwritten.append(row)
            with self._saving():
                self._write_rows()
        if event.snapshot is not None:
            self._show(event.step, event.snapshot)
            self.snapshots.took(cost)
        if self.checkpoints.is_due():
            self._checkpoint()
        if self.reports.is_due():
            self._report()
        if self.snapshots.is_due():
            self.wishes.snapshot = True

    def _show(self, step: int, snapshot: Snapshot) -> None:
        self.unsent, self.shown = (step, snapshot), step
        self._report()  # before the disk: someone is waiting for the first snapshot
        with self._saving():
            self.run.snapshots.save(step, snapshot, self.milestones)

    def _obey(self, command: Command) -> tuple[str, str] | None:
        """Carry out a command; return how the run ends (state, message) if it asks for that."""
        match command:
            case ("pause",):
                self._hold()
            case ("resume",):
                self._go_on(math.inf)
                self._become("running")
            case ("step", *part) if not part or part[0] in self.experiment.PARTS:
                # Two quick clicks are two steps.
                self.parts.append(part[0] if part else None)
                self._go_on(1 if self.allowed == math.inf else self.allowed + 1)
            case ("stop", *reason):
                return "stopped", "".join(reason)
            case ("interrupt", reason):
                return "interrupted", reason
            case ("park", reason):
                return "parked", reason
            case ("set", name, value):
                try:
                    self.experiment.set(name, value)
                    self.status = replace(self.status, message="")
                    self.unsaved = True
                except ValueError as error:
                    self.status = replace(self.status, message=str(error))
        self._report()
        return None

    def _hold(self) -> None:
        """Pause: allow no further step."""
        if self.paused_at is None:
            self.paused_at = time.monotonic()
        self.allowed = 0
        self._checkpoint()  # before the status: what says that it waits can be killed at no loss
        self._become("paused")
        if self.shown != self.experiment.step:
            self._report()  # a snapshot may take a second
            self._show(self.experiment.step, self.experiment.snapshot())
        self._report()

    def _become(self, state: str) -> None:
        self.status = replace(self.status, state=state)
        with self._saving():
            self.run.write_status(self.status)

    def _go_on(self, steps: float) -> None:
        """Allow so many steps; the time spent paused does not count as training."""
        if self.paused_at is not None:
            self.started += time.monotonic() - self.paused_at
            self.paused_at = None
            self.rate = Rate()
        self.allowed = steps

    def _checkpoint(self) -> None:
        if not self.unsaved:
            return
        before = time.monotonic()
        with self._saving():
            self._write_rows()  # before the checkpoint: a resume does not measure them again
            state = {"experiment": self.experiment.state_dict(), "seconds": self.status.seconds}
            self.run.checkpoints.save(state)
            self.saved, self.unsaved = self.experiment.step, False
            self.run.weights.save(self.experiment.model, self.experiment.step)
            self.events.append(self.unlogged)
            self.unlogged = []
            if self.status.message.startswith(NOT_SAVED):
                self.status = replace(self.status, message="")
            self.run.write_status(self.status)
        self.checkpoints.took(time.monotonic() - before)

    def _write_rows(self) -> None:
        while self.unwritten:
            self.run.metrics.append(self.columns, self.unwritten[0])
            self.unwritten.popleft()

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """A full disk does not end a training: say so and go on."""
        try:
            yield
        except OSError as error:
            kept = f"the one of step {self.saved}" if self.saved >= 0 else "none yet"
            message = f"{NOT_SAVED} ({error.strerror or error}). Its last checkpoint: {kept}."
            self.status = replace(self.status, message=message)

    def _summarise(self) -> None:
        """Measure what is measured at the end; before the last status, which says it is there."""
        if numbers := self.experiment.summary():
            with self._saving():
                self.run.metrics.save_summary(numbers)

    def _report(self) -> None:
        running = self.status.state == "running"
        step, snapshot = self.unsent or (self.status.step, None)
        live = dict(self.experiment.live)
        self.send(
            Report(
                self.status, self.rate.value() if running else 0.0, self.rows, step, snapshot, live
            )
        )
        self.rows, self.unsent = [], None
        self.reports.took(0.0)

    def _end(self, state: str, message: str = "") -> Status:
        self.status = replace(self.status, state=state, message=message or self.note)
        self._checkpoint()  # before the status: what says that it is finished must be
        with self._saving():
            self.run.write_status(self.status)
        self._report()
        return self.status

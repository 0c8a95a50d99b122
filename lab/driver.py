"""Pull a training forward, keep its folder, and obey commands between two steps.

The command line drives in its own process, the lab in a worker process; both through :func:`drive`.
"""

from __future__ import annotations

import math
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

import filelock

from datasets.own import DataError
from lab.memory import is_out_of_memory
from lab.pace import Pace, Rate, Stopwatch
from lab.record import Record
from lab.runs.interventions import Intervention
from lab.store import Run, RunError, Status
from training.core.collectives import LostProcess
from training.core.config import ConfigError
from training.core.experiment import Experiment, Snapshot
from training.core.loop import Progress, TrainingDiverged, Wishes, train

SNAPSHOT_EVERY = 0.4  # seconds between two live snapshots, at least
REPORT_EVERY = 0.15  # seconds between two reports, at least
CHECKPOINT_EVERY = 4.0  # seconds between two checkpoints, at least
LOCK_PATIENCE = 1.0  # seconds; whoever only asks whether a run is trained holds its lock for less

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
        RunError: its folder cannot be written.
    """
    with _held(run):
        run.sweep()
        status = replace(run.status(), state="starting", message="", device=device)
        try:
            return _Drive(run, status, device, send, receive).go()
        except Exception as error:
            words = _sentence(error)
            status = replace(run.status(), state="failed", message=words, device=device)
            with suppress(OSError):
                run.write_status(status)
                (run.path / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            send(Report(status))
            return status


def _held(run: Run):
    try:
        return run.lock().acquire(timeout=LOCK_PATIENCE)
    except filelock.Timeout:
        raise
    except OSError as error:
        raise RunError(f"{run.path} cannot be written: {error.strerror}.") from error


def _sentence(error: Exception) -> str:
    if isinstance(error, RunError | ConfigError | DataError):
        return str(error)
    if is_out_of_memory(error):
        return "It needed more memory than there is for it: choose a smaller model or batch."
    return f"{type(error).__name__}: {error}".splitlines()[0]


class _Reports:
    """What whoever watches has not been sent yet."""

    def __init__(self, send: Callable[[Report], None]) -> None:
        self._send = send
        self._rows: list[dict[str, float]] = []
        self._snapshot: tuple[int, Snapshot] | None = None
        self.pace = Pace(REPORT_EVERY)
        self.rate = Rate()
        self.shown = -1  # step of the last snapshot

    def row(self, row: dict[str, float]) -> None:
        self._rows.append(row)

    def snapshot(self, step: int, snapshot: Snapshot) -> None:
        self._snapshot, self.shown = (step, snapshot), step

    def send(self, status: Status, live: dict[str, float]) -> None:
        step, snapshot = self._snapshot or (status.step, None)
        rate = self.rate.value() if status.state == "running" else 0.0
        self._send(Report(status, rate, self._rows, step, snapshot, live))
        self._rows, self._snapshot = [], None
        self.pace.took(0.0)


class _Drive:
    def __init__(self, run: Run, status: Status, device: str, send, receive) -> None:
        self.run, self.receive = run, receive
        self.wishes = Wishes()
        self.experiment: Experiment = run.experiment(device)
        saved, seconds, known, self.note = self._restore()
        self.record = Record(run, self.experiment, saved, known)
        self.planned: defaultdict[int, list[Intervention]] = defaultdict(list)
        for one in run.schedule.load():
            self.planned[one.step].append(one)
        self.reports = _Reports(send)
        self.start = self.experiment.step
        self.snapshots = Pace(SNAPSHOT_EVERY, self.experiment.SNAPSHOT_PATIENCE)
        self.checkpoints = Pace(CHECKPOINT_EVERY)
        self.clock = Stopwatch(seconds)
        self.allowed = math.inf  # steps until the next pause
        self.parts: deque[str | None] = deque()  # what those steps are about
        self._status = replace(
            status,
            total=self.experiment.total,
            step=self.experiment.step,
            seconds=seconds,
            message=self.note,
        )

    def _restore(self) -> tuple[int, float, list[Intervention], str]:
        """Return step, seconds and interventions of the last checkpoint, and what to know of it."""
        state, note = self.run.checkpoints.last_with_note()
        if state is None:
            return -1, 0.0, [], note
        try:
            self.experiment.load_state_dict(state["experiment"])
            known = [Intervention(**values) for values in state.get("interventions", ())]
            return self.experiment.step, float(state["seconds"]), known, note
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            message = f"The checkpoint of {self.run.path} does not fit its settings."
            raise RunError(message) from error

    @property
    def status(self) -> Status:
        """Where the run stands; what could not be saved comes before all other messages."""
        return replace(self._status, message=self.record.problem or self._status.message)

    def go(self) -> Status:
        self._set(state="running")
        self._begin()
        training = train(self.experiment, wishes=self.wishes)
        try:
            return self._pull(training)
        except TrainingDiverged as error:
            return self._end("diverged", str(error))
        except LostProcess as error:
            self.record.unsaved = False  # in the middle of a step: nothing to go on from
            return self._end("interrupted", str(error))
        finally:
            training.close()

    def _begin(self) -> None:
        """Send the first snapshot before anything else: someone has clicked and waits for it."""
        before = time.monotonic()
        snapshot = self.experiment.snapshot()
        self.snapshots.took(time.monotonic() - before)
        self.reports.snapshot(self.start, snapshot)
        self._report()
        self.record.begin(self.status)
        self.record.snapshot(self.start, snapshot)
        self.wishes.has = self.start

    def _set(self, **values: object) -> None:
        self._status = replace(self._status, **values)

    def _pull(self, training: Iterator[Progress]) -> Status:
        while True:
            before = time.monotonic()
            self.experiment.part = self._next_part()
            event = next(training)
            self._take(event, time.monotonic() - before)
            if event.step == event.total:
                next(training, None)  # a training may diverge on its last step, too
                # Before the last status, which says that it is there.
                if numbers := self.experiment.summary():
                    self.record.summary(numbers)
                return self._end("finished")
            if self._follow_schedule(event.step):
                return self._end("stopped")
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

    def _next_part(self) -> str | None:
        """Return what the next step is about: a part that was asked for, or all of it."""
        part = self.parts.popleft() if self.parts else None
        if part is not None:
            self.record.intervention("part", part)
        return part

    def _follow_schedule(self, step: int) -> bool:
        """Do what is to be done after a step; return whether that is to stop."""
        for one in self.planned.get(step, ()):
            if one.what == "set":
                self._change(one.name, one.value)
            elif one.what == "part":
                self.parts.append(one.name)
            elif one.what == "stop" and step > self.start:  # not again after a resume
                self.record.intervention("stop")
                return True
        return False

    def _change(self, name: str, value: object) -> None:
        """Set a live knob."""
        before = self.experiment.live.get(name)
        try:
            self.experiment.set(name, value)
        except ValueError as error:
            self._set(message=str(error))
            return
        self._set(message="")
        self.record.unsaved = True
        if name != DELAY and self.experiment.live[name] != before:
            self.record.intervention("set", name, self.experiment.live[name])

    def _delay(self) -> float:
        """Return the seconds until the next step: slow motion, for families that know it."""
        # A step that was asked for by itself comes at once.
        return float(self.experiment.live.get(DELAY, 0.0)) if self.allowed == math.inf else 0.0

    def _take(self, event: Progress, cost: float) -> None:
        """Keep what an event brings, and send a report if one is due."""
        seconds = self.clock.seconds()
        skipped = max(event.skipped, self._status.skipped)
        self._set(step=event.step, seconds=seconds, skipped=skipped)
        self.record.unsaved = True
        self.reports.rate.mark(event.step)
        if event.losses or event.metrics:
            row = {"step": event.step, "seconds": seconds, **event.losses, **event.metrics}
            rates = self.experiment.rates()
            row |= {name: rate for name, rate in rates.items() if rate is not None}
            if self.record.row(row):
                self.reports.row(row)
        if event.snapshot is not None:
            self._show(event.step, event.snapshot)
            self.snapshots.took(cost)
        if self.checkpoints.is_due():
            self._checkpoint()
        if self.reports.pace.is_due():
            self._report()
        if self.snapshots.is_due():
            self.wishes.snapshot = True

    def _show(self, step: int, snapshot: Snapshot) -> None:
        self.reports.snapshot(step, snapshot)
        self._report()  # before the disk: someone is waiting for the first snapshot
        self.record.snapshot(step, snapshot)

    def _obey(self, command: Command) -> tuple[str, str] | None:
        """Carry out a command; return how the run ends (state, message) if it asks for that."""
        match command:
            case ("pause",):
                self.record.intervention("pause")
                self._hold()
            case ("resume",):
                self._go_on(math.inf)
                self._become("running")
            case ("step", *part) if not part or part[0] in self.experiment.PARTS:
                if self.allowed == math.inf:
                    self.record.intervention("pause")
                # Two quick clicks are two steps.
                self.parts.append(part[0] if part else None)
                self._go_on(1 if self.allowed == math.inf else self.allowed + 1)
            case ("stop", *reason):
                self.record.intervention("stop")
                return "stopped", "".join(reason)
            case ("interrupt", reason):
                return "interrupted", reason
            case ("park", reason):
                return "parked", reason
            case ("set", name, value):
                self._change(name, value)
        self._report()
        return None

    def _hold(self) -> None:
        """Pause: allow no further step."""
        self.clock.pause()
        self.allowed = 0
        self._checkpoint()  # before the status: what says that it waits can be killed at no loss
        self._become("paused")
        if self.reports.shown != self.experiment.step:
            self._report()  # a snapshot may take a second
            self._show(self.experiment.step, self.experiment.snapshot())
        self._report()

    def _become(self, state: str) -> None:
        self._set(state=state)
        self.record.status(self.status)

    def _go_on(self, steps: float) -> None:
        """Allow so many steps; the time spent paused does not count as training."""
        if self.clock.go_on():
            self.reports.rate = Rate()
        self.allowed = steps

    def _checkpoint(self) -> None:
        if self.record.unsaved:
            before = time.monotonic()
            self.record.checkpoint(self._status.seconds)
            self.record.status(self.status)
            self.checkpoints.took(time.monotonic() - before)

    def _report(self) -> None:
        self.reports.send(self.status, dict(self.experiment.live))

    def _end(self, state: str, message: str = "") -> Status:
        if state == "stopped" and self.reports.shown != self.experiment.step:
            self._show(self.experiment.step, self.experiment.snapshot())  # what it has come to
        self._checkpoint()  # before the status: what says that it is finished must be
        self._set(state=state, message=message or self.note)
        self.record.status(self.status)
        if state == "finished" and self.record.problem:
            # Trained, but what is on the disk is not: that is no good end.
            self._become("failed")
            self.record.problem += " Make room, then resume."
        self._report()
        return self.status

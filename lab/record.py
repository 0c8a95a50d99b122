"""What a training leaves in the folder of its run; a full disk does not end it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from lab.runs.interventions import Intervention, note
from lab.runs.tensorboard import EventLog
from lab.store import Run, Status
from training.core.experiment import Experiment, Snapshot

NOT_SAVED = "Saving failed"


class Record:
    """Writes what a training brings, and what cannot be written now when it can.

    Args:
        run: its folder.
        experiment: what is trained; restored from its last checkpoint, if there is one.
        saved: step of that checkpoint, or -1.
        known: interventions that it knows of.

    Attributes:
        problem: what a person should know of the last attempt to save, if it failed.
        unsaved: whether something has happened since the last checkpoint, or is not written yet.
    """

    def __init__(
        self, run: Run, experiment: Experiment, saved: int, known: Sequence[Intervention]
    ) -> None:
        self.run, self.experiment = run, experiment
        self.problem = ""
        self.unsaved = True
        self._saved = saved
        measured = (*experiment.LOSSES, *experiment.METRICS)
        self._columns = ["step", "seconds", *experiment.rates(), *measured]
        self._interventions = run.interventions.since(experiment.step, known)
        self._last_row = -1  # its step
        self._rows: deque[dict[str, float]] = deque()  # longer than one while the disk is full
        self._unlogged: list[dict[str, float]] = []  # rows that TensorBoard has not seen
        self._events = EventLog(run.path, run.status().created)
        self._late: dict[str, Callable[[], None]] = {}  # other things that are not written yet
        tenths = (round(experiment.total * tenth / 10) for tenth in range(11))
        self._milestones = {*tenths, *experiment.landmarks}

    def begin(self, status: Status) -> None:
        """Bring the folder to the step from which the training goes on.

        Raises:
            OSError: it cannot be written.
        """
        self.run.metrics.start(self._columns, self.experiment.step)
        self.run.snapshots.drop(self.experiment.step)
        known = self.run.metrics.rows()
        self._last_row = max((row["step"] for row in known), default=-1)
        self._keep("events", lambda: self._events.begin(known))
        if self._interventions != self.run.interventions.load():
            self._keep_interventions()
        self.run.write_status(status)
        # Pages draw it beside the first snapshot. What an imported run brought may be of another.
        if not self.experiment.step or self.run.snapshots.target() is None:
            target = self.experiment.target()
            self._keep("target", lambda: self.run.snapshots.save_target(target))

    def intervention(self, what: str, name: str = "", value: object = None) -> None:
        """Write down what was done after the present step."""
        if note(self._interventions, Intervention(self.experiment.step, what, name, value)):
            self._keep_interventions()

    def _keep_interventions(self) -> None:
        past = self._interventions
        self._keep("interventions", lambda: self.run.interventions.save(past))

    def row(self, row: dict[str, float]) -> bool:
        """Write a row of metrics; return whether it is one that was not there before."""
        if row["step"] <= self._last_row:
            return False
        self._rows.append(row)
        self._unlogged.append(row)
        with self._saving():
            self._write_rows()
        return True

    def snapshot(self, step: int, snapshot: Snapshot) -> None:
        """Write a snapshot."""
        self._keep("snapshot", lambda: self.run.snapshots.save(step, snapshot, self._milestones))

    def summary(self, numbers: dict[str, float]) -> None:
        """Write what is measured at the end."""
        self._keep("summary", lambda: self.run.metrics.save_summary(numbers))

    def checkpoint(self, seconds: float) -> None:
        """Write all from which the training goes on, or pages draw.

        Args:
            seconds: spent training.
        """
        with self._saving():
            self._write_rows()  # before the checkpoint: a resume does not measure them again
            self._write_late()  # before the weights: they say what the target knows of images
            state = {"experiment": self.experiment.state_dict(), "seconds": seconds}
            state["interventions"] = [asdict(one) for one in self._interventions]
            self.run.checkpoints.save(state)
            self._saved = self.experiment.step
            self.run.weights.save(self.experiment.model, self.experiment.step)
            self._events.append(self._unlogged)
            self._unlogged = []
            self.unsaved, self.problem = False, ""

    def status(self, status: Status) -> None:
        """Write where the run stands."""
        with self._saving():
            self.run.write_status(status)

    def _keep(self, name: str, write: Callable[[], None]) -> None:
        self._late[name] = write
        with self._saving():
            self._write_late()

    def _write_late(self) -> None:
        for name in list(self._late):
            self._late[name]()
            del self._late[name]

    def _write_rows(self) -> None:
        while self._rows:
            self.run.metrics.append(self._columns, self._rows[0])
            self._rows.popleft()

    @contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kept = f"the one of step {self._saved}" if self._saved >= 0 else "none yet"
            why = error.strerror or error
            self.problem = f"{NOT_SAVED} ({why}). Its last checkpoint: {kept}."
            self.unsaved = True

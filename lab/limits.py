"""What the rules of a lab mean for those who wait, for those at work, and for the disk."""

from __future__ import annotations

from lab.queue import Queue
from lab.rules import Rules
from lab.runs.files import RunError
from lab.runs.status import Status
from lab.workers import Worker

BEYOND = "more is not allowed in this lab"


class LabFull(RuntimeError):
    """There is no room for this run now; the message says why and what to do."""


class Limits:
    """The rules, and what runs take of what they allow.

    Attributes:
        rules: of the lab.
        used: bytes that all runs take, as of the last look.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.used = 0

    def check_room(self, queue: Queue, owner: str, *, patient: bool) -> None:
        """Check that a run of this owner can wait, and be written.

        Args:
            queue: of the lab.
            owner: whose it is.
            patient: whether it belongs to a comparison; these have a line of their own.

        Raises:
            LabFull: it cannot; says why.
        """
        most, waiting = self.rules.queue, queue.owners(patient)
        if len(waiting) >= most:
            words = "Stop one of them, or try again later."
            raise LabFull(f"{most} runs are waiting already. {words}")
        theirs = waiting.count(owner)
        if owner and self.rules.waiting and theirs >= self.rules.waiting:
            raise LabFull(f"{theirs} of your runs are waiting already, and more may not.")
        self.check_disk()

    def check_disk(self) -> None:
        """Check that there is room on disk for another run.

        Raises:
            LabFull: there is none.
        """
        limit = self.rules.disk_gb
        if limit and self.used > limit * 1e9:
            raise LabFull(
                f"The runs of this lab fill the {limit:g} GB that they may take. Delete some on "
                "the page Runs, or ask who runs the lab."
            )

    def check_hours(self, status: Status) -> None:
        """Check that a run may train any longer.

        Raises:
            RunError: it has had all its time.
        """
        if self._has_had_its_time(status):
            raise RunError(f"This run has had its {self.rules.run_hours:g} hours: {BEYOND}.")

    def verdict(self, worker: Worker, now: float) -> tuple[str, str] | None:
        """Return the command for a run that nobody looks at, or that has had its time.

        Args:
            worker: at work on it.
            now: monotonic time.
        """
        idle = self.rules.park_minutes
        if self._has_had_its_time(worker.view.status):
            return "stop", f"It has had its {self.rules.run_hours:g} hours: {BEYOND}."
        if idle and now - worker.looked > idle * 60:
            words = f"Nobody looked at it for {idle:g} minutes, so it made room."
            return "park", f"{words} It goes on when its owner comes back."
        return None

    def verdict_on_size(self, size: int) -> tuple[str, str] | None:
        """Return the command for a run at work that takes so many bytes, if it is too many."""
        limit = self.rules.run_mb
        if limit and size > limit * 1e6:
            return "stop", f"It takes more than {limit:g} MB: {BEYOND}."
        return None

    def _has_had_its_time(self, status: Status) -> bool:
        return 0 < self.rules.run_hours * 3600 <= status.seconds

"""What the rules of a lab mean for those who wait, for those at work, and for the disk."""

from __future__ import annotations

import math
from collections import Counter

from lab.driver import Command
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
        used: bytes that the runs of each owner take, as of the last look.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.used: Counter[str] = Counter()

    def check_room(self, queue: Queue, owner: str, count: int = 1, *, patient: bool) -> None:
        """Check that runs of this owner can wait, and be written.

        Args:
            queue: of the lab.
            owner: whose they are.
            count: how many they are.
            patient: whether they belong to a comparison; these have a line of their own.

        Raises:
            LabFull: they cannot; says why.
        """
        most, theirs = self.rules.waiting, queue.count(owner)
        if queue.length(patient) >= self.rules.queue:
            words = "Stop one of them, or try again later."
            raise LabFull(f"{self.rules.queue} runs are waiting already. {words}")
        if owner and most and theirs + count > most:
            more = "more" if count == 1 else f"{count} more"
            raise LabFull(
                f"{theirs} of your runs are waiting already, and {more} may not: at most {most} of "
                "one person wait in this lab."
            )
        self.check_disk(owner)

    def check_disk(self, owner: str) -> None:
        """Check that there is room on disk for another run of this owner.

        Raises:
            LabFull: there is none.
        """
        all_of_it, theirs = self.rules.disk_gb, self.rules.person_gb
        if owner and self._beyond(theirs, self.used[owner]):
            raise LabFull(
                f"Your runs fill the {theirs:g} GB that those of one person may take in this lab. "
                "Delete some on the page Runs."
            )
        if self._beyond(all_of_it, self.used.total()):
            raise LabFull(
                f"The runs of this lab fill the {all_of_it:g} GB that they may take. Delete some "
                "on the page Runs, or ask who runs the lab."
            )

    @property
    def measures(self) -> bool:
        """Whether any rule asks what runs take, or how many they are."""
        rules = self.rules
        return any((rules.runs, rules.disk_gb, rules.person_gb, rules.run_mb))

    def check_hours(self, status: Status) -> None:
        """Check that a run may train any longer.

        Raises:
            RunError: it has had all its time.
        """
        if self._has_had_its_time(status):
            raise RunError(f"This run has had its {self.rules.run_hours:g} hours: {BEYOND}.")

    def verdict(self, worker: Worker, now: float, *, others_wait: bool) -> Command | None:
        """Return the command for a run that nobody looks at, or that has had its time.

        Args:
            worker: at work on it.
            now: monotonic time.
            others_wait: whether another run would take its slot.
        """
        idle, hours = self.rules.park_minutes, self.rules.run_hours
        if self._has_had_its_time(worker.view.status):
            return "stop", f"It has had its {hours:g} hours: {BEYOND}."
        if idle and now - worker.looked > idle * 60:
            words = f"Nobody looked at it for {idle:g} minutes, so it made room."
            return "park", f"{words} It goes on when its owner comes back."
        # Looked at or not: a pause trains nothing, and its hours do not run.
        patience = min((m for m in (idle, hours * 60) if m), default=math.inf)
        if others_wait and now - (worker.paused_since or now) > patience * 60:
            words = f"It was paused for {patience:g} minutes while others waited, so it made room."
            return "stop", f"{words} Resume goes on from here."
        return None

    def verdict_on_size(self, owner: str, size: int) -> Command | None:
        """Return the command for a run at work that takes too many bytes, or whose owner's do."""
        limit, theirs = self.rules.run_mb, self.rules.person_gb
        if limit and size > limit * 1e6:
            return "stop", f"It takes more than {limit:g} MB: {BEYOND}."
        if owner and self._beyond(theirs, self.used[owner]):
            return "stop", f"The runs of its owner take more than {theirs:g} GB: {BEYOND}."
        return None

    @staticmethod
    def _beyond(gigabytes: float, used: int) -> bool:
        return 0 < gigabytes * 1e9 < used

    def _has_had_its_time(self, status: Status) -> bool:
        return 0 < self.rules.run_hours * 3600 <= status.seconds

"""Which runs leave when room is short: the oldest that have ended, each with a warning first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from lab.rules import Rules
from lab.store import Run


@dataclass(frozen=True, slots=True)
class Kept:
    """A run as housekeeping sees it.

    Attributes:
        id: its name.
        owner: whose it is; an empty string for nobody.
        created: Unix time of its creation.
        size: bytes on disk.
        ended: whether it is neither at work nor waiting nor parked.
        leaves: Unix time at which it may be deleted, if its owner has been warned.
    """

    id: str
    owner: str
    created: float
    size: int
    ended: bool
    leaves: float | None = None

    @classmethod
    def of(cls, run: Run) -> Kept:
        """Look at a run's folder."""
        status, notes = run.status(), run.notes
        ended = not status.active and status.state != "parked"
        owner = notes.access().owner
        return cls(run.id, owner, status.created, run.size(), ended, notes.leaves())


@dataclass(frozen=True, slots=True)
class Departures:
    """What to do now: runs to warn about, to take the warning back from, and to delete."""

    warn: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()


def departures(runs: Sequence[Kept], rules: Rules, now: float) -> Departures:
    """Return which runs have to leave.

    Runs leave oldest first, and only as many as bring each owner back to ``rules.runs`` and the lab
    back to ``rules.disk_gb``. A run is deleted when its time has come and room is still short; if
    it no longer is, the warning is taken back.
    """
    surplus = _surplus(runs, rules)
    warned = {run.id: run.leaves for run in runs if run.leaves is not None}
    due = tuple(r for r in surplus if r in warned and warned[r] <= now)
    return Departures(
        warn=tuple(r for r in surplus if r not in warned),
        spare=tuple(r for r in warned if r not in surplus),
        delete=due,
    )


def _surplus(runs: Sequence[Kept], rules: Rules) -> list[str]:
    """Return the runs beyond the limits, oldest first."""
    going: list[str] = []
    oldest = sorted((run for run in runs if run.ended), key=lambda run: run.created)
    if rules.runs:
        count: dict[str, int] = defaultdict(int)
        for run in runs:
            count[run.owner] += 1
        for run in oldest:
            if run.owner and count[run.owner] > rules.runs:
                count[run.owner] -= 1
                going.append(run.id)
    if rules.disk_gb:
        room = rules.disk_gb * 1e9 - sum(run.size for run in runs if run.id not in going)
        for run in oldest:
            if room >= 0:
                break
            if run.id not in going:
                room += run.size
                going.append(run.id)
    return going

"""Where a run stands: ``status.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lab.runs.files import read_json, write_json

ACTIVE = ("queued", "starting", "running", "paused")
RESUMABLE = ("stopped", "interrupted", "parked", "failed", "diverged")
MAX_COUNT = 1e12  # steps, or seconds, of any run


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run stands.

    Attributes:
        state: queued, starting, running, paused; or finished, stopped, diverged, failed,
            interrupted, parked.
        step: optimiser steps done.
        total: optimiser steps in all.
        seconds: time spent training, pauses left out.
        message: what a person should know, or an empty string.
        skipped: steps skipped because they were not finite.
        created: Unix time of its creation.
        device: where it trains.
    """

    state: str = "queued"
    step: int = 0
    total: int = 0
    seconds: float = 0.0
    message: str = ""
    skipped: int = 0
    created: float = 0.0
    device: str = ""

    @property
    def active(self) -> bool:
        """Whether it waits, starts, trains or is paused."""
        return self.state in ACTIVE

    @property
    def resumable(self) -> bool:
        """Whether it can go on from its last checkpoint."""
        return self.state in RESUMABLE

    @classmethod
    def read(cls, path: Path) -> Status:
        """Return what a file says; a run without a readable one counts as interrupted."""
        try:
            values = read_json(path)
            known = [field for field in fields(cls) if field.name in (*values, "state")]
            status = cls(**{f.name: type(f.default)(values[f.name]) for f in known})
            # Also false for NaN: pages divide by these and show them as times.
            counts = (status.step, status.total, status.skipped)
            times = (status.seconds, status.created)  # the clock of a machine may jump back
            if not all(0 <= count <= MAX_COUNT for count in (*counts, *map(abs, times))):
                raise ValueError("a count beyond all reason")
            return status
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            return cls(state="interrupted", message="Its status file is missing or damaged.")

    def write(self, path: Path) -> None:
        """Write it to a file.

        Raises:
            OSError: it cannot be written.
        """
        write_json(path, asdict(self))

"""When something is due again, how fast a training goes, and how long it has taken."""

from __future__ import annotations

import math
import time
from collections import deque

FRACTION = 0.05  # of the time that snapshots, and that checkpoints, may take


class Pace:
    """Says when something costly is due again.

    After ``every`` seconds, or later, so that it takes no more than ``FRACTION`` of the time; but
    not later than ``patience`` seconds, whatever it costs: someone is watching.
    """

    def __init__(self, every: float, patience: float = math.inf) -> None:
        self.every, self.patience = every, patience
        self.due = 0.0

    def is_due(self) -> bool:
        """Return whether it is time again."""
        return time.monotonic() >= self.due

    def took(self, seconds: float) -> None:
        """Say what it cost, in seconds; the next time follows from that."""
        self.due = time.monotonic() + min(max(self.every, seconds / FRACTION), self.patience)


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


class Stopwatch:
    """Seconds spent training, pauses left out.

    Args:
        seconds: spent before.
    """

    def __init__(self, seconds: float) -> None:
        self._started = time.monotonic() - seconds
        self._paused_at: float | None = None

    def seconds(self) -> float:
        """Return them, up to now or to the pause."""
        return (self._paused_at or time.monotonic()) - self._started

    def pause(self) -> None:
        """Stand still, if it does not already."""
        self._paused_at = self._paused_at or time.monotonic()

    def go_on(self) -> bool:
        """Run again; return whether it stood still."""
        if self._paused_at is None:
            return False
        self._started += time.monotonic() - self._paused_at
        self._paused_at = None
        return True

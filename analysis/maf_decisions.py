"""From which score on an image counts as defective: what was asked for, kept with the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from lab.runs.files import read_json, write_json
from lab.store import Run
from metrics import false_alarms
from metrics.detection import Interval

FILE = "decision.json"


@dataclass(frozen=True, slots=True)
class Decision:
    """A rate of false alarms that is asked for, or a threshold that was set by hand.

    Attributes:
        rate: of false alarms, between 0 and 1; of no meaning beside a threshold.
        typed: a threshold.
    """

    rate: float = false_alarms.USUAL
    typed: float | None = None

    def threshold(self, held_out: np.ndarray) -> float:
        """Return the score that a defective image exceeds, from those of held-out good images.

        Raises:
            ValueError: they are too few for the rate.
        """
        if self.typed is not None:
            return self.typed
        return false_alarms.threshold_for(held_out, self.rate)


def usual(held_out: np.ndarray) -> Decision:
    """Return the rate that is promised where nobody asked: 5 %, or the least that is possible."""
    return Decision(max(false_alarms.USUAL, false_alarms.least_rate(len(held_out))))


def promise(held_out: np.ndarray, threshold: float) -> Interval:
    """Return how often new good images exceed a threshold, see :mod:`metrics.false_alarms`."""
    return false_alarms.rate_beyond(held_out, threshold)


def load_decision(run: Run, held_out: np.ndarray) -> Decision:
    """Return what was decided for a run, and the usual where nothing (of use) was."""
    try:
        found = read_json(run.path / FILE)
        typed = None if found["typed"] is None else float(found["typed"])
        decision = Decision(float(found["rate"]), typed)
        if np.isfinite(decision.threshold(held_out)):
            return decision
    # A damaged file is as good as none.
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return usual(held_out)


def save_decision(run: Run, decision: Decision) -> None:
    """Keep a decision in the folder of a run.

    Raises:
        OSError: it cannot be written.
    """
    write_json(run.path / FILE, asdict(decision))

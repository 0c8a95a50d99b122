"""The training loop is a generator.

Not calling ``next`` is pause, calling it once is step, ``close()`` is stop.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.core import distributed
from training.core.experiment import Experiment, Snapshot
from training.core.optimiser import not_finite


@dataclass(frozen=True, slots=True)
class Progress:
    """What a training reports after each step: plain numbers and CPU arrays, no tensor or figure.

    Attributes:
        step: optimiser steps done.
        total: optimiser steps in all.
        losses: means since the last time they were logged; empty at the steps in between.
        metrics: measured on held-out data; empty at the steps in between.
        snapshot: arrays to draw, or ``None``.
        skipped: steps skipped so far because the loss or its gradient was not finite.
    """

    step: int
    total: int
    losses: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    skipped: int = 0


class TrainingDiverged(RuntimeError):
    """Loss or gradient stayed non-finite for several steps; the weights are the last good ones."""


@dataclass
class Wishes:
    """What the driver wants of the next step; wishes never change the training itself.

    Attributes:
        snapshot: to be made.
        losses: to be logged.
        has: a step whose snapshot the driver has made by itself.
    """

    snapshot: bool = False
    losses: bool = False
    has: int = -1


class Tally:
    """Means of losses, kept on the device until they are logged.

    Non-finite steps do not enter the mean. Added up many at a time: in a small network, each
    operation of a step counts.
    """

    AT_ONCE = 64  # steps

    def __init__(self) -> None:
        self.values: defaultdict[str, list[Tensor]] = defaultdict(list)  # not yet added up
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Count named scalar losses, on the device. Not every step has all of them."""
        for name, value in losses.items():
            values = self.values[name]
            values.append(value)
            if len(values) == self.AT_ONCE:
                self._add_up(name)

    def log_means(self) -> dict[str, float]:
        """Return the means since the last call (NaN where no step was finite) and start again."""
        for name in tuple(self.values):
            self._add_up(name)
        means = {name: float(self.sums[name] / self.counts[name]) for name in self.sums}
        self.__init__()
        return means

    def _add_up(self, name: str) -> None:
        values = torch.stack(self.values.pop(name))
        bad = not_finite(values)
        self.sums[name] = self.sums.get(name, 0) + values.masked_fill(bad, 0).sum()
        self.counts[name] = self.counts.get(name, 0) + (~bad).sum()


PATIENCE = 5  # non-finite steps in a row after which a training counts as diverged


def train(
    experiment: Experiment,
    *,
    wishes: Wishes | None = None,
    log_every: int | None = None,
    measure_every: int | None = None,
    snapshots: bool = True,
) -> Iterator[Progress]:
    """Train to the end, yielding before the first optimiser step and after each one.

    Most events are only a step count. Losses come every ``log_every`` steps, metrics every
    ``measure_every`` (a twentieth), snapshots every tenth of the training; either when wished for.

    Raises:
        TrainingDiverged: after several non-finite steps in a row.
    """
    wishes = wishes or Wishes()
    log_every = log_every or max(1, min(20, experiment.total // 200))
    measure_every = measure_every or max(1, experiment.total // 20)
    milestones = _milestones(experiment) if snapshots else set()
    tally = Tally()

    def progress(first: bool = False) -> Progress:
        step = experiment.step
        last = step == experiment.total
        log = (step % log_every == 0 or last or wishes.losses) and not first
        measured = step % measure_every == 0 or last
        wanted = step in milestones or wishes.snapshot or (first and snapshots)
        wishes.snapshot = wishes.losses = False
        return Progress(
            step,
            experiment.total,
            losses=tally.log_means() if log else {},
            metrics=experiment.measure() if measured else {},
            snapshot=experiment.snapshot() if wanted and step != wishes.has else None,
            skipped=experiment.skipped if log else 0,
        )

    distributed.begin(experiment)
    try:
        yield progress(first=True)
        while experiment.step < experiment.total:
            tally.add(distributed.update(experiment))
            experiment.step += 1
            event = progress()
            yield event
            if event.losses:
                _refuse_divergence(experiment)
    finally:
        distributed.end()


def _milestones(experiment: Experiment) -> set[int]:
    tenths = (round(experiment.total * tenth / 10) for tenth in range(11))
    return {*tenths, *experiment.landmarks}


def _refuse_divergence(experiment: Experiment) -> None:
    if experiment.streak >= PATIENCE:
        raise TrainingDiverged(
            "The loss has not been a finite number since about step "
            f"{experiment.step - experiment.streak}. "
            "The usual cause is a learning rate too high for this model: try a third of it."
        )

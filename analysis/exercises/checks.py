"""Whether a run does what an exercise asks: its numbers are computed from its weights again.

What its files say by themselves is not believed. The weights have to be of its settings, the
numbers of its table those of its weights, and the first losses those that its settings give.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from analysis.exercises.files import NUMBERS, Exercise
from datasets.own import DataError
from lab.imports.weights_import import model_of
from lab.runs.files import RunError
from lab.store import Run
from training.core.config import ConfigError
from training.core.experiment import Experiment
from training.core.loop import train

CLOSE = 0.01  # relative difference of a number that another machine may give, and at least this
FIRST = 20  # steps, at most, after which the first losses of any run are logged


class Forged(RunError):
    """A run whose files contradict each other; the message says where."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found.

    Attributes:
        passed: whether the run does what was asked.
        reason: why, in a sentence.
        numbers: what was measured of its weights, by name.
    """

    passed: bool
    reason: str
    numbers: Mapping[str, float]


def check(exercise: Exercise, run: Run, *, again: bool = True) -> Verdict:
    """Compare a run with what an exercise asks.

    Args:
        exercise: what is asked.
        run: of which it is asked.
        again: take its first steps again, to compare what it logged.

    Raises:
        Forged: its files contradict each other.
        RunError: it cannot be used.
    """
    if not exercise.passes:
        raise RunError(f"{exercise.name} asks for nothing that a run could show.")
    config, status = run.config, run.status()
    if run.family is not exercise.family:
        other = (
            f"This is a run of {run.family.stem}, and the exercise is on {exercise.family.stem}."
        )
        return Verdict(False, other, {})
    if status.active:
        return Verdict(False, "The run is not at its end yet: wait, or stop it.", {})
    try:
        numbers = _measured(run)
        if again:
            _train_again(run)
    except (ConfigError, DataError) as error:
        raise RunError(f"{run.path} cannot be measured: {error}") from error
    known = {**config.model_dump(), **numbers}
    for term in exercise.passes:
        if term.name not in known:
            return Verdict(False, f"The run has no {_title(term.name)}.", numbers)
        if not term.holds(known[term.name]):
            found = known[term.name]
            shown = f"{found:.4g}" if isinstance(found, float) else str(found)
            return Verdict(False, f"{_title(term.name)} is {shown}; asked is {term}.", numbers)
    words = ", ".join(f"{t} ({_shown(known[t.name])})" for t in exercise.passes)
    return Verdict(True, f"All that was asked holds: {words}.", numbers)


def _title(name: str) -> str:
    title = NUMBERS.get(name, (name,))[0]
    return title[0].upper() + title[1:]


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# -- what a run is worth -------------------------------------------------------------------------


def _measured(run: Run) -> dict[str, float]:
    """Return the numbers of a run, from its weights."""
    experiment = run.experiment("cpu")
    experiment.step = _step_of_weights(run)
    run.weights.load_into(experiment.model)
    with torch.no_grad():
        numbers = dict(experiment.measure())
    _compare_with_table(run, experiment.step, numbers)
    alone = sum(one.what == "part" for one in run.interventions.load())
    return {**numbers, "steps": experiment.step, "steps_alone": alone}


def _step_of_weights(run: Run) -> int:
    """Return of which step the weights are; they have to be of the run's own settings."""
    try:
        family, config, said, _ = model_of(run.weights.header())
    except OSError as error:
        raise RunError(f"There are no weights in {run.path} that can be used.") from error
    if family is not run.family or config != run.config:
        raise Forged("Its weights are not of the settings in its config.json.")
    step = run.status().step
    if said != step:
        raise Forged(f"It says that it did {step} steps; its weights are of {said}.")
    return step


def _compare_with_table(run: Run, step: int, numbers: Mapping[str, float]) -> None:
    """Refuse a table whose numbers of this step are not those of the weights."""
    rows = {row["step"]: row for row in run.metrics.rows()}
    if not rows or max(rows) > step:
        raise Forged("Its metrics.csv is empty, or of more steps than it did.")
    for name, value in numbers.items():
        said = rows.get(step, {}).get(name)
        if said is not None and not _close(said, value):
            raise Forged(
                f"Its metrics.csv says {name} {said:.4g} at step {step}; its weights give "
                f"{value:.4g}."
            )


def _train_again(run: Run) -> None:
    """Train the first steps again: what a run logged first follows from its settings."""
    early = [one.step for one in run.interventions.load() if one.step < FIRST and one.matters]
    rows = [row for row in run.metrics.rows() if 0 < row["step"] <= FIRST]
    if early or run.status().device != "cpu" or not rows:
        return  # another device draws other numbers
    experiment = run.experiment("cpu")
    losses = _losses_until(experiment, rows[0]["step"])
    for name, value in losses.items():
        said = rows[0].get(name)
        if said is not None and not _close(said, value, part=0.05):
            raise Forged(
                f"Its metrics.csv says {name} {said:.4g} at step {rows[0]['step']}; its settings "
                f"give {value:.4g}."
            )


def _losses_until(experiment: Experiment, step: int) -> dict[str, float]:
    training = train(experiment, snapshots=False, log_every=step, measure_every=10**9)
    try:
        for event in training:
            if event.step == step:
                return dict(event.losses)
    finally:
        training.close()
    return {}


def _close(one: float, two: float, part: float = CLOSE) -> bool:
    return math.isclose(one, two, rel_tol=part, abs_tol=part)

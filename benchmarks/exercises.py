"""What the exercises come to: the number or the curve that each asks for, over three seeds.

Each is trained as its link sets it up, and with the settings that pass, where it names some. The
values go into ``assets/exercises/measured.json``, which the page of exercises reads; what was
measured with the settings of today already is not measured again. One thread; the number is that
of the last step, as in ``metrics.csv``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from analysis.exercises.files import MEASURED, Exercise, exercises, key_of, measured_values
from benchmarks.machine import torch_threads
from benchmarks.options import Options
from benchmarks.tables import Table, reached
from lab.runs.files import read_json, write_json
from training.core.config import RunConfig
from training.core.family import Training
from training.core.loop import train

SEEDS = (0, 1, 2)
POINTS = 50  # of a curve that is kept
Curve = list[tuple[int, float]]


def run(options: Options) -> Iterator[Table]:
    """Measure what is not measured yet, and yield a table of all."""
    asked = [one for one in exercises().values() if one.number or one.curve]
    seeds = SEEDS[:1] if options.quick else options.seeds or SEEDS
    with torch_threads(1):
        for one in asked:
            for solved in (False, True) if one.solution else (False,):
                if len(measured_values(one, solved=solved)) < len(seeds):
                    found = [_trained(one, solved, seed) for seed in seeds]
                    if not options.quick:
                        _keep(one, solved, found)
    yield _table(asked)


def _trained(exercise: Exercise, solved: bool, seed: int) -> tuple[float, Curve]:
    config = exercise.config(solved=solved, seed=seed)
    name = exercise.number or exercise.curve
    curve = curve_of(exercise.family.training, config, name)
    print(f"{key_of(exercise, solved=solved)}, seed {seed}: {curve[-1][1]:.4g}", flush=True)
    return curve[-1][1], curve


def curve_of(training: Training, config: RunConfig, name: str) -> Curve:
    """Train to the end; return the steps and values of a loss, or the metric of the last step."""
    experiment, found = training.build(config), []
    every = max(1, experiment.total // POINTS)
    for event in train(experiment, snapshots=False, log_every=every, measure_every=10**9):
        numbers = {**event.losses, **event.metrics}
        if name in numbers:
            found.append((event.step, float(numbers[name])))
    return found


def _keep(exercise: Exercise, solved: bool, found: list[tuple[float, Curve]]) -> None:
    kept = read_json(MEASURED) if MEASURED.exists() else {}
    config = exercise.config(solved=solved).model_dump(exclude={"seed"})
    steps = [step for step, _ in found[0][1]]
    curves = [[float(f"{value:.4g}") for _, value in curve] for _, curve in found]
    kept[key_of(exercise, solved=solved)] = {
        "number": exercise.number or exercise.curve,
        "values": [value for value, _ in found],
        **({"steps": steps, "curves": curves} if exercise.curve else {}),
        "torch": torch.__version__,
        "config": config,
    }
    write_json(MEASURED, dict(sorted(kept.items())))


def _table(asked: list[Exercise]) -> Table:
    table = Table("exercises", ("exercise", "number", "as set up", "solved", "passes"))
    for one in asked:
        found, solved = (measured_values(one, solved=flag) for flag in (False, True))
        passing = solved if one.solution else found
        limits = [term for term in one.passes if term.name == one.number]
        holds = bool(passing) and all(t.holds(v) for t in limits for v in passing)
        table.rows.append(
            (
                one.name,
                one.number or one.curve,
                _range(found),
                _range(solved),
                reached(holds, 1, at_least=True),
            )
        )
    table.notes = [
        f"Lowest to highest of {len(SEEDS)} seeds. Passes: whether all seeds of the settings that "
        "are to pass do."
    ]
    return table


def _range(values: list[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}" if values else "-"

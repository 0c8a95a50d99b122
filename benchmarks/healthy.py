"""Which settings of a family train well: the trials of ``analysis.healthy``, over three seeds.

One thread; the number is that of the last step, as in ``metrics.csv``. What is measured goes into
``assets/healthy.json``, which the pages read.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import torch

from analysis.healthy import FILE, TRIALS, config_of, measured
from benchmarks.exercises import curve_of
from benchmarks.machine import torch_threads
from benchmarks.options import Options
from benchmarks.tables import Table
from lab.runs.files import write_json
from registry import FAMILIES

SEEDS = (0, 1, 2)


def run(options: Options) -> Iterator[Table]:
    """Train all, keep what was measured, and yield a table per family."""
    seeds = SEEDS[:1] if options.quick else options.seeds or SEEDS
    values = measured()
    for stem, trial in TRIALS.items():
        values[stem] = {}
        table = Table(f"healthy: {stem}", ("changed", trial.number, "well"))
        with torch_threads(1):
            for name in trial.changed:
                found = [_trained(stem, name, seed) for seed in seeds]
                values[stem][name] = found
                shown = ", ".join(f"{value:g}" for value in found)
                table.rows.append((name, shown, "yes" if min(found) >= trial.least else "no"))
        table.notes = [
            f"Seeds {', '.join(map(str, seeds))}; well: at least {trial.least:g} in each."
        ]
        if not options.quick:
            _keep(values)
        yield table


def _trained(stem: str, name: str, seed: int) -> float:
    family, number = FAMILIES[stem], TRIALS[stem].number
    _, value = curve_of(family.training, config_of(family, name, seed=seed), number)[-1]
    print(f"{stem}, {name}, seed {seed}: {value:g}", flush=True)
    return value


def _keep(values: dict) -> None:
    date = datetime.now(UTC).date().isoformat()
    write_json(FILE, {"date": date, "torch": torch.__version__, "values": values})

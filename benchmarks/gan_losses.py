"""Which loss of a GAN in 2-D loses modes, counted over many seeds; the page shows the table.

The ring of 8 (standard deviation 0.02), 9,000 steps, and the grid of 25 (0.05 at a spacing of 1),
20,000 steps; settings as on the page but for what the file names. Scored on 20,000 fresh samples:
modes covered (each with at least a tenth of its samples), the fraction within 3 standard deviations
of a mode, JS over 40 x 40 bins. One thread; seconds are processor time.

What is measured goes into ``assets/gan_losses.json``, after each training: called again, with more
seeds say, it goes on. Nothing is chosen afterwards: no best checkpoint, no best seed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

from analysis.gan_losses import COLUMNS, FILE, cells, measured, outcomes
from benchmarks.machine import torch_threads
from benchmarks.options import Options
from benchmarks.tables import Table
from lab.runs.files import write_json
from metrics.plane import SAMPLES
from training.core.loop import train
from training.gan import TRAINING as GAN

SEEDS = tuple(range(50))
QUICK_STEPS = 1000
EVALUATION_SEED = 20_251_122  # of the fresh samples; no training has it

TASKS: dict[str, tuple[dict[str, Any], int]] = {
    "ring of 8": ({"dataset": "ring", "noise": 0.02}, 8),
    "grid of 25": ({"dataset": "grid", "noise": 0.05, "iterations": 20_000}, 25),
}
# One hidden layer more, narrower, in the same time: steeper maps make rarer bridges.
DEEP = {"hidden": 80, "depth": 3, "learning_rate": 3e-3, "learning_rate_d": 3e-3, "ema": 200}
LOSSES: dict[str, dict[str, Any]] = {
    "relativistic, R1 + R2 *": {"loss": "relativistic", **DEEP},
    "relativistic, no penalty *": {"loss": "relativistic", "penalty": "none", **DEEP},
    "non-saturating, R1 *": {"penalty": "r1", **DEEP},
    "non-saturating *": DEEP,
    "non-saturating": {},
    "original": {"loss": "original"},
    "least squares": {"loss": "least-squares"},
    "hinge": {"loss": "hinge"},
    "Wasserstein, k_D = 5": {"loss": "wasserstein", "d_steps": 5},
}


def run(options: Options) -> Iterator[Table]:
    """Measure what is not measured yet, and yield a table for each task."""
    seeds = options.seeds or (SEEDS[:1] if options.quick else SEEDS)
    found = measured()
    for seed in seeds:  # one of each, then the next: cut short, all have as many
        for task in TASKS:
            for loss in LOSSES:
                _measure(found, task, loss, seed, options.quick)
    yield from map(table, found, found.values())


def table(name: str, task: dict[str, Any]) -> Table:
    """Return what was measured of a task, as a table to print."""
    rows = list(map(cells, outcomes(task)))
    perfect = task["perfect"]
    floor = f"{perfect['modes']:.0f}", f"{perfect['good']:.1%}", f"{perfect['js']:.3f}"
    rows.append(("perfect generator", "", "", *floor, ""))
    return Table(f"gan, losses: {name}", COLUMNS, rows)


def _measure(found: dict, task: str, loss: str, seed: int, quick: bool) -> None:
    (data, modes), settings = TASKS[task], LOSSES[loss]
    kept = found.setdefault(task, {"data": data, "modes": modes, "losses": {}})
    kept.setdefault("perfect", GAN.build(GAN.config(**data)).truth.floor())
    scores = kept["losses"].setdefault(loss, {"settings": settings, "scores": {}})
    if scores["settings"] != settings:
        scores |= {"settings": settings, "scores": {}}
    if str(seed) in scores["scores"]:
        return
    scores["scores"][str(seed)] = score(seed, quick, **data, **settings)
    if not quick:
        write_json(FILE, found)


def score(seed: int, quick: bool, **settings: Any) -> dict[str, float]:
    """Train once; compare fresh samples with the truth."""
    config = GAN.config(seed=seed, **settings)
    if quick:
        config = config.replace(iterations=QUICK_STEPS)
    experiment = GAN.build(config)
    with torch_threads(1):
        start = time.process_time()
        for _ in train(experiment, snapshots=False):
            pass
        seconds = time.process_time() - start
    with torch.no_grad():
        fresh = torch.Generator().manual_seed(EVALUATION_SEED)
        x = experiment.model(experiment.model.draw(SAMPLES, fresh))
    found = experiment.truth.score(x) | {"seconds": round(seconds, 1)}
    words = ", ".join(f"{name} {value:.3g}" for name, value in found.items())
    print(f"{settings}, seed {seed}: {words}", file=sys.stderr, flush=True)
    return found

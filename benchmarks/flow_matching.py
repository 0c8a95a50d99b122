"""Flow matching on two moons: KL to the truth by path, and the steps that samples need.

Two moons with noise 0.05, page defaults (6,000 steps of 512 points), one thread, float32. The KL
is that of the last measurement: the mean of log p - log q over 20,000 held-out points, by 12 steps
of Runge-Kutta 4. Seconds are processor time of the training alone. Nothing is chosen afterwards.

The second table follows the same noise of 20,000 samples by Euler's method in 1 to 64 steps, before
and after one round of reflow, and says which is the first to come within a tenth of the best.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from analysis.flow_matching_plane import COUNTS, by_steps
from benchmarks.machine import torch_threads
from benchmarks.options import Options
from benchmarks.tables import Table, spread
from training.flow_matching import TRAINING, PlaneFlowMatching

PATHS = ("straight", "optimal_transport", "variance_preserving")
SEEDS = (0, 1, 2, 3, 4)
GOAL = 0.03  # nats
NEAR = 1.1  # times the best sample KL


def run(options: Options) -> Iterator[Table]:
    """Yield the table of KLs, then the one of steps."""
    seeds = options.seeds or (SEEDS[:1] if options.quick else SEEDS)
    steps = 1000 if options.quick else TRAINING.config().iterations
    with torch_threads(1):
        yield _few_steps(seeds[0], steps)
        yield _distances(seeds, steps)


def _distances(seeds: tuple[int, ...], steps: int) -> Table:
    columns = ("path", "KL [nats]", "range", "processor seconds", "range")
    table = Table("flow matching, two moons", columns)
    for path in PATHS:
        found = [_measured(path, seed, steps) for seed in seeds]
        kls, seconds = zip(*found, strict=True)
        table.rows.append((path, *spread(kls, 4), *spread(seconds, 1)))
    table.notes = [
        f"Medians and ranges of {len(seeds)} seeds, {steps:,} steps. The goal is {GOAL} nats, for "
        "the first two paths."
    ]
    return table


def _measured(path: str, seed: int, steps: int) -> tuple[float, float]:
    """Train; return the KL at the end and the processor seconds that it took."""
    experiment = TRAINING.build(TRAINING.config(path=path, seed=seed, iterations=steps))
    seconds = _train_a_round(experiment)
    kl = experiment.measure()["kl_to_truth"]
    print(f"{path}, seed {seed}: KL {kl:.4f} after {seconds:.1f} s", flush=True)
    return kl, seconds


def _train_a_round(experiment: PlaneFlowMatching) -> float:
    before = time.process_time()
    for _ in range(experiment.round):
        experiment.update()
        experiment.step += 1
    return time.process_time() - before


def _few_steps(seed: int, steps: int) -> Table:
    columns = ("", *map(str, COUNTS), "first near the best")
    table = Table("sample KL [nats] by steps of Euler's method", columns)
    experiment = TRAINING.build(TRAINING.config(seed=seed, iterations=steps, reflow=1))
    for name in ("before", "after one reflow"):
        _train_a_round(experiment)
        with torch.no_grad():
            found = by_steps(experiment.model, experiment.plane)
        best = min(found.values())
        first = next(count for count, kl in found.items() if kl <= NEAR * best)
        table.rows.append((name, *(f"{kl:.3f}" for kl in found.values()), str(first)))
    return table

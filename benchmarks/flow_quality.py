"""How close a flow comes to the truth: KL to the two moons after 3,000 steps, beside two peers.

Protocol: two moons with noise 0.05, batch 512, 3,000 optimiser steps, one thread, float32. The lab
trains with the defaults of its pages; only the number of iterations is set. The peers draw from the
lab's sampler and use Adam with a constant 1e-3. Every model is scored on the same 100,000 fresh
points, which no training has seen, in two ways that agree up to the noise of sampling:

- KL, the mean of log p(x) - log q(x) over the points, with its standard error;
- NLL - H, the mean of -log q(x) less the exact entropy. Here the sampling noise of -log q stays in.

Nothing is chosen afterwards: no best checkpoint, no best seed.
"""

from __future__ import annotations

import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.flow_speed import lab_sampler
from benchmarks.machine import load, torch_threads
from benchmarks.options import Options
from benchmarks.tables import Table, reached, spread
from datasets.plane import Plane, load_plane
from training.core.loop import train
from training.nice import TRAINING as NICE
from training.realnvp import TRAINING as REALNVP

NOISE = 0.05
ITERATIONS, QUICK_ITERATIONS = 3000, 1000
POINTS, QUICK_POINTS = 100_000, 20_000
SEEDS, PEER_SEEDS = (0, 1, 2, 3, 4), (0, 1)
EVALUATION_SEED = 20_251_122  # of the fresh points; no training has it
CHUNK = 20_000

LogProb = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Score:
    """What one training came to.

    Attributes:
        kl: mean of log p - log q, in nats.
        error: its standard error, in nats.
        excess: NLL less the entropy, in nats.
        seconds: of the training alone.
    """

    kl: float
    error: float
    excess: float
    seconds: float


def run(options: Options) -> Iterator[Table]:
    """Yield the table of distances to the truth."""
    iterations = QUICK_ITERATIONS if options.quick else ITERATIONS
    truth = Truth(QUICK_POINTS if options.quick else POINTS)
    seeds = options.seeds or (SEEDS[:1] if options.quick else SEEDS)
    peer_seeds = seeds[: 1 if options.quick else len(PEER_SEEDS)]
    before = load()
    rows = []
    for name, goal, training in _lab(options.families, iterations):
        rows.append(_row(name, goal, _scores(name, training, seeds, truth)))
    for name, training in _peers(iterations) if options.peers else ():
        try:
            rows.append(_row(name, None, _scores(name, training, peer_seeds, truth)))
        except ImportError:
            rows.append((f"{name} (not installed)", *["-"] * 8))
    yield _table(rows, iterations, truth, before)


class Truth:
    """Fresh points of the two moons, and what the true density says about them.

    Args:
        count: number of points.
    """

    def __init__(self, count: int) -> None:
        self.plane: Plane = load_plane("two_moons", NOISE)
        generator = torch.Generator().manual_seed(EVALUATION_SEED)
        self.x = self.plane.held_out(count, generator)  # (count, 2), standardised
        self.log_p = self.plane.log_prob(self.x).double()

    @torch.no_grad()
    def score(self, log_prob: LogProb, seconds: float) -> Score:
        """Compare a density of standardised points with the truth."""
        log_q = torch.cat([log_prob(x).double() for x in self.x.split(CHUNK)])
        gap = self.log_p - log_q
        error = float(gap.std()) / math.sqrt(len(gap))
        entropy = self.plane.entropy()
        excess = float(-log_q.mean()) + self.plane.log_volume - entropy
        return Score(float(gap.mean()), error, excess, seconds)


Training = Callable[[int], LogProb]


def _lab(
    families: tuple[str, ...], iterations: int
) -> Iterator[tuple[str, float | None, Training]]:
    """Yield name, goal in nats and training of each family, with the defaults of its page."""
    entries = {
        "nice": ("Generative Lab, NICE", 0.12, NICE, {}),
        "realnvp": ("Generative Lab, RealNVP affine", 0.035, REALNVP, {}),
        "spline": ("Generative Lab, RealNVP spline", 0.02, REALNVP, {"coupling": "spline"}),
    }
    for family in families:
        name, goal, trained, settings = entries[family]
        config = trained.config(noise=NOISE, iterations=iterations, **settings)
        # A goal is on the whole budget.
        yield name, goal if iterations == ITERATIONS else None, _lab_training(trained, config)


def _lab_training(trained, config) -> Training:
    def training(seed: int) -> LogProb:
        experiment = trained.build(config.replace(seed=seed))
        for _ in train(experiment, snapshots=False, measure_every=config.iterations):
            pass
        return experiment.model.log_prob

    return training


def _peers(iterations: int) -> Iterator[tuple[str, Training]]:
    def normflows(seed: int) -> LogProb:
        torch.manual_seed(seed)
        model = peers.normflows_realnvp(8)
        loop = peers.normflows_loop(model, lab_sampler(seed), lr=1e-3, weight_decay=0.0)
        _take(loop, iterations)
        return model.log_prob

    def zuko(seed: int) -> LogProb:
        torch.manual_seed(seed)
        model = peers.zuko_nsf(3)
        _take(peers.zuko_loop(model, lab_sampler(seed), lr=1e-3), iterations)
        return lambda x: model().log_prob(x)

    yield "normflows RealNVP, 8 couplings", normflows
    yield "zuko NSF, 3 transforms", zuko


def _take(loop: Iterator[int], steps: int) -> None:
    for _ in itertools.islice(loop, steps):
        pass


def _scores(name: str, training: Training, seeds: tuple[int, ...], truth: Truth) -> list[Score]:
    """Train once per seed; print each score to standard error as it comes."""
    scores = []
    for seed in seeds:
        with torch_threads(1):
            start = time.perf_counter()
            log_prob = training(seed)
            score = truth.score(log_prob, time.perf_counter() - start)
        scores.append(score)
        words = f"KL {score.kl:.4f} +- {score.error:.4f}, NLL - H {score.excess:.4f} nats"
        print(f"{name}, seed {seed}: {words}, {score.seconds:.0f} s", file=sys.stderr, flush=True)
    return scores


def _row(name: str, goal: float | None, scores: list[Score]) -> tuple[str, ...]:
    kls = [s.kl for s in scores]
    median = statistics.median(kls)
    return (
        name,
        str(len(scores)),
        *spread(kls, 4),
        f"{max(s.error for s in scores):.4f}",
        spread([s.excess for s in scores], 4)[0],
        "-" if goal is None else f"{goal:.3f}",
        "-" if goal is None else reached(median, goal),
        spread([s.seconds for s in scores], 0)[0],
    )


def _table(rows: list, iterations: int, truth: Truth, before: str) -> Table:
    columns = ("trained", "seeds", "KL", "min-max", "s.e.", "NLL - H", "goal", "reached", "s")
    table = Table(f"quality: KL to two moons (noise {NOISE}), nats", columns, rows)
    table.notes = [
        f"{iterations:,} steps of batch 512, one thread; scored on {len(truth.x):,} fresh points. "
        "KL and NLL - H are medians over seeds, s.e. the largest standard error of a KL, s the "
        "median seconds of a training.",
        f"Load before {before}, after {load()}.",
    ]
    if iterations != ITERATIONS:
        table.notes.append(f"Quick: the goals are on {ITERATIONS:,} steps, so none is assessed.")
    return table

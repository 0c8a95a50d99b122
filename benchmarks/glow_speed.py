"""Glow on images of 28 x 28 pixels: the lab's training beside normflows'.

Both have L = 2, K = 8, 256 hidden channels, batch 32 and the same digits: MNIST if it is on this
machine, the built-in digits if not. normflows' is the Glow of its own example, trained as there
(Adamax, a constant learning rate), with two things that help it: the lab's logit, and the lab's
batches in place of torchvision's, which cost Python work for every image. Both know the class, each
in its own way: the lab's couplings, normflows' base distributions. The lab's is what
``python -m training glow`` trains, with that one's default learning rate.

1. Peak memory: 20 steps, each in a process of its own, data and imports included.
2. Images/s: steps in turns (A B C A B C ...), each with one thread and with all. A ratio is taken
   within each round, at the better number of threads of either; its median is reported.
3. Test bits/dim after equal seconds of training, in turns too. The lab's learning rate goes through
   its cycle in that time. The same test images with the same dequantisation noise for all.
4. The lab in mixed precision and in float32: as many steps from the same seed. And the error of
   ``forward(inverse(x))`` in float32, which is what samples and densities are computed in.
5. The time to sample 100 digits.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.machine import DEFAULT_THREADS, load, peak_memory, torch_threads
from benchmarks.options import Options, Unavailable
from benchmarks.tables import Table, reached, spread
from benchmarks.turns import Contestant, log_progress, ratios, take_turns
from datasets.images import ImageSet, is_here, load_images
from paths import ROOT
from training.core.devices import knows_bfloat16
from training.core.images import dequantise
from training.core.loop import Progress, train
from training.glow import TRAINING, GlowConfig

LEVELS, STEPS, HIDDEN, BATCH = 2, 8, 256, 32
ALPHA = 1e-6  # of the logit; the default of models.glow
SPEED_GOAL, PRECISION_GOAL, SAMPLING_GOAL = 1.6, 0.01, 1.0  # ratio, bits/dim, seconds
NEVER = 1 << 40
MEMORY_STEPS = 20
CYCLE_SECONDS, CYCLE_STEPS = 300.0, 1000  # of the learning rate; too short ones would diverge
TURN = 10.0  # seconds of a turn of the training by the clock
CHUNK = 250  # images at a time where no gradient is needed

MIXED, FLOAT32, PEER = "Generative Lab, mixed", "Generative Lab, float32", "normflows"


@dataclass(frozen=True)
class Protocol:
    """How long to measure.

    Attributes:
        rounds: rounds of turns for images/s.
        seconds: of each contestant in a round.
        training: seconds of training before bits/dim are compared, out of ``CYCLE_SECONDS``.
        steps: steps in mixed precision and in float32, out of ``CYCLE_STEPS``.
        tested: test images, at most.
    """

    rounds: int
    seconds: float
    training: float
    steps: int
    tested: int


FULL = Protocol(rounds=7, seconds=6.0, training=CYCLE_SECONDS, steps=CYCLE_STEPS, tested=10_000)
QUICK = Protocol(rounds=2, seconds=3.0, training=20.0, steps=30, tested=500)


class Lab:
    """The lab's Glow and its training."""

    def __init__(self, precision: str, total: int = NEVER) -> None:
        config = GlowConfig(
            dataset=dataset(),
            levels=LEVELS,
            steps=STEPS,
            hidden=HIDDEN,
            batch=BATCH,
            precision=precision,
        )
        self.experiment = TRAINING.build(config)
        self.experiment.total = total
        self.model = self.experiment.model

    def steps(self) -> Iterator[Progress]:
        """Train with losses, but without images and metrics."""
        loop = train(self.experiment, snapshots=False, measure_every=NEVER)
        next(loop)  # comes before the first step, and measures
        return loop

    def steps_by_the_clock(self) -> Iterator[Progress]:
        """Train without end; the cycle of the learning rate takes ``CYCLE_SECONDS``."""
        loop, spent = self.steps(), 0.0
        while True:
            start = time.perf_counter()
            done = max(spent / CYCLE_SECONDS, 1e-6)
            self.experiment.total = math.ceil((self.experiment.step + 1) / done)
            progress = next(loop)
            spent += time.perf_counter() - start
            yield progress

    def log_prob(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.model.log_prob(x, self.experiment.context(labels))

    def sample(self, labels: Tensor) -> Tensor:
        return self.model.sample(len(labels), context=self.experiment.context(labels))

    def inversion_error(self, x: Tensor, labels: Tensor) -> float:
        """Return the largest error of a pixel in steps of 8 bits."""
        context = self.experiment.context(labels)
        back, _ = self.model.forward(self.model.inverse(x, context)[0], context)
        return 256 * float((back - x).abs().max())


class Normflows:
    """normflows' Glow and its training."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        images = load_images(dataset())
        sizes = {"levels": LEVELS, "steps": STEPS, "hidden": HIDDEN}
        self.model = peers.normflows_glow(
            images.shape, **sizes, classes=len(images.classes), alpha=ALPHA
        )

    def steps(self) -> Iterator[int]:
        return peers.normflows_glow_loop(self.model, lab_sampler())

    def steps_by_the_clock(self) -> Iterator[int]:
        return self.steps()

    def log_prob(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.model.log_prob(x, labels)

    def sample(self, labels: Tensor) -> Tensor:
        return self.model.sample(y=labels)[0]


Side = Lab | Normflows


def side(name: str) -> Side:
    """Return a contestant by its name, not yet trained."""
    return Normflows() if name == PEER else Lab("mixed" if name == MIXED else "float32")


def dataset() -> str:
    """Return the name of the digits to train on: MNIST if it is here."""
    return "mnist" if is_here("mnist") else "digits"


def lab_sampler(seed: int = 0) -> peers.LabelledSampler:
    """Return a function that draws a batch as the lab's trainer does."""
    images, generator = load_images(dataset()), torch.Generator().manual_seed(seed)

    def sample() -> tuple[Tensor, Tensor]:
        x, labels = images.batch(BATCH, generator)
        return dequantise(x, generator), labels

    return sample


@dataclass
class Quality:
    """What a training of some seconds came to.

    Attributes:
        steps: optimiser steps.
        bits: test bits/dim.
        sampling: seconds for 100 digits, several times.
    """

    steps: int
    bits: float
    sampling: list[float]


def run(options: Options) -> Iterator[Table]:
    """Yield the tables, the last one with the goals."""
    if not knows_bfloat16(torch.device("cpu")):
        raise Unavailable("This processor has no bfloat16: mixed precision is float32 here.")
    protocol = QUICK if options.quick else FULL
    names = [MIXED, FLOAT32, PEER] if options.peers else [MIXED, FLOAT32]
    memory = {name: _memory(name) for name in names}
    contestants, before = _race(names, protocol)
    yield _speed_table(contestants, memory, protocol, before)
    best = {n: max((c for c in contestants if c.name == n), key=lambda c: c.rate) for n in names}
    threads = {name: c.threads for name, c in best.items()}
    trained = _train_by_the_clock([n for n in names if n != FLOAT32], threads, protocol)
    yield _quality_table(trained, threads, protocol)
    precision = {n: _train_steps(n, threads[n], protocol) for n in (MIXED, FLOAT32)}
    yield _goals(best, memory, trained, precision, protocol)


def _memory(name: str) -> float:
    """Return the peak memory in MB of a process that only trains this one."""
    log_progress(f"memory of {name}")
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.glow_speed", name]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def _race(names: list[str], protocol: Protocol) -> tuple[list[Contestant], str]:
    """Return the contestants after all rounds, and the load before."""
    before = load()
    steps = {name: side(name).steps() for name in names}
    counts = sorted({1, DEFAULT_THREADS}, reverse=True)
    contestants = [Contestant(name, count, steps[name]) for name in names for count in counts]
    take_turns(contestants, protocol.rounds, protocol.seconds)
    return contestants, before


def _train_by_the_clock(
    names: list[str], threads: dict[str, int], protocol: Protocol
) -> dict[str, Quality]:
    """Train for equal seconds in turns; return what came of it."""
    sides = {name: side(name) for name in names}
    contestants = [
        Contestant(name, threads[name], s.steps_by_the_clock()) for name, s in sides.items()
    ]
    spent, steps = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
    while min(spent.values()) < protocol.training:
        log_progress(f"training for {min(spent.values()):.0f} of {protocol.training:.0f} s")
        for c in contestants:
            left = protocol.training - spent[c.name]
            if left > 0:
                count, seconds, _ = c.turn(min(TURN, left))
                spent[c.name] += float(seconds)
                steps[c.name] += int(count)
    log_progress("")
    bits = {name: test_bits(s, protocol.tested) for name, s in sides.items()}
    return {name: Quality(steps[name], bits[name], _sampling(s)) for name, s in sides.items()}


def _train_steps(name: str, threads: int, protocol: Protocol) -> tuple[float, float]:
    """Return test bits/dim and inversion error after so many steps of the lab's training."""
    lab = Lab("mixed" if name == MIXED else "float32", CYCLE_STEPS)
    with torch_threads(threads):
        for progress in islice(lab.steps(), protocol.steps):
            log_progress(f"{name}: step {progress.step} of {protocol.steps}")
    log_progress("")
    x, labels = next(tests(lab.experiment.images, protocol.tested))
    with torch.no_grad():
        error = lab.inversion_error(x, labels)
    return test_bits(lab, protocol.tested), error


def tests(images: ImageSet, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield test images, dequantised, and labels in parts; always the same ones."""
    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(len(images.test), generator=generator)[:count]
    for part in order.split(CHUNK):
        yield dequantise(images.test[part], generator), images.test_labels[part]


@torch.no_grad()
def test_bits(trained: Side, count: int) -> float:
    """Return the mean bits/dim on test images in 8-bit pixel space."""
    images = load_images(dataset())
    dims = math.prod(images.shape)
    parts = [trained.log_prob(x, labels) for x, labels in tests(images, count)]
    return 8 - float(torch.cat(parts).mean()) / (dims * math.log(2))


@torch.no_grad()
def _sampling(trained: Side) -> list[float]:
    """Return how long it takes to sample ten digits of each class, five times."""
    labels, seconds = torch.arange(10).repeat(10), []
    for _ in range(6):
        start = time.perf_counter()
        trained.sample(labels)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def _speed_table(
    contestants: list[Contestant], memory: dict[str, float], protocol: Protocol, before: str
) -> Table:
    lab = max((c for c in contestants if c.name == MIXED), key=lambda c: c.rate)
    columns = ("trained", "threads", "cores", "images/s", "min-max", "lab is x faster", "min-max")
    title = f"glow: L = {LEVELS}, K = {STEPS}, {HIDDEN} hidden, batch {BATCH}; training"
    table = Table(title, (*columns, "peak MB"))
    for c in contestants:
        ratio = spread(ratios(lab, c)) if c is not lab else ("", "")
        cores = f"{statistics.median(c.cores):.2f}"
        rates = spread([BATCH * rate for rate in c.rates], 0)
        peak = f"{memory[c.name]:.0f}"
        table.rows.append((c.name, str(c.threads), cores, *rates, *ratio, peak))
    images = load_images(dataset())
    table.notes = [
        f"{images.title}: {images.note}",
        f"{protocol.rounds} rounds of {protocol.seconds:g} s each; load before {before}, "
        f"after {load()}. cores: CPU seconds per second; below `threads`, others had the machine.",
        f"peak MB: {MEMORY_STEPS} steps in a process of its own with {DEFAULT_THREADS} threads.",
    ]
    return table


def _quality_table(
    trained: dict[str, Quality], threads: dict[str, int], protocol: Protocol
) -> Table:
    columns = ("trained", "threads", "steps", "test bits/dim", "100 samples, s", "min-max")
    title = f"glow: after {protocol.training:.0f} s of training each, in turns"
    table = Table(title, columns)
    for name, q in trained.items():
        sampling = spread(q.sampling)
        table.rows.append((name, str(threads[name]), f"{q.steps:,}", f"{q.bits:.4f}", *sampling))
    count = min(protocol.tested, len(load_images(dataset()).test))
    table.notes.append(f"{count:,} test images; samples with {DEFAULT_THREADS} threads, float32.")
    return table


def _goals(
    best: dict[str, Contestant],
    memory: dict[str, float],
    trained: dict[str, Quality],
    precision: dict[str, tuple[float, float]],
    protocol: Protocol,
) -> Table:
    table = Table("glow: goals", ("what", "measured", "goal", "reached"))

    def row(what: str, value: float, goal: float, digits: int, at_least: bool = False) -> None:
        limit = f"{'>=' if at_least else '<='} {goal:.{digits}f}"
        verdict = "-" if protocol is QUICK else reached(value, goal, at_least=at_least)
        table.rows.append((what, f"{value:.{digits}f}", limit, verdict))

    if PEER in best:
        faster = statistics.median(ratios(best[MIXED], best[PEER]))
        row("images/s, mixed over normflows'", faster, SPEED_GOAL, 2, at_least=True)
        row("peak MB, mixed; goal: normflows'", memory[MIXED], memory[PEER], 0)
        bits = trained[MIXED].bits, trained[PEER].bits
        row("test bits/dim after equal time; goal: normflows'", *bits, 4)
    (mixed, error), (exact, exact_error) = precision[MIXED], precision[FLOAT32]
    what = f"bits/dim that mixed costs after {protocol.steps:,} steps"
    row(what, mixed - exact, PRECISION_GOAL, 4)
    row(
        "seconds to sample 100 digits", statistics.median(trained[MIXED].sampling), SAMPLING_GOAL, 2
    )
    table.notes = [
        f"After {protocol.steps:,} steps from the same seed, test bits/dim: {mixed:.4f} trained in "
        f"mixed precision, {exact:.4f} in float32. Largest error of a pixel of {CHUNK} test images "
        f"after forward(inverse(x)) in float32: {error:.2g} and {exact_error:.2g} steps of 8 bits.",
    ]
    if protocol is QUICK:
        table.notes.append("Quick: too short for any verdict.")
    return table


def _peak(name: str) -> float:
    """Train for a few steps; return the peak memory of this process in MB."""
    for _ in islice(side(name).steps(), MEMORY_STEPS):
        pass
    return peak_memory()


if __name__ == "__main__":
    print(_peak(sys.argv[1]))

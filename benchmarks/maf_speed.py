"""MAF on whole images at full size: sampling beside the textbook's way, and plain masked layers.

Seven blocks over 64 x 64 x 3 = 12,288 dimensions, MADE 512-512, batch 8; rendered capsules. All
with the threads that torch takes by default. Where only time counts, weights are drawn at random:
an untrained block is the identity.

1. Sampling: one image and 16 at once with the lab's sampler; one pass from data to latents over as
   many; the textbook's sampler, one full pass per dimension, **timed over the first dimensions of
   each block and extrapolated** to all.
2. Both samplers on one block of full size, value by value: all dimensions, or the first ones with
   ``--quick``.
3. Training: optimiser steps in turns with the lab's layers and with plain masked ones (the whole
   weight times its mask, for every pass). Peak memory of each in a process of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from benchmarks.machine import DEFAULT_THREADS, load, peak_memory, torch_threads
from benchmarks.options import Options
from benchmarks.tables import Table, reached, spread
from benchmarks.turns import Contestant, log_progress, ratios, take_turns
from models.blocks.made import MADE
from models.flow import Flow
from models.maf import MaskedAutoregressive, maf
from paths import ROOT
from training.core.loop import train
from training.defects.flows import WholeImageFlow
from training.maf import PRESETS, MAFConfig
from training.maf import load as load_images
from training.maf import model as flow_of

OURS, PLAIN = "Generative Lab", "plain masked layers"
BATCH = 16  # images sampled at once
MEMORY_STEPS = 4
NEVER = 1 << 40
FASTER_GOAL, PASSES_GOAL, EQUAL_GOAL, MEMORY_GOAL = 1000, 5.0, 1e-4, 4000.0


@dataclass(frozen=True)
class Protocol:
    """How long to measure.

    Attributes:
        repeats: of each sampling.
        timed: dimensions of each block that the textbook's sampler is timed over.
        compared: dimensions of one block that both samplers are compared on.
        rounds, seconds: of the training in turns.
    """

    repeats: int
    timed: int
    compared: int
    rounds: int
    seconds: float


FULL = Protocol(repeats=15, timed=40, compared=12_288, rounds=5, seconds=12.0)
QUICK = Protocol(repeats=3, timed=4, compared=64, rounds=1, seconds=4.0)


def config() -> MAFConfig:
    return MAFConfig.parse(PRESETS["image"])


class PlainMasked(nn.Module):
    """A masked linear layer as it is usually written: the whole weight, times its mask."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(mask.shape))
        self.bias = nn.Parameter(torch.zeros(len(mask)))
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * self.mask, self.bias)


def plain(model: Flow, generator: torch.Generator) -> Flow:
    """Return the lab's flow with plain masked layers; the same masks and sizes."""
    for made in (m for m in model.modules() if isinstance(m, MADE)):
        widths = [made.features, *[len(made.degrees)] * (len(made.layers) - 1)]
        masks = [layer.mask(width) for layer, width in zip(made.layers, widths, strict=True)]
        made.layers = nn.ModuleList(PlainMasked(mask) for mask in masks)
        for layer in made.layers[:-1]:
            layer.weight.data.uniform_(-0.01, 0.01, generator=generator)
    return model


def run(options: Options) -> Iterator[Table]:
    """Yield the tables, the last one with the goals."""
    protocol = QUICK if options.quick else FULL
    with torch_threads(DEFAULT_THREADS):
        found = _sampling(protocol)
        yield _sampling_table(found, protocol)
        error = _difference(protocol)
    memory = {name: _memory(name) for name in (OURS, PLAIN)}
    contestants, before = _race(protocol)
    yield _training_table(contestants, memory, protocol, before)
    yield _goals(found, error, memory, contestants, protocol)


# -- sampling -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sampling:
    """Seconds, several times each; ``plain`` is extrapolated."""

    one: list[float]
    many: list[float]
    forward: list[float]
    plain: list[float]


def random_model() -> Flow:
    """Return a model of full size whose blocks all do something."""
    settings, generator = config(), torch.Generator().manual_seed(0)
    model = maf(
        features=3 * settings.image_size**2,
        blocks=settings.blocks,
        hidden=settings.hidden,
        actnorm=True,
        generator=generator,
    ).requires_grad_(False)
    for block in blocks_of(model):
        for weight in block.made.layers[-1].weights:
            weight.normal_(0, 0.003, generator=generator)
    return model


def blocks_of(model: Flow) -> list[MaskedAutoregressive]:
    return [layer for layer in model.chain if isinstance(layer, MaskedAutoregressive)]


@torch.no_grad()
def _sampling(protocol: Protocol) -> Sampling:
    model = random_model()
    features = model.prior.sample(1).shape[1]
    one, many = torch.randn(1, features), torch.randn(BATCH, features)
    seconds: dict[str, list[float]] = {"one": [], "many": [], "forward": [], "plain": []}
    for i in range(protocol.repeats + 1):
        log_progress(f"sampling, round {i} of {protocol.repeats}")
        took = {
            "one": _seconds(lambda: model.forward(one)),
            "forward": _seconds(lambda: model.inverse(one)),
            "many": _seconds(lambda: model.forward(many)),
        }
        if i:  # the first round warms up
            for name, value in took.items():
                seconds[name].append(value)
    for _ in range(2):
        log_progress("the textbook's sampler")
        spent = sum(
            _seconds(lambda b=block: b.forward_plain(one, first=protocol.timed))
            for block in blocks_of(model)
        )
        seconds["plain"].append(spent / protocol.timed * features)
    log_progress("")
    return Sampling(**seconds)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@torch.no_grad()
def _difference(protocol: Protocol) -> float:
    """Return the largest difference of the two samplers on one block of full size."""
    log_progress("both samplers on one block")
    block = blocks_of(random_model())[-1]
    z = torch.randn(1, block.made.features, generator=torch.Generator().manual_seed(1))
    ours, _ = block.forward(z)
    plain, _ = block.forward_plain(z, first=protocol.compared)
    known = block._ordered(ours - plain)[:, : protocol.compared]
    log_progress("")
    return float(known.abs().max())


def _sampling_table(found: Sampling, protocol: Protocol) -> Table:
    table = Table("maf: sampling at full size", ("what", "seconds", "min-max", "per image"))
    rows = {
        "one image": (found.one, 1),
        f"{BATCH} images at once": (found.many, BATCH),
        "one pass, data to latents": (found.forward, 1),
        "textbook, one image, extrapolated": (found.plain, 1),
    }
    for name, (values, images) in rows.items():
        digits = 1 if values is found.plain else 4
        each = f"{statistics.median(values) / images:.{digits}f}"
        table.rows.append((name, *spread(values, digits), each))
    table.notes = [
        f"{protocol.repeats} repeats in turns, {DEFAULT_THREADS} threads, load {load()}. The "
        f"textbook's way was timed over {protocol.timed} of 12,288 dimensions of each block, twice."
    ]
    return table


# -- training -----------------------------------------------------------------------------------


def steps_of(name: str) -> Iterator:
    """Train with the lab's layers or plain ones, without images and metrics."""
    settings, generator = config(), torch.Generator().manual_seed(0)
    flow = flow_of(settings, generator=generator)
    flow = flow if name == OURS else plain(flow, generator)
    experiment = WholeImageFlow(settings, load_images(settings), flow)
    experiment.total = NEVER
    loop = train(experiment, snapshots=False, log_every=NEVER, measure_every=NEVER)
    next(loop)  # comes before the first step, and measures
    return loop


def _race(protocol: Protocol) -> tuple[list[Contestant], str]:
    before = load()
    log_progress("building both")
    contestants = [Contestant(name, DEFAULT_THREADS, steps_of(name)) for name in (OURS, PLAIN)]
    take_turns(contestants, protocol.rounds, protocol.seconds)
    return contestants, before


def _memory(name: str) -> float:
    """Return the peak memory in MB of a process that only trains this one."""
    log_progress(f"memory of {name}")
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.maf_speed", name]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    log_progress("")
    return float(done.stdout)


def _training_table(
    contestants: list[Contestant], memory: dict[str, float], protocol: Protocol, before: str
) -> Table:
    ours, batch = contestants[0], config().batch
    columns = ("layers", "images/s", "min-max", "lab is x faster", "min-max", "peak MB")
    table = Table(f"maf: training at full size, batch {batch}", columns)
    for c in contestants:
        ratio = spread(ratios(ours, c)) if c is not ours else ("", "")
        rates = spread([batch * rate for rate in c.rates], 1)
        table.rows.append((c.name, *rates, *ratio, f"{memory[c.name]:.0f}"))
    table.notes = [
        f"{protocol.rounds} rounds of {protocol.seconds:g} s each, {DEFAULT_THREADS} threads; load "
        f"before {before}, after {load()}. Optimiser steps, Adam and clipping included.",
        f"peak MB: {MEMORY_STEPS} steps in a process of its own, data and imports included.",
    ]
    return table


def _goals(
    found: Sampling,
    error: float,
    memory: dict[str, float],
    contestants: list[Contestant],
    protocol: Protocol,
) -> Table:
    table = Table("maf: goals", ("what", "measured", "goal", "reached"))

    def row(what: str, value: float, goal: float, form: str, at_least: bool = False) -> None:
        limit = f"{'>=' if at_least else '<='} {goal:{form}}"
        verdict = "-" if protocol is QUICK else reached(value, goal, at_least=at_least)
        table.rows.append((what, f"{value:{form}}", limit, verdict))

    one, forward = statistics.median(found.one), statistics.median(found.forward)
    row("times as fast as the textbook", min(found.plain) / one, FASTER_GOAL, ",.0f", at_least=True)
    row("passes that one image takes", one / forward, PASSES_GOAL, ".2f")
    row(f"largest difference, {protocol.compared:,} dimensions", error, EQUAL_GOAL, ".1e")
    row("peak MB of a training", memory[OURS], MEMORY_GOAL, ".0f")
    each = statistics.median(found.many) / BATCH
    faster = statistics.median(ratios(*contestants))
    table.notes = [
        f"An image of {BATCH} at once costs {each / one:.2f} of one alone. Training is "
        f"{faster:.2f} times as fast as with plain masked layers.",
    ]
    if protocol is QUICK:
        table.notes.append("Quick: too short for any verdict.")
    return table


def _peak(name: str) -> float:
    for _ in islice(steps_of(name), MEMORY_STEPS):
        pass
    return peak_memory()


if __name__ == "__main__":
    print(_peak(sys.argv[1]))

"""Steps per second of a RealNVP, affine and with splines: the lab beside normflows and zuko.

Protocol: two moons, batch 512, 12 couplings with conditioners of two hidden layers of 64, float32
on the CPU, all in one process. The contestants train in turn (A B C A B C ...), after one turn that
does not count: nine rounds, in each of which everybody gets one second in four slices. A ratio is
taken within each round, and the median of those ratios is reported.

normflows runs once as a reader of its README runs it, with its own target (sampled by rejection),
and once with the lab's sampler, which compares model and loop alone; each with torch's own choice
of threads and with one. The goal is on the first, at the better of its two numbers of threads.

Splines: eight couplings of eight pieces. The lab's; the same training with normflows' spline inside
the lab's couplings; normflows' own spline flow, whose conditioners are residual, and zuko's, which
moves both coordinates at once; both with Adam and the lab's sampler. All on one thread.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator

import normflows as nf
import torch

from benchmarks import peers
from benchmarks.machine import DEFAULT_THREADS, load
from benchmarks.options import Options
from benchmarks.tables import Table, reached, spread
from benchmarks.turns import Contestant, ratios, take_turns
from datasets.plane import load_plane
from models.flow import Flow
from training.core.family import Training
from training.core.loop import Progress, train
from training.core.plane_flow import plane_flow
from training.realnvp import TRAINING, RealNVPConfig

COUPLINGS, HIDDEN, BATCH, NOISE = 12, 64, 512, 0.05
SPLINES = 8  # couplings with splines
GOAL = 1.8
NEVER = 1 << 40
BUSY = 0.95  # CPU seconds per second of the lab's one thread, below which others got in the way

LAB = "Generative Lab"
README = "normflows, README model and loop"
OUR_DATA = "normflows, same, lab's sampler"
ZUKO = "zuko RealNVP, Adam, lab's sampler"
ZUKO_SPLINE = "zuko's spline flow"


def run(options: Options) -> Iterator[Table]:
    """Yield the table of steps per second."""
    rounds, seconds = (3, 0.3) if options.quick else (9, 1.0)
    before = load()
    contestants, missing = _contestants()
    take_turns(contestants, rounds, seconds)
    yield _table(contestants, missing, f"{rounds} rounds of {seconds:g} s each", before)
    contestants, missing = _spline_contestants()
    take_turns(contestants, rounds, seconds)
    yield _spline_table(contestants, missing, f"{rounds} rounds of {seconds:g} s each")


def lab_steps(
    coupling: str = "affine", blocks: int = COUPLINGS, training: Training = TRAINING
) -> Iterator[Progress]:
    """Train the lab's RealNVP without end, with losses but without images and metrics."""
    settings = {"blocks": blocks, "hidden": HIDDEN, "coupling": coupling}
    config = RealNVPConfig(dataset="two_moons", noise=NOISE, batch=BATCH, **settings)
    experiment = training.build(config)
    experiment.total = NEVER
    return train(experiment, snapshots=False, measure_every=NEVER)


def lab_sampler(seed: int = 0) -> peers.Sampler:
    """Return a function that draws a batch as the lab's trainer does."""
    plane = load_plane("two_moons", NOISE)
    generator = torch.Generator().manual_seed(seed)
    return lambda: plane.batch(BATCH, generator)


def _normflows(sample: peers.Sampler) -> Iterator[int]:
    return peers.normflows_loop(peers.normflows_realnvp(COUPLINGS, HIDDEN), sample)


def _contestants() -> tuple[list[Contestant], list[str]]:
    """Return who takes part, the lab first, and who cannot."""
    target = nf.distributions.TwoMoons()
    threads = sorted({1, DEFAULT_THREADS}, reverse=True)
    contestants = [Contestant(LAB, 1, lab_steps())]
    for count in threads:
        contestants.append(Contestant(README, count, _normflows(lambda: target.sample(BATCH))))
    for count in threads:
        contestants.append(Contestant(OUR_DATA, count, _normflows(lab_sampler())))
    try:
        model = peers.zuko_realnvp(COUPLINGS, HIDDEN)
    except ImportError:
        print("zuko is not installed: left out.", file=sys.stderr)
        return contestants, [ZUKO]
    contestants.append(Contestant(ZUKO, 1, peers.zuko_loop(model, lab_sampler())))
    return contestants, []


def _with_their_spline(config: RealNVPConfig, **source: torch.Generator) -> Flow:
    """Return the lab's flow, its couplings with normflows' spline inside."""
    flow = TRAINING.model(config, **source)
    theirs = (peers.NormflowsSpline(c.conditioner, flip=c.flip) for c in flow.chain)
    return Flow(flow.prior, theirs)


def _spline_contestants() -> tuple[list[Contestant], list[str]]:
    inside = lab_steps("spline", SPLINES, plane_flow(RealNVPConfig, _with_their_spline))
    own = peers.normflows_loop(peers.normflows_spline(SPLINES, HIDDEN), lab_sampler())
    contestants = [
        Contestant(LAB, 1, lab_steps("spline", SPLINES)),
        Contestant("the same, normflows' spline", 1, inside),
        Contestant("normflows' spline flow", 1, own),
    ]
    try:
        model = peers.zuko_nsf(SPLINES, HIDDEN)
    except ImportError:
        return contestants, [ZUKO_SPLINE]
    contestants.append(Contestant(ZUKO_SPLINE, 1, peers.zuko_loop(model, lab_sampler())))
    return contestants, []


def _table(contestants: list[Contestant], missing: list[str], rounds: str, before: str) -> Table:
    title = f"RealNVP, {COUPLINGS} couplings, MLP {HIDDEN}-{HIDDEN}, batch {BATCH}, two moons"
    table = _rates(title, contestants, missing)
    lab = contestants[0]
    table.notes += [_headline(lab, contestants), f"{rounds}; load before {before}, after {load()}."]
    return _with_busyness(table, lab)


def _spline_table(contestants: list[Contestant], missing: list[str], rounds: str) -> Table:
    title = f"{SPLINES} splines of 8 pieces, MLP {HIDDEN}-{HIDDEN}, batch {BATCH}, two moons"
    table = _rates(title, contestants, missing)
    table.notes.append(f"{rounds}; load after {load()}.")
    return _with_busyness(table, contestants[0])


def _rates(title: str, contestants: list[Contestant], missing: list[str]) -> Table:
    lab = contestants[0]
    columns = ("contestant", "threads", "cores", "steps/s", "min-max", "lab is x faster", "min-max")
    table = Table(f"flows: {title}", columns)
    for c in contestants:
        ratio = spread(ratios(lab, c)) if c is not lab else ("", "")
        cores = f"{statistics.median(c.cores):.2f}"
        table.rows.append((c.name, str(c.threads), cores, *spread(c.rates, 0), *ratio))
    for name in missing:
        table.rows.append((f"{name} (not installed)", *["-"] * 6))
    return table


def _with_busyness(table: Table, lab: Contestant) -> Table:
    table.notes.append("cores: CPU seconds per second; below `threads`, others had the machine.")
    if statistics.median(lab.cores) < BUSY:
        table.notes.append("The machine was busy: these numbers are rough, measure again.")
    return table


def _headline(lab: Contestant, contestants: list[Contestant]) -> str:
    def best(name: str) -> tuple[float, int]:
        peer = max((c for c in contestants if c.name == name), key=lambda c: c.rate)
        return statistics.median(ratios(lab, peer)), peer.threads

    (ratio, threads), (alone, alone_threads) = best(README), best(OUR_DATA)
    return (
        f"Lab against normflows' own model and loop, at its better number of threads ({threads}): "
        f"{ratio:.2f} x. Goal {GOAL:.2f} x, reached: {reached(ratio, GOAL, at_least=True)}. "
        f"Against the same with the lab's sampler (threads: {alone_threads}): {alone:.2f} x."
    )

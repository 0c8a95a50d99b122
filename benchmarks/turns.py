"""Measure contestants in turn, so that a machine that slows down slows all of them down."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.machine import torch_threads

SLICES = 4  # turns of each contestant in a round


@dataclass
class Contestant:
    """One way to train.

    Attributes:
        name: as the table shows it.
        threads: threads that torch may use while it runs.
        steps: takes one optimiser step per ``next``, without end.
        rates: steps/s of each round.
        cores: CPU seconds per second of each round. Below ``threads``, others had the machine.
    """

    name: str
    threads: int
    steps: Iterator
    rates: list[float] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    def turn(self, seconds: float) -> np.ndarray:
        """Train for so many seconds; return the steps taken, the seconds and the CPU seconds."""
        with torch_threads(self.threads):
            cpu, start = time.process_time(), time.perf_counter()
            count, now = 0, start
            while now - start < seconds:
                next(self.steps)
                count += 1
                now = time.perf_counter()
            return np.array([count, now - start, time.process_time() - cpu])


def take_turns(contestants: Sequence[Contestant], rounds: int, seconds: float) -> None:
    """Run A B C A B C ..., after one turn each that does not count.

    The seconds of a round come in slices, so that a neighbour who comes and goes meets everybody.
    """
    for contestant in contestants:
        contestant.turn(seconds / 2)
    for i in range(rounds):
        log_progress(f"round {i + 1} of {rounds}")
        sums = [np.zeros(3) for _ in contestants]
        for _ in range(SLICES):
            for contestant, total in zip(contestants, sums, strict=True):
                total += contestant.turn(seconds / SLICES)
        for contestant, (steps, wall, cpu) in zip(contestants, sums, strict=True):
            contestant.rates.append(steps / wall)
            contestant.cores.append(cpu / wall)
    log_progress("")


def log_progress(text: str) -> None:
    """Say on standard error how far a benchmark is, if somebody watches there."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def ratios(ours: Contestant, theirs: Contestant) -> list[float]:
    """Return how many times faster ours was, round by round."""
    return [a / b for a, b in zip(ours.rates, theirs.rates, strict=True)]

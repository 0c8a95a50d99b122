"""What the command line hands to each benchmark, and what a benchmark says when it cannot run."""

from __future__ import annotations

from dataclasses import dataclass

FAMILIES = ("nice", "realnvp", "spline")


class Unavailable(RuntimeError):
    """A benchmark needs something that is not here; the message says what."""


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of a benchmark run.

    Attributes:
        quick: fewer and shorter rounds, to see that all works; the numbers are rough.
        seeds: seeds of the lab's trainings in ``quality``; ``None`` for its own choice.
        families: what ``quality`` trains, out of :data:`FAMILIES`.
        peers: whether ``glow`` and ``quality`` train the peers too.
    """

    quick: bool = False
    seeds: tuple[int, ...] | None = None
    families: tuple[str, ...] = FAMILIES
    peers: bool = True

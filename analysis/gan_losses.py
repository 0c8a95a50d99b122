"""What each loss of a GAN comes to in 2-D over many seeds, as measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.runs.files import read_json
from paths import ASSETS

FILE = ASSETS / "gan_losses.json"  # by ``python -m benchmarks gan_quality``


@dataclass(frozen=True)
class Outcome:
    """What some trainings with one loss came to, each with a seed of its own.

    Attributes:
        loss: its name in the table.
        settings: what is not the default of the page.
        seeds: how many trainings.
        whole: how many of them cover all modes.
        modes: least, median and most modes covered.
        good: least, median and largest fraction of good samples.
        js: median of the Jensen-Shannon divergence to the truth, nats.
        seconds: median processor time of a training.
    """

    loss: str
    settings: Mapping[str, Any]
    seeds: int
    whole: int
    modes: tuple[float, float, float]
    good: tuple[float, float, float]
    js: float
    seconds: float


def outcomes(task: Mapping[str, Any]) -> list[Outcome]:
    """Return what was measured of a task, one outcome per loss that was."""
    return [
        _outcome(name, loss["settings"], list(loss["scores"].values()), task["modes"])
        for name, loss in task["losses"].items()
        if loss["scores"]
    ]


def _outcome(name: str, settings: Mapping, scores: list[Mapping], modes: int) -> Outcome:
    columns = {key: [score[key] for score in scores] for key in scores[0]}
    return Outcome(
        name,
        settings,
        len(scores),
        sum(covered == modes for covered in columns["modes"]),
        _spread(columns["modes"]),
        _spread(columns["good"]),
        statistics.median(columns["js"]),
        statistics.median(columns["seconds"]),
    )


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def measured() -> dict[str, Any]:
    """Return what was measured, by task; empty where nothing was."""
    return read_json(FILE) if FILE.exists() else {}


COLUMNS = ("Loss", "Seeds", "All modes", "Modes", "Good samples", "JS [nats]", "CPU [s]")


def cells(outcome: Outcome) -> tuple[str, ...]:
    """Return the line of a table, under ``COLUMNS``."""
    least, modes, most = outcome.modes
    low, good, high = outcome.good
    span = f"{modes:g}" if least == most else f"{modes:g} ({least:g}-{most:g})"
    return (
        outcome.loss,
        str(outcome.seeds),
        f"{outcome.whole} of {outcome.seeds}",
        span,
        f"{good:.1%} ({low:.1%}-{high:.1%})",
        f"{outcome.js:.3f}",
        f"{outcome.seconds:.0f}",
    )

"""Settings that are known to train well, and some that are not: as measured, over a few seeds.

``python -m benchmarks healthy`` trains them and writes ``assets/healthy.json``. A page whose run is
in trouble offers the nearest settings that trained well, with all that was measured beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from lab.runs.files import read_json
from lab.store import Run
from paths import ASSETS
from registry import Family
from training.core.config import RunConfig

FILE = ASSETS / "healthy.json"
SHIPPED = "the run that ships with the lab"


@dataclass(frozen=True)
class Trial:
    """Some settings of a family, all trained alike but for one or two.

    Attributes:
        number: the metric that tells.
        least: what it has to be in each of the seeds.
        base: settings that all have.
        changed: what is changed, one entry for each training; by its name in the table.
    """

    number: str
    least: float
    base: Mapping[str, Any]
    changed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


TRIALS: dict[str, Trial] = {
    "gan": Trial(
        "modes",
        8,
        {"dataset": "ring", "hidden": 64, "iterations": 3000},
        {
            "nothing": {},
            "momentum 0.5": {"momentum": 0.5},
            "momentum 0.9": {"momentum": 0.9},
            "learning rates 0.005": {"learning_rate": 0.005, "learning_rate_d": 0.005},
            "k_G = 3": {"g_steps": 3},
        },
    ),
    "vae": Trial(
        "active_units",
        10,
        {"dataset": "digits8", "hidden": 64, "epochs": 10, "latent": 20},
        {
            "nothing": {},
            "beta 4": {"beta": 4.0},
            "beta 10": {"beta": 10.0},
            "beta 4, warm-up over 8 epochs": {"beta": 4.0, "warm_up": 8},
            "learning rate 0.0001": {"learning_rate": 1e-4},
        },
    ),
}


@dataclass(frozen=True)
class Known:
    """What some settings came to.

    Attributes:
        name: what is special about them.
        config: all settings.
        outcome: what was measured, in words.
        healthy: whether they trained well with every seed.
    """

    name: str
    config: RunConfig
    outcome: str
    healthy: bool


def config_of(family: Family, name: str, **values: Any) -> RunConfig:
    """Return the settings of one training of the trials of a family."""
    trial = TRIALS[family.stem]
    return family.training.config.parse({**trial.base, **trial.changed[name], **values})


@cache
def known(family: Family) -> tuple[Known, ...]:
    """Return what is known of a family's settings: of its trials, else of the run that ships."""
    trial, values = TRIALS.get(family.stem), measured().get(family.stem, {})
    if trial is None or not values:
        return _shipped(family)
    return tuple(
        Known(
            name,
            config_of(family, name),
            f"{trial.number.replace('_', ' ')} {', '.join(f'{v:g}' for v in found)}",
            min(found) >= trial.least,
        )
        for name, found in values.items()
        if name in trial.changed
    )


def nearest(family: Family, config: RunConfig) -> Known | None:
    """Return the settings that trained well and differ least from some; ``None`` if none are known.

    The seed does not count. What differs counts once, however much; on a tie the data decide.
    """
    healthy = [one for one in known(family) if one.healthy]
    ranked = [
        (len(d := differing(one.config, config)), "dataset" in d, i)
        for i, one in enumerate(healthy)
    ]
    return healthy[min(ranked)[2]] if ranked else None


def differing(one: RunConfig, other: RunConfig) -> list[str]:
    """Return the settings in which two of a family differ, the seed left out."""
    names = (name for name in type(one).model_fields if name != "seed")
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def measured() -> dict[str, dict[str, list[float]]]:
    """Return what was measured: by family and name, a number per seed."""
    return read_json(FILE)["values"] if FILE.exists() else {}


def _shipped(family: Family) -> tuple[Known, ...]:
    run = Run(ASSETS / "runs" / family.stem)
    if not run.opens():
        return ()
    last = {name: value for row in run.metrics.rows() for name, value in row.items()}
    numbers = [f"{name.replace('_', ' ')} {last[name]:.3g}" for name in list(last)[-2:]]
    return (Known(SHIPPED, run.config, ", ".join(numbers), healthy=True),)

"""What ``--at`` says: a live knob to set, a part that steps alone, or a stop, after a step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lab.runs.interventions import Intervention
from training.core.config import ConfigError, RunConfig
from training.core.family import Training

HELP = (
    "After so many steps, set what can be changed while it trains (`--at 240 learning_rate=0.002`),"
    " stop (`--at 300 stop`), or have one part of a GAN step alone (`--at 5 part=generator`)."
)


def schedule_of(
    given: Iterable[Sequence[str]], training: Training, config: RunConfig
) -> list[Intervention]:
    """Return what is to be done while a training runs.

    Args:
        given: the words behind each ``--at``.
        training: of the family.
        config: of the training; it has the bounds.

    Raises:
        ConfigError: naming what is wrong, and what there is.
    """
    found = []
    for step, *wanted in given:
        if not step.isdecimal() or len(step) > 12 or not wanted:
            raise ConfigError(f"--at takes a step and what is done then; {step!r} is not that.")
        found += [_intervention(int(step), word, training, config) for word in wanted]
    return sorted(found, key=lambda one: one.step)


def _intervention(step: int, word: str, training: Training, config: RunConfig) -> Intervention:
    name, _, value = word.partition("=")
    if word == "stop":
        return Intervention(step, "stop")
    if name == "part" and value in training.parts:
        return Intervention(step, "part", value)
    live = [knob.name for knob in config.knobs() if knob.live]
    if name not in live:
        there = [*(f"{knob}=" for knob in live), *(f"part={p}" for p in training.parts), "stop"]
        raise ConfigError(f"--at cannot do {word[:40]!r}; it can do {', '.join(there)}.")
    return Intervention(step, "set", name, getattr(config.replace(**{name: value}), name))

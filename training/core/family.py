"""What a family trains, and on what: two objects that each ``training/<stem>.py`` is made of.

A :class:`DataKind` is a kind of data, points say, with all that depends on it: how a person's own
is read, where known sets are, what a model has to know of it. A :class:`Training` is a family: its
settings, its model, its experiment, and the kind of data that it learns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch.nn import Module

from datasets.files.saved import MAX_DRAWN
from training.core.config import RunConfig
from training.core.devices import FasterOn
from training.core.experiment import Experiment

Progress = Callable[[int, int], None]  # bytes that have come, bytes in all


class Own(Protocol):
    """What a person has brought: points, images, or whatever a family learns from.

    Attributes:
        name: where it came from, for titles.
    """

    name: str

    def save(self, path: Path) -> None:
        """Write it as a file, from which its kind of data loads it again."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of the command line about the reading of one's own data.

    Attributes:
        name: without dashes.
        default: a number, a text, or ``False`` for a switch.
        help: one sentence.
    """

    name: str
    default: int | bool | str
    help: str


def _always(_name: str) -> bool:
    return True


def _nothing(*_: object) -> None:
    """Refuse nothing."""


@dataclass(frozen=True, slots=True)
class DataKind:
    """A kind of data that families learn.

    Attributes:
        own: what a person may bring of it: "a CSV of points or an image".
        read: reads that: ``read(config, path, **flags)``, where the path may be a folder. Raises
            ``DataError`` or ``OSError``.
        load: reads what its ``save`` has written into the folder of a run, and checks it again:
            ``load(path, mapped=False)``.
        flags: of the command line, for ``read``; a dash in a name becomes an underscore.
        paths: how many ``read`` takes at most.
        titles: of the known sets, by name.
        fetched: names of those that do not come with the lab.
        is_here: says whether a known set is on this machine.
        download: brings a known set that is not: ``download(name, progress)``.
        faster_on: where models of it train faster, as measured (docs/numbers.md).
        fits: refuses data that cannot be trained on with some settings: ``fits(config, own)``.
            Raises ``ConfigError`` or ``DataError``.
        facts: what a model has to know besides settings, the shape of images say: names of arrays
            of a run's target, and what turns the values of one, which may be a stranger's, into an
            argument of ``model`` or raises ``DataError``.
        drawn: bytes that the arrays of a snapshot, or of a target, have at most.
    """

    own: str
    read: Callable[..., Own]
    load: Callable[..., Own]
    flags: tuple[Flag, ...] = ()
    paths: int = 1
    titles: Mapping[str, str] = field(default_factory=dict)
    fetched: frozenset[str] = frozenset()
    is_here: Callable[[str], bool] = _always
    download: Callable[[str, Progress], object] | None = None
    faster_on: FasterOn = "gpu"
    fits: Callable[[Any, Any], object] = _nothing
    facts: Mapping[str, Callable[[object], Any]] = field(default_factory=dict)
    drawn: int = MAX_DRAWN

    def facts_of(self, values: Mapping[str, object]) -> tuple:
        """Return what a model has to know, out of plain values by name.

        Raises:
            DataError: a value is missing, or of no use.
        """
        return tuple(checked(values.get(name)) for name, checked in self.facts.items())


@dataclass(frozen=True, slots=True)
class Training:
    """What a family trains; each ``training/<stem>.py`` has one, called ``TRAINING``.

    Attributes:
        config: its settings.
        model: makes its networks, untrained: ``model(config, *facts, generator=...)`` with what
            its kind of data says in ``facts``, and the source of the initial weights.
        build: makes its experiment, untrained: ``build(config, device=..., own=...)``.
        data: the kind of data that it learns.
        check: refuses settings that no training can be made of. Raises ``ConfigError``.
        threads: how many it gains by on a CPU. Small networks lose by a second one.
        parallel: whether several processes can share its batches.
        parts: of a step, which can be taken alone.
        presets: of each choice of the setting ``model``, where its other settings start.
        likelihood: of a given example, as a trained model gives it: exactly, as a lower bound, or
            not at all.
    """

    config: type[RunConfig]
    model: Callable[..., Module]
    build: Callable[..., Experiment]
    data: DataKind
    check: Callable[[Any], object] = _nothing
    threads: int = 1
    parallel: bool = False
    parts: tuple[str, ...] = ()
    presets: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    likelihood: Literal["exact", "bound", "none"] = "exact"

    def blank(self, config: RunConfig, target: Mapping[str, Any] | None) -> Module:
        """Return the networks of a run, for weights that are about to be loaded.

        Args:
            config: the settings of the run.
            target: its target; needed where models have to know something of the data.
        """
        values = {name: target[name].tolist() for name in self.data.facts}
        generator = torch.Generator().manual_seed(0)
        return self.model(config, *self.data.facts_of(values), generator=generator)

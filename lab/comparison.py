"""Several models on one data set, on equal terms: same data, batch, steps or seconds, and seeds.

A comparison is a set of ordinary runs, and a small file that says which ones. The command line
trains them one after the other, the lab in its queue; both from the configs that
:func:`entries_for` returns, so the same seeds give the same numbers.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datasets.plane import load_plane
from datasets.toy import TOY
from lab.driver import Command, Report, drive
from lab.runs.files import read_json, write_json
from lab.store import Run, RunError, RunStore
from paths import ROOT
from registry import FAMILIES, Family
from training.core.config import ConfigError, RunConfig, knob

WARM_UP, TIMED = 5, 0.6  # steps, then seconds of steps, behind the pace of an entrant
MEASURES = 21  # how often a run is measured
RUNS = 60  # in one comparison, at most


class CompareConfig(RunConfig):
    """The terms that are equal for all."""

    dataset: Literal[tuple(TOY)] = knob(  # type: ignore[valid-type]
        "mixture",
        label="Dataset",
        help="The density to learn. The mixture is 1,000 fixed points, split 80 to 20 and "
        "standardised by the training part; the others are drawn afresh for each batch.",
        group="Data",
    )
    seeds: int = knob(
        5,
        bounds=(1, 10, 1),
        label="Seeds",
        help="Trainings of each model. One alone says little: the spread between seeds is often "
        "as large as the difference between models.",
    )
    steps: int = knob(
        2500,
        bounds=(1000, 5000, 500),
        label="Optimiser steps",
        help="Of each training. 2,500 batches of 320 are 1,000 epochs of the mixture.",
    )
    seconds: float = knob(
        0.0,
        bounds=(0.0, 300.0, 5.0),
        label="Seconds",
        help="Above zero, each training takes about so long instead: as many steps as fit, by its "
        "pace at the start, within the range of the steps.",
    )
    batch: int = knob(
        320,
        bounds=(64, 1024, 64),
        label="Batch size",
        help="Points per step, the same for all.",
    )

    @property
    def noise(self) -> float:
        """The noise of the data set, in its own units."""
        return TOY[self.dataset].noise


@dataclass(frozen=True, slots=True)
class Entrant:
    """A model that can be compared.

    Attributes:
        key: its word on the command line.
        title: its name in tables and figures.
        stem: the family it is of.
        settings: of its config, where they differ from what its page offers.
    """

    key: str
    title: str
    stem: str
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def family(self) -> Family:
        """The family that it trains."""
        return FAMILIES[self.stem]

    @property
    def likelihood(self) -> Literal["exact", "bound", "none"]:
        """What it says of a given point; of a bound, the NLL is at most that."""
        return self.family.training.likelihood


ENTRANTS: dict[str, Entrant] = {
    entrant.key: entrant
    for entrant in (
        Entrant("realnvp", "RealNVP", "realnvp"),
        Entrant("glow", "Glow", "glow_plane"),
        Entrant("nice", "NICE", "nice"),
        Entrant("maf", "MAF", "maf_plane"),
        Entrant("spline", "Spline couplings", "realnvp", settings={"coupling": "spline"}),
        Entrant("vae", "VAE", "vae_plane"),
        Entrant("gan", "GAN", "gan"),
        Entrant("matching", "Flow matching", "flow_matching"),
    )
}


@dataclass(frozen=True, slots=True)
class Terms:
    """Who is compared, and on what terms.

    Raises:
        ConfigError: nobody, somebody unknown or twice, or too many runs.
    """

    entrants: tuple[str, ...] = ("realnvp", "glow")
    config: CompareConfig = field(default_factory=CompareConfig)

    def __post_init__(self) -> None:
        unknown = [key for key in self.entrants if key not in ENTRANTS]
        if unknown or not self.entrants:
            known = ", ".join(ENTRANTS)
            raise ConfigError(f"families must be some of {known}; {' '.join(unknown)!r} is not.")
        if len(set(self.entrants)) < len(self.entrants):
            raise ConfigError("families must each be named once.")
        if len(self.entrants) * self.config.seeds > RUNS:
            raise ConfigError(
                f"{len(self.entrants)} models with {self.config.seeds} seeds each are more than "
                f"{RUNS} trainings: take fewer of either."
            )

    def as_values(self) -> dict[str, object]:
        """Return them as JSON takes them."""
        return {"entrants": list(self.entrants), "config": self.config.model_dump()}

    @classmethod
    def from_values(cls, values: Mapping) -> Terms:
        """Return the terms that :meth:`as_values` wrote.

        Raises:
            ConfigError: a value is out of its range.
            KeyError: one is missing.
        """
        return cls(tuple(values["entrants"]), CompareConfig.parse(values["config"]))


CLASSIC = Terms()  # a mixture of Gaussians, 1,000 epochs, RealNVP against Glow


def steps_of_epochs(config: CompareConfig, epochs: float) -> int:
    """Return the steps that see each training point so often on average.

    Raises:
        ConfigError: the data set has no end, so it has no epochs.
    """
    plane = load_plane(config.dataset, config.noise)
    if plane.train is None:
        raise ConfigError(
            f"{config.dataset} is drawn afresh for each batch and has no epochs: use --steps."
        )
    return round(epochs * len(plane.train) / config.batch)


def epochs_of(config: CompareConfig, steps: int) -> float | None:
    """Return how often so many steps see each training point; ``None`` without a finite set."""
    plane = load_plane(config.dataset, config.noise)
    return None if plane.train is None else steps * config.batch / len(plane.train)


@dataclass(frozen=True, slots=True)
class Entry:
    """One training of a comparison, and the id of its run; empty before it is made."""

    entrant: Entrant
    seed: int
    config: RunConfig | None = None
    run: str = ""


def entries_for(terms: Terms, steps: Mapping[str, int] | None = None) -> list[Entry]:
    """Return the trainings of a comparison, seed by seed, with their configs.

    Args:
        terms: who and how.
        steps: optimiser steps per entrant, as :func:`steps_for` returns; the same for all if left
            out.
    """
    equal = terms.config
    steps = steps or dict.fromkeys(terms.entrants, equal.steps)
    entries = []
    for seed in range(equal.seeds):
        for key in terms.entrants:
            entrant = ENTRANTS[key]
            values = {
                "dataset": equal.dataset,
                "noise": equal.noise,
                "iterations": steps[key],
                "batch": equal.batch,
                "seed": seed,
            }
            config = entrant.family.training.config.parse({**entrant.settings, **values})
            entries.append(Entry(entrant, seed, config))
    return entries


def steps_for(terms: Terms, device: str = "cpu") -> dict[str, int]:
    """Return the optimiser steps of each entrant; for equal seconds, measured here and now.

    Takes a second or two per entrant then. The learning rate follows its cycle over these steps, so
    that each training ends as it should, and its numbers can be repeated.
    """
    equal = terms.config
    if not equal.seconds:
        return dict.fromkeys(terms.entrants, equal.steps)
    knobs = {k.name: k for k in CompareConfig.knobs()}
    low, high = int(knobs["steps"].low), int(knobs["steps"].high)
    found = {}
    for entry in entries_for(Terms(terms.entrants, equal.replace(seeds=1))):
        experiment = entry.entrant.family.training.build(entry.config, device=device)
        for _ in range(WARM_UP):
            experiment.update()
        experiment.measure()
        before = time.perf_counter()
        experiment.measure()
        measuring = MEASURES * (time.perf_counter() - before)
        count, before = 0, time.perf_counter()
        while (spent := time.perf_counter() - before) < TIMED:
            float(sum(experiment.update().values()))  # waits for the device
            count += 1
        steps = round((equal.seconds - measuring) * count / spent, -2)
        found[entry.entrant.key] = int(min(max(steps, low), high))
    return found


def steps_measured_elsewhere(terms: Terms, device: str = "cpu") -> dict[str, int]:
    """Return :func:`steps_for`, measured in a process of its own: a web server must not train.

    Raises:
        RunError: that process failed.
    """
    if not terms.config.seconds:
        return steps_for(terms)
    flags = [f"--{k}={v}" for k, v in terms.config.model_dump().items() if k != "steps"]
    command = [sys.executable, "-m", "training", "compare", "--plan", *flags, "--device", device]
    command += ["--families", *terms.entrants]
    try:
        done = subprocess.run(  # noqa: S603 - this Python, with words of our own
            command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=True
        )
        return {key: int(steps) for key, steps in json.loads(done.stdout).items()}
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
        message = f"How fast the models are here could not be measured: {' '.join(said)}"
        raise RunError(f"{message} Choose equal steps instead.") from error


# -- its file ----------------------------------------------------------------------------------


class Comparison:
    """The file of a comparison: its terms, and which runs of a store belong to it.

    Args:
        path: a JSON file.
        store: where its runs are.
    """

    def __init__(self, path: Path, store: RunStore) -> None:
        self.path, self.store = path, store

    @property
    def id(self) -> str:
        """The name of its file."""
        return self.path.stem

    @classmethod
    def create(
        cls, path: Path, store: RunStore, terms: Terms, entries: Sequence[Entry]
    ) -> Comparison:
        """Write the file.

        Raises:
            RunError: it cannot be written.
        """
        runs = [{"entrant": e.entrant.key, "seed": e.seed, "run": e.run} for e in entries]
        values = {"created": time.time(), "terms": terms.as_values(), "runs": runs}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, values)
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}.") from error
        return cls(path, store)

    @property
    def created(self) -> float:
        """Unix time of its creation.

        Raises:
            RunError: the file is missing or damaged.
        """
        return self._read()[2]

    @property
    def terms(self) -> Terms:
        """Who is compared, and how.

        Raises:
            RunError: the file is missing or damaged.
        """
        return self._read()[0]

    @property
    def entries(self) -> list[Entry]:
        """Its trainings; their configs stand in the folders of the runs."""
        return self._read()[1]

    def _read(self) -> tuple[Terms, list[Entry], float]:
        try:
            values = read_json(self.path)
            runs = values["runs"]
            entries = [Entry(ENTRANTS[r["entrant"]], int(r["seed"]), None, r["run"]) for r in runs]
            return Terms.from_values(values["terms"]), entries, float(values["created"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self.path} is no comparison, or damaged.") from error

    def run_of(self, entry: Entry) -> Run | None:
        """Return the run of one training, or ``None`` if it has been deleted."""
        return self.store.get(entry.run)


def folder_of(store: RunStore) -> Path:
    """Return where the lab keeps the files of its comparisons."""
    return store.root / "comparisons"


def new_path(store: RunStore) -> Path:
    """Return an unguessable name for a comparison of the lab."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return folder_of(store) / f"comparison-{stamp}-{secrets.token_hex(8)}.json"


def comparisons_in(store: RunStore) -> list[Comparison]:
    """Return the comparisons of the lab, newest first; damaged files are left out."""
    found = []
    for path in sorted(folder_of(store).glob("comparison-*.json"), reverse=True):
        comparison = Comparison(path, store)
        try:
            comparison.terms  # noqa: B018 - raises if the file is of no use
        except RunError:
            continue
        found.append(comparison)
    return found


# -- training one after the other ---------------------------------------------------------------


def prepare(folder: Path, terms: Terms, device: str = "cpu") -> Comparison:
    """Return the comparison in a folder of the command line, made if there is none yet.

    Raises:
        RunError: the folder has another comparison, or cannot be written.
    """
    path, store = folder / "comparison.json", RunStore(folder / "runs")
    if path.exists():
        comparison = Comparison(path, store)
        if comparison.terms != terms:
            raise RunError(f"{folder} holds a comparison on other terms: choose another --out.")
        return comparison
    entries = []
    for entry in entries_for(terms, steps_for(terms, device)):
        name = f"{entry.entrant.key}-seed{entry.seed}"
        run = Run.create(store.root / name, entry.entrant.family, entry.config)
        entries.append(Entry(entry.entrant, entry.seed, entry.config, run.id))
    return Comparison.create(path, store, terms, entries)


def compare(
    comparison: Comparison,
    *,
    device: str = "cpu",
    send: Callable[[Entry, Report], None] = lambda *_: None,
    receive: Callable[[float | None], Command | None] = lambda _: None,
) -> Iterator[Entry]:
    """Train what is not yet trained, one run after the other; yield each when it has ended.

    Args:
        comparison: from :func:`prepare`; its unfinished runs go on from their checkpoints.
        device: where to train.
        send: called with each report of a run.
        receive: see :func:`lab.driver.drive`. A run that was stopped or parked by it ends the
            comparison.
    """
    for entry in comparison.entries:
        run = comparison.run_of(entry)
        if run is None or run.status().state in ("finished", "diverged"):
            continue
        status = drive(run, device=device, send=lambda r, e=entry: send(e, r), receive=receive)
        yield entry
        if status.state in ("stopped", "interrupted"):
            return

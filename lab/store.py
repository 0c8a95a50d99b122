"""A run is a folder that opens without the app; the store is a folder of runs.

``config.json`` (family and settings), ``data.npz`` (the user's own data, if any), ``metrics.csv``,
``snapshots/``, ``checkpoint.pt`` and the one before it, ``model.safetensors``, ``status.json``,
``interventions.jsonl`` and ``schedule.jsonl`` (what was done, and is to be done, while it trains),
``summary.json`` (what is measured at the end, by families that have such numbers).
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import filelock
import numpy as np
import torch

from datasets.files.errors import DataError
from datasets.files.saved import read_name
from datasets.plane import OWN
from lab.runs.checkpoints import Checkpoints
from lab.runs.files import RunError, read_json, write_json, writing
from lab.runs.interventions import Interventions, flags
from lab.runs.metrics import Metrics
from lab.runs.notes import LOCAL, Notes
from lab.runs.repeat import command_of
from lab.runs.snapshots import Snapshots
from lab.runs.status import Status
from lab.runs.weights import TrainedWeights
from registry import FAMILIES, Family
from training.core.config import ConfigError, RunConfig
from training.core.family import Own

__all__ = ["Run", "RunStore"]

# Of run folders. 1 had no number; its settings may have names of earlier versions, which are read.
FORMAT = 2
VERSION = "0.1"  # of the lab


class Run:
    """One run folder. Opening it reads nothing; every method reads or writes just what it names.

    Attributes:
        path: the folder.
        notes: its name, whose it is, how long it may stay.
        metrics: its numbers.
        snapshots: the states that pages draw, and what there is to learn.
        checkpoints: from where it goes on.
        weights: what it has learned.
        interventions: what was done while it trained.
        schedule: what is to be done while it trains.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.notes = Notes(self.path)
        self.metrics = Metrics(self.path)
        self.snapshots = Snapshots(self.path)
        self.checkpoints = Checkpoints(self.path)
        self.weights = TrainedWeights(self.path, self._opened)
        self.interventions = Interventions(self.path / "interventions.jsonl")
        self.schedule = Interventions(self.path / "schedule.jsonl")

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.path.name

    @classmethod
    def create(
        cls, path: Path | str, family: Family, config: RunConfig, own: Own | None = None
    ) -> Run:
        """Make a new run folder.

        Raises:
            RunError: the folder exists and is not empty, or cannot be written.
        """
        run = cls(path)
        with writing(run.path):
            if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
                raise RunError(f"{run.path} exists already and is not empty.")
            run.snapshots.folder.mkdir(parents=True)
            if own is not None:
                own.save(run.path / "data.npz")
            values = {"family": family.stem, "config": config.model_dump(), **_written_by()}
            write_json(run.path / "config.json", values)
            run.write_status(Status(created=time.time()))
        return run

    # -- what it is ---------------------------------------------------------------------------

    @property
    def family(self) -> Family:
        """The family it trains.

        Raises:
            RunError: no ``config.json``, or one that names no family of this lab.
        """
        return self._opened()[0]

    @property
    def config(self) -> RunConfig:
        """Its settings, validated.

        Raises:
            RunError: missing, damaged or out of range.
        """
        return self._opened()[1]

    def _opened(self) -> tuple[Family, RunConfig]:
        try:
            values = read_json(self.path / "config.json")
            _check_format(values)
            family = FAMILIES[values["family"]]
            return family, family.training.config.of_run(values["config"])
        except FileNotFoundError:
            raise RunError(f"{self.path} is not a run: it has no config.json.") from None
        except OSError as error:
            reason = f"cannot be read: {error.strerror}."
            raise RunError(f"The config.json of {self.path} {reason}") from error
        except (ValueError, KeyError, TypeError) as error:
            known = isinstance(error, ConfigError | _Newer)
            reason = str(error) if known else "it is damaged."
            raise RunError(f"The config.json of {self.path} cannot be used: {reason}") from error

    def trouble(self) -> str:
        """Return why its settings cannot be read, or an empty string."""
        try:
            self._opened()
        except RunError as error:
            return str(error)
        return ""

    def opens(self) -> bool:
        """Return whether its settings can be read; pages of families leave out the others."""
        return not self.trouble()

    def own_data(self) -> Own | None:
        """Return the user's data that it trains on, or ``None`` if that is a set of the lab.

        What is not packed stays in the file until it is used; Windows could not delete that.
        """
        path, mapped = self.path / "data.npz", os.name == "posix"
        return self.family.training.data.load(path, mapped=mapped) if path.exists() else None

    def data_name(self) -> str:
        """Return what the user's data that it trains on are called, without reading them."""
        return read_name(self.path / "data.npz")

    def experiment(self, device: torch.device | str = "cpu"):
        """Build its experiment, untrained.

        Raises:
            DataError: its data are missing or damaged.
            RunError: its settings are.
        """
        family, config = self._opened()
        own = self.own_data()
        if own is None and config.dataset == OWN:
            raise DataError(f"data.npz is missing in {self.path}: this run trains on data in it.")
        return family.training.build(config, device=device, own=own)

    def command(self, *, here: bool = True) -> str:
        """Return the command line that repeats it; see :func:`lab.runs.repeat.command_of`."""
        family, config = self._opened()
        done = flags(self.interventions.load(), self.status())
        return command_of(self.path, family, config, done, here=here)

    # -- where it stands ----------------------------------------------------------------------

    def status(self) -> Status:
        """Return where it stands; a run without a readable status counts as interrupted."""
        return Status.read(self.path / "status.json")

    def write_status(self, status: Status) -> None:
        """Write ``status.json``.

        Raises:
            OSError: it cannot be written.
        """
        status.write(self.path / "status.json")

    def lock(self) -> filelock.BaseFileLock:
        """Return the lock held by who trains this run; it is free again when that process dies."""
        return filelock.FileLock(self.path / ".lock", timeout=0)

    def is_trained_now(self) -> bool:
        """Return whether some living process holds its lock."""
        try:
            with self.lock():
                return False
        except filelock.Timeout:
            return True
        except OSError:  # a folder that cannot be written: nobody trains there
            return False

    # -- as a whole ---------------------------------------------------------------------------

    def sweep(self) -> None:
        """Delete what a process killed while writing has left; only for who holds the lock."""
        for path in [*self.path.glob(".*.*"), *self.snapshots.folder.glob(".*")]:
            path.unlink(missing_ok=True)

    def size(self) -> int:
        """Return the bytes it takes on disk."""
        total = 0
        for path in self.path.rglob("*"):
            with suppress(FileNotFoundError):  # one that was thinned out or renamed just now
                total += path.stat().st_size if path.is_file() else 0
        return total

    def zipped(self) -> bytes:
        """Return the whole folder as a zip archive."""
        buffer = io.BytesIO()
        # Zip knows the years from 1980 to 2107; a file of another gets the nearest.
        packing = {"compression": zipfile.ZIP_DEFLATED, "strict_timestamps": False}
        with zipfile.ZipFile(buffer, "w", **packing) as archive:
            for path in sorted(self.path.rglob("*")):
                if path.is_file() and not path.name.startswith(".") and path.name not in LOCAL:
                    with suppress(FileNotFoundError):  # a snapshot that was thinned out just now
                        archive.write(path, Path(self.id) / path.relative_to(self.path))
        return buffer.getvalue()


class RunStore:
    """A folder of runs."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def create(self, family: Family, config: RunConfig, own: Own | None = None) -> Run:
        """Make a new run under an unguessable name."""
        return Run.create(self.new_path(family), family, config, own)

    def new_path(self, family: Family) -> Path:
        """Return an unguessable folder for a run of a family."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        return self.root / f"{family.stem}-{stamp}-{secrets.token_hex(8)}"

    def get(self, run_id: str) -> Run | None:
        """Return a run by its id, or ``None``.

        Ids come from URLs, so anything that is not a plain name is none.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}", run_id):
            return None
        run = Run(self.root / run_id)
        # One that has lost its settings is to be seen, too, and can be deleted.
        known = ("config.json", "status.json")
        return run if any((run.path / name).is_file() for name in known) else None

    def __iter__(self) -> Iterator[Run]:
        """Yield all runs, newest first."""
        if not self.root.is_dir():
            return
        runs = [run for path in self.root.iterdir() if (run := self.get(path.name)) is not None]
        yield from sorted(runs, key=lambda run: run.status().created, reverse=True)

    def delete(self, run: Run) -> None:
        """Delete a run's folder for good."""
        shutil.rmtree(run.path)

    def claim(self) -> filelock.BaseFileLock:
        """Return the lock that the one lab of this folder holds, taken.

        Raises:
            RunError: another lab works here.
        """
        lock = filelock.FileLock(self.root / ".lab.lock", timeout=0, thread_local=False)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout as error:
            raise RunError(
                f"Another lab works in {self.root}: close it, or set GENLAB_RUNS to another folder."
            ) from error
        except OSError:  # not to be written: nothing in it can be harmed
            pass
        return lock

    def sweep(self) -> None:
        """Delete what imports and uploads have left; only for who has claimed the folder."""
        for pattern in (".import-*", ".uploads-*"):
            for path in self.root.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)

    def mark_interrupted(self) -> None:
        """Mark runs that say they are active though nobody trains them.

        Their process died with an earlier lab.
        """
        for run in self:
            status = run.status()
            if status.active and not run.is_trained_now():
                message = (
                    f"The lab ended while this run was {status.state}. "
                    "Resume goes on from its last checkpoint."
                )
                run.write_status(replace(status, state="interrupted", message=message))


class _Newer(ValueError):
    """A run of a later version of the lab."""


def _written_by() -> dict[str, object]:
    versions = {"lab": VERSION, "torch": torch.__version__, "numpy": np.__version__}
    return {"format": FORMAT, "versions": versions}


def _check_format(values: object) -> None:
    if not isinstance(values, dict):
        raise TypeError("no settings by name")
    found = values.get("format", 1)
    if type(found) is not int or found < 1:
        raise ValueError("no format")
    if found > FORMAT:
        raise _Newer(f"it is of format {found}, of a later version of the lab; update the lab.")

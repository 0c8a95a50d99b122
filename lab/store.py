"""A run is a folder that opens without the app; the store is a folder of runs.

``config.json`` (family and settings), ``data.npz`` (the user's own data, if any), ``metrics.csv``,
``snapshots/``, ``checkpoint.pt`` and the one before it, ``model.safetensors``, ``status.json``,
``summary.json`` (what is measured at the end, by families that have such numbers).
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import secrets
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import filelock
import numpy as np
import safetensors.torch
import torch

from datasets.files import write_atomic
from datasets.own import DataError
from lab.people import Access
from lab.runs.files import read_json, write_json
from lab.runs.safetensors_header import check_fit, read_header
from registry import FAMILIES, Family
from training.core.config import RENAMED, ConfigError, RunConfig, current_names
from training.core.family import Own
from training.core.former import current_weights

ACTIVE = ("queued", "starting", "running", "paused")
RESUMABLE = ("stopped", "interrupted", "parked", "failed", "diverged")
# What belongs to the lab that a run is in, and not to the run.
LOCAL = ("access.json", "leaving.json")
MAX_COUNT = 1e12  # steps, or seconds, of any run
MAX_NAME = 60  # characters that a person may call a run
CHECKPOINTS = ("checkpoint.pt", "checkpoint.before.pt")
DAMAGED = "Its last checkpoint was damaged: it goes on from the one before."
FRAMES = 96  # snapshots kept of a run, those of the tenths left out


class RunError(RuntimeError):
    """A run folder cannot be used; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run stands.

    Attributes:
        state: queued, starting, running, paused; or finished, stopped, diverged, failed,
            interrupted, parked.
        step: optimiser steps done.
        total: optimiser steps in all.
        seconds: time spent training, pauses left out.
        message: what a person should know, or an empty string.
        skipped: steps skipped because they were not finite.
        created: Unix time of its creation.
        device: where it trains.
    """

    state: str = "queued"
    step: int = 0
    total: int = 0
    seconds: float = 0.0
    message: str = ""
    skipped: int = 0
    created: float = 0.0
    device: str = ""

    @property
    def active(self) -> bool:
        """Whether it waits, starts, trains or is paused."""
        return self.state in ACTIVE

    @property
    def resumable(self) -> bool:
        """Whether it can go on from its last checkpoint."""
        return self.state in RESUMABLE


class Run:
    """One run folder. Opening it reads nothing; every method reads or writes just what it names."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

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
        if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
            raise RunError(f"{run.path} exists already and is not empty.")
        try:
            (run.path / "snapshots").mkdir(parents=True)
            if own is not None:
                own.save(run.path / "data.npz")
            versions = {"torch": torch.__version__, "numpy": np.__version__}
            values = {"family": family.stem, "config": config.model_dump(), "versions": versions}
            write_json(run.path / "config.json", values)
            run.write_status(Status(created=time.time()))
        except OSError as error:
            raise RunError(f"{run.path} cannot be written: {error.strerror}.") from error
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
            family = FAMILIES[values["family"]]
            return family, family.training.config.parse(values["config"])
        except FileNotFoundError:
            raise RunError(f"{self.path} is not a run: it has no config.json.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error) if isinstance(error, ConfigError) else "it is damaged."
            raise RunError(f"The config.json of {self.path} cannot be used: {reason}") from error

    def opens(self) -> bool:
        """Tell whether its settings can be read; pages leave out a run whose are damaged."""
        try:
            return self.config is not None
        except RunError:
            return False

    def own_data(self) -> Own | None:
        """Return the user's data that it trains on, or ``None`` if that is a set of the lab."""
        path = self.path / "data.npz"
        return self.family.training.data.load(path) if path.exists() else None

    def experiment(self, device: torch.device | str = "cpu"):
        """Build its experiment, untrained."""
        family, config = self._opened()
        return family.training.build(config, device=device, own=self.own_data())

    # -- its name -----------------------------------------------------------------------------

    def name(self) -> str:
        """Return what a person has called it, or an empty string."""
        try:
            return clean_name(self._name_path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            return ""

    def rename(self, name: str) -> None:
        """Call it something; an empty name takes that back.

        Raises:
            RunError: its folder cannot be written.
        """
        try:
            write_atomic(self._name_path, lambda file: file.write(clean_name(name).encode()))
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}.") from error

    # -- whose it is, and how long it may stay ------------------------------------------------

    def access(self) -> Access:
        """Return to whom it belongs: to nobody, if that was not written or cannot be read."""
        try:
            values = read_json(self.path / "access.json")
            owner, name = str(values["owner"]), str(values["name"])
            return Access(owner, clean_name(name), values["shared"] is True)
        except (OSError, ValueError, TypeError, KeyError):
            return Access()

    def set_access(self, access: Access) -> None:
        """Write to whom it belongs.

        Raises:
            RunError: its folder cannot be written.
        """
        self._note("access.json", asdict(access))

    def leaves(self) -> float | None:
        """Return the Unix time at which it may be deleted to make room, if that was announced."""
        try:
            return float(read_json(self.path / "leaving.json")["at"])
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            return None

    def announce_leaving(self, at: float | None) -> None:
        """Note that it may be deleted from a time on (Unix time), or take that back.

        Raises:
            RunError: its folder cannot be written.
        """
        if at is not None:
            self._note("leaving.json", {"at": at})
            return
        with suppress(OSError):
            (self.path / "leaving.json").unlink(missing_ok=True)

    def _note(self, name: str, values: Mapping[str, object]) -> None:
        try:
            write_json(self.path / name, values)
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}.") from error

    @property
    def _name_path(self) -> Path:
        return self.path / "name.txt"

    # -- where it came from --------------------------------------------------------------------

    @property
    def foreign(self) -> bool:
        """Whether it came from a file. What it holds was checked, but may still make no sense."""
        return self._foreign_path.exists()

    def mark_foreign(self) -> None:
        """Note that it came from a file.

        Raises:
            OSError: its folder cannot be written.
        """
        write_atomic(self._foreign_path, lambda file: file.write(b"It came from a file.\n"))

    @property
    def _foreign_path(self) -> Path:
        return self.path / "foreign.txt"

    # -- status -------------------------------------------------------------------------------

    def status(self) -> Status:
        """Return where it stands; a run without a readable status counts as interrupted."""
        try:
            values = read_json(self.path / "status.json")
            known = [field for field in fields(Status) if field.name in (*values, "state")]
            status = Status(**{f.name: type(f.default)(values[f.name]) for f in known})
            # Also false for NaN: pages divide by these and show them as times.
            counts = (status.step, status.total, status.seconds, status.skipped, status.created)
            if not all(abs(count) <= MAX_COUNT for count in counts):
                raise ValueError("a count beyond all reason")
            return status
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            return Status(state="interrupted", message="Its status file is missing or damaged.")

    def write_status(self, status: Status) -> None:
        """Write ``status.json``."""
        write_json(self.path / "status.json", asdict(status))

    def lock(self) -> filelock.BaseFileLock:
        """Return the lock held by who trains this run; it is free again when that process dies."""
        return filelock.FileLock(self.path / ".lock", timeout=0)

    def is_trained_now(self) -> bool:
        """Tell whether some living process holds its lock."""
        try:
            with self.lock():
                return False
        except filelock.Timeout:
            return True

    # -- metrics ------------------------------------------------------------------------------

    def start_metrics(self, columns: list[str], step: int) -> None:
        """Begin ``metrics.csv``, or on a resume drop the rows after ``step``."""
        rows = [row for row in self.metrics() if row["step"] <= step] if step else []
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)
        write_atomic(self.path / "metrics.csv", lambda f: f.write(text.getvalue().encode()))

    def append_metrics(self, columns: list[str], row: Mapping[str, float]) -> None:
        """Append a row to ``metrics.csv``, whole or not at all.

        Raises:
            OSError: the disk is full, say.
        """
        path = self.path / "metrics.csv"
        size = path.stat().st_size
        try:
            with path.open("a", newline="", encoding="utf-8") as file:
                file.write(",".join(_cell(row.get(name)) for name in columns) + "\n")
        except OSError:
            os.truncate(path, size)  # no half line: the next row would go on in it
            raise

    def metrics(self) -> list[dict[str, float]]:
        """Return the rows of ``metrics.csv``.

        Cells that were not measured are left out, a torn last line too.
        """
        try:
            text = (self.path / "metrics.csv").read_text(encoding="utf-8", errors="replace")
            lines = text.split("\n")[:-1]  # what follows the last line end is torn, or nothing
            rows = [_row(row) for row in csv.DictReader(lines)]
        except (OSError, csv.Error):
            return []
        return [row for row in rows if row is not None]

    def save_summary(self, numbers: Mapping[str, float]) -> None:
        """Write what was measured at the end.

        Raises:
            OSError: it cannot be written.
        """
        # JSON has no NaN; what is not finite was not measured.
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        write_json(self.path / "summary.json", finite)

    def summary(self) -> dict[str, float]:
        """Return what was measured at the end; nothing if it has not come to that."""
        try:
            values = read_json(self.path / "summary.json")
            return {str(name): float(value) for name, value in values.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    # -- snapshots -----------------------------------------------------------------------------

    def save_snapshot(self, step: int, arrays: Mapping[str, np.ndarray], keep: set[int]) -> None:
        """Save a snapshot; beyond ``FRAMES`` of them the one with the closest neighbours goes.

        So they stay spread over the whole training. Those in ``keep`` never go.
        """
        path = self._snapshot_path(step)
        write_atomic(path, lambda file: np.savez_compressed(file, **arrays))
        steps = self.snapshot_steps()
        spans = {b: c - a for a, b, c in zip(steps, steps[1:], steps[2:]) if b not in keep}
        if len(spans) > FRAMES:
            self._snapshot_path(min(spans, key=spans.__getitem__)).unlink(missing_ok=True)

    def drop_snapshots(self, after: int) -> None:
        """Delete the snapshots of steps after ``after``."""
        for step in self.snapshot_steps():
            if step > after:
                self._snapshot_path(step).unlink(missing_ok=True)

    def snapshot_steps(self) -> list[int]:
        """Return the steps of which there is a snapshot, in order."""
        names = (path.stem for path in (self.path / "snapshots").glob("*.npz"))
        return sorted(int(name) for name in names if name.isdigit())

    def snapshot(self, step: int) -> dict[str, np.ndarray]:
        """Return the arrays of one snapshot."""
        with np.load(self._snapshot_path(step), allow_pickle=False) as arrays:
            return current_names(arrays)

    def save_target(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write ``target.npz``: what there is to learn, by name."""
        write_atomic(self.path / "target.npz", lambda file: np.savez_compressed(file, **arrays))

    def target(self) -> dict[str, np.ndarray] | None:
        """Return what there is to learn, as arrays, or ``None`` before the first snapshot."""
        path = self.path / "target.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def _snapshot_path(self, step: int) -> Path:
        return self.path / "snapshots" / f"{step:08d}.npz"

    # -- weights ------------------------------------------------------------------------------

    def save_checkpoint(self, state: Mapping) -> None:
        """Write ``checkpoint.pt`` from tensors and plain values."""
        # In memory first: torch turns a full disk into errors of its own.
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        last, before = (self.path / name for name in CHECKPOINTS)
        with suppress(OSError):  # a file system without links, or nothing to keep yet
            before.unlink(missing_ok=True)
            os.link(last, before)
        write_atomic(last, lambda file: file.write(buffer.getbuffer()))

    def checkpoint(self) -> dict | None:
        """Return the last checkpoint, or ``None`` if there is none yet.

        If the last one is damaged, it is the one before.

        Raises:
            RunError: there are some, but all of them are damaged.
        """
        return self.last_checkpoint()[0]

    def last_checkpoint(self) -> tuple[dict | None, str]:
        """Return what :meth:`checkpoint` does, and what a person should know about it."""
        damage: Exception | None = None
        for path in (self.path / name for name in CHECKPOINTS):
            if path.exists():
                try:
                    state = torch.load(path, map_location="cpu", weights_only=True)
                except Exception as error:
                    damage = error
                else:
                    return state, DAMAGED if damage else ""
        if damage is None:
            return None, ""
        message = f"The checkpoint of {self.path} is damaged. Start it again from its settings."
        raise RunError(message) from damage

    def save_weights(self, model: torch.nn.Module, step: int) -> None:
        """Write the weights, with all in their metadata that is needed to build the model again."""
        weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        blob = safetensors.torch.save(weights, self._metadata(step))
        write_atomic(self.path / "model.safetensors", lambda file: file.write(blob))

    def weights_file(self) -> bytes:
        """Return the weights as a file that says by itself which model they are of."""
        path = self.path / "model.safetensors"
        with path.open("rb") as file:
            metadata = read_header(file, path.stat().st_size).metadata
        if "config" in metadata:
            return path.read_bytes()
        # Runs of earlier versions did not write it.
        known = self._metadata(int(metadata.get("step", 0)))
        return safetensors.torch.save(safetensors.torch.load_file(path), known)

    def _metadata(self, step: int) -> dict[str, str]:
        family, config = self._opened()
        values = {"family": family.stem, "step": str(step), "config": config.model_dump_json()}
        return {**values, **self._facts()}

    def _facts(self) -> dict[str, str]:
        """Return what its model has to know besides its settings, as JSON by name."""
        path = self.path / "target.npz"
        if not path.exists():
            return {}
        with np.load(path, allow_pickle=False) as target:
            known = self.family.training.data.facts
            return {name: json.dumps(target[name].tolist()) for name in known}

    def weights_version(self) -> float:
        """Return when the weights were last written (Unix time), or 0 if there are none."""
        path = self.path / "model.safetensors"
        return path.stat().st_mtime if path.exists() else 0.0

    def load_model(self, model: torch.nn.Module) -> int:
        """Load its weights into a model of its own config; return the step they are from.

        Raises:
            RunError: there are none, or they are damaged or of another model.
        """
        path = self.path / "model.safetensors"
        try:
            with path.open("rb") as file:
                # Only the header is read before names, shapes and types have been compared.
                header = read_header(file, path.stat().st_size)
            check_fit(header, model)
            step = int(header.metadata.get("step", 0))
            weights = safetensors.torch.load_file(path)
            model.load_state_dict(current_weights(weights, model))
            return step
        except FileNotFoundError:
            raise RunError(f"There are no weights in {self.path} yet.") from None
        except DataError as error:
            raise RunError(f"The weights in {path} cannot be used: {error}") from error
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise RunError(f"The weights in {path} are damaged.") from error

    # -- as a whole ---------------------------------------------------------------------------

    def sweep(self) -> None:
        """Delete what a process killed while writing has left; only for who holds the lock."""
        for path in [*self.path.glob(".*.*"), *self.path.glob("snapshots/.*")]:
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
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(self.path.rglob("*")):
                if path.is_file() and not path.name.startswith(".") and path.name not in LOCAL:
                    with suppress(FileNotFoundError):  # a snapshot that was thinned out just now
                        archive.write(path, Path(self.id) / path.relative_to(self.path))
        return buffer.getvalue()

    def command(self) -> str:
        """Return the command line that repeats it."""
        family, config = self._opened()
        flags = [
            f"--{name.replace('_', '-')} {str(value).lower() if isinstance(value, bool) else value}"
            for name, value in config.model_dump().items()
            if value != family.training.config.model_fields[name].default
        ]
        if (self.path / "data.npz").exists():
            flags.append("--data data.npz")
        return " ".join(
            ["python -m training", family.stem, *flags, f"--out runs/{family.stem}-again"]
        )


class RunStore:
    """A folder of runs."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def create(self, family: Family, config: RunConfig, own: Own | None = None) -> Run:
        """Make a new run under an unguessable name."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        name = f"{family.stem}-{stamp}-{secrets.token_hex(8)}"
        return Run.create(self.root / name, family, config, own)

    def get(self, run_id: str) -> Run | None:
        """Return a run by its id, or ``None``.

        Ids come from URLs, so anything that is not a plain name is none.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}", run_id):
            return None
        run = Run(self.root / run_id)
        return run if (run.path / "config.json").is_file() else None

    def __iter__(self) -> Iterator[Run]:
        """Yield all runs, newest first."""
        if not self.root.is_dir():
            return
        runs = [run for path in self.root.iterdir() if (run := self.get(path.name)) is not None]
        yield from sorted(runs, key=lambda run: run.status().created, reverse=True)

    def delete(self, run: Run) -> None:
        """Delete a run's folder for good."""
        shutil.rmtree(run.path)

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


def clean_name(text: str) -> str:
    """Return a name on one line: no control characters, at most ``MAX_NAME`` characters."""
    words = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_NAME]).split()
    return " ".join(words)[:MAX_NAME].strip()


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.7g}"


def _row(cells: Mapping[str, str | None]) -> dict[str, float] | None:
    try:
        row = {RENAMED.get(name, name): float(cell) for name, cell in cells.items() if cell}
    except (ValueError, TypeError):
        return None
    if "step" not in row or not abs(row["step"]) <= MAX_COUNT:  # also false for NaN
        return None
    return {**row, "step": int(row["step"])}

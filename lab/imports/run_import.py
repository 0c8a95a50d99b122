"""Runs from a zip that a stranger may have made: checked first, then a folder of the store.

Taken over are settings, curves, snapshots, data and weights. A checkpoint is not: it is meant for
who wrote it. So an imported run can be looked into, and trained only from its beginning.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from datasets.files.apart import call_apart
from datasets.files.errors import DataError
from datasets.files.saved import check_saved
from lab.imports.weights_import import model_of
from lab.store import Run, RunError, RunStore

Call = Callable[..., object]


def import_run(store: RunStore, file: bytes | Path, call: Call = call_apart) -> Run:
    """Make a run of the store from a zip as :meth:`~lab.store.Run.zipped` writes it.

    Args:
        store: gets the run.
        file: the zip, or where it lies.
        call: calls what reads a stranger's bytes; by default in a process with limits.

    Raises:
        DataError: it is no such zip, or something in it cannot be used; says which and why.
        RunError: the folder of runs cannot be written.
    """
    folder = store.root / f".import-{secrets.token_hex(8)}"
    place = folder / "run"
    try:
        (place / "snapshots").mkdir(parents=True)
        if isinstance(file, bytes):
            (folder / "zip").write_bytes(file)
            file = folder / "zip"
        call("lab.imports.unpacking:unpack", file, place)
        run = Run(place)
        trained = _check(run, call)
        _settle(run, trained)
        path = store.new_path(run.family)
        place.rename(path)
    except OSError as error:
        raise RunError(f"{store.root} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Run(path)


def _check(run: Run, call: Call) -> bool:
    """Compare what was unpacked with what a run of its settings holds.

    Returns:
        Whether there are weights.
    """
    try:
        family, config = run.family, run.config
    except RunError as error:
        reason = str(error).partition("cannot be used: ")[2] or "they are damaged."
        raise DataError(f"Its settings cannot be used: {reason}") from error
    for path in run.snapshots.paths():
        check_saved(path, family.training.data.drawn)
    if (run.path / "data.npz").exists():
        load = family.training.data.load
        loader = f"{load.__module__}:{load.__qualname__}"
        call("lab.imports.unpacking:check_data", loader, run.path / "data.npz")
    if not run.weights.version():
        return False
    header = run.weights.header()
    said_family, said_config, *_ = model_of(header)
    if said_family is not family or said_config != config:
        raise DataError("Its weights are not of the model that its settings describe.")
    if not run.weights.facts(family).items() <= header.metadata.items():
        raise DataError("Its weights are not of a model of the images that it shows.")
    return True


def _settle(run: Run, trained: bool) -> None:
    """Write a status that is true here: nobody trains it."""
    run.notes.rename(run.notes.name())  # as it is shown
    run.notes.mark_foreign()
    status = run.status()
    step, total = max(0, status.step), max(0, status.total)
    finished = status.state == "finished" and trained
    run.write_status(
        replace(
            status,
            state="finished" if finished else "stopped",
            step=min(step, total),
            total=total,
            message="Imported from a file, without a checkpoint: Resume would begin at step 0.",
            created=time.time(),
        )
    )
    with suppress(OSError):
        for path in Path(run.path / "snapshots").glob("*.npz"):
            if int(path.stem) > total:
                path.unlink()

"""Runs from a zip that a stranger may have made: checked first, then a folder of the store.

Taken over are settings, curves, snapshots, data and weights. A checkpoint is not: it is meant for
who wrote it. So an imported run can be looked into, and trained only from its beginning.
"""

from __future__ import annotations

import re
import secrets
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from datasets.files.archives import open_zip
from datasets.files.errors import DataError
from datasets.files.saved import MAX_ARRAYS
from lab.imports.weights_import import read_weights
from lab.store import Run, RunError, RunStore

MAX_ZIP = 200 * 2**20  # bytes of the file; what Streamlit takes at most
MAX_UNPACKED = 600 * 2**20
MAX_FILES = 400
MAX_ROWS, MAX_COLUMNS = 60_000, 40  # of metrics.csv

# The files of a run that are taken over, each with the bytes that it may have.
FILES = {
    "config.json": 64 * 2**10,
    "status.json": 64 * 2**10,
    "name.txt": 4 * 2**10,
    "metrics.csv": 20 * 2**20,
    "interventions.jsonl": 2**20,
    "data.npz": 400 * 2**20,
    "target.npz": 100 * 2**20,
    "model.safetensors": 500 * 2**20,
}
SNAPSHOT = re.compile(r"snapshots/\d{8}\.npz")
MAX_SNAPSHOT = 50 * 2**20


def import_run(store: RunStore, data: bytes) -> Run:
    """Make a run of the store from a zip as :meth:`~lab.store.Run.zipped` writes it.

    Raises:
        DataError: it is no such zip, or something in it cannot be used; says which and why.
        RunError: the folder of runs cannot be written.
    """
    folder = store.root / f".import-{secrets.token_hex(8)}"
    try:
        (folder / "snapshots").mkdir(parents=True)
        for name, content in _contents(data):
            _check_content(name, content)
            (folder / name).write_bytes(content)
        run = Run(folder)
        trained = _check(run)
        _settle(run, trained)
        path = store.new_path(run.family)
        folder.rename(path)
    except OSError as error:
        raise RunError(f"{store.root} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Run(path)


def _contents(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the run in a zip, by their name in its folder, one at a time."""
    if len(data) > MAX_ZIP:
        raise DataError(f"At most {MAX_ZIP // 2**20} MB are taken; the file is larger.")
    with open_zip(data, 4 * MAX_FILES) as archive:
        for name, member in _chosen(archive.infolist()).items():
            try:
                content = archive.read(member)
            # Damage shows as BadZipFile, zlib.error, EOFError, NotImplementedError or RuntimeError.
            except Exception as error:
                raise DataError("The file is not a zip that can be read.") from error
            yield name, content


def _chosen(members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Return the members that belong to a run; all others are left in the zip."""
    places = {PurePosixPath(m.filename): m for m in members if not m.is_dir()}
    tops = [place.parent for place in places if place.name == "config.json"]
    if len(tops) != 1 or len(tops[0].parts) > 1:
        raise DataError("The zip does not hold one run: there is not one config.json in it.")
    chosen = {}
    for place, member in places.items():
        name = str(place.relative_to(tops[0])) if place.is_relative_to(tops[0]) else ""
        limit = FILES.get(name, MAX_SNAPSHOT if SNAPSHOT.fullmatch(name) else None)
        if limit is None:
            continue
        if member.file_size > limit:
            raise DataError(f"{name} is larger than that of any run.")
        chosen[name] = member
    if len(chosen) > MAX_FILES or sum(m.file_size for m in chosen.values()) > MAX_UNPACKED:
        raise DataError("Unpacked, it is larger than any run.")
    return chosen


def _check_content(name: str, content: bytes) -> None:
    if name.endswith(".npz"):
        _check_arrays(name, content)
    elif name == "metrics.csv":
        _check_metrics(content)


def _check(run: Run) -> bool:
    """Compare what was unpacked with what a run of its settings holds.

    Returns:
        Whether there are weights.
    """
    try:
        family, config = run.family, run.config
    except RunError as error:
        reason = str(error).partition("cannot be used: ")[2] or "they are damaged."
        raise DataError(f"Its settings cannot be used: {reason}") from error
    if (run.path / "data.npz").exists():
        run.own_data()
    if not run.weights.version():
        return False
    weights = read_weights(run.weights.file())
    if weights.family is not family or weights.config != config:
        raise DataError("Its weights are not of the model that its settings describe.")
    return True


def _check_metrics(content: bytes) -> None:
    """Refuse a table that would take far more memory than it has bytes."""
    columns = content.partition(b"\n")[0].count(b",") + 1
    lines = content.count(b"\n") + content.count(b"\r")
    if lines > MAX_ROWS or columns > MAX_COLUMNS:
        raise DataError("metrics.csv has more rows or columns than that of any run.")


def _check_arrays(name: str, content: bytes) -> None:
    """Refuse arrays that would take more memory than they have bytes, and objects."""
    try:
        with open_zip(content, MAX_ARRAYS) as archive:
            members = archive.infolist()
            if sum(m.file_size for m in members) > FILES.get(name, MAX_SNAPSHOT):
                raise DataError("It is larger than that of any run.")
            for member in members:
                with archive.open(member) as file:
                    _check_array(file, member.file_size)
    except DataError as error:
        raise DataError(f"{name} cannot be used: {error}") from error
    except Exception as error:
        raise DataError(f"{name} cannot be read: it is damaged.") from error


def _check_array(file, size: int) -> None:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject or dtype.kind not in "biufU":
        raise DataError("It holds other things than numbers and names.")
    count = 1
    for side in shape:
        count *= int(side)  # Python's numbers do not overflow
    if count * dtype.itemsize > size:
        raise DataError("It is cut off, or lies about its size.")


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

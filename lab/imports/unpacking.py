"""The unpacking of a run: every file counted, measured and checked; no torch, for a process apart.

What is here reads a stranger's bytes. :mod:`lab.imports.run_import` has it called with limits.
"""

from __future__ import annotations

import importlib
import json
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from datasets.files.archives import open_zip
from datasets.files.errors import DataError
from datasets.files.saved import MAX_ARRAYS, MAX_DRAWN
from datasets.files.sources import MAX_UPLOAD

__all__ = ["check_data", "unpack"]

MAX_UNPACKED = 600 * 2**20
_BLOCK = 2**20
MAX_FILES = 140  # a hundred snapshots and more
MAX_IMAGES, MAX_POINTS = 1000, 2**16  # along any side of what a page draws
MAX_ROWS, MAX_COLUMNS = 60_000, 40  # of metrics.csv

# The files of a run that are taken over, each with the bytes that it may have.
FILES = {
    "config.json": 64 * 2**10,
    "status.json": 64 * 2**10,
    "name.txt": 4 * 2**10,
    "metrics.csv": 20 * 2**20,
    "interventions.jsonl": 2**20,
    "data.npz": 400 * 2**20,
    "target.npz": MAX_DRAWN,
    "model.safetensors": 500 * 2**20,
}
SNAPSHOT = re.compile(r"snapshots/[0-9]{8}\.npz")


def unpack(file: Path, folder: Path) -> None:
    """Write the files of a run, out of a zip, into a folder with a folder ``snapshots`` in it.

    Raises:
        DataError: it is no such zip, or something in it cannot be used; says which and why.
        OSError: the folder cannot be written.
    """
    if file.stat().st_size > MAX_UPLOAD:
        raise DataError(f"At most {MAX_UPLOAD // 2**20} MB are taken; the file is larger.")
    with open_zip(file, 4 * MAX_FILES) as archive:
        for name, member in _chosen(archive.infolist()).items():
            _copy(archive, member, folder / name)
            _check_content(name, folder / name)


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    with open(path, "xb") as out:
        try:
            with archive.open(member) as file:
                for block in iter(lambda: file.read(_BLOCK), b""):
                    out.write(block)
        except OSError:
            raise
        # Damage shows as BadZipFile, zlib.error, EOFError, NotImplementedError or RuntimeError.
        except Exception as error:
            raise DataError("The file is not a zip that can be read.") from error


def _chosen(members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Return the members that belong to a run; all others are left in the zip."""
    places = {PurePosixPath(m.filename): m for m in members if not m.is_dir()}
    tops = [place.parent for place in places if place.name == "config.json"]
    if len(tops) != 1 or len(tops[0].parts) > 1:
        raise DataError("The zip does not hold one run: there is not one config.json in it.")
    chosen = {}
    for place, member in places.items():
        name = str(place.relative_to(tops[0])) if place.is_relative_to(tops[0]) else ""
        limit = FILES.get(name, MAX_DRAWN if SNAPSHOT.fullmatch(name) else None)
        if limit is None:
            continue
        if member.file_size > limit:
            raise DataError(f"{name} is larger than that of any run.")
        chosen[name] = member
    if len(chosen) > MAX_FILES or sum(m.file_size for m in chosen.values()) > MAX_UNPACKED:
        raise DataError("Unpacked, it is larger than any run.")
    return chosen


def _check_content(name: str, path: Path) -> None:
    if name.endswith(".npz"):
        _check_arrays(name, path)
    elif name == "metrics.csv":
        _check_metrics(path.read_bytes())
    elif name == "model.safetensors":
        _check_finite(path)


def _check_metrics(content: bytes) -> None:
    """Refuse a table that would take far more memory than it has bytes."""
    columns = content.partition(b"\n")[0].count(b",") + 1
    lines = content.count(b"\n") + content.count(b"\r")
    if lines > MAX_ROWS or columns > MAX_COLUMNS:
        raise DataError("metrics.csv has more rows or columns than that of any run.")


def _check_arrays(name: str, path: Path) -> None:
    """Refuse arrays that would take more memory than they have bytes, and objects."""
    try:
        with open_zip(path, MAX_ARRAYS) as archive:
            members = archive.infolist()
            if sum(m.file_size for m in members) > FILES.get(name, MAX_DRAWN):
                raise DataError("It is larger than that of any run.")
            for member in members:
                with archive.open(member) as file:
                    shape = _check_array(file, member.file_size)
                if name != "data.npz":
                    _check_drawn(shape)
    except DataError as error:
        raise DataError(f"{name} cannot be used: {error}") from error
    except Exception as error:
        raise DataError(f"{name} cannot be read: it is damaged.") from error


def _check_drawn(shape: tuple[int, ...]) -> None:
    """Refuse arrays out of which a page would make far more than they are: a frame a pixel, say."""
    if max(shape, default=0) > (MAX_IMAGES if len(shape) > 2 else MAX_POINTS):
        raise DataError("It holds more than a page draws.")


def _check_array(file: IO[bytes], size: int) -> tuple[int, ...]:
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
    return shape


# -- weights and data ----------------------------------------------------------------------------

# How numpy reads the types of weights; of bfloat16, which it has not, the exponent says enough.
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_EXPONENT = 0x7F80


def _check_finite(path: Path) -> None:
    """Refuse weights that are no numbers, a block at a time.

    A header that cannot be read is left to who compares it with the model.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            entries = json.loads(file.read(min(length, _BLOCK * 4)))
            places = {name: (e["dtype"], *e["data_offsets"]) for name, e in entries.items()
                      if name != "__metadata__"}  # fmt: skip
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            return
        for name, (kind, start, end) in places.items():
            if kind in _TYPES:
                file.seek(8 + length + start)
                if not _is_finite(file, kind, end - start):
                    raise DataError(
                        f"The weights are of no use: {name[:80]} is not finite everywhere."
                    )


def _is_finite(file: IO[bytes], kind: str, size: int) -> bool:
    while size > 0 and (block := file.read(min(size, _BLOCK))):
        size -= len(block)
        numbers = np.frombuffer(block, _TYPES[kind], len(block) // np.dtype(_TYPES[kind]).itemsize)
        whole = numbers & _EXPONENT != _EXPONENT if kind == "BF16" else np.isfinite(numbers)
        if not whole.all():
            return False
    return True


def check_data(loader: str, path: Path) -> None:
    """Read the data that a run brings along, as ``module:Class.method`` does, and unpack them.

    So pages need not hold them in memory: see :meth:`lab.store.Run.own_data`.

    Raises:
        DataError: it is not what that loads.
        OSError: they cannot be written.
    """
    module, _, names = loader.partition(":")
    load = importlib.import_module(module)
    for name in names.split("."):
        load = getattr(load, name)
    load(path, mapped=True).save(path, packed=False)

"""A user's data as a run keeps it: an .npz file, checked again whenever it is read."""

from __future__ import annotations

import json
import math
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from datasets.files import write_atomic
from datasets.files.archives import open_zip
from datasets.files.errors import DataError
from datasets.files.sources import bare_name

__all__ = ["MAX_DRAWN", "check_saved", "read_name", "read_saved", "read_texts", "save_arrays"]

MAX_ARRAYS = 64  # in one .npz file
# Bytes of what a page draws of a run at once: sixty images of 256 x 256 in colour, and some more.
MAX_DRAWN = 16 * 2**20
_SMALL = 2**16  # bytes below which an array is read rather than mapped
_DAMAGED = "The saved data cannot be read: the file is damaged."


def save_arrays(
    path: str | Path,
    arrays: Mapping[str, np.ndarray | str],
    texts: Mapping[str, tuple[str, ...]],
    *,
    packed: bool = False,
) -> None:
    """Write an .npz file, whole or not at all.

    Args:
        path: the file.
        arrays: arrays of any shape, and single texts, by their names.
        texts: lists of texts, which become JSON.
        packed: whether to compress them.

    Raises:
        OSError: the file cannot be written.
    """
    fields = {name: np.array(value) for name, value in arrays.items()}
    fields |= {name: np.array(json.dumps(value)) for name, value in texts.items()}
    write = np.savez_compressed if packed else np.savez
    write_atomic(Path(path), lambda file: write(file, **fields))


def read_saved(
    path: str | Path,
    limit: int,
    fields: tuple[str, ...],
    later: tuple[str, ...] = (),
    *,
    mapped: bool = False,
) -> dict[str, np.ndarray]:
    """Read arrays from an .npz file that may have been damaged or swapped.

    Args:
        path: the file.
        limit: the most bytes that its content may take.
        fields: the names of the arrays.
        later: names of further ones, which files of older versions do not have.
        mapped: whether arrays that are not packed stay in the file, and are fetched from it where
            they are used; what is written to them stays in memory.

    Raises:
        DataError: the file is missing, damaged, too large or holds other things.
    """
    try:
        check_saved(path, limit)
        with np.load(path, allow_pickle=False) as saved:
            wanted = [*fields, *(field for field in later if field in saved.files)]
            found = _mapped(Path(path), saved.zip, wanted) if mapped else {}
            return found | {field: saved[field] for field in wanted if field not in found}
    except (DataError, MemoryError):
        raise
    # numpy, zipfile and zlib each have their own ways to stumble over a damaged file.
    except Exception as error:
        raise DataError(_DAMAGED) from error


def read_name(path: str | Path) -> str:
    """Return what saved data are called, without reading them; an empty text if they do not say."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            name = saved["name"] if "name" in saved.files else saved["words"][0]
    except Exception:  # numpy, zipfile and zlib each have their own
        return ""
    return bare_name(str(name))


def _mapped(path: Path, archive: zipfile.ZipFile, fields: list[str]) -> dict[str, np.ndarray]:
    """Map the arrays of an .npz file into memory that stand in it as they are."""
    found = {}
    for field in fields:
        member = archive.getinfo(f"{field}.npy")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size < _SMALL:
            continue
        with open(path, "rb") as file:
            file.seek(member.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
            file.seek(member.header_offset + 30 + name + extra)
            end = file.tell() + member.file_size
            if np.lib.format.read_magic(file) != (1, 0):
                continue
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            if fortran or dtype.hasobject or math.prod(shape) * dtype.itemsize != end - file.tell():
                continue
            found[field] = np.memmap(file, dtype, "c", file.tell(), shape)
    return found


def check_saved(path: str | Path, limit: int) -> None:
    """Refuse an .npz file whose content takes more than ``limit`` bytes, with a `DataError`."""
    with open_zip(path, MAX_ARRAYS) as archive:
        if sum(member.file_size for member in archive.infolist()) > limit:
            raise DataError(f"The saved data is larger than {limit / 2**20:g} MB.")


def read_texts(saved: np.ndarray) -> tuple[str, ...]:
    """Return the texts of a list that was saved as JSON.

    Raises:
        DataError: it is something else.
    """
    try:
        texts = json.loads(str(saved))
    except (ValueError, RecursionError) as error:
        raise DataError(_DAMAGED) from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(_DAMAGED)
    return tuple(texts)

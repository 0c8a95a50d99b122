"""The header of a safetensors file, read and checked before a single weight is.

Such a file is eight bytes with the length of a JSON header, the header, and the numbers. The header
names each tensor with its type, its shape and the bytes that hold it. Nothing here trusts any of
it, and nothing is allocated that is larger than the header itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

import torch
from torch import nn

from datasets.own import DataError
from training.core.former import current_weights

MAX_BYTES = 512 * 2**20
MAX_HEADER = 4 * 2**20
MAX_TENSORS = 10_000
MAX_METADATA = 64 * 2**10  # characters of one value

# The names that safetensors has for the types of weights.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "BOOL": torch.bool,
}
_METADATA = "__metadata__"
_OTHER_FILES = {
    b"\x80": "a pickle",
    b"PK": "a zip file, as PyTorch writes checkpoints",
    b"\x89HDF": "an HDF5 file",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor as a header describes it: its type, shape and place among the numbers, in bytes."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself.

    Attributes:
        metadata: free text by name.
        entries: tensors by name.
    """

    metadata: Mapping[str, str]
    entries: Mapping[str, Entry]


def read_header(file: BinaryIO, size: int) -> Header:
    """Read the header of a safetensors file and compare it with the length of the file.

    Args:
        file: at its beginning.
        size: bytes of the whole file.

    Raises:
        DataError: it is no such file, or damaged, or larger than any of this lab; says why.
    """
    if size > MAX_BYTES:
        raise DataError(f"The file has more than {MAX_BYTES // 2**20} MB.")
    start = file.read(8)
    for magic, what in _OTHER_FILES.items():
        # Half of all lengths below 256 would look like a pickle, but their upper bytes are zero.
        if start.startswith(magic) and start[2:] != bytes(6):
            raise DataError(f"The file is {what}, not safetensors: only safetensors is read.")
    if len(start) < 8:
        raise DataError("The file is too short to be safetensors.")
    length = int.from_bytes(start, "little")
    if MAX_HEADER < length <= size - 8:
        raise DataError(
            f"The file's header has {length / 2**20:.1f} MB; no model here needs more than "
            f"{MAX_HEADER // 2**20}."
        )
    if not 2 <= length <= MAX_HEADER:
        raise DataError("The file is not safetensors: it does not begin with a header.")
    if 8 + length > size:
        raise DataError("The file is cut off: it ends within its header.")
    values = _parse(file.read(length))
    metadata = _metadata(values.pop(_METADATA, {}))
    if len(values) > MAX_TENSORS:
        raise DataError(f"The file has {len(values):,} tensors; no model here has so many.")
    entries = {name: _entry(name, value) for name, value in values.items()}
    _check_places(entries, size - 8 - length)
    return Header(metadata, entries)


def check_fit(header: Header, model: nn.Module) -> None:
    """Compare names, types and shapes with the weights of a model.

    Args:
        header: of the file.
        model: which may be on the meta device.

    Raises:
        DataError: they differ; names the first difference.
    """
    found, expected = current_weights(header.entries, model), model.state_dict()
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if missing or extra:
        what = f"has no {missing[0]}" if missing else f"has a {_shown(extra[0])} too many"
        raise DataError(f"The weights are of another model: the file {what}.")
    for name, weight in expected.items():
        entry = found[name]
        if entry.shape != tuple(weight.shape):
            raise DataError(
                f"The weights are of another model: {name} has shape {_sides(entry.shape)}, not "
                f"{_sides(tuple(weight.shape))}."
            )
        if entry.dtype != weight.dtype:
            raise DataError(
                f"The weights are of another type: {name} is {_word(entry.dtype)}, not "
                f"{_word(weight.dtype)}."
            )


def _parse(text: bytes) -> dict:
    try:
        values = json.loads(text.decode("utf-8"), object_pairs_hook=_no_twice)
    except (ValueError, RecursionError) as error:
        raise DataError("The header of the file is damaged: it is no JSON.") from error
    if not isinstance(values, dict):
        raise DataError("The header of the file is damaged: it is no table.")
    return values


def _no_twice(pairs: list) -> dict:
    # Readers differ in which one they take, so what was checked might not be what is read.
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name comes twice")
    return values


def _metadata(values: object) -> dict[str, str]:
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise DataError("The header of the file is damaged: its metadata is not text by name.")
    if any(len(value) > MAX_METADATA for value in values.values()):
        raise DataError("The header of the file is damaged: its metadata is too long.")
    return values


def _entry(name: str, value: object) -> Entry:
    damaged = DataError(f"The header of the file is damaged at {_shown(name)}.")
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise damaged
    shape, places = value["shape"], value["data_offsets"]
    if not _are_counts(shape) or len(shape) > 8 or not _are_counts(places) or len(places) != 2:
        raise damaged
    if not isinstance(value["dtype"], str) or value["dtype"] not in DTYPES:
        kind = str(value["dtype"])[:12]
        raise DataError(f"{_shown(name)} is of type {kind}, which no model here has.")
    dtype = DTYPES[value["dtype"]]
    if places[1] - places[0] != math.prod(shape) * dtype.itemsize:
        raise DataError(f"The header of the file is damaged: {_shown(name)} has the wrong length.")
    return Entry(dtype, tuple(shape), *places)


def _are_counts(values: object) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 2**40 for v in values)


def _check_places(entries: Mapping[str, Entry], size: int) -> None:
    """Check that the tensors fill the rest of the file, one after the other."""
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != end:
            raise DataError("The header of the file is damaged: tensors overlap or leave a gap.")
        end = entry.end
    if end > size:
        raise DataError(f"The file is cut off: {end - size:,} bytes are missing at its end.")
    if end < size:
        raise DataError(f"The file is damaged: {size - end:,} bytes at its end belong to nothing.")


def _shown(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:39]}…")


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "()"


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

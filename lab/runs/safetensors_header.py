"""The header of a safetensors file, read and checked before a single weight is.

The library checks that it describes what follows it: types, shapes, and places without a gap. Here
it is asked what it says, and whether that can be of a model of this lab.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from datasets.files.errors import DataError
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
_OTHER_FILES = {
    b"\x80": "a pickle",
    b"PK": "a zip file, as PyTorch writes checkpoints",
    b"\x89HDF": "an HDF5 file",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor as a header describes it."""

    dtype: torch.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself.

    Attributes:
        metadata: free text by name.
        entries: tensors by name.
    """

    metadata: Mapping[str, str]
    entries: Mapping[str, Entry]


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file; none of its numbers are read.

    Raises:
        DataError: it is no such file, or damaged, or larger than any of this lab; says why.
        OSError: it cannot be read.
    """
    _check_start(path)
    try:
        with safe_open(path, "pt") as file:
            if len(names := file.keys()) > MAX_TENSORS:
                raise DataError(f"The file has {len(names):,} tensors; no model here has so many.")
            header = Header(
                file.metadata() or {},
                {name: _entry(name, file.get_slice(name)) for name in names},
            )
    except SafetensorError as error:
        raise DataError(
            "The file is damaged or cut off: its header is no JSON that describes what follows, to "
            "the end."
        ) from error
    if any(len(value) > MAX_METADATA for value in header.metadata.values()):
        raise DataError("The header of the file is damaged: its metadata is too long.")
    return header


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


def _check_start(path: Path) -> None:
    """Refuse what is too large, or begins like another kind of file."""
    with path.open("rb") as file:
        start = file.read(8)
    if (size := path.stat().st_size) > MAX_BYTES:
        raise DataError(f"The file has more than {MAX_BYTES // 2**20} MB.")
    for magic, what in _OTHER_FILES.items():
        # Half of all lengths below 256 would look like a pickle, but their upper bytes are zero.
        if start.startswith(magic) and start[2:] != bytes(6):
            raise DataError(f"The file is {what}, not safetensors: only safetensors is read.")
    length = int.from_bytes(start, "little")
    if MAX_HEADER < length <= size - 8:
        raise DataError(
            f"The file's header has {length / 2**20:.1f} MB; no model here needs more than "
            f"{MAX_HEADER // 2**20}."
        )
    if len(start) < 8 or not 2 <= length <= MAX_HEADER:
        raise DataError("The file is not safetensors: it does not begin with a header.")


def _entry(name: str, described) -> Entry:
    kind = described.get_dtype()
    if kind not in DTYPES:
        raise DataError(f"{_shown(name)} is of type {kind}, which no model here has.")
    return Entry(DTYPES[kind], tuple(described.get_shape()))


def _shown(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:39]}…")


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[:9])) or "()"


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

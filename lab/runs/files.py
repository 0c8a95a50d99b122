"""Files of a run that are either whole or not there, and what to say when they cannot be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets.files import write_atomic


class RunError(RuntimeError):
    """A run folder cannot be used; the message says why in one sentence."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says of a path that cannot be written into a :class:`RunError`."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}.") from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_atomic(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def append_whole(path: Path, content: bytes) -> None:
    """Append to a file, all or nothing: what comes next would go on in half a line.

    Raises:
        OSError: it cannot be written; then it is as it was.
    """
    size = path.stat().st_size
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError:
        os.truncate(path, size)
        raise

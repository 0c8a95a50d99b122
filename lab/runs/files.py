"""JSON files that are either whole or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets.files import write_atomic


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

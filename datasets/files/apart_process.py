"""The process that reads a stranger's bytes: ``python -m datasets.files.apart_process``.

It sets its own limits, reads on its input what to call, and leaves the result and an answer in
its folder. See :mod:`datasets.files.apart`.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from datasets.files.apart import RESULT
from datasets.files.errors import DataError


def main() -> None:
    """Carry out the order that stands on standard input."""
    order = json.loads(sys.stdin.buffer.read())
    _limit(**order["bounds"])
    Path("answer.json").write_text(json.dumps(_answer(order)), encoding="utf-8")


def _limit(seconds: int, memory: int, disk: int) -> None:
    with suppress(OSError):  # let the kernel end this process before any other
        Path("/proc/self/oom_score_adj").write_text("1000")
    os.nice(5)  # pages and trainings come first
    # A signal says that time is over; who does not listen is killed a second later.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    for what, most in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_FSIZE, disk),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _answer(order: dict) -> dict[str, str]:
    module, _, name = order["function"].partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
        result = function(*map(_meant, order["arguments"]))
    except DataError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"ended": "memory"}
    except OSError as error:
        return {"ended": "disk" if error.errno in (errno.EFBIG, errno.ENOSPC) else "damage"}
    try:
        _save(result)
    except OSError:
        return {"ended": "disk"}
    return {}


def _save(result: object) -> None:
    if isinstance(result, np.ndarray):
        with open(RESULT, "xb") as file:
            np.save(file, result, allow_pickle=False)
    elif result is not None:
        result.save(RESULT, packed=False)  # type: ignore[attr-defined]


def _meant(value: object) -> object:
    """Return an argument as :mod:`datasets.files.apart` was given it."""
    if isinstance(value, dict):
        ((kind, place),) = value.items()
        return Path(place) if kind == "path" else Path(place).read_bytes()
    return [_meant(part) for part in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()

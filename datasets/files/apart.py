"""The one place where bytes from outside are unpacked and decoded: a process with limits.

A small file may unpack to gigabytes, a decoder may work for minutes or fall over. So the page
never reads an upload itself. It has a function called in a process of its own, one at a time, which
may hold so much memory, work so long and write so much. What comes back are arrays and texts in
files that are checked again here: nothing is unpickled.

The limit of memory holds on Linux. What lies in folders of this machine, for the command line and
the pages, was put there by whoever runs the lab and is read where it is wanted.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from datasets.files.errors import DataError
from paths import ROOT

__all__ = ["RESULT", "SET", "SINGLE", "Bounds", "Busy", "Whole", "call_apart", "turn"]

PATIENCE = 90.0  # seconds that a reader waits for its turn
MAX_ANSWER = 2**20
RESULT = "result"  # the file in which the process leaves what the function returned


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a process that reads may take.

    Attributes:
        seconds: of the processor; on the clock it may be twice as many and five.
        memory: bytes of its own, the 50 million of the interpreter and its libraries among them.
        disk: bytes of the largest file that it may write.
    """

    seconds: int = 60
    memory: int = 256 * 2**20
    disk: int = 600 * 2**20


SINGLE, SET = Bounds(seconds=15), Bounds()  # of one image or table, and of many


@dataclass(frozen=True, slots=True)
class Whole:
    """A file whose bytes, not its path, are what the function takes."""

    path: Path


class Busy(DataError):
    """Others' files are being read; the same may work in a minute."""


T = TypeVar("T")
_ENDED = {
    "memory": "This takes too much memory to open: bring smaller images, or fewer of them.",
    "time": "This takes too long to open: save images anew as plain PNG or JPEG, or bring fewer.",
    "disk": "Unpacked, this is too large: bring less of it at once.",
    "damage": "The file cannot be read: it is damaged.",
}
_KILLED = {signal.SIGXCPU: "time", signal.SIGKILL: "memory", signal.SIGABRT: "memory"}
_at_work = threading.Semaphore(1)


@contextmanager
def turn() -> Iterator[None]:
    """Wait for one's turn among all who read files of strangers in this process.

    Raises:
        Busy: it did not come.
    """
    if not _at_work.acquire(timeout=PATIENCE):
        raise Busy("The lab is reading other people's files: try again in a minute.")
    try:
        yield
    finally:
        _at_work.release()


def call_apart(
    function: str,
    *arguments: object,
    load: Callable[[Path], T] = lambda _: None,
    bounds: Bounds = SET,
    folder: Path | None = None,
) -> T:
    """Have a function called in a process of its own, and load what it returned.

    Args:
        function: ``module:name``. What it returns is an array, or something with a ``save``, or
            ``None``.
        *arguments: what JSON can say, paths and :class:`Whole` files, also in lists.
        load: makes the result of the file that holds it.
        bounds: what it may take.
        folder: where the process may write; a temporary one by default.

    Raises:
        DataError: the function raised one, or took more than it may; the message says what to do.
        Busy: others were at it for too long.
    """
    with turn():
        try:
            work = Path(tempfile.mkdtemp(prefix=".reading-", dir=folder))
        except OSError as error:
            raise DataError(f"There is no room to read the file in: {error.strerror}.") from error
        try:
            _check_answer(_answer(work, function, arguments, bounds))
            return load(work / RESULT)
        finally:
            shutil.rmtree(work, ignore_errors=True)  # what is mapped stays, without a name


def _answer(work: Path, function: str, arguments: tuple, bounds: Bounds) -> dict[str, str]:
    """Start the process in its folder, wait for it, and return what it says."""
    order = {"function": function, "arguments": _as_json(arguments), "bounds": asdict(bounds)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "datasets.files.apart_process"],
            input=json.dumps(order).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=work,
            env=_surroundings(work),
            timeout=2 * bounds.seconds + 5,
            check=False,
        )
        with open(work / "answer.json", "rb") as file:
            return json.loads(file.read(MAX_ANSWER))
    except subprocess.TimeoutExpired:
        return {"ended": "time"}
    except (OSError, ValueError):
        return {"ended": _KILLED.get(-done.returncode, "damage")}


def _surroundings(work: Path) -> dict[str, str]:
    """The variables of the process: nothing of the server's own, which may hold secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return kept | one | {"PYTHONPATH": str(ROOT), "TMPDIR": str(work)}


def _as_json(value: object) -> object:
    """Say arguments as JSON."""
    if isinstance(value, Whole):
        return {"bytes of": str(value.path.resolve())}
    if isinstance(value, Path):
        return {"path": str(value.resolve())}
    return [_as_json(part) for part in value] if isinstance(value, list | tuple) else value


def _check_answer(answer: dict[str, str]) -> None:
    if error := answer.get("error"):
        raise DataError(error)
    if ended := answer.get("ended"):
        raise DataError(_ENDED[ended])

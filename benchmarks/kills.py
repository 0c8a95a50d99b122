"""Trainings and labs in processes of their own, to be killed: for the tests and for ``faults``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from paths import ROOT

T = TypeVar("T")

# The real command line, only with more checkpoints than one in four seconds: these runs are short.
OFTEN = """
import sys
from lab import driver
from cli.train import main

driver.CHECKPOINT_EVERY = 0.1
sys.exit(main())
"""

# A real lab, without pages. It prints the ids of its runs once the first three are at work.
SERVER = """
import sys, time
from registry import FAMILIES
from lab.lab import Lab
{before}
if __name__ == "__main__":
    lab = Lab(sys.argv[1], ["cpu", "cpu", "cpu"])
    config = FAMILIES["nice"].training.config
    short = dict(layers=2, hidden=32, batch=64)
    ids = [
        lab.submit(FAMILIES["nice"], config(**short, iterations=1500, seed=1)),
        lab.submit(FAMILIES["nice"], config(**short, iterations=5000, seed=2)),
        lab.submit(FAMILIES["nice"], config(**short, iterations=5000, seed=3)),
        lab.submit(FAMILIES["nice"], config(**short, iterations=5000, seed=4)),
    ]
    while not all(lab.view(run_id).status.state == "running" for run_id in ids[:3]):
        time.sleep(0.01)
    lab.command(ids[1], "pause")
    print(*ids, flush=True)
    {ending}
"""


def patiently(condition: Callable[[], T], timeout: float = 60.0, every: float = 0.01) -> T:
    """Return the first true value of ``condition()``.

    Raises:
        TimeoutError: ``timeout`` seconds bring none.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"Not so within {timeout:g} s; the last value was {value!r}.")
        time.sleep(every)


def start(*arguments: object, often: bool = False, **options) -> subprocess.Popen:
    """Start the command line; with ``often`` it writes ten checkpoints a second."""
    module = ["-c", OFTEN] if often else ["-m", "training"]
    return subprocess.Popen(
        [sys.executable, *module, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "GENLAB_DEVICE": "cpu"},
        **options,
    )


def serve(
    folder: Path, ending: str, before: str = "", env: Mapping[str, str] | None = None
) -> subprocess.Popen:
    """Start a lab on ``folder/runs`` in a session of its own; see :data:`SERVER`.

    Args:
        folder: where its script goes, too.
        ending: what it does once its runs are at work.
        before: what it does before it starts.
        env: more variables of its environment.
    """
    script = folder / "server.py"
    script.write_text(SERVER.replace("{ending}", ending).replace("{before}", before))
    return subprocess.Popen(
        [sys.executable, str(script), str(folder / "runs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        start_new_session=True,
    )


def end_session(process: subprocess.Popen) -> None:
    """End a lab that :func:`serve` started, and all that it has started."""
    process.kill()
    process.wait()
    for line in processes_of(process.pid):
        os.kill(int(line.split()[0]), signal.SIGKILL)
    process.stdin.close()
    process.stdout.close()


def session_of(pid: int) -> int | None:
    """Return the session of a living process, ``None`` if it is dead."""
    try:
        state, *_, session = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:4]
    except OSError:
        return None
    return None if state == "Z" else int(session)  # a zombie's parent has only not looked yet


def is_alive(pid: int) -> bool:
    return session_of(pid) is not None


def members(*sessions: int) -> list[int]:
    """Return all living processes of some sessions."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if session_of(pid) in sessions]


def command_line(pid: int) -> str:
    """Return the command line of a process, or nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def processes_of(session: int) -> list[str]:
    """The command lines of all living processes of a session: a server, its workers and helpers."""
    return [f"{pid} {command_line(pid)!r}" for pid in members(session)]

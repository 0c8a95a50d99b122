"""A lab of its own for a benchmark: a real server on a free port, ended whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from paths import ROOT


@dataclass(frozen=True, slots=True)
class Served:
    """A lab that answers: its address, the process of its server, and what that writes."""

    url: str
    pid: int
    log: Path

    def stacks(self) -> str:
        """Have the server say where all its threads are, and return that."""
        before = self.log.stat().st_size
        os.kill(self.pid, signal.SIGUSR1)
        deadline = time.monotonic() + 5
        while self.log.stat().st_size == before and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.log.read_text()[before:]


@contextlib.contextmanager
def server(runs: Path, flags: Sequence[str] = (), **env: str) -> Iterator[Served]:
    """Start the lab on a free port, with a folder of runs of its own; end it whatever happens.

    Args:
        runs: the folder of runs.
        flags: more of the command line, settings of Streamlit.
        env: more of the environment.

    Raises:
        RuntimeError: it does not answer within a minute; the message has the end of its log.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    runs.mkdir(parents=True, exist_ok=True)
    log = runs.parent / "server.log"
    command = [sys.executable, "-m", "streamlit", "run", "app.py"]
    command += ["--server.port", str(port), "--server.headless", "true", *flags]
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "GENLAB_RUNS": str(runs), **env},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        if not _answers(f"{address}/_stcore/health", process):
            raise RuntimeError(f"The server did not start:\n{log.read_text()[-2000:]}")
        yield Served(address, process.pid, log)
    finally:
        _end(process)


def _answers(url: str, process: subprocess.Popen) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return True
        time.sleep(0.1)
    return False


def _end(process: subprocess.Popen) -> None:
    """Ask the server to end, then end it and all that it has started."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    # Its session is its own, so this reaches its workers and nobody else.
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

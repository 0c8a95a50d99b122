"""A Ray cluster on this machine, whose nodes can be killed: for the tests and for ``faults``."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.kills import command_line, members, patiently, session_of
from lab.ray.cluster import ADDRESS

ONE_NODE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0" keeps Ray on loopback proper


@dataclass
class Nodes:
    """A cluster on this machine; each node is a session of processes.

    Attributes:
        folder: where its token and its log go.
        address: of its head.
        env: the environment of its nodes, and of whoever uses it.
        sessions: of its nodes, in the order of their start.
    """

    folder: Path
    address: str
    env: dict[str, str]
    sessions: list[int] = field(default_factory=list)

    def start(self, *flags: str) -> int:
        """Start a node; return its session."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        common = ["--disable-usage-stats", "--num-gpus=0"]
        memory = "--object-store-memory=80000000"
        with (self.folder / "nodes.log").open("a") as log:
            node = subprocess.Popen(
                [*command, *flags, *common, memory],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
                start_new_session=True,
            )
        self.sessions.append(node.pid)
        return node.pid

    def start_head(self, cpus: int) -> None:
        """Start the node that all others join."""
        host, _, port = self.address.rpartition(":")
        where = f"--temp-dir={self.sockets}"
        which = f"--node-ip-address={host}", f"--port={port}", f"--num-cpus={cpus}"
        self.start("--head", *which, where, "--include-dashboard=0")
        patiently(lambda: port_answers(int(port), host))
        patiently(lambda: self._started() == 1)

    def join(self, host: str, cpus: int = 1) -> int:
        """Start another node; return its session once it has joined: two at a time may fail."""
        before = self._started()
        session = self.start(
            f"--address={self.address}", f"--num-cpus={cpus}", f"--node-ip-address={host}"
        )
        patiently(lambda: self._started() > before)
        return session

    def _started(self) -> int:
        return (self.folder / "nodes.log").read_text().count("Ray runtime started.")

    @property
    def sockets(self) -> Path:
        return Path(f"/tmp/genlab-{self.folder.stat().st_ino:x}")  # noqa: S108 - must be short

    def processes(self, *sessions: int) -> list[int]:
        """Return all living processes of some nodes, or of all of them."""
        return members(*(sessions or self.sessions))

    def trainers(self) -> list[int]:
        """Return the processes that train."""
        return [pid for pid in self.processes() if command_line(pid).startswith("ray::Trainer")]

    def trainer_of(self, run: Path) -> int | None:
        """Return the process that holds the lock of a run."""
        lock = str(run.resolve() / ".lock")
        for pid in self.trainers():
            with suppress(OSError):
                for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                    with suppress(OSError):
                        if os.readlink(descriptor) == lock:
                            return pid
        return None

    def node_of(self, run: Path) -> int | None:
        """Return the session of the node that trains a run."""
        pid = self.trainer_of(run)
        return session_of(pid) if pid else None

    def kill(self, *sessions: int) -> None:
        """Kill some nodes with all that they have started, or all of them."""

        def alive() -> list[int]:
            for pid in (found := self.processes(*sessions)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return found

        patiently(lambda: not alive(), every=0.1)


@contextmanager
def cluster(folder: Path, host: str = "127.0.0.1") -> Iterator[Nodes]:
    """Return a cluster without nodes yet; kill what it has in the end.

    Args:
        folder: an empty one of its own.
        host: of its head. On 127.0.0.1 Ray has one node and no more.
    """
    # Ray keeps ports from 10002 on for its workers.
    port = next(p for p in range(6400 + os.getpid() % 1000, 9999) if not port_answers(p, host))
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    env = {
        ADDRESS: f"{host}:{port}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_timeout_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
    }
    if host == "127.0.0.1":
        env[ONE_NODE] = "0"
    nodes = Nodes(folder, env[ADDRESS], env)
    try:
        yield nodes
    finally:
        nodes.kill()
        shutil.rmtree(nodes.sockets, ignore_errors=True)


def port_answers(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0

"""Trainings on a Ray cluster instead of on this machine, chosen by ``GENLAB_RAY_ADDRESS``.

The lab starts a process per run as ever, but this one trains nothing: it hands the run to an actor
on the cluster and passes commands and reports on. Should the cluster or Ray fail, a process ends
that the lab can spare.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import filelock
import torch

from lab.driver import Command, Report, drive
from lab.store import Run, RunError, Status
from lab.worker import line_to_lab
from paths import ROOT

ADDRESS = "GENLAB_RAY_ADDRESS"
ANSWER = 60.0  # seconds that a cluster may take to answer
ROOM = 4.0  # seconds without a word after which a run is said to wait for a place
ENDINGS = {"stop": "stopped", "interrupt": "interrupted", "park": "parked"}
TRIES = 3  # workers that may be lost in a row without one checkpoint more
PROBE = 3.0  # seconds between two looks whether the cluster is there, and for each of them
MISSES = 4  # of these in a row
LOCKED = 150.0  # seconds until storage gives up the lock of a lost node; NFS needs 90


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a cluster has when the lab starts.

    Attributes:
        cpus: on all nodes together.
        gpus: on all nodes together.
        largest: CPUs of the node that has most.
    """

    cpus: int
    gpus: int
    largest: int

    def slots(self, on_cpu: int = 0) -> list[str]:
        """Return one device per training at a time; see :func:`training.core.devices.slots`.

        Args:
            on_cpu: trainings at a time on processors; 0 for as many as there are CPUs.
        """
        if self.gpus and os.environ.get("GENLAB_DEVICE", "") != "cpu":
            return ["cuda"] * self.gpus
        return ["cpu"] * int(os.environ.get("GENLAB_SLOTS") or on_cpu or max(1, self.cpus))


def find_cluster() -> Cluster | None:
    """Return the cluster that the lab is to use, or ``None``.

    Raises:
        RunError: ray is not installed, or no cluster answers.
    """
    address = os.environ.get(ADDRESS)
    if not address:
        return None
    # In a process of its own: a driver of Ray ends, with all that is in it, when its cluster does.
    command = [sys.executable, "-c", "from lab.ray.worker import describe; describe()"]
    try:
        answer = subprocess.run(  # noqa: S603 - this Python, with words of our own
            command, cwd=ROOT, capture_output=True, text=True, timeout=ANSWER
        )
        return Cluster(**json.loads(answer.stdout.splitlines()[-1]))
    except (subprocess.TimeoutExpired, LookupError, ValueError, TypeError) as error:
        raise RunError(_no_cluster(address)) from error


def _no_cluster(address: str) -> str:
    try:
        import ray  # noqa: F401
    except ImportError:
        return f"{ADDRESS} is set, but ray is not installed: pip install -r requirements-ray.txt."
    return (
        f"No Ray cluster answers at {address}. Start it, with the token that the lab has, "
        f"or unset {ADDRESS}."
    )


def describe() -> None:
    """Print what the cluster has as one line of JSON."""
    ray = _connect()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    found = {"cpus": sum(cpus), "gpus": gpus, "largest": max(cpus, default=0)}
    sys.stdout.write(json.dumps(found) + "\n")
    ray.shutdown()


def need(device: str, threads: int) -> dict[str, int]:
    """Return what a training asks the cluster for."""
    return {"num_cpus": threads, "num_gpus": 1 if device.startswith("cuda") else 0}


def work(path: str, device: str, threads: int, core: int | None, connection: Connection) -> None:
    """Have the cluster train the run in ``path``; the same to the lab as ``lab.worker.work``.

    Args:
        path: its folder, which all nodes must see under the same name.
        device: ``"cpu"`` or ``"cuda"``.
        threads: CPUs to ask for, if a node has so many.
        core: nothing here.
        connection: reports go out through it, commands come in.
    """
    send, receive = line_to_lab(connection)
    try:
        ray = _connect()
    except Exception as error:  # whatever Ray raises: there is no cluster, and that is a sentence
        _end(Run(path), send, "interrupted", _no_cluster(os.environ[ADDRESS]))
        raise SystemExit(1) from error
    largest = max(int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"])
    try:
        _Relay(Run(path), device, max(1, min(threads, largest)), send, receive).go()
    finally:
        ray.shutdown()


def answers(address: str) -> bool:
    """Tell whether somebody listens at ``host:port``; what is no such address may be anything."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return True
    try:
        socket.create_connection((host, int(port)), timeout=PROBE).close()
        return True
    except OSError:
        return False


def _connect():
    import ray

    if not answers(os.environ[ADDRESS]):
        raise ConnectionError  # Ray itself would try for minutes
    ray.init(address=os.environ[ADDRESS], log_to_driver=False, logging_level="ERROR")
    return ray


def _end(
    run: Run, send: Callable[[Report], None], state: str, message: str, live: dict | None = None
) -> Report:
    status = replace(run.status(), state=state, message=message)
    with suppress(OSError):
        run.write_status(status)
    report = Report(status, live=live or {})
    send(report)
    return report


class Trainer:
    """The actor: it trains one run, somewhere on the cluster."""

    def __init__(self) -> None:
        self.commands: queue.SimpleQueue[Command] = queue.SimpleQueue()

    def obey(self, command: Command) -> None:
        """Take a command; the training reads it between two steps."""
        self.commands.put(command)

    def train(
        self, path: str, device: str, threads: int, patience: float
    ) -> Iterator[Report | None]:
        """Train to the end and yield each report; only ``None`` if another process trains it.

        Args:
            path: the folder of the run.
            device: where to train.
            threads: CPUs to use.
            patience: seconds to wait for the lock of the run.

        Raises:
            RunError: this node does not see the folder.
        """
        if not (Path(path) / "config.json").is_file():
            raise RunError(
                f"{path} is not to be seen on the node {os.uname().nodename}: "
                "all nodes need the folder of runs under the same name."
            )
        reports: queue.SimpleQueue = queue.SimpleQueue()
        done = object()

        def receive(timeout: float | None) -> Command | None:
            with suppress(queue.Empty):
                return self.commands.get(timeout=timeout)
            return None

        def go() -> None:
            torch.set_num_threads(threads)  # of the thread that trains
            deadline = time.monotonic() + patience
            try:
                while True:
                    with suppress(filelock.Timeout):
                        drive(Run(path), device=device, send=reports.put, receive=receive)
                        return
                    if time.monotonic() > deadline:
                        reports.put(None)
                        return
            finally:
                reports.put(done)

        threading.Thread(target=go, name="training", daemon=True).start()
        while (report := reports.get()) is not done:
            yield report


class _Relay:
    """Between the lab and the actors that train a run, one after the other if they are lost."""

    def __init__(self, run: Run, device: str, threads: int, send, receive) -> None:
        self.run, self.device, self.threads = run, device, threads
        self.send, self.receive = send, receive
        self.lock = threading.Lock()  # of the line to the lab
        self.heard = False  # from this actor
        self.last = Report(run.status())
        self.ending: tuple[str, str] | None = None  # the lab wants it to end like this
        self.note = ""  # what has happened to the run, besides what its reports say
        self.actor = self._hire()

    def go(self) -> None:
        """Train to the end, or until the lab ends it."""
        threading.Thread(target=self._pass_commands_on, daemon=True).start()
        threading.Thread(target=self._watch_head, daemon=True).start()
        losses, reached = 0, -1
        while (cause := self._train()) and not self.ending:
            step = self.last.status.step
            losses = 1 if step > reached else losses + 1
            reached = max(step, reached)
            if losses == TRIES:
                self._finish("interrupted", f"{cause} That was {TRIES} times without progress.")
                return
            self.note = f"{cause} It goes on from its last checkpoint."
            self._report(replace(self.last.status, state="starting", message=self.note))
            paused = self.last.status.state == "paused"
            self.heard = False
            self.actor = self._hire()
            if paused:
                self.actor.obey.remote(("pause",))
        if self.ending and self.last.status.active:
            self._finish(*self.ending)

    def _hire(self):
        import ray

        # The same code on all nodes, from the same folder: nothing is sent but names and numbers.
        known = {k: v for k, v in os.environ.items() if k.startswith("GENLAB_") and k != ADDRESS}
        options = {
            **need(self.device, self.threads),
            "max_concurrency": 2,  # it takes commands while it trains
            "runtime_env": {"env_vars": {**known, "PYTHONPATH": str(ROOT.resolve())}},
        }
        return ray.remote(Trainer).options(**options).remote()

    def _train(self) -> str:
        """Have the actor train until the run ends; return why it was lost, or an empty string."""
        import ray

        try:
            if not self.ending:
                self._listen()
        except ray.exceptions.RayTaskError as error:
            self._finish("failed", str(error.cause).split("\n")[0])
        except ray.exceptions.RayError as error:
            return _cause_of_loss(error)
        finally:
            ray.kill(self.actor)  # its CPUs are free at once
        return ""

    def _listen(self) -> None:
        import ray

        patience = LOCKED if self.note else 0.0
        stream = self.actor.train.options(num_returns="streaming").remote(
            str(self.run.path), self.device, self.threads, patience
        )
        if not ray.wait([stream], timeout=ROOM, fetch_local=False)[0]:
            asked = need(self.device, self.threads)
            free = ray.available_resources()
            if asked["num_cpus"] > free.get("CPU", 0) or asked["num_gpus"] > free.get("GPU", 0):
                words = " and ".join(f"{n} {k[4:-1].upper()}" for k, n in asked.items() if n)
                waits = f"{self.note} It waits for a place on the cluster: {words}.".strip()
                self._report(replace(self.last.status, state="starting", message=waits))
        for reference in stream:
            report = ray.get(reference)
            self.heard = True
            if report is not None:
                self._pass_on(report)
            elif self.note:
                self._finish("interrupted", f"{self.note} But its folder is still locked.")

    def _pass_on(self, report: Report) -> None:
        if self.note and report.status.active and not report.status.message:
            report = replace(report, status=replace(report.status, message=self.note))
        self.last = report
        with self.lock:
            self.send(report)

    def _watch_head(self) -> None:
        """End when the cluster does. Ray would end this process after a minute, without a word."""
        address, misses = os.environ.get(ADDRESS, ""), 0
        while misses < MISSES:
            time.sleep(PROBE)
            misses = 0 if answers(address) else misses + 1
        words = f"The Ray cluster at {address} does not answer any more. Resume goes on from the"
        self._finish("interrupted", f"{words} last checkpoint, once it is there again.")
        os._exit(1)

    def _pass_commands_on(self) -> None:
        import ray

        while not self.ending:
            command = self.receive(None)
            if command[0] in ENDINGS:
                self.ending = ENDINGS[command[0]], "".join(command[1:])
                if not self.heard:  # it waits for a place, or has not begun
                    ray.kill(self.actor)
            self.actor.obey.remote(command)

    def _report(self, status: Status) -> None:
        with self.lock:
            self.send(Report(status, live=self.last.live))

    def _finish(self, state: str, message: str) -> None:
        with self.lock:
            self.last = _end(self.run, self.send, state, message, self.last.live)


def _cause_of_loss(error: Exception) -> str:
    if "node has died" in str(error) or "node was" in str(error):
        return "The node that trained this run was lost."
    return "The process that trained this run was killed, or its node ran out of memory."

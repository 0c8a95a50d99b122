"""The process of this machine that trains nothing: it hands a run to an actor on a Ray cluster.

It passes commands and reports on. Should the cluster or Ray fail, a process ends that the lab can
spare.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection

from lab.driver import Report
from lab.ray.cluster import ADDRESS, PROBE, answers, connect, need, no_cluster
from lab.ray.trainer import Trainer
from lab.store import Run, Status
from lab.worker import line_to_lab
from paths import ROOT

ROOM = 4.0  # seconds without a word after which a run is said to wait for a place
ENDINGS = {"stop": "stopped", "interrupt": "interrupted", "park": "parked"}
TRIES = 3  # workers that may be lost in a row without one checkpoint more
MISSES = 4  # looks in a row at which the cluster is not there
LOCKED = 150.0  # seconds until storage gives up the lock of a lost node; NFS needs 90


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
        ray = connect()
    except Exception as error:  # whatever Ray raises: there is no cluster, and that is a sentence
        _end(Run(path), send, "interrupted", no_cluster(os.environ[ADDRESS]))
        raise SystemExit(1) from error
    largest = max(int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"])
    try:
        _Relay(Run(path), device, max(1, min(threads, largest)), send, receive).go()
    finally:
        ray.shutdown()


def _end(
    run: Run, send: Callable[[Report], None], state: str, message: str, live: dict | None = None
) -> Report:
    status = replace(run.status(), state=state, message=message)
    with suppress(OSError):
        run.write_status(status)
    report = Report(status, live=live or {})
    send(report)
    return report


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

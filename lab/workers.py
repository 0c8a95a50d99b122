"""The processes that train, one for each run at work: started, listened to, killed if stuck."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, spawn
from multiprocessing.connection import Connection

from lab.driver import Command, Report
from lab.rules import Rules, RulesError
from lab.runs.files import RunError
from lab.view import View
from lab.worker import wait_for_run, work
from paths import ROOT
from training.core.config import ConfigError
from training.core.devices import slots, this_machine, threads_for, usable_cores

LONGEST_TMPDIR = 60  # characters; a socket's path may have 104, and its own name some 30 of them
STOP_PATIENCE = 5.0  # seconds a worker may take to end before it is killed
TRAINS = ("models", "datasets", "metrics", "training", "lab")  # folders of what a worker imports

PRELOAD = [
    "torch",
    "torch._dynamo",
    "safetensors.torch",
    "tensorboardX.record_writer",
    "tensorboardX.proto.event_pb2",
    "scipy.special",
    "pydantic",
    "filelock",
]


@dataclass
class Worker:
    """A process at work on a run."""

    view: View
    process: multiprocessing.process.BaseProcess
    connection: Connection
    device: str
    core: int | None = None  # the one it keeps to
    looked: float = field(default_factory=time.monotonic)  # when somebody looked at the run
    paused_since: float | None = None  # or since the last command while it is paused
    stopping_since: float | None = None
    ending: bool = False  # because of a limit
    silent: bool = False  # its end of the connection is closed
    ended: bool = False  # its last report has come

    def send(self, command: Command) -> None:
        """Send it a command; one that has just died needs none."""
        self.paused_since = None  # somebody is there
        with suppress(OSError):
            self.connection.send(command)

    @property
    def is_ending(self) -> bool:
        """Whether it has been asked to end."""
        return self.ending or self.stopping_since is not None

    def take(self, report: Report) -> None:
        """Take over what it reports."""
        self.view.take(report)
        paused = report.status.state == "paused"
        self.paused_since = (self.paused_since or time.monotonic()) if paused else None

    def end(self, command: Command | None) -> None:
        """Send it the command of a limit, if there is one and it is not ending already."""
        if command and not self.ending:
            self.ending = True
            self.send(command)

    def stop(self) -> None:
        """Have it write a checkpoint and end; it is killed if that takes too long."""
        self.stopping_since = self.stopping_since or time.monotonic()
        self.send(("stop",))

    def cause_of_death(self) -> tuple[str, str]:
        """Return the state and the message of a run whose process ended without a last word."""
        if self.stopping_since is not None:
            words = "It did not answer within five seconds and was ended"
            return "stopped", f"{words}; its last checkpoint is kept."
        code = self.process.exitcode
        if code == -9:
            words = "The training was killed from outside, or the machine ran out of memory."
        else:
            words = f"The training process ended unexpectedly (exit code {code})."
        return "interrupted", words


@dataclass
class Spare:
    """A process that has no run yet: forked, with its imports done, it spares a click 0.3 s."""

    process: multiprocessing.process.BaseProcess
    connection: Connection
    since: float = field(default_factory=time.time)

    def is_outdated(self) -> bool:
        """Whether the code has been edited since it started."""
        files = (file for folder in TRAINS for file in (ROOT / folder).rglob("*.py"))
        return any(file.stat().st_mtime > self.since for file in files)


class Workers(Mapping[str, Worker]):
    """The processes of a lab by the ids of their runs.

    Args:
        place: where they work.
        lock: of the lab; held whenever one comes, reports or goes.
        heard: called with a worker and each of its reports.
        gone: called with a worker whose process has ended.
        tick: called twice a second or more.

    Attributes:
        warm: whether processes can be started at once.
    """

    def __init__(
        self,
        place: Place,
        lock: threading.RLock,
        heard: Callable[[Worker, Report], None],
        gone: Callable[[Worker], None],
        tick: Callable[[], None],
    ) -> None:
        self.place = place
        self._lock, self._heard, self._gone, self._tick = lock, heard, gone, tick
        self._workers: dict[str, Worker] = {}
        self._spare: Spare | None = None
        self.warm = False  # the fork server is up
        self._closed = False
        method = (
            "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        )
        _find_room_for_sockets()
        self._context = multiprocessing.get_context(method)
        if method == "forkserver":
            # Third-party modules only: one of our own would stay as it was before an edit.
            self._context.set_forkserver_preload(PRELOAD)
        self._wake_out, self._wake_in = self._context.Pipe(duplex=False)
        threading.Thread(target=self._warm_up, name="lab-warm-up", daemon=True).start()
        self._pumping = threading.Thread(target=self._pump, name="lab-pump", daemon=True)
        self._pumping.start()

    def __getitem__(self, run_id: str) -> Worker:
        return self._workers[run_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._workers)

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def listens(self) -> bool:
        """Whether what workers send is read."""
        return self._pumping.is_alive()

    def views(self) -> list[View]:
        """Return the views of the runs at work."""
        return [worker.view for worker in self._workers.values()]

    def free(self) -> list[str]:
        """Return the devices on which another run can train now."""
        free = list(self.place.devices)
        for worker in self._workers.values():
            free.remove(worker.device)
        return free if not self._closed else []

    def start(self, view: View, device: str) -> None:
        """Give a run to the spare process, or to a new one.

        Raises:
            OSError: the system has none to give.
        """
        wanted = view.run.family.training.threads
        threads = threads_for(wanted, len(self.place.devices), self.place.cores)
        core = self._core(device, threads)
        spare = self._take_spare() or self._hire()
        with suppress(OSError):  # it has died this moment: whoever reads from it notices
            spare.connection.send((str(view.run.path.absolute()), device, threads, core))
        worker = Worker(view, spare.process, spare.connection, device, core)
        self._workers[view.run.id] = worker
        self._wake()

    def close(self, reason: str) -> None:
        """End all processes: they write a checkpoint first."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            workers = list(self._workers.values())
            for worker in workers:
                worker.send(("interrupt", reason))
            self._dismiss_spare()
        for worker in workers:
            worker.process.join(STOP_PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
        self._wake()

    def _core(self, device: str, threads: int) -> int | None:
        """Return the core for a worker of one thread: the one that has the fewest of ours."""
        cores = usable_cores()
        if self.place.cores or device != "cpu" or threads > 1 or len(cores) < 2:
            return None
        taken = Counter(worker.core for worker in self._workers.values())
        # Labs that run side by side begin at different cores.
        start = os.getpid() % len(cores)
        return min(cores[start:] + cores[:start], key=taken.__getitem__)

    def _hire(self) -> Spare:
        """Start a process that waits for a run.

        Raises:
            OSError: the system has none to give.
        """
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=wait_for_run,
            args=(self.place.work, self.place.memory, theirs),
            name="genlab-worker",
            daemon=True,
        )
        try:
            with _no_main_module():
                process.start()
        finally:
            theirs.close()
        return Spare(process, ours)

    def _warm_up(self) -> None:
        """Start the fork server, which imports torch: the first click is as fast as the others."""
        with suppress(OSError, RuntimeError):
            spare = self._hire()
            with self._lock:
                self._spare, self.warm = spare, True
                if self._closed:
                    self._dismiss_spare()

    def _keep_spare(self) -> None:
        """Have a process ready for the next run, once those at work have shown something."""
        with self._lock, suppress(OSError):
            begun = all(worker.view.snapshot is not None for worker in self._workers.values())
            if self.warm and self._spare is None and begun and not self._closed:
                self._spare = self._hire()

    def _take_spare(self) -> Spare | None:
        """Return the spare process if it can be used: it lives, and knows the code of now."""
        if (spare := self._spare) is None or not spare.process.is_alive() or spare.is_outdated():
            self._dismiss_spare()
            return None
        self._spare = None
        return spare

    def _dismiss_spare(self) -> None:
        if self._spare is not None:
            self._spare.connection.close()  # it ends at that
            self._spare = None

    def _pump(self) -> None:
        """Read what workers send; this is the one thread that does."""
        while not self._closed:
            with self._lock:
                workers = list(self._workers.values())
            sources = {w.process.sentinel: w for w in workers}
            sources |= {w.connection: w for w in workers if not w.silent}
            ready = connection.wait([self._wake_out, *sources], timeout=0.5)
            if self._wake_out in ready:
                self._wake_out.recv_bytes()
            for worker in {id(sources[r]): sources[r] for r in ready if r in sources}.values():
                self._read(worker)
            self._kill_the_stuck()
            self._tick()
            self._keep_spare()

    def _read(self, worker: Worker) -> None:
        # Asked before reading: what a dead process has sent is all there.
        dead = not worker.process.is_alive()
        try:
            while not worker.silent and worker.connection.poll():
                report = worker.connection.recv()
                with self._lock:
                    self._heard(worker, report)
                    worker.ended = not report.status.active
        except (EOFError, OSError):
            worker.silent = True
        if dead:
            with self._lock:
                worker.process.join()
                worker.connection.close()
                del self._workers[worker.view.run.id]
                self._gone(worker)

    def _kill_the_stuck(self) -> None:
        with self._lock:
            for worker in self._workers.values():
                since = worker.stopping_since
                if since is not None and time.monotonic() - since > STOP_PATIENCE:
                    worker.process.kill()

    def _wake(self) -> None:
        with suppress(OSError):
            self._wake_in.send_bytes(b"x")


@dataclass(frozen=True, slots=True)
class Place:
    """Where workers work.

    Attributes:
        devices: one entry per training that may run at the same time.
        work: what a process does; see :func:`lab.worker.work`.
        cores: of a cluster; 0 for this machine.
        memory: megabytes that a run may take on this machine; 0 for no limit.
    """

    devices: list[str]
    work: Callable[..., None]
    cores: int = 0
    memory: int = 0


def find_place(rules: Rules, devices: list[str] | None = None) -> Place:
    """Return this machine, or the cluster that ``GENLAB_RAY_ADDRESS`` names.

    Raises:
        RulesError: ``GENLAB_SLOTS`` or ``GENLAB_DEVICE`` is nothing of the kind.
        RunError: there is no such cluster.
    """
    try:
        return _find_place(rules, devices)
    except ConfigError as error:
        raise RulesError(str(error)) from error


def _find_place(rules: Rules, devices: list[str] | None) -> Place:
    if not os.environ.get("GENLAB_RAY_ADDRESS"):
        devices = devices or slots(this_machine(), rules.slots_cpu, rules.slots_gpu)
        return Place(devices, work, memory=rules.run_memory_mb)
    from lab.ray.cluster import find_cluster
    from lab.ray.worker import work as work_on_the_cluster

    cluster = find_cluster()
    return Place(devices or cluster.slots(rules.slots_cpu), work_on_the_cluster, cluster.cpus)


def _find_room_for_sockets() -> None:
    """Have multiprocessing keep its sockets in /tmp where TMPDIR is too long for their names.

    Raises:
        RunError: there is no short folder either.
    """
    config = multiprocessing.process.current_process()._config
    if "tempdir" in config or len(tempfile.gettempdir()) <= LONGEST_TMPDIR:
        return
    try:
        config["tempdir"] = tempfile.mkdtemp(prefix="genlab-", dir="/tmp")
    except OSError as error:
        raise RunError("The path of TMPDIR is too long for sockets: set a shorter one.") from error
    atexit.register(shutil.rmtree, config["tempdir"], ignore_errors=True)


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Keep a starting worker from running the page again.

    multiprocessing has each child import the parent's ``__main__``, and in a Streamlit server that
    is whichever page runs at the moment. Our workers need none of it.
    """
    original = _get_preparation_data

    def without_main(name: str) -> dict:
        data = original(name)
        return {key: value for key, value in data.items() if not key.startswith("init_main")}

    with _start_lock:
        spawn.get_preparation_data = without_main
        try:
            yield
        finally:
            spawn.get_preparation_data = original


_start_lock = threading.Lock()
_get_preparation_data = spawn.get_preparation_data

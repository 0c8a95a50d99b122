"""The lab, one per server: starts workers, passes commands on, remembers what the pages show.

It holds run folders and processes, never a generator or a model.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
import threading
import time
import zipfile
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field, replace
from multiprocessing import connection, spawn
from multiprocessing.connection import Connection
from pathlib import Path

from datasets.own_images import Own
from registry import Family
from training.config import RunConfig
from training.devices import slots, threads_for, usable_cores
from training.driver import Report
from training.loop import Snapshot
from training.store import Run, RunError, RunStore, Status
from training.worker import work

MAX_WAITING = 20  # runs in the queue
CURVE = 400  # points kept of each curve for the pages
STOP_PATIENCE = 5.0  # seconds a worker may take to end before it is killed

PRELOAD = [
    "torch",
    "torch._dynamo",
    "normflows",
    "safetensors.torch",
    "scipy.special",
    "pydantic",
    "filelock",
]


class LabFull(RuntimeError):
    """Too many runs are waiting; the message says so."""


@dataclass
class View:
    """What the pages show of a run. Replaced or extended by the pump, only read by the pages.

    Attributes:
        run: its folder.
        status: where it stands.
        rate: steps per second.
        rows: rows of its metrics, thinned to about :data:`CURVE`.
        step: step of ``snapshot``.
        snapshot: its newest picture.
        live: values of the knobs that can be changed while it runs.
        seq: grows with each change, so that a page knows what it has drawn already.
        ahead: runs before it in the queue.
    """

    run: Run
    status: Status
    rate: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    step: int = 0
    snapshot: Snapshot | None = None
    live: dict[str, float] = field(default_factory=dict)
    seq: int = 0
    ahead: int = 0

    def take(self, report: Report) -> None:
        self.status = report.status
        self.rate = report.rate
        if report.rows:
            # After a resume the steps since the last checkpoint come once more.
            first = report.rows[0]["step"]
            self.rows = thin([row for row in self.rows if row["step"] < first] + report.rows)
        self.live = report.live
        if report.snapshot is not None:
            self.step, self.snapshot = report.step, report.snapshot
        self.seq += 1


@dataclass
class Worker:
    """A process at work on a run."""

    view: View
    process: multiprocessing.process.BaseProcess
    connection: Connection
    device: str
    core: int | None = None  # the one it keeps to
    stopping_since: float | None = None
    silent: bool = False  # its end of the connection is closed
    ended: bool = False  # its last report has come


class Lab:
    """Trains runs in worker processes, as many at a time as there are slots; the rest waits.

    Args:
        root: the folder of runs.
        devices: one entry per training that may run at the same time.
    """

    def __init__(self, root: Path | str, devices: list[str] | None = None) -> None:
        self.store = RunStore(root)
        self.devices = devices or slots()
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._views: dict[str, View] = {}
        self._workers: dict[str, Worker] = {}
        self._queue: deque[str] = deque()
        self._patient: set[str] = set()  # runs of comparisons: single ones go before them
        self._closed = False
        method = (
            "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        )
        self._context = multiprocessing.get_context(method)
        if method == "forkserver":
            # Third-party modules only: one of our own would stay as it was before an edit.
            self._context.set_forkserver_preload(PRELOAD)
        self._wake_out, self._wake_in = self._context.Pipe(duplex=False)
        self.store.mark_interrupted()
        threading.Thread(target=self._warm_up, name="lab-warm-up", daemon=True).start()
        threading.Thread(target=self._pump, name="lab-pump", daemon=True).start()
        atexit.register(self.close)

    # -- what pages call ----------------------------------------------------------------------

    def submit(self, family: Family, config: RunConfig, own: Own | None = None) -> str:
        """Create a run and start it, or queue it; return its id.

        Raises:
            LabFull: the queue is full.
            RunError: the folder of runs cannot be written.
        """
        with self._lock:
            self._check_room()
            run = self.store.create(family, config, own)
            self._views[run.id] = View(run, run.status())
            self._enqueue(run.id)
            return run.id

    def submit_all(self, wanted: Sequence[tuple[Family, RunConfig]]) -> list[str]:
        """Create several runs that wait together, behind all single ones; return their ids.

        Raises:
            LabFull: too many wait in this way already.
            RunError: the folder of runs cannot be written.
        """
        with self._lock:
            self._check_room(patient=True)
            runs: list[Run] = []
            try:
                for family, config in wanted:
                    runs.append(self.store.create(family, config))
            except RunError:
                for run in runs:  # a disk that is full: half a comparison is none
                    self.store.delete(run)
                raise
            for run in runs:
                self._views[run.id] = View(run, run.status())
                self._enqueue(run.id, patient=True)
            return [run.id for run in runs]

    def resume_all(self, run_ids: Sequence[str]) -> None:
        """Go on with several runs, as :meth:`resume` does; they wait behind all single ones.

        Raises:
            LabFull: too many wait in this way already.
        """
        with self._lock:
            self._check_room(patient=True)
            for run_id in run_ids:
                self._go_on(run_id, patient=True)

    def stop_all(self, run_ids: Sequence[str]) -> None:
        """Stop several runs; those that wait first, or they would start in the others' places."""
        with self._lock:
            for run_id in sorted(run_ids, key=lambda run_id: run_id not in self._queue):
                self.command(run_id, "stop")

    def resume(self, run_id: str) -> None:
        """Go on with a run that is stopped, interrupted or failed, from its last checkpoint.

        Raises:
            LabFull: the queue is full.
        """
        with self._lock:
            self._go_on(run_id)

    def command(self, run_id: str, *command: object) -> None:
        """Send ``pause``, ``resume``, ``step``, ``stop`` or ``set, name, value`` to a run.

        One that waits in the queue can only be stopped.
        """
        with self._lock:
            worker = self._workers.get(run_id)
            if run_id in self._queue:
                if command[0] == "stop":
                    self._queue.remove(run_id)
                    self._finish(self._views[run_id], "stopped", "")
            elif worker is not None:
                if command[0] == "stop" and worker.stopping_since is None:
                    worker.stopping_since = time.monotonic()
                with suppress(OSError):
                    worker.connection.send(command)

    def view(self, run_id: str) -> View | None:
        """Return what to show of a run, live or from its folder; ``None`` if there is none.

        It is of this moment: what is drawn from it fits together, whatever happens meanwhile.
        """
        with self._lock:
            view = self._views.get(run_id)
            if view is not None:
                queue = list(self._queue)
                view.ahead = queue.index(run_id) if run_id in queue else 0
                return copy(view)
        run = self.store.get(run_id)
        if run is None:
            return None
        view = view_of(run)
        with self._lock:
            # A run that someone else trains (the command line, say) changes under us: not kept.
            return view if view.status.active else copy(self._views.setdefault(run_id, view))

    def delete(self, run_id: str) -> None:
        """Delete a run for good.

        Raises:
            RunError: someone trains it, or its folder cannot be deleted.
        """
        with self._lock:
            run = self.store.get(run_id)
            if run is None:
                return
            if run_id in self._workers or run_id in self._queue or run.is_trained_now():
                raise RunError("A run at work cannot be deleted: stop it first.")
            try:
                self.store.delete(run)
            except OSError as error:
                raise RunError(f"{run.path} cannot be deleted: {error.strerror}.") from error
            self._views.pop(run_id, None)

    def wait(self, run_id: str, seq: int, timeout: float) -> None:
        """Wait at most ``timeout`` seconds until a run has a picture and news beyond ``seq``."""
        deadline = time.monotonic() + timeout
        with self._news:
            while time.monotonic() < deadline:
                view = self._views.get(run_id)
                if view is None or not view.status.active:
                    return
                if view.seq > seq and view.snapshot is not None:
                    return
                self._news.wait(deadline - time.monotonic())

    def active(self) -> list[View]:
        """Return the runs at work, then those in the queue."""
        with self._lock:
            ids = [*self._workers, *self._queue]
            return [view for run_id in ids if (view := self.view(run_id)) is not None]

    def close(self) -> None:
        """End all workers: they write a checkpoint first."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            workers = list(self._workers.values())
            for worker in workers:
                with suppress(OSError):
                    worker.connection.send(
                        ("park", "The lab was closed. Resume goes on from here.")
                    )
        for worker in workers:
            worker.process.join(STOP_PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
        self._wake()

    # -- queue and workers --------------------------------------------------------------------

    def _check_room(self, *, patient: bool = False) -> None:
        if sum((run_id in self._patient) == patient for run_id in self._queue) >= MAX_WAITING:
            raise LabFull(
                f"{MAX_WAITING} runs are waiting already. Stop one of them, or try again later."
            )

    def _go_on(self, run_id: str, *, patient: bool = False) -> None:
        view = self.view(run_id)
        if view is None or view.status.active:
            return
        # Our own worker of a moment ago may not be gone yet: the queue waits for that.
        if run_id not in self._workers and view.run.is_trained_now():
            return
        if not patient:
            self._check_room()
        self._views[run_id] = view
        self._enqueue(run_id, patient=patient)

    def _enqueue(self, run_id: str, *, patient: bool = False) -> None:
        view = self._views[run_id]
        view.status = replace(view.status, state="queued", message="")
        with suppress(OSError):
            view.run.write_status(view.status)
        view.seq += 1
        (self._patient.add if patient else self._patient.discard)(run_id)
        ahead = [other for other in self._queue if patient or other not in self._patient]
        self._queue.insert(len(ahead), run_id)
        self._start_next()

    def _start_next(self) -> None:
        busy = [worker.device for worker in self._workers.values()]
        free = list(self.devices)
        for device in busy:
            free.remove(device)
        ready = [run_id for run_id in self._queue if run_id not in self._workers]
        for run_id, device in zip(ready, free):
            if not self._closed:
                self._queue.remove(run_id)
                self._start(run_id, device)

    def _start(self, run_id: str, device: str) -> None:
        view = self._views[run_id]
        ours, theirs = self._context.Pipe()
        threads = threads_for(view.run.family.training, share=len(self.devices))
        core = self._core(device, threads)
        process = self._context.Process(
            target=work,
            args=(str(view.run.path.absolute()), device, threads, core, theirs),
            name=f"genlab-{run_id}",
            daemon=True,
        )
        try:
            with _no_main_module():
                process.start()
        except OSError as error:
            self._finish(view, "failed", f"The training process could not be started: {error}.")
            return
        finally:
            theirs.close()
        view.status = replace(view.status, state="starting", device=device)
        self._workers[run_id] = Worker(view, process, ours, device, core)
        self._wake()

    def _core(self, device: str, threads: int) -> int | None:
        """Return the core for a worker of one thread: the one that has the fewest of ours."""
        cores = usable_cores()
        if device != "cpu" or threads > 1 or len(cores) < 2:
            return None
        taken = Counter(worker.core for worker in self._workers.values())
        # Labs that run side by side begin at different cores.
        start = os.getpid() % len(cores)
        return min(cores[start:] + cores[:start], key=taken.__getitem__)

    def _warm_up(self) -> None:
        """Start the fork server, which imports torch: the first click is as fast as the others."""
        process = self._context.Process(target=_nothing, daemon=True)
        with suppress(OSError, RuntimeError), _no_main_module():
            process.start()
            process.join()

    # -- the pump: the one thread that reads what workers send ---------------------------------

    def _pump(self) -> None:
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

    def _read(self, worker: Worker) -> None:
        # Asked before reading: what a dead process has sent is all there.
        dead = not worker.process.is_alive()
        try:
            while not worker.silent and worker.connection.poll():
                report = worker.connection.recv()
                with self._news:
                    worker.view.take(report)
                    worker.ended = not report.status.active
                    self._news.notify_all()
        except (EOFError, OSError):
            worker.silent = True
        if dead:
            self._bury(worker)

    def _bury(self, worker: Worker) -> None:
        with self._news:
            worker.process.join()
            worker.connection.close()
            del self._workers[worker.view.run.id]
            if not worker.ended:
                self._finish(worker.view, *_cause_of_death(worker))
            self._start_next()
            self._news.notify_all()

    def _finish(self, view: View, state: str, message: str) -> None:
        view.status = replace(view.status, state=state, message=message)
        view.rate = 0.0
        view.seq += 1
        with suppress(OSError):
            view.run.write_status(view.status)

    def _kill_the_stuck(self) -> None:
        with self._lock:
            for worker in self._workers.values():
                since = worker.stopping_since
                if since is not None and time.monotonic() - since > STOP_PATIENCE:
                    worker.process.kill()

    def _wake(self) -> None:
        with suppress(OSError):
            self._wake_in.send_bytes(b"x")


def get_lab() -> Lab:
    """Return the lab of this process.

    It hangs on ``sys``, where neither a hot reload nor "clear cache" (which any visitor can press)
    finds it: a second lab would orphan the runs of the first.
    """
    with _singleton_lock:
        lab = sys.__dict__.get("_generative_lab")
        if lab is None:
            root = os.environ.get("GENLAB_RUNS") or Path(__file__).parent.parent / "runs"
            lab = sys.__dict__.setdefault("_generative_lab", Lab(root))
        return lab


_singleton_lock = sys.__dict__.setdefault("_generative_lab_lock", threading.Lock())


def view_of(run: Run) -> View:
    """Return what to show of a run that is not at work here, read from its folder."""
    view = View(run, run.status(), rows=thin(run.metrics()))
    for step in reversed(run.snapshot_steps()):
        with suppress(OSError, ValueError, EOFError, zipfile.BadZipFile):  # damaged, or just gone
            view.step, view.snapshot = step, run.snapshot(step)
            break
    return view


def thin(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return at most :data:`CURVE` rows, evenly spread over the steps.

    The first and the last stay, and so do those with metrics as long as they are few.
    """
    if len(rows) <= CURVE:
        return rows
    # Metrics may come at steps at which no losses are told.
    counts = Counter(name for row in rows for name in row)
    rare = {name for name, count in counts.items() if count <= CURVE // 4}
    first, last = rows[0]["step"], rows[-1]["step"]
    width = (last - first) / (CURVE // 2)
    kept, seen = [], None
    for row in rows:
        place = (row["step"] - first) // width
        if place != seen or row is rows[-1] or rare & row.keys():
            kept.append(row)
        seen = place
    return kept


def _cause_of_death(worker: Worker) -> tuple[str, str]:
    code = worker.process.exitcode
    if worker.stopping_since is not None:
        return (
            "stopped",
            "It did not answer within five seconds and was ended; its last checkpoint is kept.",
        )
    if code == -9:
        return (
            "interrupted",
            "The training was killed from outside, or the machine ran out of memory.",
        )
    return "interrupted", f"The training process ended unexpectedly (exit code {code})."


def _nothing() -> None:
    pass


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

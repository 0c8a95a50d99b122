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
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from multiprocessing import connection, spawn
from multiprocessing.connection import Connection
from pathlib import Path

from lab.housekeeping import Kept, plan
from lab.memory import dump_threads_on_signal, keep_small
from lab.people import EVERYBODY, Access, Person, owned_by
from lab.queue_order import in_turn, waits
from lab.ray import worker as ray_worker
from lab.rules import Rules, load_rules
from lab.store import Run, RunError, RunStore
from lab.view import View, view_of
from lab.worker import work
from paths import ROOT
from registry import Family
from training.core.config import RunConfig
from training.core.devices import slots, threads_for, usable_cores
from training.core.family import Own

STOP_PATIENCE = 5.0  # seconds a worker may take to end before it is killed
TENDING = 30.0  # seconds between two looks at the space that runs take
TYPICAL = 20  # ended runs that say how long a run takes

BEYOND = "more is not allowed in this lab"

PRELOAD = [
    "torch",
    "torch._dynamo",
    "normflows",
    "safetensors.torch",
    "tensorboardX.record_writer",
    "tensorboardX.proto.event_pb2",
    "scipy.special",
    "pydantic",
    "filelock",
]


class LabFull(RuntimeError):
    """There is no room for this run now; the message says why and what to do."""


@dataclass
class Worker:
    """A process at work on a run."""

    view: View
    process: multiprocessing.process.BaseProcess
    connection: Connection
    device: str
    core: int | None = None  # the one it keeps to
    stopping_since: float | None = None
    ending: bool = False  # because of a limit
    silent: bool = False  # its end of the connection is closed
    ended: bool = False  # its last report has come


class Lab:
    """Trains runs in worker processes, as many at a time as there are slots; the rest waits.

    Args:
        root: the folder of runs.
        devices: one entry per training that may run at the same time.
        rules: what it allows; by default what its configuration file says.

    Attributes:
        done: set when the lab has been closed.

    Raises:
        RulesError: the configuration file cannot be used.
    """

    def __init__(
        self, root: Path | str, devices: list[str] | None = None, rules: Rules | None = None
    ) -> None:
        self.store = RunStore(root)
        self.rules = rules or load_rules()
        cluster = ray_worker.find_cluster()  # or the workers are processes of this machine
        own = slots(self.rules.slots_cpu, self.rules.slots_gpu)
        self.devices = devices or (cluster.slots(self.rules.slots_cpu) if cluster else own)
        self._cores = cluster.cpus if cluster else 0
        self._work = ray_worker.work if cluster else work
        self.used = 0  # bytes that all runs take, as of the last look
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._views: dict[str, View] = {}
        self._workers: dict[str, Worker] = {}
        self._queue: deque[str] = deque()
        self._patient: set[str] = set()  # runs of comparisons: single ones go before them
        self._served: dict[str, int] = {}  # owner: number of the last slot they got
        self._looked: dict[str, float] = {}  # run: when somebody looked at it, monotonic
        self._durations: deque[float] = deque(maxlen=TYPICAL)
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
        self.done = threading.Event()
        if self.rules.runs or self.rules.disk_gb or self.rules.run_mb:
            threading.Thread(target=self._tend, name="lab-tend", daemon=True).start()
        atexit.register(self.close)

    # -- what pages call ----------------------------------------------------------------------

    def submit(
        self, family: Family, config: RunConfig, own: Own | None = None, who: Person = EVERYBODY
    ) -> str:
        """Create a run of a person and start it, or queue it; return its id.

        Raises:
            LabFull: the queue or the disk is full.
            RunError: the folder of runs cannot be written.
        """
        with self._lock:
            self.check_room(who.id)
            run = self.store.create(family, config, own)
            access = owned_by(who)
            run.set_access(access)
            self._views[run.id] = View(run, run.status(), access=access)
            self._enqueue(run.id)
            return run.id

    def submit_all(
        self, wanted: Sequence[tuple[Family, RunConfig]], who: Person = EVERYBODY
    ) -> list[str]:
        """Create several runs that wait together, behind all single ones; return their ids.

        Raises:
            LabFull: too many wait in this way already, or the disk is full.
            RunError: the folder of runs cannot be written.
        """
        with self._lock:
            self.check_room(who.id, patient=True)
            runs: list[Run] = []
            try:
                for family, config in wanted:
                    runs.append(self.store.create(family, config))
            except RunError:
                for run in runs:  # a disk that is full: half a comparison is none
                    self.store.delete(run)
                raise
            for run in runs:
                access = owned_by(who)
                run.set_access(access)
                self._views[run.id] = View(run, run.status(), access=access)
                self._enqueue(run.id, patient=True)
            return [run.id for run in runs]

    def resume_all(self, run_ids: Sequence[str]) -> None:
        """Go on with several runs, as :meth:`resume` does; they wait behind all single ones.

        Raises:
            LabFull: too many wait in this way already, or the disk is full.
            RunError: one of them has had all the time that a run may take here.
        """
        with self._lock:
            owners = {view.access.owner for run_id in run_ids if (view := self.view(run_id))}
            for owner in owners:
                self.check_room(owner, patient=True)
            for run_id in run_ids:
                self._go_on(run_id, patient=True)

    def stop_all(self, run_ids: Sequence[str]) -> None:
        """Stop several runs; those that wait first, or they would start in the others' places."""
        with self._lock:
            for run_id in sorted(run_ids, key=lambda run_id: run_id not in self._queue):
                self.command(run_id, "stop")

    def resume(self, run_id: str) -> None:
        """Go on with a run that is stopped, parked, interrupted or failed, from its checkpoint.

        Raises:
            LabFull: the queue or the disk is full.
            RunError: it has had all the time that a run may take here.
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
                self._send(worker, command)

    def view(self, run_id: str) -> View | None:
        """Return what to show of a run, live or from its folder; ``None`` if there is none.

        It is of this moment: what is drawn from it fits together, whatever happens meanwhile.
        """
        with self._lock:
            view = self._views.get(run_id)
            if view is not None:
                if run_id in self._queue:
                    view.ahead, view.wait, view.held = self._place(run_id)
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

    def share(self, run_id: str, access: Access) -> None:
        """Change to whom a run belongs, and whether others may look at it.

        Raises:
            RunError: its folder cannot be written.
        """
        with self._lock:
            run = self.store.get(run_id)
            if run is None:
                return
            run.set_access(access)
            if run_id in self._views:
                self._views[run_id].access = access

    def look(self, run_id: str, wake: bool) -> None:
        """Note that somebody looks at a run.

        Args:
            run_id: which.
            wake: whether it goes on, if it was parked.
        """
        with self._lock:
            self._looked[run_id] = time.monotonic()
            view = self._views.get(run_id) or self.view(run_id)
            if wake and view is not None and view.status.state == "parked":
                with suppress(LabFull, RunError):  # later, then: somebody still looks
                    self.resume(run_id)

    def wait(self, run_id: str, seq: int, timeout: float) -> None:
        """Wait at most ``timeout`` seconds until a run has a snapshot and news beyond ``seq``."""
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
        """Return the runs at work, then those in the queue, in the order of their turns."""
        with self._lock:
            order, held = self._order()
            # One that was stopped and resumed in a breath is in both.
            ids = dict.fromkeys([*self._workers, *order, *held])
            return [view for run_id in ids if (view := self.view(run_id)) is not None]

    def workers(self) -> list[tuple[View, int, float]]:
        """Return each run at work, its process, and the seconds since somebody looked at it."""
        now = time.monotonic()
        with self._lock:
            return [
                (copy(w.view), w.process.pid or 0, now - self._looked.get(run_id, now))
                for run_id, w in self._workers.items()
            ]

    def close(self) -> None:
        """End all workers: they write a checkpoint first."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self.done.set()
            workers = list(self._workers.values())
            for worker in workers:
                with suppress(OSError):
                    worker.connection.send(
                        ("interrupt", "The lab was closed. Resume goes on from here.")
                    )
        for worker in workers:
            worker.process.join(STOP_PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
        self._wake()

    # -- queue and workers --------------------------------------------------------------------

    def check_room(self, owner: str = "", *, patient: bool = False) -> None:
        """Check that a run of this owner can wait, and be written.

        Args:
            owner: whose it is.
            patient: whether it belongs to a comparison; these have a line of their own.

        Raises:
            LabFull: it cannot; says why.
        """
        rules = self.rules
        waiting = [run_id for run_id in self._queue if (run_id in self._patient) == patient]
        if len(waiting) >= rules.queue:
            raise LabFull(
                f"{rules.queue} runs are waiting already. Stop one of them, or try again later."
            )
        theirs = sum(self._views[run_id].access.owner == owner for run_id in waiting)
        if owner and rules.waiting and theirs >= rules.waiting:
            raise LabFull(f"{theirs} of your runs are waiting already, and more may not.")
        self.check_disk()

    def check_disk(self) -> None:
        """Check that there is room on disk for another run.

        Raises:
            LabFull: there is none.
        """
        limit = self.rules.disk_gb
        if limit and self.used > limit * 1e9:
            raise LabFull(
                f"The runs of this lab fill the {limit:g} GB that they may take. Delete some on "
                "the page Runs, or ask who runs the lab."
            )

    def _order(self) -> tuple[list[str], list[str]]:
        at_work = Counter(worker.view.access.owner for worker in self._workers.values())
        waiting = [(run_id, self._views[run_id].access.owner) for run_id in self._queue]
        return in_turn(waiting, at_work, self._served, self.rules.running)

    def _place(self, run_id: str) -> tuple[int, float | None, bool]:
        """Return how many runs start before one in the queue, when it starts, if it is held."""
        order, held = self._order()
        if run_id in held:
            return len(order) + held.index(run_id), None, True
        left = [worker.view.seconds_left() for worker in self._workers.values()]
        typical = sorted(self._durations)[len(self._durations) // 2] if self._durations else None
        place = order.index(run_id)
        return place, waits(place + 1, len(self.devices), left, typical)[-1], False

    def _go_on(self, run_id: str, *, patient: bool = False) -> None:
        view = self.view(run_id)
        if view is None or view.status.active:
            return
        # Our own worker of a moment ago may not be gone yet: the queue waits for that.
        if run_id not in self._workers and view.run.is_trained_now():
            return
        limit = self.rules.run_hours
        if limit and view.status.seconds >= limit * 3600:
            raise RunError(f"This run has had its {limit:g} hours: {BEYOND}.")
        if not patient:
            self.check_room(view.access.owner)
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
        for device in free:
            # One at a time: each start changes whose turn it is.
            ready = [run_id for run_id in self._order()[0] if run_id not in self._workers]
            if ready and not self._closed:
                self._queue.remove(ready[0])
                owner = self._views[ready[0]].access.owner
                self._served[owner] = max(self._served.values(), default=0) + 1
                self._start(ready[0], device)

    def _start(self, run_id: str, device: str) -> None:
        view = self._views[run_id]
        ours, theirs = self._context.Pipe()
        threads = threads_for(view.run.family.training.threads, len(self.devices), self._cores)
        core = self._core(device, threads)
        process = self._context.Process(
            target=self._work,
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
        self._looked[run_id] = time.monotonic()
        self._wake()

    def _core(self, device: str, threads: int) -> int | None:
        """Return the core for a worker of one thread: the one that has the fewest of ours."""
        cores = usable_cores()
        if self._cores or device != "cpu" or threads > 1 or len(cores) < 2:
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
            self._keep_limits()

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
            if worker.view.status.state == "finished":
                self._durations.append(worker.view.status.seconds)
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

    # -- limits -------------------------------------------------------------------------------

    def _keep_limits(self) -> None:
        """Park what nobody looks at, stop what has had its time."""
        idle, hours = self.rules.park_minutes, self.rules.run_hours
        now = time.monotonic()
        with self._lock:
            for run_id, worker in self._workers.items():
                command = None
                if hours and worker.view.status.seconds >= hours * 3600:
                    command = "stop", f"It has had its {hours:g} hours: {BEYOND}."
                elif idle and now - self._looked[run_id] > idle * 60:
                    words = f"Nobody looked at it for {idle:g} minutes, so it made room."
                    command = "park", f"{words} It goes on when its owner comes back."
                if command and not worker.ending:
                    worker.ending = True
                    self._send(worker, command)

    def _send(self, worker: Worker, command: tuple) -> None:
        with suppress(OSError):
            worker.connection.send(command)

    def _tend(self) -> None:
        """Measure what runs take, every now and then, and make room."""
        self.tend(time.time())
        while not self.done.wait(TENDING):
            self.tend(time.time())

    def tend(self, now: float) -> None:
        """Warn about runs that have to leave, and delete those whose time has come.

        Args:
            now: Unix time.
        """
        kept = [self._kept(run) for run in self.store]
        self.used = sum(run.size for run in kept)
        steps = plan(kept, self.rules, now)
        for run_id in steps.delete:
            with suppress(RunError):  # it has been resumed meanwhile, or its disk is away
                self.delete(run_id)
        leaves = now + self.rules.warning_hours * 3600
        notes = dict.fromkeys(steps.warn, leaves) | dict.fromkeys(steps.spare)
        for run_id, at in notes.items():
            run = self.store.get(run_id)
            if run is not None:
                with suppress(RunError):
                    run.announce_leaving(at)
        self._stop_the_large({run.id: run.size for run in kept})

    def _kept(self, run: Run) -> Kept:
        status, access = run.status(), run.access()
        ended = not status.active and status.state != "parked"
        return Kept(run.id, access.owner, status.created, run.size(), ended, run.leaves())

    def _stop_the_large(self, sizes: dict[str, int]) -> None:
        limit = self.rules.run_mb
        with self._lock:
            for run_id, worker in self._workers.items():
                if limit and sizes.get(run_id, 0) > limit * 1e6 and not worker.ending:
                    worker.ending = True
                    self._send(worker, ("stop", f"It takes more than {limit:g} MB: {BEYOND}."))


def get_lab(made: Callable[[Lab], None] | None = None) -> Lab:
    """Return the lab of this process.

    It hangs on ``sys``, where neither a hot reload nor "clear cache" (which any visitor can press)
    finds it: a second lab would orphan the runs of the first.

    Args:
        made: called with the lab once, when it has been made.
    """
    with _singleton_lock:
        lab = sys.__dict__.get("_generative_lab")
        if lab is None:
            root = os.environ.get("GENLAB_RUNS") or ROOT / "runs"
            lab = sys.__dict__.setdefault("_generative_lab", Lab(root))
            keep_small(lab.done)
            dump_threads_on_signal()
            if made is not None:
                made(lab)
        return lab


_singleton_lock = sys.__dict__.setdefault("_generative_lab_lock", threading.Lock())


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

"""The lab, one per server: starts workers, passes commands on, remembers what the pages show.

It holds run folders and processes, never a generator or a model.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from pathlib import Path

from lab.driver import Report
from lab.housekeeping import Kept, departures
from lab.limits import LabFull, Limits
from lab.memory import dump_threads_on_signal, keep_small
from lab.queue import Queue
from lab.rules import Rules, load_rules
from lab.runs.access import EVERYBODY, Access, Person, owned_by
from lab.store import Run, RunError, RunStore
from lab.view import View, view_of
from lab.workers import Worker, Workers, find_place
from paths import ROOT
from registry import Family
from training.core.config import RunConfig
from training.core.devices import suited
from training.core.family import Own

__all__ = ["Lab", "get_lab", "runs_folder"]

TENDING = 30.0  # seconds between two looks at the space that runs take


class Lab:
    """Trains runs in worker processes, as many at a time as there are slots; the rest waits.

    Args:
        root: the folder of runs.
        devices: one entry per training that may run at the same time.
        rules: what it allows; by default what its configuration file says.

    Attributes:
        store: its runs.
        limits: its rules, and what runs take.
        done: set when the lab has been closed.

    Raises:
        RulesError: the configuration cannot be used.
        RunError: another lab works in this folder.
    """

    def __init__(
        self, root: Path | str, devices: list[str] | None = None, rules: Rules | None = None
    ) -> None:
        self.store = RunStore(root)
        self.limits = Limits(rules or load_rules())
        self.done = threading.Event()
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._views: dict[str, View] = {}
        self._queue = Queue()
        place = find_place(self.rules, devices)
        self._claim = self.store.claim()
        self.store.sweep()
        self.store.mark_interrupted()
        with self._lock:  # for which their thread waits, until there is a lab that it can call
            self._workers = Workers(place, self._lock, self._heard, self._gone, self._keep_limits)
        if self.limits.measures:
            threading.Thread(target=self._tend, name="lab-tend", daemon=True).start()
        atexit.register(self.close)

    @property
    def rules(self) -> Rules:
        """What it allows."""
        return self.limits.rules

    @property
    def devices(self) -> list[str]:
        """One entry per training that may run at the same time."""
        return self._workers.place.devices

    @property
    def listens(self) -> bool:
        """Whether it takes what its workers report."""
        return self._workers.listens

    @property
    def can_start(self) -> bool:
        """Whether it has started a process, so that it can start others."""
        return self._workers.warm

    def devices_for(self, family: Family) -> list[str]:
        """Return those of its devices on which runs of a family train."""
        return suited(self.devices, family.training.data.faster_on)

    # -- starting and ending ------------------------------------------------------------------

    def submit(
        self, family: Family, config: RunConfig, own: Own | None = None, who: Person = EVERYBODY
    ) -> str:
        """Create a run of a person and start it, or queue it; return its id.

        Raises:
            LabFull: the queue or the disk is full.
            RunError: the folder of runs cannot be written.
        """
        return self._submit([(family, config, own)], who, patient=False)[0]

    def submit_all(
        self, wanted: Sequence[tuple[Family, RunConfig]], who: Person = EVERYBODY
    ) -> list[str]:
        """Create several runs that wait together, behind all single ones; return their ids.

        Raises:
            LabFull: too many wait in this way already, or the disk is full.
            RunError: the folder of runs cannot be written.
        """
        return self._submit([(*pair, None) for pair in wanted], who, patient=True)

    def _submit(
        self,
        wanted: Sequence[tuple[Family, RunConfig, Own | None]],
        who: Person,
        *,
        patient: bool,
    ) -> list[str]:
        access = owned_by(who)
        with self._lock:
            self.limits.check_room(self._queue, who.id, len(wanted), patient=patient)
            runs: list[Run] = []
            try:
                for family, config, own in wanted:
                    runs.append(self.store.create(family, config, own))
                    runs[-1].notes.set_access(access)
            except RunError:
                for run in runs:  # a disk that is full: half a comparison is none
                    self.store.delete(run)
                raise
            for run in runs:
                self._enqueue(View(run, run.status(), access=access), patient=patient)
            return [run.id for run in runs]

    def resume(self, run_id: str) -> None:
        """Go on with a run that is stopped, parked, interrupted or failed, from its checkpoint.

        Raises:
            LabFull: the queue or the disk is full.
            RunError: it has had all the time that a run may take here.
        """
        self._resume([run_id], patient=False)

    def resume_all(self, run_ids: Sequence[str]) -> None:
        """Go on with several runs, as :meth:`resume` does; they wait behind all single ones.

        Raises:
            LabFull: too many wait in this way already, or the disk is full.
            RunError: one of them has had all the time that a run may take here.
        """
        self._resume(run_ids, patient=True)

    def _resume(self, run_ids: Sequence[str], *, patient: bool) -> None:
        with self._lock:
            views = [view for run_id in run_ids if (view := self._at_rest(run_id)) is not None]
            for view in views:
                self.limits.check_hours(view.status)
            for owner, count in Counter(view.access.owner for view in views).items():
                self.limits.check_room(self._queue, owner, count, patient=patient)
            for view in views:
                self._enqueue(view, patient=patient)

    def _at_rest(self, run_id: str) -> View | None:
        """Return the view of a run that nobody trains, or ``None``."""
        view = self.view(run_id)
        if view is None or view.status.active:
            return None
        # Our own worker of a moment ago may not be gone yet: the queue waits for that.
        return view if run_id in self._workers or not view.run.is_trained_now() else None

    def command(self, run_id: str, *command: object) -> None:
        """Send ``pause``, ``resume``, ``step``, ``stop`` or ``set, name, value`` to a run.

        One that waits in the queue can only be stopped.
        """
        with self._lock:
            worker = self._workers.get(run_id)
            if run_id in self._queue:
                if command[0] == "stop":
                    self._finish(self._queue.remove(run_id), "stopped", "")
            elif worker is not None and command == ("stop",):
                worker.stop()
            elif worker is not None:
                worker.send(command)

    def stop_all(self, run_ids: Iterable[str]) -> None:
        """Stop several runs; those that wait first, or they would start in the others' places."""
        with self._lock:
            for run_id in sorted(run_ids, key=lambda run_id: run_id not in self._queue):
                self.command(run_id, "stop")

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

    def close(self) -> None:
        """End all workers: they write a checkpoint first."""
        self.done.set()
        self._workers.close("The lab was closed. Resume goes on from here.")
        self._claim.release()

    # -- looking ------------------------------------------------------------------------------

    def view(self, run_id: str) -> View | None:
        """Return what to show of a run, live or from its folder; ``None`` if there is none.

        It is of this moment: what is drawn from it fits together, whatever happens meanwhile.
        """
        with self._lock:
            view = self._views.get(run_id)
            if view is not None:
                if run_id in self._queue:
                    self._queue.place(view, self._workers.views(), self.rules.running)
                return copy(view)
        run = self.store.get(run_id)
        if run is None:
            return None
        view = view_of(run)
        with self._lock:
            # A run that someone else trains (the command line, say) changes under us: not kept.
            return view if view.status.active else copy(self._views.setdefault(run_id, view))

    def look(self, run_id: str, wake: bool) -> None:
        """Note that somebody looks at a run.

        Args:
            run_id: which.
            wake: whether it goes on, if it was parked.
        """
        with self._lock:
            if worker := self._workers.get(run_id):
                worker.looked = time.monotonic()
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
            order, held = self._turns()
            # One that was stopped and resumed in a breath is in both.
            ids = dict.fromkeys([*self._workers, *order, *held])
            return [view for run_id in ids if (view := self.view(run_id)) is not None]

    def workers(self) -> list[tuple[View, int, float]]:
        """Return each run at work, its process, and the seconds since somebody looked at it."""
        now = time.monotonic()
        with self._lock:
            return [
                (copy(worker.view), worker.process.pid or 0, now - worker.looked)
                for worker in self._workers.values()
            ]

    def share(self, run_id: str, access: Access) -> None:
        """Change to whom a run belongs, and whether others may look at it.

        Raises:
            RunError: its folder cannot be written.
        """
        with self._lock:
            run = self.store.get(run_id)
            if run is None:
                return
            run.notes.set_access(access)
            if run_id in self._views:
                self._views[run_id].access = access

    # -- whose turn it is ---------------------------------------------------------------------

    def _turns(self) -> tuple[list[str], list[str]]:
        return self._queue.order(self._workers.views(), self.rules.running)

    def _enqueue(self, view: View, *, patient: bool) -> None:
        view.devices = self.devices_for(view.run.family)
        self._views[view.run.id] = view
        self._become(view, "queued", "")
        self._queue.add(view, patient=patient)
        self._start_next()

    def _start_next(self) -> None:
        for _ in self._workers.free():
            # One at a time: each start changes whose turn it is.
            if (ready := self._ready()) is not None:
                self._start(self._queue.serve(ready.run.id), self._free_for(ready)[0])

    def _ready(self) -> View | None:
        """Return the first run in line that can start: for what others wait for may be busy."""
        views = {view.run.id: view for view in self._queue}
        order = (views[run_id] for run_id in self._turns()[0] if run_id not in self._workers)
        return next((view for view in order if self._free_for(view)), None)

    def _free_for(self, view: View) -> list[str]:
        return [device for device in self._workers.free() if device in view.devices]

    def _start(self, view: View, device: str) -> None:
        try:
            self._workers.start(view, device)
        except OSError as error:
            self._finish(view, "failed", f"The training process could not be started: {error}.")
        else:
            view.status = replace(view.status, state="starting", device=device)

    def _finish(self, view: View, state: str, message: str) -> None:
        view.rate = 0.0
        self._become(view, state, message)

    def _become(self, view: View, state: str, message: str) -> None:
        view.status = replace(view.status, state=state, message=message)
        with suppress(OSError):
            view.run.write_status(view.status)
        view.seq += 1

    # -- called by the workers' thread, which holds the lock ------------------------------------

    def _heard(self, worker: Worker, report: Report) -> None:
        worker.take(report)
        self._news.notify_all()

    def _gone(self, worker: Worker) -> None:
        if not worker.ended:
            self._finish(worker.view, *worker.cause_of_death())
        if worker.view.status.state == "finished":
            self._queue.took(worker.view.status.seconds)
        self._start_next()
        self._news.notify_all()

    def _keep_limits(self) -> None:
        """Park what nobody looks at, stop what has had its time."""
        now = time.monotonic()
        with self._lock:
            order = self._turns()[0]
            wanted = [view.devices for view in self._queue if view.run.id in order]
            # Those that are ending make room for somebody already.
            for worker in sorted(self._workers.values(), key=lambda w: not w.is_ending):
                devices = worker.view.devices
                if not worker.is_ending:
                    verdict = self.limits.verdict(worker, now, others_wait=devices in wanted)
                    worker.end(verdict)
                if worker.is_ending and devices in wanted:
                    wanted.remove(devices)

    # -- making room --------------------------------------------------------------------------

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
        kept = [Kept.of(run) for run in self.store]
        self.limits.used = Counter()
        for run in kept:
            self.limits.used[run.owner] += run.size
        steps = departures(kept, self.rules, now)
        for run_id in steps.delete:
            with suppress(RunError):  # it has been resumed meanwhile, or its disk is away
                self.delete(run_id)
        leaves = now + self.rules.warning_hours * 3600
        for run_id, at in (dict.fromkeys(steps.warn, leaves) | dict.fromkeys(steps.spare)).items():
            run = self.store.get(run_id)
            if run is not None:
                with suppress(RunError):
                    run.notes.announce_leaving(at)
        with self._lock:
            for run in kept:
                if worker := self._workers.get(run.id):
                    worker.end(self.limits.verdict_on_size(run.owner, run.size))


def runs_folder() -> Path:
    """Return the folder of this process's runs."""
    return Path(os.environ.get("GENLAB_RUNS") or ROOT / "runs")


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
            lab = sys.__dict__.setdefault("_generative_lab", Lab(runs_folder()))
            keep_small(lab.done)
            dump_threads_on_signal()
            if made is not None:
                made(lab)
        return lab


_singleton_lock = sys.__dict__.setdefault("_generative_lab_lock", threading.Lock())

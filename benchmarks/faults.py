"""What goes wrong around a training: killed, no room, no permission, damaged files, a wild clock.

Each round lets two trainings run side by side in a real lab, harms one of them, and has it go on.
It passes if the run lost nothing but the work since its last checkpoint (it ends with the weights
of a training that nobody disturbed, bit for bit, and with every row of its metrics), if the other
one did not notice, and if a message said what had happened. Nothing is imitated: processes get
signal 9, disks are real file systems that are full or read-only, the clock is set by a library
between the processes and the system's.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.cluster import Nodes, cluster
from benchmarks.harm import Clock, fill, mounts
from benchmarks.kills import end_session, patiently, processes_of, serve
from benchmarks.machine import load, torch_threads
from benchmarks.options import Options, Unavailable
from benchmarks.tables import Table
from benchmarks.turns import log_progress
from lab import driver, workers
from lab.lab import Lab
from lab.record import NOT_SAVED
from lab.store import Run, RunStore
from lab.worker import work
from paths import ROOT
from registry import FAMILIES
from training.core.loop import train

NICE = FAMILIES["nice"]
SMALL = {"layers": 2, "hidden": 32, "batch": 64}
ROUNDS = 8  # of each kind
BESIDE = 5000  # steps of the training that nobody harms
PATIENCE = 240.0  # seconds for what should take a few


class Broken(RuntimeError):
    """A promise was not kept; the message says which."""


@dataclass
class Outcome:
    """What a round showed.

    Attributes:
        lost: optimiser steps that had to be done again.
        said: the message of the run once it had been harmed.
    """

    lost: int
    said: str


@dataclass
class Tally:
    """The rounds of one kind."""

    lost: list[int] = field(default_factory=list)
    said: str = ""
    broken: list[str] = field(default_factory=list)
    left_out: str = ""


def often(path: str, device: str, threads: int, core: int | None, connection) -> None:
    """Work as a worker of the lab does, with ten checkpoints a second: these runs are short."""
    driver.CHECKPOINT_EVERY = 0.1
    work(path, device, threads, core, connection)


class Stand:
    """A lab with room for two: one to be harmed, one beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        workers.work = often
        self.lab = Lab(root / "runs", ["cpu", "cpu"])
        self.beside = ""
        self.seen = 0

    def close(self) -> None:
        workers.work = work
        for worker in list(self.lab._workers.values()):
            worker.process.kill()  # what is left need not be saved
        self.lab.close()

    # -- the one beside -----------------------------------------------------------------------

    def accompany(self) -> None:
        """See that a training runs beside the next round."""
        if not self.beside or self._has_ended():
            config = NICE.training.config(**SMALL, iterations=BESIDE, seed=2)
            self.beside = self.lab.submit(NICE, config)
        patiently(lambda: self._step() > 0, PATIENCE)
        self.seen = self._step()

    def check_beside(self) -> None:
        """Compare what runs beside with what it would be if nothing had happened.

        Raises:
            Broken: it noticed.
        """
        patiently(lambda: self._step() > self.seen or self._has_ended(), PATIENCE)
        status = self.lab.view(self.beside).status
        if status.message or status.state not in ("running", "finished"):
            raise Broken(f"the other run is {status.state}: {status.message}")
        if status.state == "finished":
            check_whole(self.lab.store.get(self.beside))

    def _step(self) -> int:
        return self.lab.view(self.beside).status.step

    def _has_ended(self) -> bool:
        status = self.lab.view(self.beside).status
        return not status.active or status.step == BESIDE  # it still saves, but has no step left

    # -- the one to be harmed -----------------------------------------------------------------

    def victim(self, moment: random.Random, folder: Callable[[Path], None] | None = None) -> Run:
        """Start a training; return it once it has a checkpoint and has come to a random step.

        Args:
            moment: draws the step.
            folder: is given its folder before it starts.
        """
        config = NICE.training.config(**SMALL, iterations=1000, seed=1)
        run = self.lab.store.create(NICE, config)
        run.write_status(replace(run.status(), state="stopped"))
        if folder is not None:
            folder(run.path)
        self.lab.resume(run.id)
        goal = moment.randrange(50, 500)
        patiently(lambda: self.status(run).step >= goal and step_of(run) > 0, PATIENCE)
        return run

    def status(self, run: Run):
        return self.lab.view(run.id).status

    def kill(self, run: Run) -> str:
        """Kill the worker of a run; return what the lab says then."""
        worker = self.lab._workers.get(run.id)
        if worker is None:
            raise TooLate
        os.kill(worker.process.pid, signal.SIGKILL)
        patiently(lambda: not self.status(run).active, PATIENCE)
        status = self.status(run)
        if status.state == "finished":
            raise TooLate
        if status.state != "interrupted" or "killed" not in status.message:
            raise Broken(f"a killed run is {status.state}: {status.message!r}")
        return status.message

    def lost(self, run: Run) -> int:
        """Return the steps between the last checkpoint of a run and what is known of it beyond."""
        reached = max(self.status(run).step, _last_row(run))
        return max(0, reached - step_of(run))

    def finish(self, run: Run) -> None:
        """Have a run go on to its end, and see that nothing is missing.

        Raises:
            Broken: something is.
        """
        if not self.status(run).active:
            self.lab.resume(run.id)
        patiently(lambda: not self.status(run).active, PATIENCE)
        check_whole(run)


class TooLate(RuntimeError):
    """The training had ended before it was harmed: the machine was faster than the draw."""


@cache
def undisturbed(config) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Return what a training leaves in this process that nobody watches or harms.

    Returns:
        Its weights, and the steps of the rows of its metrics.
    """
    experiment, steps = NICE.training.build(config), []
    with torch_threads(1):
        for event in train(experiment, snapshots=False):
            if event.losses or event.metrics:
                steps.append(event.step)
    return experiment.model.state_dict(), steps


def check_whole(run: Run) -> None:
    """Compare a run that has ended with one that nobody disturbed.

    Raises:
        Broken: it differs.
    """
    status = run.status()
    if (status.state, status.step) != ("finished", run.config.iterations):
        raise Broken(f"it is {status.state} at step {status.step}: {status.message}")
    model = run.experiment().model
    run.weights.load_into(model)
    found = model.state_dict()
    weights, steps = undisturbed(run.config)
    if not all(torch.equal(found[name], value) for name, value in weights.items()):
        raise Broken("its weights are not those of an undisturbed run")
    rows = [row["step"] for row in run.metrics.rows()]
    if rows != steps:
        raise Broken(f"rows of its metrics are missing or twice: {len(rows)} of {len(steps)}")


def step_of(run: Run) -> int:
    """Return the step of the last checkpoint, 0 if there is none."""
    state = run.checkpoints.last()
    return state["experiment"]["step"] if state else 0


# -- kinds of harm --------------------------------------------------------------------------------


def worker_killed(stand: Stand, moment: random.Random) -> Outcome:
    """Signal 9 for the training, as the kernel sends it when memory runs out."""
    run = stand.victim(moment)
    said = stand.kill(run)
    lost = stand.lost(run)
    stand.finish(run)
    return Outcome(lost, said)


def server_killed(stand: Stand, moment: random.Random) -> Outcome:
    """Signal 9 for a whole lab with three trainings; the next lab finds them and goes on."""
    with tempfile.TemporaryDirectory(dir=stand.root) as folder:
        server = serve(Path(folder), "sys.stdin.read()")
        try:
            ids = server.stdout.readline().split()
            store = RunStore(Path(folder) / "runs")
            run, other = store.get(ids[0]), store.get(ids[2])
            goal = moment.randrange(50, 900)
            patiently(lambda: _last_row(run) >= goal, PATIENCE)
            reached = _last_row(run)
            server.kill()
            server.wait()
            patiently(lambda: not processes_of(server.pid), PATIENCE)  # and no worker stays behind
        finally:
            end_session(server)
        lost = max(0, reached - step_of(run))  # orphaned, a worker saves what it has done since
        lab = Lab(store.root, ["cpu"])
        try:
            said = lab.view(run.id).status.message
            if not all(lab.view(i).status.state == "interrupted" for i in ids):
                raise Broken("a run of a killed server does not say that it was interrupted")
            if step_of(other) == 0:
                raise Broken("another run of a killed server has no checkpoint")
            lab.resume(run.id)
            patiently(lambda: not lab.view(run.id).status.active, PATIENCE)
        finally:
            lab.close()
        check_whole(run)
        return Outcome(lost, said)


def disk_full(stand: Stand, moment: random.Random) -> Outcome:
    """A file system of its own without a free byte; every other time the worker is killed, too."""
    with mounts() as disks:
        run = stand.victim(moment, lambda path: disks.small_disk(path, 24))
        ballast = run.path / "ballast"
        fill(ballast)
        said = _unsaved(stand, run, "No space left")
        killed = moment.random() < 0.5
        if killed:
            stand.kill(run)
        lost = stand.lost(run) if killed else 0
        ballast.unlink()
        if not killed:
            patiently(lambda: _saved(stand, run), PATIENCE)
        stand.finish(run)
        _out_of_use(stand, run)
    return Outcome(lost, said)


def read_only(stand: Stand, moment: random.Random) -> Outcome:
    """The folder of the run is read-only for a while, for root as well."""
    with mounts() as disks:
        run = stand.victim(moment)
        disks.read_only(run.path)
        said = _unsaved(stand, run, "Read-only")
        killed = moment.random() < 0.5
        if killed:
            stand.kill(run)
        lost = stand.lost(run) if killed else 0
        disks.undo()
        if not killed:
            patiently(lambda: _saved(stand, run), PATIENCE)
        stand.finish(run)
    return Outcome(lost, said)


def truncated_checkpoint(stand: Stand, moment: random.Random) -> Outcome:
    """The file of the last checkpoint ends anywhere: the one before is taken, and that is said."""
    run = stand.victim(moment)
    patiently((run.path / "checkpoint.before.pt").exists, PATIENCE)
    stand.kill(run)
    path = run.path / "checkpoint.pt"
    whole = path.read_bytes()
    path.unlink()  # not what is linked to it
    path.write_bytes(whole[: moment.randrange(len(whole))])
    lost = stand.lost(run)
    stand.finish(run)
    said = run.status().message
    if "damaged" not in said:
        raise Broken(f"nothing is said of a damaged checkpoint: {said!r}")
    return Outcome(lost, said)


def half_a_row(stand: Stand, moment: random.Random) -> Outcome:
    """``metrics.csv`` ends within a row, or in the zeros that a machine without power leaves."""
    run = stand.victim(moment)
    said = stand.kill(run)
    lost = stand.lost(run)
    path = run.path / "metrics.csv"
    row = path.read_bytes().splitlines()[-1]
    torn = row[: moment.randrange(1, len(row))]
    with path.open("ab") as file:
        file.write(torn if moment.random() < 0.5 else bytes(512))
    stand.finish(run)
    return Outcome(lost, said)


def clock_jump(stand: Stand, moment: random.Random) -> Outcome:
    """The wall clock of lab and workers jumps by up to ten years, back or forth, several times."""
    with tempfile.TemporaryDirectory(dir=stand.root) as folder:
        clock = Clock(Path(folder))
        server = serve(Path(folder), "sys.stdin.read()", env=clock.env)
        try:
            ids = server.stdout.readline().split()
            run = RunStore(Path(folder) / "runs").get(ids[0])
            while run.status().active:
                clock.set(moment.randrange(-10, 11) * moment.randrange(86_400 * 365))
                time.sleep(0.05)
                if server.poll() is not None:
                    raise Broken("the lab ended when the clock jumped")
            if abs(run.status().seconds) > PATIENCE:
                raise Broken(f"it says that it took {run.status().seconds:g} s")
        finally:
            end_session(server)
        seconds = [row["seconds"] for row in run.metrics.rows()]
        if seconds != sorted(seconds):
            raise Broken("its seconds run backwards")
        check_whole(run)
        return Outcome(0, run.status().message)


# A real lab on the cluster that its environment names. Again and again it writes down what a page
# would show of its two runs; it ends with its standard input.
RAY_LAB = """
import json, os, sys, threading, time
from registry import FAMILIES
from lab.lab import Lab
from lab.ray.cluster import find_cluster

if __name__ == "__main__":
    while find_cluster().cpus < 2:
        time.sleep(0.5)
    lab = Lab(sys.argv[1])
    config = FAMILIES["nice"].training.config
    small = json.loads(sys.argv[2])
    ids = [lab.submit(FAMILIES["nice"], config(**small, seed=seed)) for seed in (1, 2)]
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    while not over.wait(0.1):
        seen = {i: [(s := lab.view(i).status).state, s.step, s.message] for i in ids}
        with open("seen.new", "w") as file:
            json.dump(seen, file)
        os.replace("seen.new", "seen.json")
    lab.close()
"""
RAY_STEPS = 5000
RAY_LOST = "node that trained this run was lost"


def ray_node_lost(stand: Stand, moment: random.Random) -> Outcome:
    """A node of a Ray cluster is gone, with all its processes; another one joins."""
    if find_spec("ray") is None:
        raise Unavailable("ray is not installed: pip install -r requirements-ray.txt.")
    with (
        tempfile.TemporaryDirectory(prefix="genlab-ray-") as folder,
        cluster(Path(folder), host="127.0.0.2") as nodes,
    ):
        nodes.start_head(cpus=0)
        nodes.join("127.0.0.3")
        nodes.join("127.0.0.4")
        server = _ray_lab(Path(folder), nodes)
        try:
            return _ray_round(Path(folder), nodes, moment)
        finally:
            end_session(server)


def _ray_round(folder: Path, nodes: Nodes, moment: random.Random) -> Outcome:
    patiently(lambda: len(_ray_seen(folder)) == 2, PATIENCE)
    store = RunStore(folder / "runs")
    victim, other = map(store.get, _ray_seen(folder))
    goal = moment.randrange(50, RAY_STEPS // 2)
    patiently(lambda: _ray_step(folder, victim) >= goal and step_of(victim) > 0, PATIENCE, 0.1)
    node = nodes.node_of(victim.path)
    if node is None:
        raise TooLate
    nodes.kill(node)
    reached = _ray_step(folder, victim)
    patiently(
        lambda: RAY_LOST in _ray_said(folder, victim) or _ray_has_ended(folder, victim),
        PATIENCE,
        0.1,
    )
    said = _ray_said(folder, victim)
    if RAY_LOST not in said and step_of(victim) == RAY_STEPS:
        raise TooLate
    lost = max(0, reached - step_of(victim))
    nodes.join("127.0.0.5")
    for run in (victim, other):
        patiently(lambda: _ray_has_ended(folder, run), PATIENCE, 0.1)  # noqa: B023 - called at once
        check_whole(run)
    if _ray_said(folder, other):
        raise Broken(f"the other run noticed: {_ray_said(folder, other)}")
    return Outcome(lost, said)


def _ray_lab(folder: Path, nodes: Nodes) -> subprocess.Popen:
    script = folder / "server.py"
    script.write_text(RAY_LAB)
    settings = json.dumps({**SMALL, "layers": 4, "iterations": RAY_STEPS})
    return subprocess.Popen(
        [sys.executable, str(script), str(folder / "runs"), settings],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), **nodes.env},
        start_new_session=True,
    )


def _ray_seen(folder: Path) -> dict[str, tuple[str, int, str]]:
    """Return state, step and message of each run, as a page would show them."""
    with suppress(OSError):
        return json.loads((folder / "seen.json").read_text())
    return {}


def _ray_step(folder: Path, run: Run) -> int:
    return _ray_seen(folder)[run.id][1]


def _ray_said(folder: Path, run: Run) -> str:
    return _ray_seen(folder)[run.id][2]


def _ray_has_ended(folder: Path, run: Run) -> bool:
    return _ray_seen(folder)[run.id][0] in ("finished", "failed", "interrupted", "stopped")


KINDS: dict[str, Callable[[Stand, random.Random], Outcome]] = {
    "worker killed": worker_killed,
    "server killed": server_killed,
    "disk full": disk_full,
    "run folder read-only": read_only,
    "truncated checkpoint": truncated_checkpoint,
    "half-written metrics": half_a_row,
    "clock jump": clock_jump,
    "ray node lost": ray_node_lost,
}


def _unsaved(stand: Stand, run: Run, why: str) -> str:
    """Wait until a run says that it cannot be saved, and why; it has to go on nevertheless."""
    patiently(lambda: _has_ended(stand, run) or stand.status(run).message, PATIENCE)
    status = stand.status(run)
    if not status.active:
        raise TooLate
    if not status.message.startswith(NOT_SAVED) or why not in status.message:
        raise Broken(f"it says {status.message!r}")
    return status.message


def _saved(stand: Stand, run: Run) -> bool:
    return _has_ended(stand, run) or not stand.status(run).message


def _has_ended(stand: Stand, run: Run) -> bool:
    return not stand.status(run).active


def _out_of_use(stand: Stand, run: Run) -> None:
    """Wait until nobody works in the folder of a run."""
    patiently(lambda: run.id not in stand.lab._workers, PATIENCE)


def _last_row(run: Run) -> int:
    rows = run.metrics.rows()
    return rows[-1]["step"] if rows else 0


# -- the table ------------------------------------------------------------------------------------


def run(options: Options) -> Iterator[Table]:
    """Yield the table of all rounds.

    Raises:
        Unavailable: there is no ``/proc`` to find orphans in.
    """
    if not Path("/proc/self/stat").exists():
        raise Unavailable("It needs Linux: it looks for orphans in /proc.")
    rounds = 1 if options.quick else ROUNDS
    seed = options.seeds[0] if options.seeds else random.SystemRandom().randrange(2**32)
    before, started = load(), time.monotonic()
    tallies = carry_out(list(KINDS), rounds, random.Random(seed))
    table = table_of(tallies)
    minutes = (time.monotonic() - started) / 60
    table.notes.append(f"Seed {seed}, {minutes:.0f} minutes. Load before {before}, after {load()}.")
    yield table


def carry_out(kinds: Sequence[str], rounds: int, moment: random.Random) -> dict[str, Tally]:
    """Carry out so many rounds of each kind, in turn; return what they showed by kind."""
    tallies = {kind: Tally() for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="genlab-faults-") as folder:
        stand = Stand(Path(folder))
        try:
            for _ in range(rounds):
                for kind, tally in tallies.items():
                    if not tally.left_out:
                        done = sum(len(t.lost) for t in tallies.values())
                        log_progress(f"{done} rounds kept; now: {kind}")
                        _one_round(stand, kind, tally, moment)
            log_progress("")
        finally:
            stand.close()
    return tallies


def _one_round(stand: Stand, kind: str, tally: Tally, moment: random.Random) -> None:
    try:
        while True:
            try:
                stand.accompany()
                outcome = KINDS[kind](stand, moment)
                break
            except TooLate:
                continue
        stand.check_beside()
    except Unavailable as why:
        tally.left_out = str(why)
    except (Broken, TimeoutError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        at = [frame for frame in frames if frame.filename == __file__][-1]
        tally.broken.append(f"{error} (in {at.name}: {at.line})")
    else:
        tally.lost.append(outcome.lost)
        tally.said = outcome.said


def table_of(tallies: dict[str, Tally]) -> Table:
    table = Table(
        "faults: two trainings in a lab, one of them harmed",
        ("fault", "rounds", "kept", "steps lost", "most"),
        notes=[
            "Kept: of so many rounds all three hold. The run ended with the weights of an "
            "undisturbed one, bit for bit, and all rows of its metrics; the other run did not "
            "notice; a message said what had happened. Steps lost (median, most): those between "
            "its last checkpoint and the fault, done again. At most ten checkpoints a second, and "
            "5 % of the time.",
        ],
    )
    for kind, tally in tallies.items():
        rounds = len(tally.lost) + len(tally.broken)
        lost = (f"{statistics.median(tally.lost):.0f}", str(max(tally.lost))) if tally.lost else ()
        table.rows.append((kind, str(rounds), str(len(tally.lost)), *(lost or ("-", "-"))))
        if tally.left_out:
            table.notes.append(f"{kind}: left out. {tally.left_out}")
        elif tally.said:
            table.notes.append(f"{kind}: “{tally.said}”")
        table.notes += [f"{kind}: BROKEN: {why}" for why in tally.broken]
    done = sum(len(tally.lost) + len(tally.broken) for tally in tallies.values())
    kept = sum(len(tally.lost) for tally in tallies.values())
    table.rows.append(("all", str(done), str(kept), "", ""))
    return table

"""The lab with real worker processes: watched, paused, stopped, killed, orphaned."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import wait_until

from benchmarks.kills import end_session, is_alive, processes_of, serve
from lab import workers
from lab.driver import drive
from lab.lab import Lab, LabFull
from lab.rules import Rules
from lab.store import Run, RunError, RunStore
from lab.view import CURVE, View, thin, view_of
from registry import FAMILIES
from training.core.loop import train

ROOT = Path(__file__).parent.parent
NICE = FAMILIES["nice"]

ORPHANED = 20  # seconds; less than 5 on a quiet machine, and this one may be busy


def short(**values):
    """A training of about two seconds."""
    small = {"layers": 2, "hidden": 32, "batch": 64, "iterations": 1000}
    return NICE.training.config(**{**small, **values})


def long(**values):
    """A training that does not end during a test."""
    return short(**{"layers": 4, "batch": 512, "iterations": 5000, **values})


def pid_of(lab: Lab, run_id: str) -> int:
    return wait_until(lambda: (worker := lab._workers.get(run_id)) and worker.process.pid)


@pytest.fixture
def lab(tmp_path) -> Iterator[Lab]:
    lab = Lab(tmp_path / "runs", ["cpu", "cpu"])
    yield lab
    for worker in list(lab._workers.values()):
        worker.process.kill()  # what a test leaves behind need not be saved
    lab.close()


def is_training(lab: Lab, run_id: str, beyond: int = 0) -> bool:
    view = lab.view(run_id)
    assert view.status.state in ("queued", "starting", "running", "paused"), view.status
    return view.status.state == "running" and view.status.step > beyond


def has_ended(lab: Lab, run_id: str) -> bool:
    return not lab.view(run_id).status.active


def undisturbed(config) -> dict[str, torch.Tensor]:
    experiment = NICE.training.build(config)
    for _ in train(experiment, snapshots=False, measure_every=10**9):
        pass
    return experiment.model.state_dict()


def same_weights(run: Run, expected: dict[str, torch.Tensor]) -> bool:
    experiment = run.experiment()
    run.weights.load_into(experiment.model)
    found = experiment.model.state_dict()
    return all(torch.equal(found[name], value) for name, value in expected.items())


# -- one run ----------------------------------------------------------------------------------


def test_train_watch_pause_step_resume_stop(lab):
    run_id = lab.submit(NICE, long())
    lab.wait(run_id, 0, timeout=60)
    assert lab.view(run_id).snapshot is not None, "it waits for the first snapshot"

    snapshots: dict[int, np.ndarray] = {}

    def five_snapshots() -> bool:
        view = lab.view(run_id)
        snapshots[view.step] = view.snapshot["density"]
        return len(snapshots) >= 5

    wait_until(five_snapshots)
    assert len({array.tobytes() for array in snapshots.values()}) == len(snapshots)
    view = lab.view(run_id)
    assert view.rate > 0
    assert view.rows[-1]["step"] > 0
    assert lab.active() == [view]

    lab.command(run_id, "pause")
    wait_until(lambda: lab.view(run_id).status.state == "paused")
    paused, seq = lab.view(run_id).status.step, lab.view(run_id).seq
    assert lab.view(run_id).rate == 0
    assert Run(view.run.path).checkpoints.last()["experiment"]["step"] == paused

    lab.command(run_id, "step")
    wait_until(lambda: lab.view(run_id).step == paused + 1)
    assert lab.view(run_id).seq > seq
    for _ in range(3):  # quick clicks: none is lost, none is counted twice
        lab.command(run_id, "step")
    wait_until(lambda: lab.view(run_id).step == paused + 4)
    # Had one click been two steps, the next answer would show it.
    lab.command(run_id, "set", "learning_rate", 1e-3)
    wait_until(lambda: lab.view(run_id).live.get("learning_rate") == 1e-3)
    assert lab.view(run_id).status.step == paused + 4
    assert lab.view(run_id).status.state == "paused"
    assert {paused + 1, paused + 4} <= {row["step"] for row in lab.view(run_id).rows}

    lab.command(run_id, "resume")
    wait_until(lambda: is_training(lab, run_id, beyond=paused + 20))

    pid = pid_of(lab, run_id)
    lab.command(run_id, "stop")
    wait_until(lambda: has_ended(lab, run_id))
    assert lab.view(run_id).status.state == "stopped"
    assert lab.view(run_id).status.message == ""
    wait_until(lambda: not is_alive(pid))
    wait_until(lambda: lab.active() == [])
    assert view.run.status() == lab.view(run_id).status
    assert view.run.checkpoints.last()["experiment"]["step"] == view.run.status().step


def test_a_bad_live_value_comes_back_as_a_sentence(lab):
    run_id = lab.submit(NICE, long())
    wait_until(lambda: is_training(lab, run_id))
    lab.command(run_id, "set", "learning_rate", 7.0)
    message = wait_until(lambda: lab.view(run_id).status.message)
    assert "learning_rate" in message
    assert "0.02" in message
    assert is_training(lab, run_id)
    assert lab.view(run_id).live == {"learning_rate": 0.005}
    lab.command(run_id, "set", "learning_rate", 0.002)
    wait_until(lambda: lab.view(run_id).live == {"learning_rate": 0.002})
    assert lab.view(run_id).status.message == ""


def test_what_cannot_be_trained_fails_with_a_sentence(lab):
    run_id = lab.submit(NICE, short(dataset="own"))
    wait_until(lambda: has_ended(lab, run_id))
    status = lab.view(run_id).status
    assert status.state == "failed"
    assert status.message.endswith(".")
    assert "Error" not in status.message


def test_stop_and_resume_in_one_breath_is_neither_lost_nor_taken_for_a_death(lab):
    run_id = lab.submit(NICE, long())
    wait_until(lambda: is_training(lab, run_id))
    for _ in range(4):
        lab.command(run_id, "stop")
        # Its process is still on its way out when the click on Resume comes.
        wait_until(lambda: has_ended(lab, run_id), every=0.001)
        step = lab.view(run_id).status.step
        lab.resume(run_id)
        assert lab.view(run_id).status.active
        wait_until(lambda step=step: is_training(lab, run_id, beyond=step + 5))
        assert lab.view(run_id).status.message == ""
    lab.command(run_id, "stop")
    wait_until(lambda: has_ended(lab, run_id), every=0.001)
    lab.resume(run_id)
    lab.command(run_id, "stop")  # not for the process of before
    wait_until(lambda: has_ended(lab, run_id) and not lab.active())
    assert lab.view(run_id).status.state == "stopped"


def test_a_view_is_of_one_moment(lab):
    # A page reads it several times: buttons of one state beside words of another would stay so.
    run_id = lab.submit(NICE, long())
    wait_until(lambda: is_training(lab, run_id))
    view = lab.view(run_id)
    step = view.status.step
    lab.command(run_id, "stop")
    wait_until(lambda: lab.view(run_id).status.state == "stopped")
    assert (view.status.state, view.status.step) == ("running", step)


class Impatient(View):
    """A view whose watcher clicks Resume in the very moment in which the run ends."""

    def __init__(self, view: View, lab: Lab) -> None:
        self.states: list[str] = []
        super().__init__(**vars(view))
        self.lab, self.clicks = lab, 1

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "status":
            self.states.append(value.state)

    def take(self, report) -> None:
        super().take(report)
        if not report.status.active and self.clicks:
            self.clicks = 0
            self.lab.resume(self.run.id)


def test_a_click_before_the_old_process_is_gone_waits_for_it(lab):
    run_id = lab.submit(NICE, long())
    wait_until(lambda: is_training(lab, run_id))
    with lab._lock:
        worker = lab._workers[run_id]
        view = lab._views[run_id] = worker.view = Impatient(lab._views[run_id], lab)
        step = view.status.step
    lab.command(run_id, "stop")
    wait_until(lambda: not view.clicks)
    wait_until(lambda: is_training(lab, run_id, beyond=step + 5))
    assert pid_of(lab, run_id) != worker.process.pid
    wait_until(lambda: not is_alive(worker.process.pid))
    ended = view.states.index("stopped")
    assert {"queued", "starting", "running"} >= set(view.states[ended + 1 :]), "no death is told"


def test_a_second_lab_in_the_same_folder_is_refused_and_harms_nothing(lab):
    run_id = lab.submit(NICE, long())
    wait_until(lambda: is_training(lab, run_id))
    waiting = [lab.submit(NICE, long(seed=seed)) for seed in range(2)]
    program = f"from lab.lab import Lab; Lab({str(lab.store.root)!r}, ['cpu'])"
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert "Another lab works in" in other.stderr
    with pytest.raises(RunError, match="Another lab"):
        Lab(lab.store.root, ["cpu"])
    states = [lab.store.get(i).status().state for i in (run_id, *waiting)]
    assert "interrupted" not in states
    lab.close()
    Lab(lab.store.root, ["cpu"]).close()


def test_a_folder_for_sockets_is_found_however_long_tmpdir_is(tmp_path):
    long_one = tmp_path / ("x" * 128)
    long_one.mkdir()
    program = (
        "import sys, time\n"
        "from lab.lab import Lab\n"
        "from registry import FAMILIES\n"
        "if __name__ == '__main__':\n"
        "    nice = FAMILIES['nice']\n"
        "    lab = Lab(sys.argv[1], ['cpu'])\n"
        "    config = nice.training.config(iterations=1000, layers=2, hidden=32)\n"
        "    run_id = lab.submit(nice, config)\n"
        "    end = time.monotonic() + 100\n"
        "    while lab.view(run_id).status.active and time.monotonic() < end:\n"
        "        lab.wait(run_id, 10**9, 0.2)\n"
        "    status = lab.view(run_id).status\n"
        "    lab.close()\n"
        "    sys.exit(f'{status.state}: {status.message}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(long_one)},
        check=False,
    )
    assert done.stderr.strip().endswith("finished:"), done.stderr


# -- several runs -----------------------------------------------------------------------------


def test_two_train_at_once_and_the_others_wait_in_line(lab):
    ids = [lab.submit(NICE, long(seed=seed)) for seed in range(4)]
    wait_until(lambda: all(is_training(lab, run_id) for run_id in ids[:2]))
    assert len({pid_of(lab, run_id) for run_id in ids[:2]}) == 2
    assert [lab.view(run_id).status.state for run_id in ids[2:]] == ["queued", "queued"]
    assert [lab.view(run_id).ahead for run_id in ids[2:]] == [0, 1]
    assert [view.run.id for view in lab.active()] == ids

    lab.command(ids[2], "stop")
    assert lab.view(ids[2]).status.state == "stopped"
    assert lab.view(ids[3]).ahead == 0
    lab.command(ids[0], "stop")
    wait_until(lambda: is_training(lab, ids[3]))
    assert is_training(lab, ids[1])
    assert lab.view(ids[2]).run.status().state == "stopped"
    assert not (lab.view(ids[2]).run.path / "checkpoint.pt").exists(), "it never started"

    lab.resume(ids[2])
    assert lab.view(ids[2]).status.state == "queued"
    lab.command(ids[1], "stop")
    wait_until(lambda: is_training(lab, ids[2]))


def test_the_line_has_an_end(lab, monkeypatch):
    monkeypatch.setattr(lab.limits, "rules", Rules(queue=1))
    ids = [lab.submit(NICE, long(seed=seed)) for seed in range(3)]
    with pytest.raises(LabFull) as error:
        lab.submit(NICE, long())
    assert str(error.value).endswith(".")
    assert len(list(lab.store)) == 3, "what was refused leaves no folder"
    lab.command(ids[2], "stop")
    lab.submit(NICE, long())


def test_unknown_runs_are_none(lab):
    for run_id in ("nice-20990101-000000-0123456789", "..", "", "a/b", "\0"):
        assert lab.view(run_id) is None
        lab.command(run_id, "stop")
        lab.resume(run_id)
    assert lab.active() == []


# -- workers that die -------------------------------------------------------------------------


def test_a_killed_worker_is_told_the_others_do_not_notice_and_it_resumes(lab):
    victim, other = lab.submit(NICE, short(seed=1)), lab.submit(NICE, long(seed=2))
    wait_until(lambda: is_training(lab, victim, beyond=50) and is_training(lab, other))
    os.kill(pid_of(lab, victim), signal.SIGKILL)
    wait_until(lambda: has_ended(lab, victim))
    status = lab.view(victim).status
    assert status.state == "interrupted"
    assert "killed" in status.message
    assert "memory" in status.message
    assert lab.view(victim).run.status() == status, "it is on disk, too"
    assert lab.view(victim).snapshot is not None
    step = lab.view(other).status.step
    wait_until(lambda: is_training(lab, other, beyond=step + 20))

    lab.resume(victim)
    assert lab.view(victim).status.message == ""
    wait_until(lambda: has_ended(lab, victim))
    view = lab.view(victim)
    assert (view.status.state, view.status.step) == ("finished", 1000)
    assert same_weights(view.run, undisturbed(short(seed=1)))
    # The steps since its last checkpoint came twice, and are there once.
    for rows in (view.rows, view.run.metrics.rows()):
        steps = [row["step"] for row in rows]
        assert steps == sorted(set(steps))
        assert steps[-1] == 1000
    assert is_training(lab, other)


def test_a_worker_that_hangs_in_a_step_is_killed_after_stop(lab, monkeypatch):
    monkeypatch.setattr(workers, "STOP_PATIENCE", 0.5)
    hanging, other, waiting = (lab.submit(NICE, long(seed=seed)) for seed in range(3))
    wait_until(lambda: is_training(lab, hanging) and is_training(lab, other))
    pid = pid_of(lab, hanging)
    os.kill(pid, signal.SIGSTOP)  # as good as a step that never ends
    lab.command(hanging, "stop")
    lab.command(hanging, "stop")
    wait_until(lambda: has_ended(lab, hanging))
    assert lab.view(hanging).status.state == "stopped"
    assert "did not answer" in lab.view(hanging).status.message
    wait_until(lambda: not is_alive(pid))
    wait_until(lambda: is_training(lab, waiting))
    assert is_training(lab, other)


# -- the lab itself ends ----------------------------------------------------------------------


def test_closing_the_lab_parks_its_runs_and_leaves_no_process(lab):
    running, paused, queued = (lab.submit(NICE, long(seed=seed)) for seed in range(3))
    wait_until(lambda: is_training(lab, running) and is_training(lab, paused))
    lab.command(paused, "pause")
    wait_until(lambda: lab.view(paused).status.state == "paused")
    pids = [pid_of(lab, run_id) for run_id in (running, paused)]
    lab.close()
    wait_until(lambda: not any(map(is_alive, pids)), timeout=ORPHANED)
    for run_id in (running, paused):
        run = lab.store.get(run_id)
        assert run.status().state == "interrupted"
        assert "closed" in run.status().message
        assert run.checkpoints.last()["experiment"]["step"] == run.status().step > 0

    again = Lab(lab.store.root, ["cpu"])
    try:
        states = {view.id: view.status().state for view in again.store}
        assert states == dict.fromkeys((running, paused, queued), "interrupted")
        again.resume(queued)
        wait_until(lambda: is_training(again, queued))
    finally:
        again.close()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for orphans in /proc")
def test_a_killed_server_leaves_no_orphan_and_its_runs_go_on_after_a_restart(tmp_path):
    server = serve(tmp_path, "sys.stdin.read()")
    try:
        ids = server.stdout.readline().split()
        store = RunStore(tmp_path / "runs")
        running, paused, hanging, _ = (store.get(run_id) for run_id in ids)
        wait_until(lambda: paused.status().state == "paused")
        # A pipe that nobody reads: the next row of metrics is a step that never ends.
        os.mkfifo(hanging.path / "pipe")
        os.replace(hanging.path / "pipe", hanging.path / "metrics.csv")
        goal = random.SystemRandom().randrange(50, 500)
        wait_until(lambda: (rows := running.metrics.rows()) and rows[-1]["step"] >= goal)
        assert len(processes_of(server.pid)) >= 4
        server.kill()
        server.wait()
        wait_until(lambda: not processes_of(server.pid), timeout=ORPHANED)
    finally:
        end_session(server)
    (hanging.path / "metrics.csv").unlink()
    step = running.checkpoints.last()["experiment"]["step"]
    assert goal <= step < 1500, "it saved its work before it ended"
    assert running.status().step == step

    lab = Lab(tmp_path / "runs", ["cpu"])
    try:
        assert {run.id: run.status().state for run in lab.store} == dict.fromkeys(
            ids, "interrupted"
        )
        assert all(run.status().message for run in lab.store)
        assert not lab.active(), "nobody asked for them to go on"
        lab.resume(running.id)
        wait_until(lambda: has_ended(lab, running.id))
        assert lab.view(running.id).status.state == "finished"
    finally:
        lab.close()
    assert same_weights(running, undisturbed(running.config))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for orphans in /proc")
def test_a_server_that_ends_by_itself_leaves_no_process(tmp_path):
    server = serve(tmp_path, "lab.close()")
    try:
        ids = server.stdout.readline().split()
        assert server.wait(timeout=30) == 0
        wait_until(lambda: not processes_of(server.pid), timeout=ORPHANED)
    finally:
        end_session(server)
    store = RunStore(tmp_path / "runs")
    assert [store.get(run_id).status().state for run_id in ids[:3]] == ["interrupted"] * 3


# -- what the pages read ----------------------------------------------------------------------


def test_a_run_of_the_command_line_is_seen_as_it_changes(lab, tmp_path):
    run = Run.create(lab.store.root / "mine", NICE, short())
    seen = []

    def receive(timeout):
        view = lab.view("mine")
        seen.append((view.status.state, len(view.rows)))
        return ("stop",) if len(seen) == 30 else None

    drive(run, device="cpu", send=lambda report: None, receive=receive)
    assert {state for state, _ in seen} == {"running"}
    assert seen[-1][1] > seen[0][1]
    assert lab.view("mine").status.state == "stopped"
    assert lab.view("mine").snapshot is not None


def test_a_view_of_a_damaged_folder_still_shows_what_it_can(tmp_path):
    run = Run.create(tmp_path / "run", NICE, short())
    run.snapshots.save(1, {"density": np.zeros((2, 2))}, set())
    run.snapshots.save(2, {"density": np.ones((2, 2))}, set())
    for content in (b"", b"junk", b"PK\x03\x04junk"):
        (run.path / "snapshots" / "00000002.npz").write_bytes(content)
        (run.path / "status.json").write_text("{")
        view = view_of(run)
        assert view.step == 1
        assert not view.snapshot["density"].any()
        assert view.status.state == "interrupted"


def rows_of(count: int, measured_every: int) -> list[dict]:
    return [
        {"step": i, "nll": 1.0, **({"kl": 2.0} if i % measured_every == 0 else {})}
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, CURVE - 1, CURVE, CURVE + 1, 2 * CURVE + 1, 50 * CURVE])
@pytest.mark.parametrize("measured_every", [1, 2, 7, 50, 10**9])
def test_thinned_curves_are_short_and_keep_their_ends(count, measured_every):
    rows = rows_of(count, measured_every)
    thinned = thin(rows)
    assert len(thinned) == count if count <= CURVE else CURVE // 4 < len(thinned) <= CURVE
    assert thinned[:1] == rows[:1]
    assert thinned[-1:] == rows[-1:]
    steps = [row["step"] for row in thinned]
    assert steps == sorted(set(steps))
    measured = [row for row in rows if "kl" in row]
    if len(measured) <= CURVE // 4:
        assert [row for row in thinned if "kl" in row] == measured, "the rare ones stay"


def test_rows_of_one_step_are_thinned_too():
    # No training writes them, but a file that somebody imports may.
    assert len(thin([{"step": 5, "nll": 1.0} for _ in range(5 * CURVE)])) <= CURVE


def test_a_growing_curve_stays_short_and_even(tmp_path):
    view = View(Run.create(tmp_path / "run", NICE, short()), None)
    for row in rows_of(20 * CURVE, 20):
        view.rows = thin([*view.rows, row])
        assert len(view.rows) <= CURVE
    gaps = np.diff([row["step"] for row in view.rows])
    assert view.rows[0]["step"] == 0
    assert gaps.max() <= 20 * CURVE / 50

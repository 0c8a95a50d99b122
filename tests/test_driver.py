"""The driver obeys between two steps, keeps the folder true, and says what went wrong."""

from __future__ import annotations

import itertools
import math
import threading
import time
from functools import cache

import filelock
import numpy as np
import pytest
import torch

from lab import driver
from lab.driver import Command, Report, drive
from lab.runs.checkpoints import CHECKPOINTS
from lab.runs.metrics import Metrics
from lab.store import Run, Status
from registry import FAMILIES
from training.core.loop import train
from training.core.optimiser import one_cycle

SMALL = {
    "nice": {"layers": 2, "hidden": 32, "batch": 64, "iterations": 1000, "seed": 3},
    "realnvp": {"blocks": 2, "hidden": 32, "batch": 64, "iterations": 1000, "actnorm": True},
}


def create(path, stem: str = "nice", **values) -> Run:
    family = FAMILIES[stem]
    return Run.create(path, family, family.training.config(**{**SMALL[stem], **values}))


@pytest.fixture
def run(tmp_path) -> Run:
    return create(tmp_path / "run")


class Watcher:
    """Gives commands at given steps and writes down what it is told.

    Args:
        plan: what to do once so many steps are done here; the commands of a pause follow one by
            one.

    Attributes:
        waits: the steps at which the driver waited for a command.
    """

    def __init__(self, plan: dict[int, list[Command]] | None = None) -> None:
        self.plan = {step: list(commands) for step, commands in (plan or {}).items()}
        self.reports: list[Report] = []
        self.done = 0
        self.waits: list[int] = []

    def send(self, report: Report) -> None:
        self.reports.append(report)

    def receive(self, timeout: float | None) -> Command | None:
        if timeout is None:
            self.waits.append(self.done)
        if self.plan.get(self.done):
            return self.plan[self.done].pop(0)
        assert timeout == 0, "it waits for a command, and the plan has none left"
        self.done += 1  # between two steps one call finds nothing
        return None

    @property
    def states(self) -> list[str]:
        return [state for state, _ in itertools.groupby(r.status.state for r in self.reports)]

    def rows(self) -> list[dict]:
        return [row for report in self.reports for row in report.rows]


def go(run: Run, plan: dict[int, list[Command]] | None = None) -> tuple[Status, Watcher]:
    watcher = Watcher(plan)
    return drive(run, device="cpu", send=watcher.send, receive=watcher.receive), watcher


def stop_after(steps: int) -> dict[int, list[Command]]:
    return {steps: [("stop",)]}


@cache
def undisturbed(stem: str, steps: int, **values) -> dict[str, torch.Tensor]:
    """The weights after so many steps of a training that nobody watches or interrupts."""
    module = FAMILIES[stem].training
    experiment = module.build(module.config(**{**SMALL[stem], **values}))
    for _ in itertools.islice(train(experiment, snapshots=False, measure_every=10**9), steps + 1):
        pass
    return experiment.model.state_dict()


def weights(run: Run) -> dict[str, torch.Tensor]:
    experiment = run.experiment()
    run.weights.load_into(experiment.model)
    return experiment.model.state_dict()


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def steps_of(run: Run) -> list[int]:
    return [row["step"] for row in run.metrics.rows()]


# -- from the start to the end ----------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that went to its end in one go."""
    torch.set_num_threads(1)
    run = create(tmp_path_factory.mktemp("finished") / "run")
    return run, *go(run)


def test_a_run_ends_with_all_in_its_folder(finished):
    run, status, _ = finished
    assert (status.state, status.step, status.total) == ("finished", 1000, 1000)
    assert status.message == ""
    assert run.status() == status
    assert same(weights(run), undisturbed("nice", 1000))
    assert run.checkpoints.last()["experiment"]["step"] == 1000
    assert set(range(0, 1001, 100)) <= set(run.snapshots.steps())
    assert set(run.snapshots.target()) == {"samples", "density", "box"}
    assert not run.is_trained_now()


def test_metrics_are_kept_as_they_were_told(finished):
    run, _, watcher = finished
    rows = run.metrics.rows()
    told = watcher.rows()
    assert [row["step"] for row in rows] == [row["step"] for row in told]
    for kept, row in zip(rows, told, strict=True):
        assert kept == pytest.approx({k: v for k, v in row.items() if v is not None}, rel=1e-6)
    measured = [row for row in rows if "kl_to_truth" in row]
    assert [row["step"] for row in measured] == list(range(0, 1001, 50))
    assert all("nll_test" in row for row in measured)
    assert rows[-1].keys() >= {"step", "seconds", "learning_rate", "nll", "nll_test"}
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_the_first_report_of_a_training_has_the_untrained_snapshot(finished):
    run, _, watcher = finished
    first = next(report for report in watcher.reports if report.snapshot is not None)
    assert (first.step, first.status.step, first.status.state) == (0, 0, "running")
    untrained = run.experiment().snapshot()
    assert np.array_equal(first.snapshot["density"], untrained["density"])


def test_the_first_snapshot_waits_neither_for_the_disk_nor_for_what_is_measured(run):
    """Someone has clicked: at rest, both took longer than the snapshot itself."""
    seen: list[tuple[bool, bool]] = []

    def send(report: Report) -> None:
        if report.snapshot is not None:
            seen.append(((run.path / "metrics.csv").exists(), bool(report.rows)))

    drive(run, device="cpu", send=send, receive=Watcher(stop_after(1)).receive)
    assert seen[0] == (False, False)
    rows = run.metrics.rows()
    assert rows[0]["step"] == 0 and "kl_to_truth" in rows[0]
    assert run.snapshots.steps()[0] == 0


def test_live_snapshots_come_beside_those_of_the_tenths(finished):
    _, status, watcher = finished
    steps = [report.step for report in watcher.reports if report.snapshot is not None]
    assert steps == sorted(set(steps))
    assert set(range(0, 1001, 100)) <= set(steps)
    assert len(steps) <= 11 + status.seconds / driver.SNAPSHOT_EVERY + 1


def test_a_finished_run_has_nothing_left_to_do(finished):
    run, first, _ = finished
    rows, snapshots, content = run.metrics.rows(), run.snapshots.steps(), weights(run)
    again, _ = go(run)
    assert (again.state, again.step) == ("finished", 1000)
    assert again.seconds == pytest.approx(first.seconds, abs=5)
    assert run.metrics.rows() == rows
    assert run.snapshots.steps() == snapshots
    assert same(weights(run), content)


# -- stop and resume --------------------------------------------------------------------------


@pytest.mark.parametrize("stem", ["nice", "realnvp"])
def test_a_run_stopped_again_and_again_is_the_run_that_never_was(tmp_path, stem):
    run = create(tmp_path / "run", stem)
    done = 0
    for steps in (37, 0, 1, 62, 23):
        status, _ = go(run, stop_after(steps))
        done += steps
        assert (status.state, status.step) == ("stopped", done)
        assert run.status() == status
        assert run.checkpoints.last()["experiment"]["step"] == done
        assert same(weights(run), undisturbed(stem, done))
        assert steps_of(run) == sorted(set(steps_of(run))), "no row comes twice"
    assert done == 123
    assert [row["step"] for row in run.metrics.rows() if "kl_to_truth" in row] == [0, 50, 100]
    assert {0, 100} <= set(run.snapshots.steps())

    straight = create(tmp_path / "straight", stem)
    go(straight, stop_after(123))
    for one, two in zip(run.metrics.rows(), straight.metrics.rows(), strict=True):
        for name in ("step", "kl_to_truth", "nll_test", "learning_rate"):
            assert one.get(name) == two.get(name)


def test_what_came_after_the_checkpoint_is_dropped_on_a_resume(run):
    go(run, stop_after(60))
    kept = run.metrics.rows()
    # As if it had gone on to step 90 and had been killed before the next checkpoint.
    columns = ["step", "seconds", "learning_rate", "nll", "nll_test", "kl_to_truth"]
    for step in range(65, 95, 5):
        run.metrics.append(columns, {"step": step, "nll": -99.0})
        run.snapshots.save(step, {"density": np.zeros((2, 2))}, set())
    with (run.path / "metrics.csv").open("a") as file:
        file.write("95,3.1")  # and had been writing just then
    (run.path / ".checkpoint.pt.k1ll3d").write_bytes(b"half")

    status, _ = go(run, stop_after(12))
    assert status.step == 72
    assert run.metrics.rows()[: len(kept)] == kept
    assert all(row.get("nll", 0) > -99 for row in run.metrics.rows())
    assert steps_of(run)[len(kept) :] == [65, 70]
    assert not set(run.snapshots.steps()) & set(range(73, 95))
    assert all("samples" in run.snapshots.load(step) for step in run.snapshots.steps())
    assert not (run.path / ".checkpoint.pt.k1ll3d").exists()
    assert same(weights(run), undisturbed("nice", 72))


def test_without_a_checkpoint_it_starts_from_the_beginning(run):
    go(run, stop_after(60))
    for name in CHECKPOINTS:
        (run.path / name).unlink(missing_ok=True)
    status, _ = go(run, stop_after(10))
    assert status.step == 10
    assert steps_of(run) == [0, 5, 10]
    assert max(run.snapshots.steps()) <= 10
    assert same(weights(run), undisturbed("nice", 10))


def test_rows_that_could_not_be_written_come_when_they_can(run, monkeypatch):
    append = Metrics.append

    def refuse(self, columns, row):
        if 20 <= row["step"] <= 40 and refusals:
            refusals.pop()
            raise OSError(30, "Read-only file system")
        append(self, columns, row)

    refusals = [None] * 8
    monkeypatch.setattr(Metrics, "append", refuse)
    status, _ = go(run, stop_after(100))
    assert not refusals
    assert status.message == ""
    assert steps_of(run) == list(range(0, 101, 5))


def test_a_parked_run_says_why(run):
    status, _ = go(run, {20: [("interrupt", "Nobody looked.")]})
    assert (status.state, status.message, status.step) == ("interrupted", "Nobody looked.", 20)
    status, _ = go(run, stop_after(5))
    assert (status.state, status.message, status.step) == ("stopped", "", 25)


def test_the_clock_goes_on_where_it_was(run):
    first, _ = go(run, stop_after(50))
    second, watcher = go(run, stop_after(50))
    assert second.seconds > first.seconds > 0
    assert second.seconds < first.seconds + 30
    assert watcher.rows()[0]["seconds"] >= first.seconds


# -- pause and step ---------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, 10])
def test_a_step_is_one_step_and_two_quick_ones_are_two(run, at):
    plan = {
        at: [("pause",), ("step",)],
        at + 1: [("step",), ("step",)],
        at + 3: [("step",)],
        at + 4: [("resume",)],
        at + 14: [("stop",)],
    }
    status, watcher = go(run, plan)
    assert status.step == at + 14
    assert sorted(set(watcher.waits)) == [at, at + 1, at + 3, at + 4]
    assert watcher.states[-3:] == ["paused", "running", "stopped"]
    assert same(weights(run), undisturbed("nice", at + 14)), "a pause never splits a step"


def test_each_single_step_brings_its_snapshot_and_its_loss(run):
    _, watcher = go(run, {7: [("pause",), ("step",)], 8: [("step",)], 9: [("stop",)]})
    snapshots = {r.step for r in watcher.reports if r.snapshot is not None}
    assert {8, 9} <= snapshots
    assert {8, 9} <= {row["step"] for row in watcher.rows() if "nll" in row}
    assert {8, 9} <= set(run.snapshots.steps())


def test_a_pause_is_on_disk(run):
    watcher, looked = Watcher({30: [("pause",)]}), []

    def receive(timeout):
        if timeout is None:
            looked.append((run.status().state, run.checkpoints.last()["experiment"]["step"]))
            return ("stop",)
        return watcher.receive(timeout)

    drive(run, device="cpu", send=watcher.send, receive=receive)
    assert looked == [("paused", 30)]


def test_time_in_a_pause_is_not_time_of_training(run):
    watcher = Watcher({20: [("pause",), ("resume",)], 40: [("stop",)]})

    def receive(timeout):
        if timeout is None:
            time.sleep(0.3)
        return watcher.receive(timeout)

    began = time.monotonic()
    status = drive(run, device="cpu", send=watcher.send, receive=receive)
    assert status.seconds <= time.monotonic() - began - 0.3


def test_a_single_step_while_it_runs_pauses_it(run):
    status, watcher = go(run, {10: [("step",)], 11: [("stop",)]})
    assert (status.state, status.step) == ("stopped", 11)
    assert "paused" in watcher.states


def test_the_last_step_ends_the_run_also_out_of_a_pause(run):
    go(run, stop_after(0))
    state = run.checkpoints.last()
    state["experiment"]["step"] = 998
    run.checkpoints.save(state)
    status, _ = go(run, {0: [("pause",), ("step",)], 1: [("step",)]})
    assert (status.state, status.step) == ("finished", 1000)


# -- live settings ----------------------------------------------------------------------------


def test_a_bad_value_is_refused_in_a_sentence_and_changes_nothing(run):
    plan = {
        10: [("set", "learning_rate", 5.0)],
        11: [("set", "batch", 128)],
        12: [("set", "learning_rate", "much")],
        20: [("stop",)],
    }
    _, watcher = go(run, plan)
    messages = {r.status.message for r in watcher.reports if r.status.message}
    assert len(messages) == 3
    assert all("learning_rate" in m or "batch" in m for m in messages)
    assert any("0.02" in m for m in messages)
    assert all(r.live == {"learning_rate": 0.005} for r in watcher.reports)
    assert same(weights(run), undisturbed("nice", 20))


def test_a_good_value_is_told_and_clears_the_message(run):
    plan = {5: [("set", "learning_rate", 9.0)], 6: [("set", "learning_rate", 1e-4)]}
    _, watcher = go(run, {**plan, 30: [("stop",)]})
    last = watcher.reports[-1]
    assert (last.status.message, last.live) == ("", {"learning_rate": 1e-4})
    assert not same(weights(run), undisturbed("nice", 30))
    rates = {row["step"]: row.get("learning_rate") for row in run.metrics.rows()}
    assert rates[0] is None, "no step was taken"
    assert rates[5] == pytest.approx(0.005 * one_cycle(4 / 1000), rel=1e-5)
    assert rates[10] == pytest.approx(1e-4 * one_cycle(9 / 1000), rel=1e-5)


def test_a_value_set_in_a_pause_is_kept(run):
    go(run, {10: [("pause",), ("set", "learning_rate", 1e-3), ("interrupt", "x")]})
    _, watcher = go(run, stop_after(3))
    assert watcher.reports[-1].live == {"learning_rate": 1e-3}


# -- what goes wrong --------------------------------------------------------------------------


def is_sentence(text: str) -> bool:
    return "\n" not in text and text.endswith(".") and "Error" not in text


def poison(run: Run, step: int) -> None:
    """Give its checkpoint weights that are no numbers, and another step."""
    state = run.checkpoints.last()
    for value in state["experiment"]["model"].values():
        value.fill_(math.nan)
    state["experiment"]["step"] = step
    run.checkpoints.save(state)


@pytest.mark.parametrize("step", [100, 991, 994])
def test_divergence_is_told_as_such_even_on_the_last_steps(run, step):
    go(run, stop_after(0))
    poison(run, step)
    status, watcher = go(run)
    assert status.state == "diverged"
    assert is_sentence(status.message)
    assert f"step {step}" in status.message
    assert "learning rate" in status.message
    assert status.skipped >= 5
    assert status.step <= min(step + 15, 1000)
    assert watcher.states[-1] == "diverged"
    assert run.status() == status


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04" + b"\0" * 100])
def test_a_damaged_checkpoint_fails_the_run_in_a_sentence(run, content):
    go(run, stop_after(10))
    for name in CHECKPOINTS:
        (run.path / name).unlink(missing_ok=True)  # they may be one file
        (run.path / name).write_bytes(content)
    status, watcher = go(run)
    assert status.state == "failed"
    assert is_sentence(status.message)
    assert "damaged" in status.message
    assert run.status().state == "failed"
    assert watcher.states == ["failed"]
    assert (run.path / "checkpoint.pt").read_bytes() == content, "it may still be of use to someone"


@pytest.mark.parametrize("content", [b"", b"junk"])
def test_where_the_last_checkpoint_is_damaged_it_goes_on_from_the_one_before(run, content):
    go(run, stop_after(10))
    go(run, stop_after(10))
    path = run.path / "checkpoint.pt"
    before = run.path / "checkpoint.before.pt"
    assert path.read_bytes() != before.read_bytes()
    path.unlink()  # not what is linked to it
    path.write_bytes(content)
    step = run.checkpoints.last()["experiment"]["step"]
    assert step < 20
    status, _ = go(run, stop_after(5))
    assert status.step == step + 5
    assert "the one before" in status.message
    assert is_sentence(status.message)
    assert same(weights(run), undisturbed("nice", step + 5))


def test_a_checkpoint_of_another_model_fails_the_run_in_a_sentence(run, tmp_path):
    other = create(tmp_path / "other", layers=4)
    go(other, stop_after(1))
    strange = [
        other.checkpoints.last(),
        {"experiment": {}, "seconds": 1.0},
        {},
    ]
    for state in strange:
        run.checkpoints.save(state)
        status, _ = go(run)
        assert status.state == "failed"
        assert is_sentence(status.message)
        assert str(run.path) in status.message


def test_a_damaged_config_fails_the_run_in_a_sentence(run):
    (run.path / "config.json").write_text('{"family": "nice", "config": {"layers": 99}}')
    status, _ = go(run)
    assert status.state == "failed"
    assert is_sentence(status.message)
    assert "layers" in status.message


def test_own_data_that_is_not_there_fails_the_run_in_a_sentence(tmp_path):
    status, _ = go(create(tmp_path / "run", dataset="own"))
    assert status.state == "failed"
    assert is_sentence(status.message)


def test_an_error_nobody_thought_of_is_told_and_kept(run):
    watcher = Watcher()
    status = drive(run, device="cuda:63", send=watcher.send, receive=watcher.receive)
    assert status.state == run.status().state == "failed"
    assert "\n" not in status.message
    assert "Traceback" in (run.path / "error.txt").read_text()
    assert not run.is_trained_now()
    assert go(run, stop_after(3))[0].state == "stopped", "and it can be tried again"


def test_two_cannot_train_one_run(run):
    def receive(timeout: float | None) -> Command:
        with pytest.raises(filelock.Timeout):
            go(Run(run.path))
        return ("stop",)

    status = drive(run, device="cpu", send=lambda report: None, receive=receive)
    assert status.state == "stopped"


def test_asking_whether_a_run_is_trained_does_not_keep_it_from_being_trained(run):
    asks, asked = threading.Event(), threading.Event()

    def ask():
        with run.lock():
            asks.set()
            asked.wait(0.2)

    threading.Thread(target=ask).start()
    asks.wait()
    assert go(run, stop_after(1))[0].state == "stopped"


def test_every_row_is_reported_once(run):
    _, watcher = go(run, stop_after(100))
    assert [row["step"] for row in watcher.rows()] == list(range(0, 101, 5))


def test_a_run_that_is_stopped_is_seen_as_it_was_then(run):
    _, watcher = go(run, {137: [("stop",)]})
    step = run.status().step
    assert step % 100, "else it would be a tenth, which is kept anyway"
    assert run.snapshots.steps()[-1] == step
    last = [report.step for report in watcher.reports if report.snapshot is not None][-1]
    assert last == step

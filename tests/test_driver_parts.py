"""Parts of a step, slow motion, and knobs of all kinds: what the driver passes on to a duel."""

from __future__ import annotations

import pytest
from test_driver import Watcher, same, weights

from lab.driver import Command, drive
from lab.store import Run, Status
from registry import FAMILIES
from training.gan import PlaneGAN

SMALL = {"iterations": 1000, "hidden": 16, "batch": 16, "depth": 1}


@pytest.fixture
def run(tmp_path) -> Run:
    family = FAMILIES["gan"]
    return Run.create(tmp_path / "run", family, family.training.config(**SMALL))


class Slow(Watcher):
    """Also writes down how long the driver was ready to wait for a command."""

    def __init__(self, plan: dict[int, list[Command]]) -> None:
        super().__init__(plan)
        self.patience: list[float | None] = []

    def receive(self, timeout: float | None) -> Command | None:
        self.patience.append(timeout)
        return super().receive(None if timeout is None else 0)


def go(run: Run, *plan: Command, at: int = 3) -> tuple[Status, Slow]:
    watcher = Slow({at: [("pause",), *plan, ("stop",)]})
    return drive(run, device="cpu", send=watcher.send, receive=watcher.receive), watcher


def snapshots(watcher: Watcher) -> dict[int, dict]:
    return {r.step: r.snapshot for r in watcher.reports if r.snapshot is not None}


def changed(before: dict, after: dict) -> set[str]:
    """Which arrays of a snapshot differ, but the arrows: both sides move those."""
    names = set(before) - {"arrows"}
    return {name for name in names if not (before[name] == after[name]).all()}


def in_pauses(run: Run, *commands: Command) -> tuple[Status, Watcher, list]:
    """Give one command per pause, and stop in the last one; return all waiting times, too."""
    watcher, left, patience = Watcher(), list(commands), []

    def receive(timeout: float | None) -> Command | None:
        patience.append(timeout)
        if timeout is None:
            return left.pop(0) if left else ("stop",)
        return None if watcher.reports[-1].status.state == "paused" else ("pause",)

    status = drive(run, device="cpu", send=watcher.send, receive=receive)
    return status, watcher, patience


def test_a_pause_shows_the_step_at_which_it_holds(run):
    _, watcher = go(run, at=7)
    paused = [report for report in watcher.reports if report.status.state == "paused"]
    assert paused[-1].status.step == 7
    assert max(snapshots(watcher)) == 7
    assert 7 in run.snapshots.steps()


def test_a_part_of_a_step_moves_only_that_part(run):
    steps = [("step",), ("step", "discriminator"), ("step", "generator"), ("step",)]
    status, watcher, _ = in_pauses(run, *steps)
    assert status.step == 4
    seen = snapshots(watcher)
    assert set(seen) >= {1, 2, 3, 4}
    assert changed(seen[1], seen[2]) == {"realness"}
    assert changed(seen[2], seen[3]) == {"samples", "lattice"}
    assert changed(seen[3], seen[4]) == {"realness", "samples", "lattice"}


def test_what_only_one_side_told_is_all_that_is_written_down(run):
    _, watcher, _ = in_pauses(run, ("step", "generator"), ("step", "discriminator"))
    rows = {row["step"]: row for row in watcher.rows()}
    assert "g_loss" in rows[1] and "d_loss" not in rows[1]
    assert {"d_loss", "d_real", "d_fake"} <= rows[2].keys() and "g_loss" not in rows[2]
    kept = {row["step"]: row for row in run.metrics.rows()}
    assert "d_loss" not in kept[1] and "g_loss" not in kept[2]


def test_quick_clicks_wait_in_their_order(run):
    parts = []
    experiment = PlaneGAN
    update = experiment.update

    def spy(self):
        parts.append(self.part)
        return update(self)

    # All in one pause, as clicks that come while a step is taken.
    clicks = [("step", "generator"), ("step",), ("step", "discriminator")]
    watcher = Watcher({2: [("pause",), *clicks]})

    def receive(timeout: float | None) -> Command | None:
        return ("stop",) if timeout is None and len(parts) > 3 else watcher.receive(timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "update", spy)
        status = drive(run, device="cpu", send=watcher.send, receive=receive)
    assert status.step == len(parts)
    assert parts == [None, None, "generator", None, "discriminator"]


def test_a_part_that_there_is_not_is_no_step(run):
    status, _ = go(run, ("step", "referee"))
    assert status.step == 3
    assert status.state == "stopped"


def test_a_family_without_parts_takes_none(tmp_path):
    family = FAMILIES["nice"]
    config = family.training.config(layers=2, hidden=32, batch=64, iterations=1000)
    run = Run.create(tmp_path / "run", family, config)
    status, _ = go(run, ("step", "generator"))
    assert status.step == 3


def test_slow_motion_waits_for_commands_between_steps(run):
    watcher = Slow({3: [("set", "delay", 0.5)], 6: [("stop",)]})
    status = drive(run, device="cpu", send=watcher.send, receive=watcher.receive)
    assert status.state == "stopped"
    # Before, after three steps, and behind the command, which ends the waiting of its own step.
    assert watcher.patience[:5] == [0.0] * 5
    assert watcher.patience[5:] == [0.5] * len(watcher.patience[5:])
    assert len(watcher.patience) > 6


def test_a_step_that_was_asked_for_comes_at_once(run):
    _, _, patience = in_pauses(run, ("set", "delay", 2.0), ("step",), ("step", "generator"))
    assert set(patience) == {None, 0.0}


def test_slow_motion_changes_nothing_but_the_time(tmp_path):
    family, made = FAMILIES["gan"], []
    for delay in (0.0, 2.0):
        config = family.training.config(**SMALL, delay=delay)
        run = Run.create(tmp_path / f"{delay}", family, config)
        watcher = Slow({5: [("stop",)]})
        drive(run, device="cpu", send=watcher.send, receive=watcher.receive)
        made.append(weights(run))
    assert same(*made)


def test_knobs_of_all_kinds_are_set_while_it_runs(run):
    wanted = {
        "loss": "hinge",
        "optimiser": "gradient-descent",
        "d_steps": 2,
        "momentum": 0.25,
        "learning_rate": 5e-3,
    }
    _, watcher = go(run, *[("set", *pair) for pair in wanted.items()])
    live = watcher.reports[-1].live
    assert {name: live[name] for name in wanted} == wanted
    _, watcher = go(run, ("set", "loss", "revenge"), ("set", "d_steps", 99), at=2)
    told = [report.status.message for report in watcher.reports]
    assert any("loss must be one of" in message for message in told)
    assert any("d_steps must be a whole number from 1 to 10" in message for message in told)
    assert watcher.reports[-1].live["loss"] == "hinge", "it is kept over a resume"


@pytest.mark.parametrize("rule", ["adam", "gradient-descent"])
def test_a_duel_resumes_bit_for_bit(rule):
    training = FAMILIES["gan"].training
    config = training.config(**SMALL, optimiser=rule, momentum=0.5, d_steps=2, loss="wasserstein")
    whole, first, second = (training.build(config) for _ in range(3))

    def go_on(experiment, steps: int) -> None:
        for _ in range(steps):
            experiment.update()
            experiment.step += 1

    go_on(whole, 12)
    go_on(first, 5)
    second.load_state_dict(first.state_dict())
    go_on(second, 7)
    assert same(whole.model.state_dict(), second.model.state_dict())
    for experiment in (whole, second):
        experiment.set("optimiser", "adam" if rule != "adam" else "gradient-descent")
        go_on(experiment, 3)
    assert same(whole.model.state_dict(), second.model.state_dict())

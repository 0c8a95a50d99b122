"""Trainings on a Ray cluster: on loopback, with a head and nodes that the tests start and kill."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import wait_until

from benchmarks.cluster import Nodes, cluster
from lab.driver import Report, drive
from lab.lab import Lab
from lab.ray import cluster as ray_cluster
from lab.ray import worker as ray_worker
from lab.ray.cluster import ADDRESS, Cluster, find_cluster, need
from lab.ray.trainer import Trainer
from lab.store import Run, RunError, Status
from registry import FAMILIES
from training.core.config import ConfigError

NICE = FAMILIES["nice"]
ROOT = Path(__file__).parent.parent


def on_a_cluster(test):
    """Mark a test that starts Ray's daemons, and kills them."""
    for mark in (
        pytest.mark.slow,
        pytest.mark.timeout(600),  # each worker loads torch anew
        pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed"),
        pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc"),
    ):
        test = mark(test)
    return test


def config(**values):
    small = {"layers": 2, "hidden": 32, "batch": 64, "iterations": 1000}
    return NICE.training.config(**{**small, **values})


def long(**values):
    """A training that does not end during a test."""
    return config(**{"layers": 4, "batch": 512, "iterations": 5000, **values})


# -- without a cluster ------------------------------------------------------------------------


def test_the_actor_trains_obeys_and_tells_like_a_worker_of_this_machine(tmp_path):
    run = Run.create(tmp_path / "run", NICE, config(iterations=1000))
    trainer = Trainer()
    for command in [("pause",), ("step",), ("set", "learning_rate", 1e-3), ("stop",)]:
        trainer.obey(command)
    reports = list(trainer.train(str(run.path), "cpu", 1, 0.0))
    assert [r.status.state for r in reports if r.status.state == "paused"]
    assert reports[-1].status.state == "stopped"
    assert reports[-1].status.step <= 1
    assert reports[-1].live["learning_rate"] == 1e-3
    assert run.status() == reports[-1].status
    with run.lock():
        assert list(trainer.train(str(run.path), "cpu", 1, 0.0)) == [None]
    with pytest.raises(RunError, match="all nodes need"):
        list(trainer.train(str(tmp_path / "elsewhere"), "cpu", 1, 0.0))


def test_what_a_cluster_offers_and_a_training_asks_for(monkeypatch):
    monkeypatch.delenv("GENLAB_SLOTS", raising=False)
    monkeypatch.delenv("GENLAB_DEVICE", raising=False)
    assert Cluster(cpus=3, gpus=0, largest=2).slots() == ["cpu"] * 3
    both = ["cuda"] * 2 + ["cpu"] * 14
    assert Cluster(cpus=16, gpus=2, largest=8).slots() == both
    assert Cluster(cpus=16, gpus=2, largest=8).slots(on_cpu=3) == both[:5]
    monkeypatch.setenv("GENLAB_DEVICE", "cuda")
    assert Cluster(cpus=16, gpus=2, largest=8).slots() == ["cuda"] * 2
    with pytest.raises(ConfigError, match="not here"):
        Cluster(cpus=3, gpus=0, largest=2).slots()
    monkeypatch.setenv("GENLAB_DEVICE", "cpu")
    monkeypatch.setenv("GENLAB_SLOTS", "5")
    assert Cluster(cpus=16, gpus=2, largest=8).slots() == ["cpu"] * 5
    assert need("cpu", 4) == {"num_cpus": 4, "num_gpus": 0}
    assert need("cuda", 2) == {"num_cpus": 2, "num_gpus": 1}


def test_a_cluster_that_is_not_there_is_told_in_a_sentence(monkeypatch):
    monkeypatch.delenv(ADDRESS, raising=False)
    assert find_cluster() is None
    monkeypatch.setenv(ADDRESS, "127.0.0.1:1")
    monkeypatch.setattr(ray_cluster, "ANSWER", 0.2)
    with pytest.raises(RunError, match=r"127\.0\.0\.1:1|requirements-ray\.txt"):
        find_cluster()


def test_where_nobody_listens_is_known_at_once():
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        address = f"127.0.0.1:{door.getsockname()[1]}"
        assert ray_cluster.answers(address)
    assert not ray_cluster.answers(address)
    assert ray_cluster.answers("auto")


# -- lost workers, with a stand-in for Ray ------------------------------------------------------


class RayError(Exception):
    """Of the stand-in."""


class RayTaskError(RayError):
    cause = RunError("This node does not see it.\nAnd more.")


class StandIn:
    """Ray as far as the relay uses it; each actor plays one list of reports and errors."""

    def __init__(self, *plays: list) -> None:
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self.plays, self.told, self.killed, self.free = list(plays), [], [], {"CPU": 8.0}

    def remote(self, kind: type) -> SimpleNamespace:
        assert kind is Trainer
        return SimpleNamespace(options=self._options)

    def _options(self, **options) -> SimpleNamespace:
        self.asked = options
        told: list = []
        self.told.append(told)
        train = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._play))
        obey = SimpleNamespace(remote=told.append)
        return SimpleNamespace(remote=lambda: SimpleNamespace(train=train, obey=obey))

    def _play(self, path: str, device: str, threads: int, patience: float) -> list:
        self.patience = patience
        return self.plays.pop(0)

    def wait(self, references: list, **_) -> tuple[list, list]:
        return ([], references) if self.free["CPU"] < 2 else (references, [])

    def get(self, item):
        if isinstance(item, Exception):
            raise item
        return item

    def available_resources(self) -> dict[str, float]:
        return self.free

    def kill(self, actor) -> None:
        self.killed.append(actor)


def at(step: int, state: str = "running", message: str = "") -> Report:
    status = Status(state=state, step=step, total=100, message=message)
    return Report(status, live={"learning_rate": 0.1})


def relayed(tmp_path, monkeypatch, ray: StandIn, *commands: tuple) -> list[Report]:
    """What the lab hears of a run."""
    monkeypatch.setitem(sys.modules, "ray", ray)
    waiting = list(commands)
    heard: list[Report] = []
    forever = threading.Event()

    def receive(timeout: float | None) -> tuple:
        if not waiting:
            forever.wait(30)
            return ("interrupt", "The test is over.")
        return waiting.pop(0)

    run = Run.create(tmp_path / "run", NICE, config())
    ray_worker._Relay(run, "cpu", 2, heard.append, receive).go()
    forever.set()
    assert run.status().state == heard[-1].status.state or heard[-1].status.state == "finished"
    return heard


def test_a_lost_run_goes_on_and_says_so_until_it_ends(tmp_path, monkeypatch):
    lost = RayError("The actor died because its node has died.")
    ray = StandIn(
        [at(1), at(5), lost], [at(4), at(6, "paused"), RayError("killed")], [at(100, "finished")]
    )
    heard = relayed(tmp_path, monkeypatch, ray)
    assert [r.status.state for r in heard] == [
        "running", "running", "starting", "running", "paused", "starting", "finished",
    ]  # fmt: skip
    assert heard[1].status.message == ""
    assert all("node that trained this run was lost" in r.status.message for r in heard[2:5])
    assert "goes on from its last checkpoint" in heard[3].status.message
    assert "process that trained this run was killed" in heard[5].status.message
    assert heard[-1].status.message == ""
    # What ends the test may have come as well.
    assert ray.told[2][:1] == [("pause",)], "what was paused is paused again"
    assert ray.patience == ray_worker.LOCKED
    assert len(ray.killed) == 3
    assert ray.asked["num_cpus"] == 2
    assert ADDRESS not in ray.asked["runtime_env"]["env_vars"]


def test_what_is_lost_again_and_again_without_progress_ends(tmp_path, monkeypatch):
    ray = StandIn(*([at(5), RayError("no memory")] for _ in range(3)))
    heard = relayed(tmp_path, monkeypatch, ray)
    assert heard[-1].status.state == "interrupted"
    assert "3 times without progress" in heard[-1].status.message


def test_progress_between_two_losses_counts(tmp_path, monkeypatch):
    plays = [[at(step), RayError("no memory")] for step in (5, 5, 9, 9, 20)]
    heard = relayed(tmp_path, monkeypatch, StandIn(*plays, [at(100, "finished")]))
    assert heard[-1].status.state == "finished"


def test_an_error_of_the_node_is_a_sentence(tmp_path, monkeypatch):
    heard = relayed(tmp_path, monkeypatch, StandIn([RayTaskError()]))
    assert heard[-1].status.state == "failed"
    assert heard[-1].status.message == "This node does not see it."


def test_a_folder_that_stays_locked_ends_a_lost_run(tmp_path, monkeypatch):
    heard = relayed(tmp_path, monkeypatch, StandIn([at(3), RayError("killed")], [None]))
    assert heard[-1].status.state == "interrupted"
    assert "still locked" in heard[-1].status.message


@pytest.mark.parametrize(
    ("command", "state"),
    [
        (("stop",), "stopped"),
        (("interrupt", "Closed."), "interrupted"),
        (("park", "Idle."), "parked"),
    ],
)
def test_what_waits_for_a_place_says_so_and_can_be_ended(tmp_path, monkeypatch, command, state):
    ray = StandIn()
    ray.free = {"CPU": 1.0}
    killed = threading.Event()

    def play():
        assert killed.wait(30)
        yield RayError("killed by the relay")

    ray.plays.append(play())
    ray.kill = lambda actor: killed.set()
    heard = [report.status for report in relayed(tmp_path, monkeypatch, ray, command)]
    assert (heard[-1].state, heard[-1].message) == (state, "".join(command[1:]))
    assert len(heard) == 1 or "waits for a place on the cluster: 2 CPU" in heard[0].message


# -- with one ---------------------------------------------------------------------------------


@pytest.fixture
def host() -> str:
    return "127.0.0.1"


@pytest.fixture
def nodes(host, tmp_path, monkeypatch) -> Iterator[Nodes]:
    with cluster(tmp_path, host) as found:
        for name, value in found.env.items():
            monkeypatch.setenv(name, value)
        # Workers inherit the environment of the fork server, which is as old as the first of them.
        forkserver._forkserver._stop()
        yield found
        forkserver._forkserver._stop()


@pytest.fixture
def lab_of(tmp_path) -> Iterator:
    labs: list[Lab] = []

    def start() -> Lab:
        labs.append(Lab(tmp_path / "runs"))
        return labs[-1]

    yield start
    for lab in labs:
        lab.close()


def is_training(lab: Lab, run_id: str, beyond: int = 0) -> bool:
    status = lab.view(run_id).status
    assert status.active, status
    return status.state == "running" and status.step > beyond


def has_ended(lab: Lab, run_id: str) -> bool:
    return not lab.view(run_id).status.active


def without_clock(run: Run) -> list[dict[str, str]]:
    with (run.path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def alone(path: Path, settings) -> Run:
    run = Run.create(path, NICE, settings)
    drive(run, device="cpu", send=lambda report: None, receive=lambda timeout: None)
    return run


@on_a_cluster
def test_a_run_on_a_cluster_is_watched_steered_lost_and_ended_like_any_other(
    nodes, lab_of, tmp_path
):
    nodes.start_head(cpus=2)
    listening = subprocess.run(
        [shutil.which("ss"), "-ltnpH"], capture_output=True, text=True
    ).stdout
    ours = [line for line in listening.splitlines() if nodes.address.rpartition(":")[2] in line]
    assert all("127.0.0.1" in line for line in ours), ours

    lab = lab_of()
    assert lab.devices == ["cpu", "cpu"]
    first, second = (lab.submit(NICE, s) for s in (config(seed=3), long()))
    lab.wait(second, 0, timeout=60)
    wait_until(lambda: is_training(lab, second))
    lab.command(second, "pause")
    wait_until(lambda: lab.view(second).status.state == "paused")
    paused = lab.view(second).status.step
    for _ in range(3):
        lab.command(second, "step")
    wait_until(lambda: lab.view(second).step == paused + 3)
    lab.command(second, "set", "learning_rate", 1e-3)
    wait_until(lambda: lab.view(second).live.get("learning_rate") == 1e-3)
    lab.command(second, "resume")
    wait_until(lambda: is_training(lab, second, beyond=paused + 20))
    assert lab.view(second).rate > 0

    third = lab.submit(NICE, long(seed=1))  # waits until the first has ended
    wait_until(lambda: has_ended(lab, first))
    assert lab.view(first).status.state == "finished"
    assert lab.view(first).snapshot is not None
    same = alone(tmp_path / "alone", config(seed=3))
    assert without_clock(lab.view(first).run) == without_clock(same)
    wait_until(lambda: is_training(lab, third))

    # A killed worker resumes by itself, and the other run does not notice.
    step = lab.view(third).status.step
    victim = nodes.trainer_of(lab.view(second).run.path)
    assert victim, "no actor trains it"
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: "was killed" in lab.view(second).status.message)
    wait_until(lambda: is_training(lab, second, beyond=lab.view(second).run.status().step))
    assert re.search(r"killed.*goes on", lab.view(second).status.message)
    assert lab.view(second).live["learning_rate"] == 1e-3
    wait_until(lambda: is_training(lab, third, beyond=step))
    steps = [row["step"] for row in lab.view(second).rows]
    assert steps == sorted(set(steps))

    # Stop frees the place, for the next of the line.
    lab.command(third, "pause")
    wait_until(lambda: lab.view(third).status.state == "paused")
    fourth = lab.submit(NICE, long(seed=2))
    assert lab.view(fourth).status.state == "queued"
    before = time.monotonic()
    lab.command(second, "stop")
    wait_until(lambda: lab.view(fourth).status.state != "queued")
    assert time.monotonic() - before < 2
    assert lab.view(second).status.state == "stopped"
    assert (
        lab.view(second).run.checkpoints.last()["experiment"]["step"]
        == lab.view(second).status.step
    )
    wait_until(lambda: is_training(lab, fourth))

    lab.close()
    for run_id in (third, fourth):
        status = lab.store.get(run_id).status()
        assert (status.state, "closed" in status.message) == ("interrupted", True)
        assert lab.store.get(run_id).checkpoints.last()["experiment"]["step"] == status.step
    wait_until(lambda: not nodes.trainers())
    # What the lab started is gone, and the daemons end when they are told to.
    head = nodes.sessions[0]
    os.kill(head, signal.SIGTERM)
    wait_until(lambda: not nodes.processes())


@on_a_cluster
@pytest.mark.parametrize("host", ["127.0.0.2"])  # on 127.0.0.1 Ray has one node and no more
def test_a_lost_node_costs_no_more_than_the_work_since_the_last_checkpoint(nodes, lab_of):
    nodes.start_head(cpus=0)
    node = nodes.join("127.0.0.3")
    wait_until(lambda: find_cluster().cpus == 1, every=1)
    lab = lab_of()
    run_id = lab.submit(NICE, long())
    wait_until(lambda: is_training(lab, run_id, beyond=50))
    run = lab.view(run_id).run
    saved = run.checkpoints.last()["experiment"]["step"]
    nodes.kill(node)
    wait_until(lambda: "waits for a place" in lab.view(run_id).status.message)
    assert "node that trained this run was lost" in lab.view(run_id).status.message
    nodes.join("127.0.0.3")
    wait_until(lambda: is_training(lab, run_id, beyond=saved))
    assert "node that trained this run was lost" in lab.view(run_id).status.message

    # Nobody answers any more: Stop works all the same.
    lab.command(run_id, "stop")
    wait_until(lambda: has_ended(lab, run_id) and not lab.active())
    waiting = [lab.submit(NICE, long(seed=seed)) for seed in (1, 2)]
    assert [lab.view(i).status.state for i in waiting] == ["starting", "queued"]
    lab.command(waiting[0], "stop")
    wait_until(lambda: has_ended(lab, waiting[0]))
    assert lab.view(waiting[0]).status.state == "stopped"

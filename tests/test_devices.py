"""Where trainings run, and work that two cores do at once."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from conftest import wait_until

from lab.lab import Lab
from lab.queue import Queue
from lab.rules import Rules
from lab.seat import Seat
from lab.store import Run, Status
from lab.view import View
from registry import FAMILIES
from tests.golden.cases import SMALL
from training.core.config import ConfigError
from training.core.devices import Lanes, Machine, slots, suited
from ui.common import run_words

CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# -- where trainings run ----------------------------------------------------------------------

TWO_GPUS = Machine(("cuda:0", "cuda:1"), 8)


@pytest.mark.parametrize(
    ("machine", "options", "expected"),
    [
        (Machine((), 3), {}, ["cpu"] * 3),
        (Machine((), 3), {"on_cpu": 5, "on_each_gpu": 4}, ["cpu"] * 5),
        (TWO_GPUS, {}, ["cuda:0", "cuda:1"] + ["cpu"] * 6),
        (TWO_GPUS, {"on_cpu": 1, "on_each_gpu": 2}, ["cuda:0", "cuda:1"] * 2 + ["cpu"]),
        (Machine(("cuda:0", "cuda:1"), 2), {}, ["cuda:0", "cuda:1", "cpu"]),
        (TWO_GPUS.only("cpu"), {}, ["cpu"] * 8),
        (TWO_GPUS.only("cuda"), {"on_cpu": 4}, ["cuda:0", "cuda:1"]),
        (TWO_GPUS.only("cuda:1"), {}, ["cuda:1"]),
        (Machine(("mps",), 8).only("mps"), {}, ["mps"]),
    ],
)
def test_a_machine_offers_its_gpus_and_the_cores_that_they_leave(
    machine, options, expected, monkeypatch
):
    monkeypatch.delenv("GENLAB_SLOTS", raising=False)
    assert slots(machine, **options) == expected


def test_the_variable_counts_for_processors_alone(monkeypatch):
    monkeypatch.setenv("GENLAB_SLOTS", "2")
    assert slots(TWO_GPUS) == ["cuda:0", "cuda:1", "cpu", "cpu"]
    monkeypatch.setenv("GENLAB_SLOTS", "many")
    assert slots(TWO_GPUS.only("cuda")) == ["cuda:0", "cuda:1"]
    with pytest.raises(ConfigError, match="GENLAB_SLOTS"):
        slots(TWO_GPUS)


@pytest.mark.parametrize("wanted", ["cuda:2", "cuda:10", "mps", "xpu:0"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(wanted):
    with pytest.raises(ConfigError, match=f"{wanted}, which is not here.*cpu, cuda:0, cuda:1"):
        TWO_GPUS.only(wanted)


@pytest.mark.parametrize("wanted", ["gpu", "CUDA", "cuda:", "cuda:-1", "cpu:0", "meta", "cuda:٣"])
def test_what_names_no_device_is_refused_with_what_does(wanted):
    with pytest.raises(ConfigError, match=r"must be cpu, cuda, .*mps or xpu"):
        TWO_GPUS.only(wanted)


@pytest.mark.parametrize(
    ("devices", "faster_on", "expected"),
    [
        (["cuda:0", "cuda:1", "cpu"], "gpu", ["cuda:0", "cuda:1"]),
        (["cuda:0", "cuda:1", "cpu"], "cpu", ["cpu"]),
        (["cpu", "cpu"], "gpu", ["cpu", "cpu"]),
        (["mps"], "cpu", ["mps"]),
        ([], "cpu", []),
    ],
)
def test_each_family_gets_the_devices_on_which_it_is_faster(devices, faster_on, expected):
    assert suited(devices, faster_on) == expected


def test_families_in_two_dimensions_are_faster_on_a_processor():
    found = {s for s, family in FAMILIES.items() if family.training.data.faster_on == "cpu"}
    plane = {"nice", "realnvp", "gan", "glow_plane", "maf_plane", "vae_plane", "flow_matching"}
    assert found == plane


def submit(lab: Lab, stem: str, **settings: object) -> str:
    training = FAMILIES[stem].training
    return lab.submit(FAMILIES[stem], training.config.parse({**SMALL[stem], **settings}))


@pytest.fixture
def lab(tmp_path) -> Iterator[Lab]:
    """A lab that believes in a GPU: what starts there fails, and says where it was."""
    lab = Lab(tmp_path / "runs", ["cuda:63", "cpu"])
    yield lab
    lab.close()


def test_the_lab_starts_each_run_where_it_is_faster_and_lets_nobody_wait_for_others(lab):
    first, second = (submit(lab, "nice", iterations=5000, seed=seed) for seed in (0, 1))
    wait_until(lambda: lab.view(first).status.state == "running")
    lab.command(first, "pause")
    assert lab.view(second).status.state == "queued"
    image = submit(lab, "vae")  # behind the second in line, whose processor is taken
    wait_until(lambda: not lab.view(image).status.active)
    assert lab.view(image).status.device == "cuda:63"
    assert lab.view(first).status.device == "cpu"
    assert lab.view(second).status.state == "queued", "a GPU is free, but not for it"
    lab.command(first, "stop")
    wait_until(lambda: lab.view(second).status.state == "running")
    assert lab.view(second).status.device == "cpu"


def test_a_page_says_where_a_run_is_and_why_where_there_is_a_choice(lab, monkeypatch, tmp_path):
    monkeypatch.setattr(run_words, "lab", lambda: Seat(lab))

    def words(state: str, devices: list[str]) -> list[str]:
        status = Status(state=state, device=devices[0] if devices else "")
        return run_words.device_words(View(Run(tmp_path), status, devices=devices))

    assert words("running", ["cpu"]) == ["on the CPU, faster in 2-D"]
    assert words("queued", ["cuda:63"]) == ["on a GPU, faster for images"]
    assert words("running", ["cuda:63"]) == ["on cuda:63, faster for images"]
    assert words("finished", ["cpu"]) == words("running", []) == []
    monkeypatch.setattr(lab._workers, "place", replace(lab._workers.place, devices=["cpu"]))
    assert words("running", ["cpu"]) == []


def test_a_pause_makes_room_only_for_those_who_wait_for_its_devices(lab, tmp_path, monkeypatch):
    paused = submit(lab, "nice", iterations=5000)
    wait_until(lambda: lab.view(paused).status.state == "running")
    lab.command(paused, "pause")
    wait_until(lambda: lab.view(paused).status.state == "paused")
    monkeypatch.setattr(lab.limits, "rules", Rules(park_minutes=60))
    lab._workers[paused].paused_since = -math.inf
    others = {"image": ["cuda:63"], "plane": ["cpu"]}
    for name, devices in others.items():
        with lab._lock:  # nothing else looks meanwhile
            lab._queue.add(View(Run(tmp_path / name), Status(state="queued"), devices=devices))
            lab._keep_limits()
            assert lab._workers[paused].is_ending == (devices == ["cpu"])
            lab._queue.remove(name)
    wait_until(lambda: lab.view(paused).status.state == "stopped")


def test_who_waits_for_other_devices_is_not_before_it(tmp_path):
    queue = Queue()

    def view(name: str, devices: list[str], **values) -> View:
        return View(Run(tmp_path / name), Status(**values), devices=devices)

    images = [view(name, ["cuda:0"]) for name in ("image", "another")]
    plane = view("plane", ["cpu", "cpu"])
    for each in (*images, plane):
        queue.add(each)
    at_work = [view("busy", ["cuda:0"], total=100, step=40)]
    at_work[0].rate = 2.0
    for each in (*images, plane):
        queue.place(each, at_work, 0)
    assert [each.ahead for each in (*images, plane)] == [0, 1, 0]
    assert (images[0].wait, plane.wait) == (30.0, 0.0)


# -- lanes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("available", "share"), [(2, 1), (3, 1), (4, 2)])
def test_tasks_run_at_once_and_share_the_threads(available, share):
    torch.set_num_threads(available)
    met = threading.Barrier(2, timeout=30)

    def task(name: str) -> tuple[str, int]:
        met.wait()  # both are here, or this breaks
        return name, torch.get_num_threads()

    lanes = Lanes(CPU, 2)
    for _ in range(2):
        with lanes:
            assert torch.get_num_threads() == share
            results = lanes.run(lambda: task("one"), lambda: task("two"))
        assert results == [("one", share), ("two", share)]
        assert torch.get_num_threads() == available


@pytest.mark.parametrize(("device", "available"), [(CPU, 1), (META, 4)])
def test_one_thread_or_another_device_takes_them_in_turn(device, available):
    torch.set_num_threads(available)
    seen = []

    def task() -> int:
        seen.append((threading.current_thread(), torch.get_num_threads()))
        return len(seen)

    with Lanes(device, 2) as lanes:
        assert lanes.run(task, task) == [1, 2]
    assert seen == [(threading.current_thread(), available)] * 2


@pytest.mark.parametrize("broken", [0, 1])
def test_an_error_arrives_when_the_other_task_is_done(broken):
    torch.set_num_threads(2)
    fails, done = threading.Event(), []

    def good() -> None:
        assert fails.wait(30)
        done.append(True)

    def bad() -> None:
        fails.set()
        raise ArithmeticError("it broke")

    tasks = (bad, good) if broken == 0 else (good, bad)
    with pytest.raises(ArithmeticError, match="it broke"), Lanes(CPU, 2) as lanes:
        lanes.run(*tasks)
    assert done == [True]
    assert torch.get_num_threads() == 2


def test_gradients_through_shared_weights_do_not_mix():
    torch.set_num_threads(2)
    weight = torch.linspace(-1, 1, 64 * 64).view(64, 64).requires_grad_()

    def gradient(seed: int) -> torch.Tensor:
        x = torch.randn(128, 64, generator=torch.Generator().manual_seed(seed))
        return torch.autograd.grad((x @ weight).tanh().square().sum(), weight)[0]

    alone = [gradient(0), gradient(1)]
    lanes = Lanes(CPU, 2)
    for _ in range(20):
        with lanes:
            together = lanes.run(lambda: gradient(0), lambda: gradient(1))
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(one, other)

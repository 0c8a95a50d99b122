"""Work that two cores do at once: its results, its errors, and what it leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from training.core.devices import Lanes

CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


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

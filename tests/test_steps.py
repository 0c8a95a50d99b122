"""A step of each family as a device wants it: no float64, and nothing that Python waits for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets import densities
from datasets.plane import load_plane
from datasets.toy import TOY
from registry import FAMILIES
from tests.golden.cases import CASES, SMALL
from tests.guard import GuardError, without_float64, without_waiting
from training.core import optimiser
from training.core.experiment import Experiment
from training.core.images import one_hot

META = torch.device("meta")  # a device beside the CPU that every machine has
STEPS = 3  # Adam's first one goes another way


def build(case: str) -> Experiment:
    stem, values = CASES[case]
    training = FAMILIES[stem].training
    return training.build(training.config.parse({**SMALL[stem], **values}))


def take_steps(experiment: Experiment) -> list[Tensor]:
    losses = []
    for _ in range(STEPS):
        losses += experiment.update().values()
        experiment.step += 1
    return losses


@pytest.mark.parametrize("case", CASES)
def test_a_step_needs_no_float64(case, monkeypatch):
    monkeypatch.setattr(densities, "FLOAT64", ())
    experiment = build(case)
    with without_float64(experiment.device):
        losses = take_steps(experiment)
    assert torch.stack(losses).isfinite().all()


# Pairs are matched by scipy: what it is given has to be there.
@pytest.mark.parametrize("case", [case for case in CASES if case != "flow_matching-transport"])
def test_a_step_waits_for_nothing(case):
    experiment = build(case)
    with without_waiting():
        losses = take_steps(experiment)
    assert torch.stack(losses).isfinite().all()


def test_without_fused_kernels_a_step_asks_whether_it_is_good(monkeypatch):
    monkeypatch.setattr(optimiser, "FUSED", ())
    experiment = build("nice")
    with pytest.raises(GuardError, match="__bool__"), without_waiting():
        experiment.update()


@pytest.mark.parametrize("name", TOY)
def test_a_set_moves_to_a_device_without_float64(name):
    plane = load_plane(name)
    with without_float64(META):
        moved = plane.to(META)
        drawn = moved.density._on(META)
    assert moved.log_volume == plane.log_volume
    points = [moved.mean, moved.std, *(p for p in (moved.train, moved.test) if p is not None)]
    assert all(tensor.is_meta for tensor in points)
    held = [value for value in vars(drawn).values() if isinstance(value, Tensor)]
    assert held
    assert all(tensor.is_meta for tensor in held)
    # What the truth is computed from has lost no digit.
    assert moved.density is plane.density


@pytest.mark.parametrize(("shape", "classes"), [((7,), 10), ((0,), 3)])
def test_one_hot_vectors_are_those_of_torch(shape, classes):
    labels = torch.randint(classes, shape, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.one_hot(labels, classes).float()
    assert torch.equal(one_hot(labels, classes), expected)


FLOATS = {
    "made": lambda x: torch.ones(2, dtype=torch.float64),
    "converted": lambda x: x.double(),
    "drawn": lambda x: torch.rand(2, dtype=torch.float64, generator=torch.Generator()),
    "promoted": lambda x: x * torch.ones(3, dtype=torch.int64).numpy().astype("float64"),
    "moved": lambda x: torch.from_numpy(np.ones(3)).to(x.device).mul(2),
}


@pytest.mark.parametrize("way", FLOATS)
def test_the_guard_sees_each_way_to_float64(way):
    with pytest.raises(GuardError, match="float64"), without_float64("cpu"):
        FLOATS[way](torch.ones(3))


WAITING = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "int": lambda x: int(x.sum()),
    "bool": lambda x: bool(x.any()),
    "if": lambda x: 1 if x.any() else 0,
    "list": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu"),
    "to-named": lambda x: x.to(device="cpu"),
    "numpy": lambda x: x.numpy(),
    "array": np.asarray,
    "range": lambda x: range(x.sum().long()),
    "mask": lambda x: x[x > 0],
    "mask-written": lambda x: x.__setitem__(x > 0, torch.zeros(3)),
    "where": lambda x: (x > 0).nonzero(),
    "equal": lambda x: torch.equal(x, x + 1),
}


@pytest.mark.parametrize("way", WAITING)
def test_the_guard_sees_each_way_to_wait(way):
    with pytest.raises(GuardError, match="waits"), without_waiting():
        WAITING[way](torch.ones(3))

"""The optimiser: with and without fused kernels, and what a skipped step leaves behind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from registry import FAMILIES
from tests.golden.cases import SMALL
from tests.test_golden import CHAOTIC
from training.core import optimiser
from training.core.experiment import Experiment

FAMILY: dict[str, dict] = {
    **SMALL,
    "gan-descent": {**SMALL["gan"], "optimiser": "gradient-descent", "momentum": 0.9},
    "dcgan-descent": {**SMALL["dcgan"], "optimiser": "gradient-descent", "momentum": 0.5},
}


@pytest.fixture
def uninitialised_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def build(case: str, bad: set[int] = frozenset()) -> Experiment:
    """A small experiment whose losses are not finite at the steps named."""
    training = FAMILIES[case.split("-")[0]].training
    settings = dict(FAMILY[case])
    if "precision" in training.config.model_fields:
        settings["precision"] = "float32"
    experiment = training.build(training.config.parse(settings))
    for each in experiment.optimisers.values():
        each.along = poisoned(experiment, each.along, bad)
    return experiment


def poisoned(experiment: Experiment, along, bad: set[int]):
    def follow(gradients, loss: Tensor, learning_rate: float) -> None:
        along(gradients, loss * math.nan if experiment.step in bad else loss, learning_rate)

    return follow


def take(experiment: Experiment, steps: int) -> Tensor:
    for _ in range(steps):
        experiment.update()
        experiment.step += 1
    return weights(experiment)


def weights(experiment: Experiment) -> Tensor:
    return torch.cat([p.detach().flatten() for p in experiment.model.parameters()]).clone()


def numbers(state: object) -> Iterator[Tensor]:
    """Return all tensors of a state of an optimiser."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from numbers(value)


@pytest.mark.parametrize("case", FAMILY)
def test_without_fused_kernels_all_families_train_alike(case, monkeypatch):
    steps, bad = (2, {0}) if case in CHAOTIC else (4, {0, 2})
    fused = build(case, bad)
    before = weights(fused)
    monkeypatch.setattr(optimiser, "FUSED", ())
    unfused = build(case, bad)
    for one, other in zip(fused.optimisers.values(), unfused.optimisers.values(), strict=True):
        assert (one.fused, other.fused) == (True, False)
    assert torch.equal(take(unfused, 1), before), "a step that is not finite is skipped"
    assert torch.equal(take(fused, 1), before)
    after = take(fused, steps - 1)
    assert not torch.equal(after, before)
    apart = take(unfused, steps - 1) - after
    # Before a batch norm some gradients are rounding errors, which Adam makes as large as others.
    assert apart.norm() < 3e-3 * (after - before).norm()
    assert unfused.skipped == fused.skipped > 0


@pytest.mark.parametrize("kernels", [((), ("cpu",)), (("cpu",), ())], ids=["to-fused", "from"])
@pytest.mark.parametrize("case", ["nice", "gan-descent"])
def test_a_state_goes_on_where_the_kernels_are_others(case, kernels, monkeypatch):
    pair = []
    for devices in kernels:
        monkeypatch.setattr(optimiser, "FUSED", devices)
        pair.append(build(case))
    first, second = pair
    take(first, 2)
    second.load_state_dict(deepcopy(first.state_dict()))
    torch.testing.assert_close(take(second, 2), take(first, 2), rtol=1e-4, atol=1e-6)
    for each, devices in zip(pair, kernels, strict=True):
        rules = each.optimisers.values()
        assert {rule.adam.param_groups[0]["fused"] for rule in rules} == {bool(devices)}


@pytest.mark.usefixtures("uninitialised_is_nan")
@pytest.mark.parametrize("case", FAMILY)
def test_a_skipped_first_step_leaves_nothing_uninitialised(case):
    experiment = build(case, {0})
    before = weights(experiment)
    assert torch.equal(take(experiment, 1), before)
    for each in experiment.optimisers.values():
        assert all(torch.isfinite(value).all() for value in numbers(each.state_dict()))
    assert torch.isfinite(take(experiment, 1)).all()
    assert not torch.equal(weights(experiment), before)

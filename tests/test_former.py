"""Flows that earlier versions saved are still read: their layers had other names and places."""

from __future__ import annotations

from copy import deepcopy
from itertools import islice
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from datasets.own import DataError
from lab.imports.weights_import import read_weights
from lab.store import Run
from models.blocks.layers import Split
from models.flow import Flow
from registry import FAMILIES
from tests.golden.cases import SMALL
from training.core.former import current_weights
from training.core.loop import train

SHIPPED = Path(__file__).parent.parent / "assets" / "runs"
SETTINGS: dict[str, dict] = {
    "nice": {},
    "realnvp": {"actnorm": True, "coupling": "spline"},
    "glow_plane": {},
    "maf_plane": {},
    "maf": {},
    "nice_images": {},
    "realnvp_images": {"levels": 2},
    "glow": {"levels": 2},
}
FROM_LATENT = ("nice", "realnvp", "glow_plane", "maf_plane", "maf")


def old_names(flow: Flow, from_latent: bool) -> dict[str, str]:
    """What was each weight called, by its name of today."""
    if from_latent:
        places = [f"layers.{i}" for i in reversed(range(len(flow.chain)))]
    else:
        places, level, inside = [], 0, 0
        for layer in flow.chain:
            places.append(f"levels.{level}.{inside}")
            level, inside = (level + 1, 0) if isinstance(layer, Split) else (level, inside + 1)
    names = {}
    for name in flow.state_dict():
        if name.endswith(".bound"):
            continue  # they were not written
        first, number, *rest = name.split(".")
        names[name] = ".".join([places[int(number)], *rest]) if first == "chain" else name
    return names


def aged(flow: Flow, weights: dict[str, Tensor], stem: str) -> dict[str, Tensor]:
    names = old_names(flow, stem in FROM_LATENT)
    old = {old: weights[name] for name, old in names.items()}
    assert not any(name.startswith("chain") for name in old)
    return old


# Largest log-scale of a layer, whatever their number, before it was kept among the weights.
FORMER_BOUNDS = {"realnvp": 3.0, "glow_plane": 3.0, "maf_plane": 5.0, "maf": 5.0}


def bounds(flow: Flow) -> dict[str, float]:
    return {n: float(b) for n, b in flow.named_buffers() if n.endswith(".bound")}


def former_bounds(flow: Flow, stem: str) -> None:
    for name, buffer in flow.named_buffers():
        if name.endswith(".bound"):
            buffer.fill_(FORMER_BOUNDS.get(stem, float(buffer)))


def build(stem: str):
    family = FAMILIES[stem]
    config = family.training.config.parse({**SMALL[stem], **SETTINGS[stem]})
    return family.training.build(config)


def go_on(experiment, steps: int) -> Tensor:
    experiment.measure = dict
    loop = train(experiment, log_every=1, snapshots=False)
    for _ in islice(loop, steps + 1):
        pass
    loop.close()
    return torch.cat([w.flatten() for w in experiment.model.state_dict().values()]).clone()


@pytest.mark.parametrize("stem", SETTINGS)
def test_a_checkpoint_of_an_earlier_version_goes_on_bit_for_bit(stem):
    one, two = build(stem), build(stem)
    go_on(one, 2)
    state = one.state_dict()
    former_bounds(one.model, stem)
    state["model"] = aged(one.model, state["model"], stem)
    two.load_state_dict(deepcopy(state))
    assert torch.equal(go_on(one, 2), go_on(two, 2))


@pytest.mark.parametrize("stem", SETTINGS)
def test_the_vectors_of_the_optimiser_keep_their_order(stem):
    experiment = build(stem)
    names = {id(p): name for name, p in experiment.model.named_parameters()}
    old = old_names(experiment.model, stem in FROM_LATENT)
    inside = [old[names[id(p)]].split(".") for p in experiment.optimisers["adam"].parameters]
    assert len(inside) == len(names)
    layers = [[int(part) for part in name[1:3] if part.isdigit()] for name in inside]
    there = [place for place, name in zip(layers, inside) if name[0] != "encoder"]
    assert there == sorted(there)
    assert all(name[0] != "encoder" for name in inside[: len(there)]), "the encoder comes last"


@pytest.mark.parametrize("stem", SETTINGS)
def test_shipped_weights_are_those_of_the_layers_that_learned_them(stem):
    # A layer in the wrong place might have the right shape.
    run = Run(SHIPPED / stem)
    module, target = run.family.training, run.snapshots.target()
    facts = (target["shape"].tolist(), len(target["classes"])) if "shape" in target else ()
    flow = module.model(run.config, *facts)
    assert run.weights.load_into(flow) > 0
    weights = safetensors.torch.load_file(run.path / "model.safetensors")
    found = flow.state_dict()
    for name, old in old_names(flow, stem in FROM_LATENT).items():
        assert torch.equal(found[name], weights.get(name, weights.get(old))), name
    for name, bound in bounds(flow).items():
        assert bound == FORMER_BOUNDS.get(stem, bound), name
    if "density" in target:
        experiment = run.experiment()
        run.weights.load_into(experiment.model)
        last = {k: v for k, v in run.metrics.rows()[-1].items() if k in experiment.METRICS}
        assert experiment.measure() == pytest.approx(last, abs=1e-3)


def test_a_name_in_both_forms_is_refused(tmp_path):
    flow = build("nice").model
    weights = flow.state_dict()
    both = {**weights, **{k: v.clone() for k, v in aged(flow, weights, "nice").items()}}
    assert set(current_weights(both, flow)) == set(both)
    config = FAMILIES["nice"].training.config.parse(SMALL["nice"])
    metadata = {"family": "nice", "config": config.model_dump_json(), "step": "1"}
    with pytest.raises(DataError, match="too many"):
        read_weights(safetensors.torch.save(both, metadata))
    old = safetensors.torch.save(aged(flow, weights, "nice"), metadata)
    loaded = read_weights(old).tensors
    assert all(torch.equal(loaded[name], weight) for name, weight in weights.items())


@pytest.mark.parametrize("stem", ["glow_plane", "maf_plane"])
def test_weights_of_today_bring_their_bounds_and_former_ones_keep_theirs(stem):
    deep = {"glow_plane": "steps", "maf_plane": "blocks"}[stem]
    training = FAMILIES[stem].training
    flow = training.model(training.config.parse({**SMALL[stem], deep: 12}))
    assert all(bound < FORMER_BOUNDS[stem] for bound in bounds(flow).values())
    today = deepcopy(flow.state_dict())
    assert current_weights(today, flow).keys() == today.keys()
    former = current_weights(aged(flow, today, stem), flow)
    assert {float(former[name]) for name in bounds(flow)} == {FORMER_BOUNDS[stem]}
    flow.load_state_dict(former)
    assert set(bounds(flow).values()) == {FORMER_BOUNDS[stem]}
    flow.load_state_dict(today)
    assert max(bounds(flow).values()) < FORMER_BOUNDS[stem]

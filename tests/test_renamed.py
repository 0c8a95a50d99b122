"""What earlier versions wrote is still read: settings, flags, tables, weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from analysis.maf.scores import FILE, load_evaluation, weights_step
from cli.train import main
from datasets.own import DataError
from datasets.own_pairs import OwnPairs
from lab.imports.weights_import import read_weights
from lab.store import Run
from registry import FAMILIES
from training.core.config import RENAMED, ConfigError
from training.core.loop import train

ROOT = Path(__file__).parent.parent
CYCLEGAN = FAMILIES["cyclegan"]
CONFIG = CYCLEGAN.training.config
OLD = {new: old for old, new in RENAMED.items()}
SMALL = {"image_size": 32, "width": 8, "epochs": 1}


def old_names(values: Mapping) -> dict:
    parts = ((name.partition("."), value) for name, value in values.items())
    return {OLD.get(first, first) + dot + rest: v for (first, dot, rest), v in parts}


def made(path: Path) -> Run:
    """A run of six steps that was stopped after three."""
    random = np.random.default_rng(0)
    parts = [random.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8) for n in (6, 6, 1, 1)]
    own = OwnPairs(*parts, ("left", "right"), "mine")
    run = Run.create(path, CYCLEGAN, CONFIG(**SMALL, discriminator_width=8, dataset="own"), own)
    experiment = run.experiment()
    columns = ["step", "seconds", *experiment.LOSSES, *experiment.METRICS]
    run.metrics.start(columns, 0)
    for event in islice(train(experiment, log_every=1), 4):
        row = {"step": event.step, "seconds": 0.1, **event.losses, **event.metrics}
        run.metrics.append(columns, row)
    run.checkpoints.save({"experiment": experiment.state_dict(), "seconds": 0.1})
    run.weights.save(experiment.model, experiment.step)
    return run


def aged(run: Run, path: Path) -> Run:
    """A copy of a run as an earlier version would have written it."""
    shutil.copytree(run.path, path)
    values = json.loads((path / "config.json").read_text())
    values["config"] = old_names(values["config"])
    (path / "config.json").write_text(json.dumps(values))
    header, _, rows = (path / "metrics.csv").read_text().partition("\n")
    header = ",".join(OLD.get(name, name) for name in header.split(","))
    (path / "metrics.csv").write_text(f"{header}\n{rows}")
    state = run.checkpoints.last()
    for part in ("model", "optimisers"):
        state["experiment"][part] = old_names(state["experiment"][part])
    torch.save(state, path / "checkpoint.pt")
    weights = old_names(safetensors.torch.load_file(path / "model.safetensors"))
    metadata = {"family": "cyclegan", "step": "3", "config": json.dumps(values["config"])}
    safetensors.torch.save_file(weights, path / "model.safetensors", metadata)
    return Run(path)


def test_a_run_of_an_earlier_version_opens_and_goes_on(tmp_path):
    new = made(tmp_path / "new")
    old = aged(new, tmp_path / "old")
    assert old.config == new.config
    assert old.metrics.rows() == new.metrics.rows()
    assert "discriminator_a" in old.metrics.rows()[-1]
    model = CYCLEGAN.training.model(old.config)
    assert old.weights.load_into(model) == 3
    for name, weight in read_weights(old.weights.file()).tensors.items():
        assert torch.equal(weight, model.state_dict()[name])
    for run in (new, old):
        assert main(["resume", "--quiet", "--device", "cpu", str(run.path)]) == 0
    ends = [safetensors.torch.load_file(r.path / "model.safetensors") for r in (new, old)]
    assert all(torch.equal(weight, ends[1][name]) for name, weight in ends[0].items())
    columns = [(run.path / "metrics.csv").read_text().partition("\n")[0] for run in (new, old)]
    assert columns[0] == columns[1]


def test_a_name_in_both_forms_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'judge_width' is not a setting"):
        CONFIG.parse({"judge_width": 8, "discriminator_width": 8})
    run = made(tmp_path / "run")
    path = run.path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    more = {name: w.clone() for name, w in old_names(weights).items()}
    metadata = {"family": "cyclegan", "config": run.config.model_dump_json()}
    with pytest.raises(DataError, match="too many"):
        read_weights(safetensors.torch.save({**weights, **more}, metadata))


def test_an_old_flag_is_taken(tmp_path):
    made(tmp_path / "source").own_data().save(tmp_path / "data.npz")
    small = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    command = ["cyclegan", "--quiet", "--device=cpu", *small, "--judge-width=12"]
    data = ["--data", str(tmp_path / "data.npz"), "--out", str(tmp_path / "run")]
    assert main([*command, *data]) == 0
    assert Run(tmp_path / "run").config.discriminator_width == 12


def test_the_shipped_run_opens():
    run = Run(ROOT / "assets" / "runs" / "cyclegan")
    model = CYCLEGAN.training.model(run.config)
    assert run.weights.load_into(model) == run.status().total
    assert {"discriminator_a", "discriminator_b"} <= run.metrics.rows()[-1].keys()


def test_arrays_of_a_run_of_an_earlier_version_are_read_by_their_names_of_today(tmp_path):
    run = made(tmp_path / "run")
    run.snapshots.save(7, {"heat_usual": np.array(0.5), "heat": np.ones(3)}, set())
    assert run.snapshots.load(7).keys() == {"map_threshold", "heat"}


def test_scores_of_an_earlier_version_are_computed_again_and_not_misread(tmp_path):
    """They held no more than the scores of one model, and what its maps should look like."""
    shutil.copytree(ROOT / "assets" / "runs" / "maf", tmp_path / "maf")
    run = Run(tmp_path / "maf")
    step = weights_step(run)
    assert load_evaluation(run, step) is not None
    with np.load(run.path / FILE) as kept:
        arrays = {name: kept[name] for name in ("step", "score", "cells", "held_out")}
    np.savez(run.path / FILE, **arrays, map_threshold=np.array(0.5))
    assert load_evaluation(run, step) is None

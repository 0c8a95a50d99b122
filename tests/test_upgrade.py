"""Runs that earlier versions of the lab left behind open, go on and are imported."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.driver import drive
from lab.imports.run_import import import_run
from lab.store import Run, RunStore

FOLDER = Path(__file__).parent / "old_runs"
ARCHIVES = sorted(FOLDER.glob("*.zip"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.stem)
def archive(request) -> Path:
    return request.param


@pytest.fixture
def run(archive, tmp_path) -> Run:
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "run")
    return Run(tmp_path / "run")


def logged(run: Run) -> list[dict[str, str]]:
    with (run.path / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_three_versions_of_three_families_are_kept():
    names = [path.stem.split("-") for path in ARCHIVES]
    assert len({commit for commit, _ in names}) >= 3
    assert len({family for _, family in names}) >= 3


def test_an_old_run_opens_with_all_that_it_held(run, archive):
    values = json.loads((run.path / "config.json").read_text())
    assert run.family.stem == archive.stem.split("-")[1] == values["family"]
    status = run.status()
    assert (status.state, status.total > status.step > 0) == ("interrupted", True)
    rows = run.metrics.rows()
    assert [int(row["step"]) for row in rows] == [int(row["step"]) for row in logged(run)]
    for step in run.snapshots.steps():
        arrays = run.snapshots.load(step)
        assert all(np.isfinite(array).all() for array in arrays.values())
    model = run.family.training.model(run.config)
    assert run.weights.load_into(model) == status.step
    assert all(torch.isfinite(weight).all() for weight in model.state_dict().values())


def test_an_old_run_goes_on_from_where_it_was(run):
    before, rows = run.status(), run.metrics.rows()
    steps = []

    def receive(timeout):
        steps.append(timeout)
        return ("stop",) if len(steps) > 2 else None

    after = drive(run, device="cpu", send=lambda report: None, receive=receive)
    assert after.state == "stopped", after.message
    assert after.step == before.step + 2
    assert run.metrics.rows()[: len(rows)] == rows
    assert run.weights.version() > 0
    assert run.checkpoints.last()["experiment"]["step"] == after.step


def test_an_old_run_is_taken_from_its_zip(archive, tmp_path):
    def call(name: str, *args):  # in this process: what is apart is tested where it is
        module, _, function = name.partition(":")
        return getattr(__import__(module, fromlist=[function]), function)(*args)

    run = import_run(RunStore(tmp_path / "runs"), archive, call)
    assert run.family.stem == archive.stem.split("-")[1]
    assert run.weights.version()

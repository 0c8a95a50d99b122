"""A trained detector put to use: scored at its end, on new images, and without the lab."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.maf_scores import load_evaluation, weights_step
from cli.train import main
from datasets.rendered_sets import write_capsules
from lab.store import Run

SMALL = ["--resolution", "32", "--patch", "4", "--blocks", "2", "--hidden", "32", "--epochs", "1"]


@pytest.fixture(scope="module")
def layout(tmp_path_factory) -> Path:
    return write_capsules(tmp_path_factory.mktemp("set"), 32, train=30, good=3, each=1)


@pytest.fixture(scope="module", params=["both", "gaussian"])
def run(request, tmp_path_factory, layout) -> Run:
    path = tmp_path_factory.mktemp(request.param) / "run"
    flags = ["--model", request.param, "--quiet", "--out", str(path), *SMALL]
    assert main(["maf", "--data", str(layout), *flags]) == 0
    return Run(path)


def told(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_training_is_scored_at_its_end(tmp_path, layout, capsys):
    flags = ["--model", "nearest", "--quiet", "--out", str(tmp_path / "run"), *SMALL]
    assert main(["maf", "--data", str(layout), *flags]) == 0
    numbers = told(capsys)
    assert (numbers["state"], numbers["step"]) == ("finished", 0)
    written = json.loads((tmp_path / "run" / "detection.json").read_text())
    assert numbers["auroc"] == written["auroc"]["value"]
    counts = [written[name] for name in ("hits", "misses", "alarms", "passes")]
    assert sum(counts) == 8
    assert numbers["false_alarms_asked"] == pytest.approx(1 / 7), "six held-out images"
    assert len((tmp_path / "run" / "scores.csv").read_text().splitlines()) == 1 + 8


def test_new_images_are_scored_as_the_test_images_are(run, layout, tmp_path, capsys):
    (layout / "test" / "good" / "broken.png").write_bytes(b"not an image")
    table, maps = tmp_path / "new.csv", tmp_path / "maps"
    words = ["score", str(run.path), str(layout / "test"), "--out", str(table), "--quiet"]
    assert main([*words, "--maps", str(maps), "--false-alarms", "0.2"]) == 0
    (layout / "test" / "good" / "broken.png").unlink()
    numbers = told(capsys)
    assert (numbers["images"], numbers["unreadable"]) == (8, 1)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = load_evaluation(run, weights_step(run))
    expected = dict(zip(found.names, found.score, strict=True))
    for row in rows:
        assert float(row["score"]) == pytest.approx(expected[row["image"]], rel=1e-3)
        assert (float(row["score"]) > numbers["threshold"]) == (row["called_defective"] == "1")
    assert Image.open(maps / f"{rows[0]['image']}.png").size == (32, 32)
    assert main([*words, "--false-alarms", "0.01"]) == 2
    assert "cannot be promised" in capsys.readouterr().err


SCRIPT = """
import json, sys, numpy as np, torch
extra = {"detector.json": ""}
program = torch.export.load(sys.argv[1], extra_files=extra).module()
images = torch.from_numpy(np.load(sys.argv[2]))
print(json.dumps([float(program(one[None])[0]) for one in images]))
print(json.loads(extra["detector.json"])["threshold"])
assert not {"models", "training", "analysis"} & set(sys.modules)
"""


@pytest.mark.slow
def test_a_bundle_scores_alike_without_the_lab(run, layout, tmp_path, capsys):
    file = tmp_path / "part.pt2"
    assert main(["export", str(run.path), "--out", str(file), "--quiet"]) == 0
    assert told(capsys)["largest_difference"] < 1e-4
    experiment = run.experiment()
    run.weights.load_into(experiment.model)
    found = load_evaluation(run, weights_step(run))
    np.save(tmp_path / "images.npy", experiment.data.test)
    command = [sys.executable, "-c", SCRIPT, str(file), str(tmp_path / "images.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    scores, threshold = done.stdout.splitlines()
    np.testing.assert_allclose(json.loads(scores), found.score, rtol=1e-4)
    assert float(threshold) == found.threshold


def test_the_model_brings_its_preset_and_an_unknown_set_names_the_flag(tmp_path, capsys):
    words = ["maf", "--model", "image", "--at", "0", "stop", "--out", str(tmp_path / "run")]
    main([*words, "--hidden", "32", "--image-size", "8", "--at", "1", "stop", "--quiet"])
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (config["blocks"], config["hidden"], config["learning_rate"]) == (7, 32, 1e-4)
    assert main(["maf", "--dataset", "mvtec_bottle", "--out", str(tmp_path / "no")]) == 2
    assert "--data with a folder or zip" in capsys.readouterr().err

"""Runs one can tell apart: their names, results, small images, and curves beside each other."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from test_driver import create

from figures.charts import curves, overlay
from figures.thumbnails import thumbnail
from lab.runs.interventions import Intervention
from lab.store import Run
from paths import ASSETS
from registry import FAMILIES
from ui.common.data import run_title, special_settings
from ui.lab_pages.desk import RESULTS, _result
from ui.lab_pages.side_by_side import _differing, _labels

SHIPPED = sorted(path.parent.name for path in (ASSETS / "runs").glob("*/config.json"))


def new(folder, stem: str, **values) -> Run:
    family = FAMILIES[stem]
    return Run.create(folder, family, family.training.config(**values))


def test_a_name_is_made_of_what_is_special_about_a_run(tmp_path):
    plain = new(tmp_path / "a", "nice")
    assert run_title(plain) == "NICE on Two moons"
    other = new(tmp_path / "b", "gan", g_steps=3, batch=16, momentum=0.5, seed=4)
    assert (
        run_title(other)
        == "GAN on Ring of 8, batch size 16, momentum 0.5, G updates, k_G 3, 1 more"
    )
    assert special_settings(plain) == []
    other.notes.rename("mine")
    assert run_title(other) == "mine"


def test_runs_beside_each_other_are_named_by_what_tells_them_apart(tmp_path):
    runs = [new(tmp_path / str(n), "nice", layers=n, hidden=32, seed=7) for n in (2, 4)]
    assert set(_differing(runs)) == {"layers"}
    assert _labels(runs) == [f"NICE on Two moons, coupling layers {n}" for n in (2, 4)]
    twins = [new(tmp_path / f"twin-{n}", "nice") for n in (1111, 2222)]
    assert _labels(twins) == ["NICE on Two moons (1111)", "NICE on Two moons (2222)"]


@pytest.mark.parametrize("stem", SHIPPED)
def test_each_kind_of_run_has_a_small_image_and_a_result(stem):
    run = Run(ASSETS / "runs" / stem)
    step = run.snapshots.steps()[-1]
    for shade in ("light", "dark"):
        image = thumbnail(run.snapshots.load(step), run.snapshots.target(), shade, 64)
        assert image.size == (64, 64)
        assert np.asarray(image.convert("L")).std() > 5, "there is something to be seen"
    result = _result.__wrapped__(run.id, 0.0, step, run)
    last = {name: value for row in run.metrics.rows() for name, value in row.items()}
    name = next(name for name in RESULTS if name in last)
    assert result == RESULTS[name].format(last[name])


def test_what_is_of_no_known_kind_has_no_image():
    assert thumbnail({"noise": np.zeros(3)}, {}, "light", 64) is None
    dots = thumbnail({"samples": np.random.default_rng(0).normal(size=(50, 2))}, {}, "dark", 32)
    assert isinstance(dots, Image.Image)


ROWS = [{"step": step, "seconds": step / 10, "nll": 3.0 - step / 100} for step in range(0, 100, 10)]


@pytest.mark.parametrize(("over", "place"), [("step", 45), ("seconds", 4.0)])
def test_what_was_done_to_runs_is_marked_in_the_chart_of_all(over, place, tmp_path):
    run = create(tmp_path / "run")
    run.interventions.save([Intervention(45, "set", "learning_rate", 0.002)])
    marks = {"a": [(one.step, one.words()) for one in run.interventions.load()], "b": []}
    options = {"over": over, "unit": "nats", "theme": "light"}
    _, spec = overlay({"a": ROWS, "b": ROWS}, "nll", **options, marks=marks)
    lines, rules = spec["layer"]
    (mark,) = rules["data"]["values"]
    assert mark == {"x": place, "run": "a", "done": "step 45: learning_rate set to 0.002"}
    assert rules["encoding"]["color"] == lines["encoding"]["color"], "in the colour of its run"
    _, spec = overlay({"a": ROWS, "b": ROWS}, "nll", **options, marks={"a": [], "b": []})
    assert len(spec["layer"]) == 1


def test_a_pinned_run_is_drawn_dashed_behind_and_seen_whole():
    chart = {"names": {"nll": "NLL"}, "unit": "nats", "theme": "light", "total": 100}
    higher = [{**row, "nll": row["nll"] + 5} for row in ROWS]
    _, alone = curves(ROWS, **chart)
    _, both = curves(ROWS, **chart, ghost=higher)
    (behind,) = [layer for layer in both["layer"] if "strokeDash" in layer["mark"]]
    assert [value["value"] for value in behind["data"]["values"]] == [row["nll"] for row in higher]
    top = [spec["layer"][0]["encoding"]["y"]["scale"]["domain"][1] for spec in (alone, both)]
    assert top[0] < 3.5 < 7 < top[1], "the axis has room for both"
    _, other = curves(ROWS, **chart, ghost=[{"step": 1, "elbo": 2.0}])
    assert len(other["layer"]) == len(alone["layer"]), "another family has no such column"

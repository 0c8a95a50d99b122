"""The page of MAF, part by part: scores are computed once and kept, and what is drawn is right."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from analysis import maf_sampling
from analysis.maf_decisions import Decision
from analysis.maf_scores import (
    Scoring,
    evaluate,
    image_of,
    keep_decision,
    load_evaluation,
    save_evaluation,
    weights_step,
)
from cli.train import main
from datasets.defects import DefectSet, read_folder, read_test_image, save_layout
from datasets.own import DataError
from datasets.rendered_sets import TEST_GOOD, rendered_capsules, rendered_test_image
from figures import detection_charts, maf_images
from lab.imports.weights_import import read_weights
from lab.store import Run, Status
from registry import FAMILIES
from training.maf import MAFConfig, build

SMALL = {
    "patches": {"resolution": 32, "patch": 4, "blocks": 2, "hidden": 32, "epochs": 3},
    "image": {"model": "image", "image_size": 8, "blocks": 2, "hidden": 32, "epochs": 3},
}


@pytest.fixture(scope="module")
def data() -> DefectSet:
    return rendered_capsules(32, train=12, good=3, each=1)


def made(path: Path, data: DefectSet, variant: str = "patches") -> Run:
    """Return a run as it is at its end, hardly trained."""
    config = MAFConfig(dataset="own", **SMALL[variant])
    run = Run.create(path, FAMILIES["maf"], config, data.resized(config.side))
    experiment = build(config, own=data)
    columns = ["step", *experiment.LOSSES, *experiment.METRICS]
    run.metrics.start(columns, 0)
    for step in (0, 4):
        run.metrics.append(columns, {**dict.fromkeys(columns, 0.5), "step": step})
    run.snapshots.save_target(experiment.target())
    run.snapshots.save(experiment.total, experiment.snapshot(), set())
    experiment.update()
    run.weights.save(experiment.model, experiment.total)
    run.write_status(Status("finished", experiment.total, experiment.total))
    return run


@pytest.fixture(params=SMALL)
def run(request, tmp_path, data) -> Run:
    return made(tmp_path / f"{request.param}-run", data, request.param)


# -- scores -------------------------------------------------------------------------------------


def test_scoring_can_be_left_and_goes_on(run):
    experiment = run.experiment()
    run.weights.load_into(experiment.model)
    scoring, seen = Scoring(experiment), []
    while scoring.advance():
        seen.append(scoring.done)
        assert scoring.result is None
    assert seen == sorted(set(seen))
    assert seen[-1] == scoring.total == 3 * (12 + 8), "two baselines beside it"
    assert not scoring.advance()
    whole = evaluate(experiment)
    np.testing.assert_allclose(scoring.result.score, whole.score, rtol=1e-5)
    assert scoring.result.threshold == whole.threshold
    expected = experiment.score(experiment.data.test, whole.calibration)
    np.testing.assert_allclose(whole.score, expected.score, rtol=1e-4)
    np.testing.assert_allclose(whole.maps, expected.maps, rtol=1e-2, atol=1e-2)


def test_an_evaluation_is_kept_for_its_weights_alone(run):
    experiment = run.experiment()
    run.weights.load_into(experiment.model)
    found, step = evaluate(experiment), weights_step(run)
    assert load_evaluation(run, step) is None
    save_evaluation(run, found, step)
    kept = load_evaluation(run, step)
    assert (kept.names, kept.kinds, kept.auroc) == (found.names, found.kinds, found.auroc)
    np.testing.assert_array_equal(kept.score, found.score)
    np.testing.assert_allclose(kept.maps, found.maps, rtol=1e-2, atol=1e-2)
    assert (kept.quality, kept.baselines) == (found.quality, found.baselines)
    again = experiment.score(experiment.data.test, kept.calibration)
    np.testing.assert_allclose(again.score, found.score, rtol=1e-4)
    assert load_evaluation(run, step + 1) is None
    (run.path / "scores.npz").write_bytes(b"PK\x03\x04 torn")
    assert load_evaluation(run, step) is None


def test_a_test_image_comes_without_the_others(tmp_path, data):
    whole = rendered_capsules(16)
    for place in (0, TEST_GOOD - 1, TEST_GOOD, len(whole.test) - 1):
        image, mask = rendered_test_image("rendered", place, 16)
        np.testing.assert_array_equal(image, whole.test[place])
        np.testing.assert_array_equal(mask, whole.masks[place])
    read = read_folder(save_layout(data, tmp_path / "set"), 16)
    for place in (0, len(read.test) - 1):
        image, mask = read_test_image(tmp_path / "set", read.files[place], 16)
        np.testing.assert_array_equal(image, read.test[place])
        np.testing.assert_array_equal(mask, read.masks[place])
    with pytest.raises(DataError, match="not there"):
        read_test_image(tmp_path / "set", "crack/999.png", 16)


def test_images_of_a_run_with_own_data_are_those(run, data):
    found = evaluate(run.experiment())
    image, mask = image_of(run, found, 2, run.own_data())
    side = run.config.side
    np.testing.assert_array_equal(image, data.resized(side).test[2])
    assert mask.shape == (side, side)


def test_weights_from_a_file_are_recognised(run):
    weights = read_weights((run.path / "model.safetensors").read_bytes())
    assert weights.family is FAMILIES["maf"]
    assert weights.config == run.config
    expected = run.experiment().model.state_dict()
    assert {n: w.shape for n, w in weights.tensors.items()} == {
        n: w.shape for n, w in expected.items()
    }


# -- the user's own set ---------------------------------------------------------------------------


def test_own_defects_are_saved_and_loaded_as_such(tmp_path, data):
    data.save(tmp_path / "data.npz")
    loaded = DefectSet.load(tmp_path / "data.npz")
    np.testing.assert_array_equal(loaded.train, data.train)


@pytest.mark.parametrize("packed", [False, True])
def test_the_command_line_trains_on_a_folder_or_a_zip(packed, tmp_path, data, capsys):
    source = save_layout(data, tmp_path / "set")
    if packed:
        archive = tmp_path / "set.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted(source.rglob("*.png")):
                file.write(path, path.relative_to(source))
        source = archive
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL["patches"].items()]
    out = tmp_path / "run"
    assert main(["maf", *flags, "--data", str(source), "--out", str(out), "--device", "cpu"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "finished"
    assert 0 <= told["auroc_validation"] <= 1
    own = Run(out).own_data()
    assert own.train.shape == (12, 3, 32, 32)
    assert Run(out).config.dataset == "own"
    assert f"--data {out / 'data.npz'}" in Run(out).command()


BAD = {
    "a folder without the layout": ["--data", "{empty}"],
    "a zip that is none": ["--data", "{empty}/fake.zip"],
    "no data": ["--dataset", "own"],
    "a set that is not here": ["--dataset", "mvtec_capsule"],
}


@pytest.mark.parametrize("case", BAD)
def test_the_command_line_refuses_in_a_sentence(case, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("datasets.defects.data_roots", lambda: [tmp_path])
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "fake.zip").write_text("no zip")
    arguments = [a.format(empty=empty) for a in BAD[case]]
    assert main(["maf", *arguments, "--out", str(tmp_path / "new")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert len(told) > 30
    assert not (tmp_path / "new").exists()


# -- settings -------------------------------------------------------------------------------------


def test_every_setting_matters_to_one_of_the_models(data):
    """A setting that changes neither the weights at the start nor the first steps does nothing."""

    def after_two_steps(variant, **values):
        experiment = build(MAFConfig(**{**SMALL[variant], "dataset": "own", **values}), own=data)
        for _ in range(2):
            experiment.update()
            experiment.step += 1
        return torch.cat([p.detach().flatten() for p in experiment.model.parameters()])

    tried = {"resolution": 64, "patch": 6, "image_size": 16, "blocks": 1, "hidden": 64}
    tried |= {"epochs": 9, "batch": 4, "learning_rate": 1e-3, "weight_decay": 0.1, "seed": 1}
    assert {*tried, "dataset", "model"} == set(MAFConfig.model_fields)
    before = {variant: after_two_steps(variant) for variant in SMALL}
    for name, value in tried.items():
        changed = {variant: after_two_steps(variant, **{name: value}) for variant in SMALL}
        assert any(not torch.equal(before[v], changed[v]) for v in SMALL), name


def test_what_is_promised_can_be_set():
    knobs = {knob.name: (knob.low, knob.high) for knob in MAFConfig.knobs()}
    assert knobs["image_size"][1] == 64
    assert knobs["blocks"][1] >= 7
    assert knobs["hidden"][1] >= 512
    assert knobs["epochs"][1] >= 100
    low, high = knobs["learning_rate"]
    assert low <= 1e-4 < 1e-3 <= high


# -- inside ---------------------------------------------------------------------------------------


def test_a_small_made_is_right_and_breaks_when_it_is_told_to():
    for seed in range(3):
        right = maf_sampling.look(5, 12, strict=True, seed=seed)
        assert not np.triu(right.sees).any()
        assert right.stated == pytest.approx(right.true, abs=1e-5)
        assert right.integral == pytest.approx(1, abs=2e-3)
    wrong = maf_sampling.look(5, 12, strict=False, seed=0)
    assert np.diag(wrong.sees).max() > 1e-3
    assert not np.triu(wrong.sees, 1).any()
    assert abs(wrong.stated - wrong.true) > 1e-2
    assert abs(wrong.integral - 1) > 1e-2


def test_a_sampling_ends_with_the_sample(run):
    experiment = run.experiment()
    found = maf_sampling.fill(experiment, seed=3, temperature=0.5)
    side = run.config.side
    assert found.frames.shape[1:] == (side, side, 3)
    assert len(found.frames) == len(found.places)
    assert found.places == sorted(found.places)
    assert found.places[-1] == (1, 1.0)
    context = experiment.image_context()
    z = experiment.model.prior.sample(
        1 if context is None else len(context),
        generator=torch.Generator().manual_seed(3),
        temperature=0.5,
    )
    with torch.no_grad():
        x, _ = experiment.model.forward(z, context)
    difference = found.frames[-1].astype(int) - experiment.image_of(x)
    assert abs(difference).max() <= 1


# -- images -------------------------------------------------------------------------------------


def test_heat_shows_where_it_is_and_leaves_the_rest_grey():
    image = np.full((3, 8, 8), 100, np.uint8)
    image[0] = 200
    heat = np.zeros((8, 8))
    heat[2, 5] = 9
    drawn = maf_images.heated(image, heat, 3, 8).astype(int)
    spread = drawn.max(-1) - drawn.min(-1)
    assert spread[2, 5] > 30
    spread[2, 5] = 0
    assert spread.max() == 0


def test_a_mask_is_outlined_from_outside():
    mask = np.zeros((8, 8), bool)
    mask[3:5, 3:5] = True
    drawn = maf_images.framed(np.zeros((3, 8, 8), np.uint8), mask, 64)
    marked = (drawn == maf_images.OUTLINE).all(-1)
    assert marked.any()
    assert not marked[24:40, 24:40].any()
    assert not maf_images.framed(np.zeros((3, 8, 8), np.uint8), mask & False, 64).any()


def test_a_histogram_holds_all_images_also_those_far_out():
    values = {"good": np.arange(10.0), "defective": np.array([5, 1e9, np.inf, 20])}
    frame, _ = detection_charts.histogram(values, "score", "light", threshold=7.0)
    for name, part in values.items():
        assert frame.loc[frame["set"] == name, "images"].sum() == len(part)
        assert frame.loc[frame["set"] == name, "fraction"].sum() == pytest.approx(1)
    assert frame["to"].max() < 1e3


# -- what there is to learn from -------------------------------------------------------------------


def choice() -> None:
    import streamlit as st

    from registry import FAMILIES
    from training.maf import MAFConfig
    from ui.maf.data import maf_data

    config = MAFConfig(dataset=st.query_params["dataset"], resolution=32)
    own, ready = maf_data(FAMILIES["maf"], config)
    st.text(f"{ready} {own.name if own else None}")


def offered(dataset: str) -> AppTest:
    tester = AppTest.from_function(choice, default_timeout=60)
    tester.query_params["dataset"] = dataset
    tester.run()
    assert not tester.exception
    return tester


def test_a_set_that_is_not_here_is_offered_with_size_and_licence(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.defects.data_roots", lambda: [tmp_path])
    tester = offered("mvtec_capsule")
    assert tester.text[0].value == "False None"
    words = tester.markdown[0].value
    assert "385 MB" in words
    assert "CC BY-NC-SA 4.0" in words
    assert "not on this machine" in words

    def refuse(source, progress):
        raise DataError("The download failed: no route.")

    monkeypatch.setattr("ui.maf.data.download", refuse)
    tester.button[0].click().run()
    assert "no route" in tester.error[0].value
    assert "rendered capsules" in tester.error[0].value


def test_any_folder_in_the_layout_can_be_chosen(tmp_path, monkeypatch, data):
    save_layout(data, tmp_path / "screws")
    (tmp_path / "screws" / "test" / "crack" / "broken.png").write_bytes(b"no image")
    monkeypatch.setattr("datasets.defects.data_roots", lambda: [tmp_path])
    tester = offered("own")
    assert tester.text[0].value == "False None"
    tester.selectbox[0].set_value("screws").run()
    assert tester.text[0].value == "True screws"
    said = " ".join(c.value for c in tester.caption)
    assert "12 good images to learn from in screws; to test on 3 good and 5 defective" in said
    assert "broken.png" in " ".join(m.value for m in tester.markdown)
    assert "true masks outlined" in said
    assert "**train**: 12" in said
    assert len(tester.image) == 3 + len(data.defects) - 1
    good = tmp_path / "screws" / "train" / "good"
    (good / "later.png").write_bytes((good / "000.png").read_bytes())
    (tmp_path / "screws" / "ground_truth" / "crack" / "000_mask.png").unlink()
    tester.run()
    said = " ".join(c.value for c in tester.caption)
    assert "13 good images to learn from" in said, "images added later are seen"
    assert "with masks but for 1, whose pixels are not evaluated" in said


def test_the_built_in_set_says_what_it_is():
    tester = offered("rendered")
    assert tester.text[0].value == "True None"
    assert "not photographed" in tester.caption[0].value


# -- the sections ---------------------------------------------------------------------------------


def section() -> None:
    import streamlit as st

    from lab.store import Run
    from lab.view import View
    from ui.maf.inside import feel_made, inside
    from ui.maf.live import draw_maf
    from ui.maf.own import score_own
    from ui.maf.results import results
    from ui.maf.sampling import sampling

    run = Run(st.query_params["run"])
    parts = {"Results": results, "Own": score_own, "Inside": inside, "Sampling": sampling}
    view = View(run, run.status(), rows=run.metrics.rows())
    view.step = run.snapshots.steps()[-1]
    view.snapshot = run.snapshots.load(view.step)
    if st.query_params["part"] == "Live":
        draw_maf(view)
    elif st.query_params["part"] == "Feel":
        feel_made()
    else:
        parts[st.query_params["part"]](view, run.weights.version())


def opened(run: Run, part: str) -> AppTest:
    tester = AppTest.from_function(section, default_timeout=60)
    tester.query_params["run"] = str(run.path)
    tester.query_params["part"] = part
    tester.run()
    assert not tester.exception
    return tester


@pytest.mark.parametrize("part", ["Live", "Own", "Inside", "Sampling", "Feel"])
def test_a_section_is_drawn(part, run):
    opened(run, part)


def test_results_are_computed_once_and_written_into_the_run(run, monkeypatch):
    tester = opened(run, "Results")
    assert len(tester.metric) == 4
    for name in ("scores.csv", "detection.json", "scores.npz"):
        assert (run.path / name).exists()
    for name in ("nll_curve.png", "nll_hist_good_defect.png", "roc_curve.png", "samples/00.png"):
        assert Image.open(run.path / name).width > 0
    numbers = json.loads((run.path / "detection.json").read_text())
    assert tester.metric[0].value == f"{numbers['auroc']['value']:.3f}"
    monkeypatch.setattr(Scoring, "advance", lambda self: pytest.fail("computed again"))
    again = opened(run, "Results")
    assert again.metric[0].value == tester.metric[0].value


def test_the_threshold_moves_the_confusion_matrix_and_comes_back(run):
    tester = opened(run, "Results")

    def matrix(app: AppTest) -> str:
        return next(m.value for m in app.markdown if "called good" in m.value)

    before = matrix(tester)
    tester.slider[0].set_value(tester.slider[0].min).run()
    assert not tester.exception
    assert matrix(tester) != before
    rates = next(g for g in tester.get("button_group") if g.label.startswith("False alarms"))
    rates.set_value(0.05).run()
    assert "cannot be promised" in tester.warning[0].value, "two held-out images are too few"
    rates = next(g for g in tester.get("button_group") if g.label.startswith("False alarms"))
    rates.set_value(0.5).run()
    assert not tester.exception


def test_a_decision_is_kept_with_the_run_and_in_its_files(run):
    experiment = run.experiment()
    run.weights.load_into(experiment.model)
    found, step = evaluate(experiment), weights_step(run)
    save_evaluation(run, found, step)
    low = float(np.nanmin(found.score)) - 1.0
    keep_decision(run, found, Decision(typed=low))
    kept = load_evaluation(run, step)
    assert kept.threshold == low
    rows = (run.path / "scores.csv").read_text().splitlines()[1:]
    assert all(row.endswith(",1") for row in rows)
    numbers = json.loads((run.path / "detection.json").read_text())
    assert (numbers["threshold"], numbers["threshold_set_by_hand"]) == (low, True)
    assert numbers["alarms"] == int((~found.defective).sum())
    (run.path / "decision.json").write_text("torn {")
    assert load_evaluation(run, step).threshold == found.threshold


def test_while_it_trains_scoring_waits_to_be_asked(run):
    run.write_status(replace(run.status(), state="running"))
    tester = opened(run, "Results")
    assert not tester.metric
    tester.button[0].click().run()
    assert not tester.exception
    assert len(tester.metric) == 4
    assert not (run.path / "scores.npz").exists(), "of weights that are on the move nothing is kept"

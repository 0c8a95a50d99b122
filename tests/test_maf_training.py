"""MAF on capsules: trains, resumes bit for bit, and scores with nothing from the test images."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.maf_scores import evaluate, write_scores
from datasets import defects
from datasets.defects import DefectSet
from datasets.own import DataError
from datasets.rendered_sets import rendered_capsules
from figures import maf_figures
from metrics import anomaly_map, detection
from models.blocks.layers import ActNorm
from training import maf
from training.core.config import ConfigError
from training.core.loop import TrainingDiverged, Wishes, train
from training.defects.flows import NOISE, DefectFlow
from training.maf import MAFConfig, build

SMALL = {
    "both": {"model": "both", "resolution": 32, "patch": 4, "blocks": 2, "hidden": 32, "epochs": 3},
    "patches": {"resolution": 32, "patch": 4, "blocks": 2, "hidden": 32, "epochs": 3},
    "image": {"model": "image", "image_size": 8, "blocks": 2, "hidden": 32, "epochs": 3},
}


@pytest.fixture(scope="module")
def capsules() -> DefectSet:
    return rendered_capsules(32, train=30, good=6, each=2)


@pytest.fixture(params=SMALL)
def variant(request) -> str:
    return request.param


def make(variant: str, data: DefectSet, **values) -> DefectFlow:
    config = MAFConfig(**{**SMALL[variant], "dataset": "own", **values})
    return build(config, own=data)


def weights(experiment: DefectFlow) -> torch.Tensor:
    return torch.cat([w.flatten() for w in experiment.model.state_dict().values()]).clone()


def unseen(experiment: DefectFlow):
    return train(experiment, snapshots=False, measure_every=10**9)


def finish(events) -> list:
    return list(events)


# -- training ---------------------------------------------------------------------------------


def test_it_learns_and_tells_plain_numbers(variant, capsules):
    experiment = make(variant, capsules, epochs=12)
    events = finish(train(experiment, log_every=3, measure_every=9))
    assert events[-1].step == 12 * 3, "24 of 30 images, 8 at a time"
    told = [e.losses["nll"] for e in events if e.losses]
    assert told[-1] < told[0] - 5
    last = events[-1].metrics
    assert last["bits_per_dim"] == pytest.approx(
        last["nll_held_out"] / (experiment.config.features * math.log(2))
    )
    for event in events:
        assert all(type(v) is float for v in (*event.losses.values(), *event.metrics.values()))
        for array in (event.snapshot or {}).values():
            assert type(array) is np.ndarray
            assert np.isfinite(array).all()
    assert set(last) == set(experiment.METRICS)
    assert set(events[-1].losses) == set(experiment.LOSSES)


def test_an_untrained_model_needs_a_little_more_than_eight_bits(capsules):
    # Independent Gaussians on each channel: less than 8 bits only if the images are dull.
    found = make("patches", capsules).measure()["bits_per_dim"]
    assert 6 < found < 9


def test_bits_do_not_depend_on_units(capsules):
    experiment = make("image", capsules)
    levels = experiment.fit
    x = experiment.standardised(levels, torch.Generator().manual_seed(0))
    back = x * experiment.scale + experiment.mean
    noise = back - levels
    assert -1e-3 < noise.min() < 0.05
    assert 0.95 < noise.max() < 1.001
    expected = float(experiment.scale.log().mean()) * experiment.config.features
    assert experiment.log_volume == pytest.approx(expected, rel=1e-5)


def test_evaluation_does_not_change_the_training(variant, capsules):
    looked, left = make(variant, capsules), make(variant, capsules)
    wishes = Wishes(snapshot=True, losses=True)
    state = torch.get_rng_state()
    for event in train(looked, wishes=wishes, log_every=1, measure_every=2):
        assert event.snapshot
        looked.target()
        wishes.snapshot = wishes.losses = True
    evaluate(looked)
    assert torch.equal(torch.get_rng_state(), state)
    finish(unseen(left))
    assert torch.equal(weights(looked), weights(left))


def test_a_restored_training_ends_with_the_same_weights(variant, capsules):
    whole = make(variant, capsules)
    finish(unseen(whole))
    first = make(variant, capsules)
    finish(itertools.islice(unseen(first), 5))  # in the middle of the second epoch
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = make(variant, capsules)
    finish(itertools.islice(unseen(second), 3))
    second.load_state_dict(torch.load(file, weights_only=True))
    assert second.step == 4
    finish(unseen(second))
    assert torch.equal(weights(second), weights(whole))


def test_another_seed_is_another_training_and_another_split(capsules):
    one, two = make("patches", capsules), make("patches", capsules, seed=1)
    assert not torch.equal(one.held_out, two.held_out)
    assert not torch.equal(weights(one), weights(two))


def test_an_epoch_sees_each_image_once(capsules):
    experiment = make("image", capsules, batch=7)
    seen = []
    for step in range(2 * experiment.steps_per_epoch):
        experiment.step = step
        seen.append(experiment._batch())
    half = experiment.steps_per_epoch
    orders = [torch.cat(seen[:half]), torch.cat(seen[half:])]
    for order in orders:
        assert order.sort().values.tolist() == list(range(24))
    assert not torch.equal(*orders)


def test_the_learning_rate_is_a_live_knob(capsules):
    experiment = make("patches", capsules)
    experiment.set("learning_rate", 1e-4)
    assert experiment.live == {"learning_rate": 1e-4}
    with pytest.raises(ConfigError, match="learning_rate"):
        experiment.set("learning_rate", 1.0)


@pytest.mark.parametrize("values", [{"blocks": 10, "hidden": 512}, {"batch": 2}, {"blocks": 1}])
def test_the_ends_of_the_sliders_stay_finite_or_say_so(variant, values, capsules):
    experiment = make(variant, capsules, learning_rate=1e-2, **values)
    experiment.total = 20
    try:
        finish(itertools.islice(unseen(experiment), 5))
    except TrainingDiverged as error:
        assert "step" in str(error)
    assert torch.isfinite(weights(experiment)).all()
    assert all(np.isfinite(a).all() for a in experiment.snapshot().values())


# -- data -------------------------------------------------------------------------------------


def test_held_out_images_are_not_learned_from(variant, capsules):
    experiment = make(variant, capsules)
    images = {p.cpu().numpy().tobytes() for p in experiment.fit}
    held = {p.cpu().numpy().tobytes() for p in experiment.held_out}
    assert (len(images), len(held)) == (24, 6)
    assert not images & held


def test_test_images_decide_nothing(variant, capsules):
    """Without the test images everything before the evaluation is the same, bit for bit."""
    blind = replace(capsules, test=np.zeros_like(capsules.test))
    results = []
    for data in (capsules, blind):
        experiment = make(variant, data)
        metrics = [
            e.metrics for e in train(experiment, snapshots=False, measure_every=4) if e.metrics
        ]
        results.append((metrics, evaluate(experiment).threshold, weights(experiment)))
    assert results[0][:2] == results[1][:2]
    assert torch.equal(results[0][2], results[1][2])


def test_the_threshold_is_of_held_out_good_images(variant, capsules):
    experiment = make(variant, capsules)
    finish(unseen(experiment))
    calibration = evaluate(experiment).calibration
    good = experiment.data.train
    fitted = {p.cpu().numpy().transpose(2, 0, 1).tobytes() for p in experiment.fit}
    is_fitted = np.array([image.tobytes() in fitted for image in good])
    scores = experiment.score(good, calibration).score
    held_out, others = scores[~is_fitted], scores[is_fitted]
    assert len(held_out) == 6
    np.testing.assert_allclose(np.sort(calibration.held_out), np.sort(held_out), rtol=1e-4)
    threshold = evaluate(experiment).threshold
    assert threshold == pytest.approx(held_out.max(), rel=1e-4), "5 % of six is no promise"
    assert threshold != pytest.approx(others.max(), rel=1e-3)


def test_images_of_another_size_are_fitted(capsules):
    experiment = make("image", capsules)
    assert experiment.fit.shape == (24, 8, 8, 3)
    assert experiment.data.masks.shape == (16, 8, 8)


def test_data_that_is_not_there_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(defects, "data_roots", lambda: [tmp_path])
    with pytest.raises(DataError, match="data roots"):
        build(MAFConfig(dataset="mvtec_capsule"))
    with pytest.raises(DataError, match="own"):
        build(MAFConfig(dataset="own"))


def test_a_set_with_four_images_trains(variant, capsules):
    experiment = make(variant, replace(capsules, train=capsules.train[:4]))
    assert (len(experiment.fit), len(experiment.held_out)) == (2, 2)
    finish(unseen(experiment))
    assert math.isfinite(experiment.measure()["nll_held_out"])


def test_the_presets_are_settings_that_the_config_takes():
    for name, values in maf.PRESETS.items():
        assert MAFConfig.parse(values).model == name
    assert MAFConfig().model_dump() == MAFConfig.parse(maf.PRESETS["patches"]).model_dump()


# -- scores -----------------------------------------------------------------------------------


def test_an_anomalous_patch_is_found_where_it_is(capsules):
    experiment = make("patches", capsules, epochs=20, learning_rate=3e-3)
    finish(unseen(experiment))
    calibration = evaluate(experiment).calibration
    broken = capsules.test[:2].copy()
    broken[1, :, 20:25, 8:13] = 255 - broken[1, :, 20:25, 8:13]
    scores = experiment.score(broken, calibration)
    assert scores.score[1] > scores.score[0] + 2
    assert scores.score[1] > calibration.held_out.max()
    row, column = divmod(int(scores.maps[1].argmax()), 32)
    assert abs(row - 22) <= 3
    assert abs(column - 10) <= 3


@pytest.mark.parametrize(("patch", "resolution"), [(4, 32), (6, 32), (8, 64), (10, 64), (16, 64)])
def test_maps_lie_where_their_patches_do(patch, resolution):
    stride = patch // 2
    cells = (resolution - patch) // stride + 1
    for cell in (1, cells // 2, cells - 2):
        maps = torch.zeros(1, cells, cells)
        maps[0, cell, cell] = 1
        wide = anomaly_map.stretched(maps, resolution, patch)
        assert wide.shape == (1, resolution, resolution)
        mass = wide[0].sum(0)
        centre = float((mass * (torch.arange(resolution) + 0.5)).sum() / mass.sum())
        assert centre == pytest.approx(cell * stride + patch / 2, abs=0.51)


def test_scores_do_not_depend_on_the_company_an_image_keeps(variant, capsules):
    experiment = make(variant, capsules)
    finish(unseen(experiment))
    calibration = evaluate(experiment).calibration
    together = experiment.score(capsules.resized(experiment.config.side).test[:3], calibration)
    alone = experiment.score(capsules.resized(experiment.config.side).test[2:3], calibration)
    np.testing.assert_allclose(alone.score[0], together.score[2], rtol=1e-4)
    np.testing.assert_allclose(alone.maps[0], together.maps[2], rtol=1e-3, atol=1e-3)


def test_the_image_score_is_its_nll_and_the_map_adds_up_to_it(capsules):
    experiment = make("image", capsules)
    finish(unseen(experiment))
    images = experiment._images(capsules.resized(8).test)
    with torch.no_grad():
        nll, _ = experiment.raw_maps(images)
        x = experiment.standardised(images, None).flatten(1)
        expected = -experiment.model.log_prob(x) + experiment.log_volume
    torch.testing.assert_close(nll, expected, rtol=1e-4, atol=1e-2)
    assert isinstance(experiment.model.chain[0], ActNorm)


def test_the_two_maps_of_a_patch_are_the_parts_of_its_nll(capsules):
    experiment = make("patches", capsules)
    finish(unseen(experiment))
    with torch.no_grad():
        nll, maps = experiment.raw_maps(experiment.held_out[:2])
        corners = torch.tensor([[0, 0]])
        patch = experiment._cut(experiment.held_out[:1], torch.zeros(1, dtype=torch.long), corners)
        x, context = experiment.standardised(patch, None).flatten(1), experiment._context(corners)
        z, _ = experiment.model.inverse(x, context)
        first = (experiment.log_volume - experiment.model.log_prob(x, context)) / x.shape[1]
    assert maps.shape == (2, 2, 15, 15)
    assert float(maps[0, 0, 0, 0]) == pytest.approx(float(first), rel=1e-4)
    assert float(maps[0, 1, 0, 0]) == pytest.approx(float(z.square().mean() / 2), rel=1e-4)
    counted = maps[:, 0].flatten(1).mean(1) * x.shape[1]
    assert float(maps.max()) <= NOISE + 1e-6
    assert (nll >= counted - 1e-2).all(), "in a map, nothing counts as worse than noise"


def test_anomalous_is_what_is_higher_and_what_is_lower(capsules):
    experiment = make("patches", capsules)
    mean = torch.rand(2, 15, 15)
    shift = torch.tensor([-0.5, 0.25])[:, None, None]
    away = experiment.anomaly_maps((mean + shift)[None], mean)
    torch.testing.assert_close(away, torch.full((1, 15, 15), 0.75))
    assert not experiment.anomaly_maps(mean[None], mean).any()


def test_the_same_heat_whatever_the_stride(capsules):
    experiment = make("patches", capsules, patch=4)
    bump = torch.zeros(1, 2, 32, 32)
    rows = torch.arange(32.0)
    bump[0, 0] = (-0.5 * ((rows - 16) / 6) ** 2).exp()[:, None] * torch.ones(32)
    heights = []
    for stride in (1, 2):
        maps = bump[..., 2:31:stride, 2:31:stride]
        away = experiment.anomaly_maps(maps, torch.zeros_like(maps[0]), width=3.0)
        heights.append(float(away.max()))
    assert heights[0] == pytest.approx(heights[1], rel=0.05)
    assert heights[0] == pytest.approx(6 / math.hypot(6, 3 * 2), rel=0.05)


def test_one_speck_in_many_good_images_quietens_its_place(capsules):
    experiment = make("patches", capsules)
    good = torch.full((100, 2, 15, 15), 0.05)
    good[::2] *= -1
    good[7, 0, 7, 7] = 40.0
    reference = experiment.rules[0].reference(good)
    spread = reference.spread - anomaly_map.SOFT
    maps = reference.maps(good) * reference.spread
    assert float(spread[7, 7]) > 0.5 * float(maps[7, 7, 7]), "as good as the largest"
    assert float(maps[:, 7, 7].std()) < 0.2 * float(spread[7, 7])
    assert float(spread[0, 0]) == pytest.approx(0.1, rel=0.1)


def test_an_evaluation_says_what_it_found_and_writes_it(variant, capsules, tmp_path):
    experiment = make(variant, capsules, epochs=10)
    finish(unseen(experiment))
    found = evaluate(experiment)
    assert len(found.score) == len(found.kinds) == len(found.names) == 16
    assert found.maps.shape[0] == 16
    assert 0 <= found.auroc.low <= found.auroc.value <= found.auroc.high <= 1
    assert set(found.per_kind) == set(capsules.defects)
    assert 0 <= found.pixel_auroc <= 1
    write_scores(found, tmp_path)
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == list(found.kinds)
    called = [row["called_defective"] == "1" for row in rows]
    assert called == (found.score > found.threshold).tolist()
    numbers = json.loads((tmp_path / "detection.json").read_text())
    assert numbers["auroc"]["value"] == found.auroc.value
    assert numbers["accuracy_all_defective"] == 10 / 16


def test_without_masks_there_is_no_pixel_auroc(capsules, tmp_path):
    bare = replace(capsules, masks=np.zeros_like(capsules.masks), known=~capsules.defective)
    found = evaluate(make("image", bare))
    assert math.isnan(found.pixel_auroc)
    write_scores(found, tmp_path)
    assert json.loads((tmp_path / "detection.json").read_text())["pixel_auroc"] is None


def test_an_image_without_a_mask_is_left_out_of_the_pixel_auroc(capsules):
    """Its defect must count neither as good pixels nor as defective ones."""
    experiment = make("image", capsules)
    whole = evaluate(experiment)
    known = np.arange(len(capsules.test)) % 3 > 0
    masks = np.where(known[:, None, None], capsules.masks, False)
    experiment = make("image", replace(capsules, masks=masks, known=known))
    wanted = detection.pixel_auroc(whole.maps[known], experiment.data.masks[known])
    assert evaluate(experiment).pixel_auroc == pytest.approx(wanted, abs=1e-9)
    assert wanted != pytest.approx(whole.pixel_auroc, abs=1e-6)


def part_of(data: DefectSet, which: slice) -> DefectSet:
    names = data.files[which] if data.files else ()
    return replace(
        data, test=data.test[which], kinds=data.kinds[which], masks=data.masks[which],
        known=data.known[which], files=names,
    )  # fmt: skip


@pytest.mark.parametrize("case", ["no test", "good alone", "defective alone", "all equal"])
def test_good_images_alone_and_odd_sets_give_a_threshold(case, variant, capsules, tmp_path):
    data = {
        "no test": part_of(capsules, slice(0)),
        "good alone": part_of(capsules, slice(6)),
        "defective alone": part_of(capsules, slice(6, None)),
        "all equal": replace(capsules, train=np.repeat(capsules.train[:1], 30, 0)),
    }[case]
    found = evaluate(make(variant, data))
    assert math.isfinite(found.threshold)
    assert np.isfinite(found.score).all()
    assert len(found.held_out) == 6
    assert math.isnan(found.auroc.value) == (case != "all equal")
    write_scores(found, tmp_path)
    numbers = json.loads((tmp_path / "detection.json").read_text())
    assert numbers["held_out"] == 6
    maf_figures.write_figures(
        found, tmp_path, steps=np.arange(2), nll=np.ones(2), nll_held_out=np.ones(2)
    )
    assert (tmp_path / "roc_curve.png").exists() == (case == "all equal")


def test_figures_are_written(capsules, tmp_path):
    found = evaluate(make("image", capsules))
    steps, nll = np.arange(0, 50, 10), np.linspace(900, 500, 5)
    maf_figures.write_figures(found, tmp_path, steps=steps, nll=nll, nll_held_out=nll + 20)
    for name in ("nll_curve.png", "nll_hist_good_defect.png", "roc_curve.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")

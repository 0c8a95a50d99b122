"""Numbers of detection against closed forms, and against sums done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from metrics.detection import (
    Decisions,
    all_defective,
    auroc,
    auroc_interval,
    decide,
    hanley_mcneil,
    per_kind,
    pixel_auroc,
    roc_curve,
    threshold_from_good,
)

CAPSULE = np.array([False] * 23 + [True] * 109)


def gaussian(gap: float, good: int = 4000, bad: int = 4000, seed: int = 0):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(0, 1, good), rng.normal(gap, 1, bad)])
    return scores, np.arange(good + bad) >= good


def test_auroc_of_two_gaussians_is_phi_of_their_distance():
    for gap in (0.0, 1.0, 2.5):
        assert auroc(*gaussian(gap)) == pytest.approx(norm.cdf(gap / math.sqrt(2)), abs=0.015)


def test_auroc_counts_pairs_and_half_of_the_ties():
    scores, truth = np.array([1, 2, 3, 2, 4, 0]), np.array([0, 0, 0, 1, 1, 1], dtype=bool)
    pairs = [(b > g) + 0.5 * (b == g) for b in (2, 4, 0) for g in (1, 2, 3)]
    assert auroc(scores, truth) == pytest.approx(np.mean(pairs))
    assert auroc_interval(scores, truth).value == pytest.approx(np.mean(pairs))
    assert auroc(-scores, truth) == pytest.approx(1 - np.mean(pairs))


def test_auroc_depends_on_the_order_alone():
    scores, truth = gaussian(1, 200, 200)
    assert auroc(np.exp(3 * scores), truth) == pytest.approx(auroc(scores, truth))
    scores[truth.argmax()] = np.inf
    assert 0 < auroc(scores, truth) < 1


def test_without_both_classes_there_is_none():
    for truth in (np.zeros(4, bool), np.ones(4, bool)):
        assert math.isnan(auroc(np.arange(4), truth))
        assert math.isnan(auroc_interval(np.arange(4), truth).low)
    assert math.isnan(auroc(np.array([1, np.nan]), np.array([True, False])))


def test_hanley_and_mcneil_give_the_errors_known_for_the_capsules():
    for area, error in ((0.785, 0.045), (0.90, 0.028), (0.98, 0.011)):
        assert math.sqrt(hanley_mcneil(area, 109, 23)) == pytest.approx(error, abs=0.001)
    assert hanley_mcneil(1.0, 5, 5) == 0
    # By chance the variance is that of a rank sum, (m + n + 1) / (12 m n), nearly.
    assert hanley_mcneil(0.5, 60, 50) == pytest.approx(111 / (12 * 3000), rel=2e-3)


def test_of_many_images_the_interval_is_delongs_by_hand():
    scores, truth = gaussian(1.2, 2000, 3000)
    found = auroc_interval(scores, truth)
    wins = (scores[truth][:, None] > scores[~truth]).astype(float)
    spread = wins.mean(1).var() / 3000 + wins.mean(0).var() / 2000
    assert found.value == pytest.approx(wins.mean())
    assert (found.high - found.low) / 3.92 == pytest.approx(math.sqrt(spread), rel=0.05)
    assert found.high - found.value < found.value - found.low, "there is less room towards 1"


def test_the_interval_of_a_perfect_separation_says_how_few_images_there_are():
    for good, bad in ((5, 5), (23, 109), (109, 23)):
        truth = np.arange(good + bad) >= good
        found, worst = (auroc_interval(truth * sign, truth) for sign in (1.0, -1.0))
        smaller = min(good, bad)
        assert found == (found.__class__)(1.0, pytest.approx(0.025 ** (1 / smaller)), 1.0)
        assert (worst.value, worst.low, worst.high) == pytest.approx((0, 0, 1 - found.low))


def test_what_shows_no_spread_is_not_taken_for_certain():
    alone = auroc_interval(np.array([1.0, 2.0, 4.0, 3.0]), np.array([False, False, False, True]))
    assert alone.low < 0.1
    assert alone.high > 0.9
    tied = auroc_interval(np.zeros(20), np.arange(20) >= 10)
    assert tied.value == 0.5
    assert tied.low < 0.25
    assert tied.high > 0.75


def coverage(area: float, good: int, bad: int, spread: float, rounds: int) -> float:
    """How often the interval holds the true area; scores of the bad ones have that spread."""
    rng = np.random.default_rng(0)
    gap, truth = norm.ppf(area) * math.hypot(1, spread), np.arange(good + bad) >= good
    held = 0
    for _ in range(rounds):
        drawn = [rng.normal(0, 1, good), rng.normal(gap, spread, bad)]
        found = auroc_interval(np.concatenate(drawn), truth)
        held += found.low <= area <= found.high
    return held / rounds


@pytest.mark.parametrize(("area", "good", "bad"), [(0.97, 10, 10), (0.9, 23, 20), (0.98, 40, 40)])
def test_the_interval_holds_the_truth_as_often_as_it_says(area, good, bad):
    assert coverage(area, good, bad, 3.0, rounds=200) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("area", [0.5, 0.7, 0.9, 0.97, 0.99])
@pytest.mark.parametrize(("good", "bad"), [(5, 5), (10, 10), (23, 20), (23, 109), (40, 40)])
def test_the_interval_holds_the_truth_at_all_sizes(area, good, bad, spread):
    # The lowest here: 23 good ones that reach further up than the 109 defective ones reach down.
    assert coverage(area, good, bad, spread, rounds=500) >= 0.9


def test_the_roc_curve_runs_from_corner_to_corner_and_its_area_is_the_auroc():
    scores, truth = gaussian(1, 60, 80)
    alarms, hits, thresholds = roc_curve(scores, truth)
    assert (alarms[0], hits[0], alarms[-1], hits[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(hits, alarms) == pytest.approx(auroc(scores, truth))
    assert (np.diff(thresholds) < 0).all()


def test_the_threshold_lets_the_stated_share_of_good_ones_pass():
    held_out = np.random.default_rng(0).permutation(101).astype(float)
    threshold = threshold_from_good(held_out, false_alarms=0.05)
    assert threshold == 95
    assert (held_out > threshold).mean() == pytest.approx(0.05, abs=0.01)
    assert threshold_from_good(held_out, false_alarms=0) == 100
    with pytest.raises(ValueError, match="held-out"):
        threshold_from_good(np.array([]))
    with pytest.raises(ValueError, match="between"):
        threshold_from_good(held_out, false_alarms=2)


def test_decisions_by_hand():
    found = decide(np.array([0.1, 0.9, 0.5, 0.2, 0.7]), np.array([0, 0, 1, 1, 1], bool), 0.4)
    assert found == Decisions(hits=2, misses=1, alarms=1, passes=1)
    assert found.accuracy == pytest.approx(3 / 5)
    assert found.precision == found.recall == found.f1 == pytest.approx(2 / 3)
    assert found.precision_good == found.recall_good == found.f1_good == pytest.approx(1 / 2)
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_score_at_the_threshold_is_good():
    assert decide(np.array([1.0]), np.array([True]), 1.0).misses == 1


def test_calling_all_capsules_defective_looks_good_and_is_worth_nothing():
    found = all_defective(CAPSULE)
    assert found == Decisions(hits=109, misses=0, alarms=23, passes=0)
    assert found.accuracy == pytest.approx(0.826, abs=5e-4)
    assert found.f1 == pytest.approx(0.905, abs=1e-3)
    assert found.balanced_accuracy == 0.5
    assert math.isnan(found.precision_good)
    assert found.f1_good == 0


def test_the_published_notebook_in_these_numbers():
    found = Decisions(hits=101, misses=8, alarms=11, passes=12)
    assert found.accuracy == pytest.approx(0.856, abs=1e-3)
    assert found.balanced_accuracy == pytest.approx(0.724, abs=1e-3)


def test_each_kind_is_told_from_all_good_ones():
    kinds = ("good", "good", "crack", "poke", "poke")
    found = per_kind(np.array([0.0, 2.0, 1.0, 3.0, 2.0]), kinds)
    assert {kind: area.value for kind, area in found.items()} == {"crack": 0.5, "poke": 0.875}


def test_pixel_auroc_is_over_all_pixels_of_all_images():
    maps = np.random.default_rng(0).normal(size=(3, 8, 8))
    masks = np.zeros((3, 8, 8), bool)
    assert math.isnan(pixel_auroc(maps, masks))
    masks[1, 2:4, 3:5] = True
    assert pixel_auroc(maps + 10 * masks, masks) == 1
    assert pixel_auroc(maps, masks) == pytest.approx(auroc(maps.ravel(), masks.ravel()), abs=1e-6)

"""Samples against the truth: what is perfect scores its floor, what is not does not."""

from __future__ import annotations

import math

import pytest
import torch

from datasets.own import OwnData
from datasets.plane import OWN, load_plane
from metrics.plane import BINS, SAMPLES, Truth, diversity, js_of_counts, kl_of_counts


def truth_of(name: str = "ring", noise: float = 0.02) -> Truth:
    return Truth.of(load_plane(name, noise))


def drawn(truth: Truth, count: int = SAMPLES, seed: int = 11) -> torch.Tensor:
    return truth.plane.held_out(count, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "noise"), [("ring", 0.02), ("grid", 0.05), ("two_moons", 0.1), ("checkerboard", 0.05)]
)
def test_a_perfect_generator_scores_next_to_nothing(name, noise):
    # A known teaching tool tells a JS of 0.26 here, for it counts points in the wrong bins.
    truth = truth_of(name, noise)
    found = truth.score(drawn(truth))
    # Of n samples in B bins that matter, the expected JS is about (B - 1) / 8n nats.
    bins = int((truth.masses > 1 / SAMPLES).sum())
    assert found["js"] < 3 * bins / (8 * SAMPLES)
    assert found["js"] < 0.02
    assert found["kl"] < 0.1
    floor = truth.floor()
    assert found["js"] == pytest.approx(floor["js"], rel=0.5)


@pytest.mark.parametrize(("name", "noise"), [("ring", 0.02), ("grid", 0.05), ("two_moons", 0.1)])
def test_the_masses_of_the_bins_are_those_of_the_density(name, noise):
    truth = truth_of(name, noise)
    assert float(truth.masses.sum()) == pytest.approx(1)
    many = truth.counts(drawn(truth, 400_000))
    apart = (many / many.sum() - truth.masses).abs()
    error = (truth.masses * (1 - truth.masses) / 400_000).sqrt()
    assert (apart <= 6 * error + 1e-5).all()


def test_each_sample_counts_once_wherever_it_lies():
    truth = truth_of()
    x0, x1, y0, y1 = truth.box
    inside = [[x0 + 1e-4, y0 + 1e-4], [x1 - 1e-4, y1 - 1e-4], [0, 0]]
    outside = [[x0 - 1e-4, 0], [x1 + 1e-4, 0], [0, y0 - 1e-4], [0, y1 + 1e-4], [1e9, 0], [0, -1e9]]
    strange = torch.tensor([*inside, *outside, [math.nan, 0], [math.inf, -math.inf]])
    counts = truth.counts(strange)
    assert counts.shape == (BINS * BINS + 1,)
    assert float(counts.sum()) == len(strange)
    assert float(counts[-1]) == 8
    assert counts[0] == counts[BINS * BINS - 1] == 1
    edges = torch.linspace(x0, x1, BINS + 1)[:-1]
    middles = edges + (x1 - x0) / BINS / 2
    line = torch.stack([middles, torch.full_like(middles, (y0 + y1) / 2 + 1e-4)], 1)
    row = truth.counts(line)[:-1].view(BINS, BINS)[BINS // 2]
    assert torch.equal(row, torch.ones(BINS, dtype=torch.float64))


def test_a_perfect_generator_covers_all_modes_with_the_known_share():
    for name, noise, modes in (("ring", 0.02, 8), ("grid", 0.05, 25), ("mixture", 0.25, 5)):
        truth = truth_of(name, noise)
        found = truth.floor()
        assert found["modes"] == modes
        # In two dimensions 1 - exp(-9/2) lies within three standard deviations. Where modes
        # overlap, the tail of one may be near another.
        low = 1 - math.exp(-4.5)
        assert found["good"] == pytest.approx(low, abs=0.003) or found["good"] > low


def test_collapse_is_seen():
    truth = truth_of()
    x = drawn(truth)
    mode = truth.modes_of(x)
    half = truth.score(x[mode < 4].repeat(3, 1)[:SAMPLES])
    assert half["modes"] <= 4
    assert half["good"] > 0.95
    # Half of the truth, evenly: JS is that of (1/2, 1/2) against (1, 0).
    expected = (math.log(4 / 3) + math.log(2 / 3) / 2 + math.log(2) / 2) / 2
    assert half["js"] == pytest.approx(expected, abs=0.02)
    point = truth.score(x[:1].repeat(SAMPLES, 1))
    assert point["modes"] == 1
    assert point["js"] > 0.6


def test_a_mode_is_not_covered_by_a_stray_sample():
    truth = truth_of()
    x = drawn(truth)
    mode = truth.modes_of(x)
    rare = torch.cat([x[(mode != 3) & (mode >= 0)], x[mode == 3][:100]])
    assert truth.score(rare)["modes"] == 7


def test_samples_that_are_no_numbers_are_bad_ones():
    truth = truth_of()
    found = truth.score(torch.full((SAMPLES, 2), math.nan))
    assert found["good"] == 0
    assert found["modes"] == 0
    assert found["js"] == pytest.approx(math.log(2), abs=1e-3)


def test_js_and_kl_of_known_histograms():
    masses = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    assert js_of_counts(masses, torch.tensor([50.0, 50.0, 0.0])) == pytest.approx(0)
    assert js_of_counts(masses, torch.tensor([0.0, 0.0, 9.0])) == pytest.approx(math.log(2))
    counts = torch.tensor([999.5, 9.5, 0.0])
    q = (counts + 0.5) / (counts.sum() + 1.5)
    expected = 0.5 * math.log(0.5 / q[0]) + 0.5 * math.log(0.5 / q[1])
    assert kl_of_counts(masses, counts) == pytest.approx(expected, rel=1e-6)


def test_nobody_knows_the_truth_about_own_points():
    array = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).numpy()
    plane = load_plane(OWN, 0.1, OwnData("points", array, "mine"))
    assert Truth.of(plane) is None


def test_diversity_is_one_for_the_data_and_zero_for_a_point():
    x = torch.randn(1000, 3, 4, generator=torch.Generator().manual_seed(0))
    y = torch.randn(1000, 3, 4, generator=torch.Generator().manual_seed(1))
    assert diversity(x, y) == pytest.approx(1, abs=0.05)
    assert diversity(x / 2, y) == pytest.approx(0.5, abs=0.05)
    assert diversity(x[:1].expand(100, -1, -1), y) == 0

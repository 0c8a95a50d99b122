"""A threshold promises a rate of false alarms, and the promise is kept."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from metrics.detection import aupro, average_precision
from metrics.false_alarms import least_rate, rate_beyond, threshold_for


@pytest.mark.parametrize("count", [20, 44, 200])
def test_the_statement_about_the_rate_holds(count):
    """In 1,000 draws: the interval holds the true rate, and its mean is at most what was asked."""
    rng, inside, rates = np.random.default_rng(count), 0, []
    for held_out in rng.standard_normal((1000, count)):
        threshold = threshold_for(held_out, 0.05)
        rates.append(norm.sf(threshold))
        stated = rate_beyond(held_out, threshold)
        inside += stated.low <= rates[-1] <= stated.high
    assert inside >= 950
    assert np.mean(rates) < 0.05 + 3 * np.std(rates) / 1000**0.5
    assert np.mean(rates) > 0.05 - 1 / count, "and not far below it"


def test_a_threshold_set_by_hand_has_an_interval_too():
    rng = np.random.default_rng(0)
    inside = sum(
        (stated := rate_beyond(held_out, 1.0)).low <= norm.sf(1.0) <= stated.high
        for held_out in rng.standard_normal((500, 44))
    )
    assert inside >= 0.95 * 500


def test_too_few_images_promise_nothing():
    assert threshold_for(np.arange(19.0), 0.05) == 18, "1 in 20 is just possible"
    assert threshold_for(np.arange(4.0), least_rate(4)) == 3
    with pytest.raises(ValueError, match="With 18 held-out images a rate of 5 % cannot"):
        threshold_for(np.arange(18.0), 0.05)
    for rate in (0, 1, -0.1, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            threshold_for(np.arange(18.0), rate)


def test_the_overlap_counts_regions_not_pixels():
    masks = np.zeros((1, 40, 40), bool)
    masks[0, 2:4, 2:4] = masks[0, 10:30, 10:30] = True
    small, large = np.zeros((2, 1, 40, 40))
    small[0, 2:4, 2:4] = large[0, 10:30, 10:30] = 1
    # The other half of the overlap comes with all the rest, along the diagonal.
    expected = 0.5 + 0.5 * 0.3 / 2
    assert aupro(small, masks) == pytest.approx(expected, abs=0.01)
    assert aupro(large, masks) == pytest.approx(expected, abs=0.01)
    assert aupro(masks.astype(float), masks) == pytest.approx(1)
    assert np.isnan(aupro(small, np.zeros_like(masks)))


def test_average_precision_needs_both():
    assert np.isnan(average_precision(np.arange(3.0), np.ones(3, bool)))
    assert average_precision(np.arange(4.0), np.array([0, 0, 1, 1], bool)) == 1

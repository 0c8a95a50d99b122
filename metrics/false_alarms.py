"""Thresholds that promise a rate of false alarms, and what such a promise is worth."""

from __future__ import annotations

import math

import numpy as np

from metrics.detection import Interval, clopper_pearson

USUAL = 0.05  # rate that is asked for if nobody asks for another


def least_rate(count: int) -> float:
    """Return the lowest rate of false alarms that so many held-out images can promise."""
    return 1 / (count + 1)


def threshold_for(held_out: np.ndarray, rate: float) -> float:
    """Return the score that a new good image exceeds with at most a given probability.

    That holds on average over held-out images and new ones, if all are of one kind: the rank of a
    new score among n others is then any of n + 1 with the same probability.

    Args:
        held_out: scores of good images that nothing was fitted to, shape ``(n,)``.
        rate: the probability, between 0 and 1.

    Raises:
        ValueError: so few images cannot promise that rate.

    References:
        Algorithmic Learning in a Random World (Vovk, Gammerman, Shafer, 2005), section 2.2.

    Examples:
        >>> threshold_for(np.arange(20.0), 0.1)
        18.0
        >>> threshold_for(np.arange(10.0), 0.05)
        Traceback (most recent call last):
        ...
        ValueError: With 10 held-out images a rate of 5 % cannot be promised: 9.1 % is the least.
    """
    if not 0 < rate < 1:
        raise ValueError("A rate of false alarms lies between 0 and 1.")
    scores = np.sort(np.nan_to_num(np.asarray(held_out, dtype=np.float64)))
    # A rate of 1/(n + 1) is possible, whatever rounding says.
    rank = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    if rank > len(scores):
        images = f"{len(scores)} held-out image{'s' * (len(scores) != 1)}"
        raise ValueError(
            f"With {images} a rate of {100 * rate:.3g} % cannot be promised: "
            f"{100 * least_rate(len(scores)):.2g} % is the least."
        )
    return float(scores[max(rank, 1) - 1])


def rate_beyond(held_out: np.ndarray, threshold: float, *, level: float = 0.95) -> Interval:
    """Return how often new good images exceed a threshold, as held-out ones tell.

    The value is the fraction of the held-out ones and one more, which is what
    :func:`threshold_for` promises; the interval is Clopper and Pearson's of how many exceed it. It
    holds the true rate for any threshold that was not chosen by these scores, and for each that
    :func:`threshold_for` returns.

    Args:
        held_out: scores of good images that nothing was fitted to, shape ``(n,)``.
        threshold: called defective is what exceeds it.
        level: confidence of the interval.

    Examples:
        >>> rate_beyond(np.arange(20.0), 18.0)
        Interval(value=0.095..., low=0.001..., high=0.248...)
    """
    held_out = np.asarray(held_out)
    beyond, count = int((held_out > threshold).sum()), len(held_out)
    low, high = clopper_pearson(beyond / count, count, level)
    return Interval((beyond + 1) / (count + 1), low, high)

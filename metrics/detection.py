"""How well scores tell defective from good, with intervals and the trivial answer beside them.

Scores are higher for what looks defective; ``defective`` are booleans of the same shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from sklearn import metrics


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and where the truth lies with the stated confidence."""

    value: float
    low: float
    high: float


def auroc(scores: np.ndarray, defective: np.ndarray) -> float:
    """Return the area under the ROC curve; NaN unless there are good and defective ones.

    It is the chance that a defective image scores above a good one, ties counted half.

    Args:
        scores: one number per image, higher for less usual, shape ``(N,)``.
        defective: which are, shape ``(N,)``.

    Examples:
        >>> auroc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
        0.875
    """
    scores, defective = np.asarray(scores, dtype=np.float64), np.asarray(defective, dtype=bool)
    if not defective.any() or defective.all() or np.isnan(scores).any():
        return math.nan
    # A likelihood may overflow; its rank is still known.
    return float(metrics.roc_auc_score(defective, np.nan_to_num(scores)))


def hanley_mcneil(area: float, good: int, defective: int, *, level: float = 0.95) -> Interval:
    """Return the interval of an AUROC from the two counts alone, cut to [0, 1].

    References:
        The meaning and use of the area under a receiver operating characteristic (ROC) curve
        (Hanley, McNeil, Radiology 143, 1982), equations 1-2.
    """
    if not good or not defective or math.isnan(area):
        return Interval(area, math.nan, math.nan)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (defective - 1) * (q1 - area**2) + (good - 1) * (q2 - area**2)
    reach = norm.ppf((1 + level) / 2) * math.sqrt(max(spread, 0) / (good * defective))
    return Interval(area, max(area - reach, 0.0), min(area + reach, 1.0))


def bootstrap_auroc(
    scores: np.ndarray,
    defective: np.ndarray,
    *,
    rounds: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the AUROC with its percentile interval: good and defective are redrawn apart.

    Args:
        scores: one number per image, higher for less usual, shape ``(N,)``.
        defective: which are, shape ``(N,)``.
        rounds: how often both are redrawn.
        level: confidence of the interval.
        seed: of the redrawing.

    References:
        An Introduction to the Bootstrap (Efron, Tibshirani, 1993), chapter 13.
    """
    scores, defective = np.asarray(scores, dtype=np.float64), np.asarray(defective, dtype=bool)
    bad, good = scores[defective], scores[~defective]
    if not len(bad) or not len(good) or np.isnan(scores).any():
        return Interval(math.nan, math.nan, math.nan)
    wins = (bad[:, None] > good) + 0.5 * (bad[:, None] == good)  # (defective, good)
    rng = np.random.default_rng(seed)
    drawn_bad = rng.multinomial(len(bad), np.full(len(bad), 1 / len(bad)), rounds)
    drawn_good = rng.multinomial(len(good), np.full(len(good), 1 / len(good)), rounds)
    areas = ((drawn_bad @ wins) * drawn_good).sum(1) / wins.size
    low, high = np.quantile(areas, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(wins.mean()), float(low), float(high))


def roc_curve(
    scores: np.ndarray, defective: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return false alarm rates, detection rates and thresholds, from the strictest on.

    Scores and ``defective`` have the shape ``(N,)``, the three results ``(n,)`` with n at most N +
    1.
    """
    scores = np.nan_to_num(np.asarray(scores, dtype=np.float64))
    return metrics.roc_curve(np.asarray(defective, dtype=bool), scores, drop_intermediate=False)


def threshold_from_good(held_out: np.ndarray, *, false_alarms: float = 0.05) -> float:
    """Return the score that this share of held-out good training images exceeds.

    Scores have the shape ``(n,)``. With n images the share is a multiple of 1/n; the quantile
    lies between two of them.

    Raises:
        ValueError: no scores, or a share outside [0, 1].
    """
    held_out = np.asarray(held_out, dtype=np.float64)
    if not len(held_out):
        raise ValueError("A threshold needs held-out good images.")
    if not 0 <= false_alarms <= 1:
        raise ValueError("A share of false alarms lies between 0 and 1.")
    return float(np.quantile(held_out, 1 - false_alarms))


@dataclass(frozen=True, slots=True)
class Decisions:
    """A confusion matrix; defective is the positive class.

    Attributes:
        hits: defective, called defective.
        misses: defective, called good.
        alarms: good, called defective.
        passes: good, called good.
    """

    hits: int
    misses: int
    alarms: int
    passes: int

    @property
    def accuracy(self) -> float:
        """Share of right decisions."""
        return _ratio(
            self.hits + self.passes, sum((self.hits, self.misses, self.alarms, self.passes))
        )

    @property
    def balanced_accuracy(self) -> float:
        """The mean of the recalls of both classes, 0.5 for any answer that ignores the image."""
        return (self.recall + self.recall_good) / 2

    @property
    def precision(self) -> float:
        """Share of defective among those called defective; NaN if none is."""
        return _ratio(self.hits, self.hits + self.alarms)

    @property
    def recall(self) -> float:
        """Share of the defective that are found."""
        return _ratio(self.hits, self.hits + self.misses)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, of the defective."""
        return _ratio(2 * self.hits, 2 * self.hits + self.alarms + self.misses)

    @property
    def precision_good(self) -> float:
        """Share of good among those called good; NaN if none is."""
        return _ratio(self.passes, self.passes + self.misses)

    @property
    def recall_good(self) -> float:
        """Share of the good that pass."""
        return _ratio(self.passes, self.passes + self.alarms)

    @property
    def f1_good(self) -> float:
        """Harmonic mean of precision and recall, of the good."""
        return _ratio(2 * self.passes, 2 * self.passes + self.alarms + self.misses)


def decide(scores: np.ndarray, defective: np.ndarray, threshold: float) -> Decisions:
    """Return what comes of calling defective all that scores above the threshold.

    Scores and ``defective`` have the shape ``(N,)``.
    """
    called = np.asarray(scores) > threshold
    defective = np.asarray(defective, dtype=bool)
    return Decisions(
        hits=int((called & defective).sum()),
        misses=int((~called & defective).sum()),
        alarms=int((called & ~defective).sum()),
        passes=int((~called & ~defective).sum()),
    )


def all_defective(defective: np.ndarray) -> Decisions:
    """Return what comes of calling everything defective: the row to beat.

    ``defective`` has the shape ``(N,)``.
    """
    return decide(np.ones(len(defective)), defective, 0.0)


def per_kind(scores: np.ndarray, kinds: tuple[str, ...], good: str = "good") -> dict[str, Interval]:
    """Return the AUROC of each kind of defect against all good ones, with its interval.

    Scores have the shape ``(N,)``, and there is a kind for each of them.
    """
    scores, names = np.asarray(scores), np.array(kinds)
    areas = {}
    for kind in sorted(set(kinds) - {good}):
        chosen = (names == good) | (names == kind)
        areas[kind] = bootstrap_auroc(scores[chosen], names[chosen] == kind)
    return areas


def pixel_auroc(maps: np.ndarray, masks: np.ndarray) -> float:
    """Return the AUROC over all pixels of all images, maps and masks ``(N, S, S)``."""
    return auroc(np.asarray(maps, dtype=np.float32).ravel(), np.asarray(masks).ravel())


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan

"""How well scores tell defective from good, with intervals and the trivial answer beside them.

Scores are higher for what looks defective; ``defective`` are booleans of the same shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label
from scipy.special import betaincinv, expit, logit, stdtrit
from scipy.stats import rankdata
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
        scores: one number per image, higher for more anomalous, shape ``(N,)``.
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


def auroc_interval(scores: np.ndarray, defective: np.ndarray, *, level: float = 0.95) -> Interval:
    """Return the AUROC with its confidence interval; NaN unless there are good and defective ones.

    On the logit scale, by DeLong's variance, or by Hanley and McNeil's where that is larger: of few
    images DeLong's is too small when hardly any are mistaken. The quantile is Student's t with
    Welch's degrees of freedom. Where the images show no spread at all (perfectly separated, all
    tied, a single one), it is Clopper and Pearson's interval of as many pairs of a good and a
    defective image as there are without using one twice: those are independent of each other.

    In simulations with normal scores and 10 to 132 images it holds the truth in 95 to 99 % of the
    cases in most settings; the lowest found are 87 to 92 %, where one kind of scores is far
    narrower than the other, or one kind of images is far rarer.

    Args:
        scores: one number per image, higher for more anomalous, shape ``(N,)``.
        defective: which are, shape ``(N,)``.
        level: confidence of the interval.

    References:
        Comparing the Areas under Two or More Correlated Receiver Operating Characteristic Curves: A
        Nonparametric Approach (DeLong, DeLong, Clarke-Pearson, Biometrics 44, 1988).
        The use of confidence or fiducial limits illustrated in the case of the binomial (Clopper,
        Pearson, Biometrika 26, 1934).

    Examples:
        >>> auroc_interval(np.arange(20), np.arange(20) >= 10)
        Interval(value=1.0, low=0.691..., high=1.0)
    """
    scores, defective = np.asarray(scores, dtype=np.float64), np.asarray(defective, dtype=bool)
    if not defective.any() or defective.all() or np.isnan(scores).any():
        return Interval(math.nan, math.nan, math.nan)
    placements = _placements(scores[defective], scores[~defective])
    area = float(placements[0].mean())
    counts = [len(part) for part in placements]
    if min(counts) > 1:
        parts = [part.var(ddof=1) / len(part) for part in placements]
        if delong := sum(parts):
            freedom = delong**2 / sum(v**2 / (n - 1) for v, n in zip(parts, counts, strict=True))
            deviation = math.sqrt(max(delong, hanley_mcneil(area, *counts)))
            reach = stdtrit(freedom, (1 + level) / 2) * deviation / (area * (1 - area))
            low, high = expit(logit(area) + np.array([-reach, reach]))
            return Interval(area, float(low), float(high))
    return Interval(area, *clopper_pearson(area, min(counts), level))


def _placements(bad: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which fraction of the good ones each bad one beats, and of the bad ones each good one.

    Shapes ``(m,)`` and ``(n,)``, ties counted half; the second is what beats the good one.
    """
    ranks = rankdata(np.concatenate([bad, good]))
    of_bad, of_good = ranks[: len(bad)], ranks[len(bad) :]
    beats = (of_bad - rankdata(bad)) / len(good)
    return beats, 1 - (of_good - rankdata(good)) / len(bad)


def hanley_mcneil(area: float, defective: int, good: int) -> float:
    """Return the variance of an AUROC from the two counts alone.

    References:
        The meaning and use of the area under a receiver operating characteristic (ROC) curve
        (Hanley, McNeil, Radiology 143, 1982), equations 1-2.
    """
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (defective - 1) * (q1 - area**2) + (good - 1) * (q2 - area**2)
    return max(spread, 0.0) / (good * defective)


def clopper_pearson(fraction: float, count: int, level: float) -> tuple[float, float]:
    """Return the interval of a fraction of ``count`` independent trials; it may lie between two."""
    hits, tail = fraction * count, (1 - level) / 2
    low = betaincinv(hits, count - hits + 1, tail) if fraction > 0 else 0.0
    high = betaincinv(hits + 1, count - hits, 1 - tail) if fraction < 1 else 1.0
    return float(low), float(high)


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
    """Return the score that this fraction of held-out good training images exceeds.

    Scores have the shape ``(n,)``. With n images the fraction is a multiple of 1/n; the quantile
    lies between two of them.

    Raises:
        ValueError: no scores, or a fraction outside [0, 1].
    """
    held_out = np.asarray(held_out, dtype=np.float64)
    if not len(held_out):
        raise ValueError("A threshold needs held-out good images.")
    if not 0 <= false_alarms <= 1:
        raise ValueError("A fraction of false alarms lies between 0 and 1.")
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
        """Fraction of right decisions."""
        return _ratio(
            self.hits + self.passes, sum((self.hits, self.misses, self.alarms, self.passes))
        )

    @property
    def balanced_accuracy(self) -> float:
        """The mean of the recalls of both classes, 0.5 for any answer that ignores the image."""
        return (self.recall + self.recall_good) / 2

    @property
    def precision(self) -> float:
        """Fraction of defective among those called defective; NaN if none is."""
        return _ratio(self.hits, self.hits + self.alarms)

    @property
    def recall(self) -> float:
        """Fraction of the defective that are found."""
        return _ratio(self.hits, self.hits + self.misses)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, of the defective."""
        return _ratio(2 * self.hits, 2 * self.hits + self.alarms + self.misses)

    @property
    def precision_good(self) -> float:
        """Fraction of good among those called good; NaN if none is."""
        return _ratio(self.passes, self.passes + self.misses)

    @property
    def recall_good(self) -> float:
        """Fraction of the good that pass."""
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
        areas[kind] = auroc_interval(scores[chosen], names[chosen] == kind)
    return areas


def pixel_auroc(maps: np.ndarray, masks: np.ndarray) -> float:
    """Return the AUROC over all pixels of all images, maps and masks ``(N, S, S)``."""
    return auroc(np.asarray(maps, dtype=np.float32).ravel(), np.asarray(masks).ravel())


def average_precision(scores: np.ndarray, defective: np.ndarray) -> float:
    """Return the mean precision over all recalls; NaN unless there are good and defective ones.

    Chance has the fraction of the defective.

    Args:
        scores: one number per image, higher for more anomalous, shape ``(N,)``.
        defective: which are, shape ``(N,)``.

    Examples:
        >>> average_precision(np.array([0.1, 0.4, 0.3, 0.9]), np.array([False, False, True, True]))
        0.833...
    """
    scores, defective = np.asarray(scores, dtype=np.float64), np.asarray(defective, dtype=bool)
    if not defective.any() or defective.all() or np.isnan(scores).any():
        return math.nan
    return float(metrics.average_precision_score(defective, np.nan_to_num(scores)))


def aupro(maps: np.ndarray, masks: np.ndarray, *, limit: float = 0.3) -> float:
    """Return the area under the per-region overlap up to a rate of false alarms; NaN without both.

    Of each connected region of a mask the fraction that is found; their mean counts a small defect
    as much as a large one. It is divided by the limit, so that 1 is perfect; chance has half the
    limit.

    Args:
        maps: shape ``(N, S, S)``.
        masks: booleans of the same shape.
        limit: largest rate of false alarms, of the pixels that are not marked.

    References:
        The MVTec Anomaly Detection Dataset (Bergmann et al., IJCV 129, 2021), section 4.2.
    """
    weights = np.ones(masks.shape, np.float32)
    for mask, weight in zip(masks, weights, strict=True):
        regions, _ = label(mask, structure=np.ones((3, 3)))
        sizes = np.bincount(regions.ravel())
        weight[mask] = 1 / sizes[regions[mask]]
    marked = masks.ravel()
    if not marked.any() or marked.all():
        return math.nan
    score = np.nan_to_num(np.asarray(maps, dtype=np.float32).ravel())
    alarms, overlap, _ = metrics.roc_curve(marked, score, sample_weight=weights.ravel())
    inside, end = alarms < limit, np.interp(limit, alarms, overlap)
    within = np.append(alarms[inside], limit), np.append(overlap[inside], end)
    return float(np.trapezoid(within[1], within[0]) / limit)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan

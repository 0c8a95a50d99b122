"""The threshold on the page: which rate of false alarms, what it is worth, and what it decides."""

from __future__ import annotations

import math

import numpy as np
import streamlit as st

from analysis.maf_decisions import Decision, promise, usual
from analysis.maf_scores import Evaluation, keep_decision
from datasets.defects import GOOD
from figures.detection_charts import histogram, roc
from lab.store import Run
from metrics import detection, false_alarms
from metrics.detection import Interval
from ui.common.lab import lab
from ui.common.plain import markdown, plain
from ui.common.widgets import HIDDEN, choice

ALL = "All defects"
RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
BY_HAND = "By hand"


def decided(run: Run, found: Evaluation) -> Evaluation:
    """Return an evaluation with the threshold that this visitor looks at."""
    mine = st.session_state.get(f"{run.id}.decision")
    return found if mine is None else found.decided(mine)


def draw_decision(run: Run, found: Evaluation, shade: str) -> None:
    """Draw the choice of the threshold, and what comes of it on the test images."""
    _choose(run, found)
    _promise(found)
    if not found.defective.any() or found.defective.all():
        _held_out(run, found, shade)
        return
    kinds = [ALL, *found.per_kind]
    chosen = choice("Kind of defect", kinds, f"{run.id}.kind", format_func=spaced, **HIDDEN)
    names = np.array(found.kinds)
    some = np.ones(len(names), bool) if chosen == ALL else (names == GOOD) | (names == chosen)
    score, defective = np.nan_to_num(found.score[some]), found.defective[some]
    left, right = st.columns([1.35, 1])
    with left:
        values = {"good": score[~defective], "defective": score[defective]}
        _histogram(run, found, values, shade)
    with right:
        area = found.auroc if chosen == ALL else found.per_kind[chosen]
        drawn = roc(score, defective, found.threshold, shade)
        st.vega_lite_chart(*drawn, key=f"{run.id}.roc", alt="ROC curve")
        st.caption(
            f"{spaced(chosen)}: AUROC **{area.value:.3f}** ({area.low:.3f} to "
            f"{area.high:.3f}). The dot is the threshold, the dotted line is chance."
        )
    st.markdown(_measures(score, defective, found.threshold))
    one, two = st.columns([1, 1.6])
    one.markdown(_confusion(detection.decide(score, defective, found.threshold)))
    two.markdown(_by_kind(found, found.threshold))


def score_name(found: Evaluation) -> str:
    """Return what a score is."""
    return "NLL of the image" if found.config.model == "image" else "most anomalous place"


def score_unit(found: Evaluation) -> str:
    """Return the unit of a score."""
    units = {"image": "nats", "both": "highest places of good ones"}
    return units.get(found.config.model, "spreads of the good ones")


def spaced(kind: str) -> str:
    """Return the name of a kind of defect with spaces."""
    return kind.replace("_", " ")


# -- the choice ----------------------------------------------------------------------------------


def _choose(run: Run, found: Evaluation) -> None:
    """Draw the rates and the slider; what they say is the decision of the evaluation already."""
    rate, digits = found.decision.rate, _digits(found)
    options = [*sorted({*RATES, *([] if _by_hand(found) else [rate])}), BY_HAND]
    keys = {name: f"{run.id}.{name}" for name in ("rate", "threshold", "typed")}
    st.session_state[keys["rate"]] = BY_HAND if _by_hand(found) else rate
    st.session_state[keys["threshold"]] = st.session_state[keys["typed"]] = found.threshold
    st.segmented_control(
        "False alarms: at most so many of the good ones are called defective",
        options,
        format_func=lambda one: one if one == BY_HAND else f"{100 * one:.3g} %",
        required=True,
        key=keys["rate"],
        on_change=_take_rate,
        args=(run, found, keys["rate"]),
        help="The threshold is a score of a held-out good training image: the rank of a new good "
        "image among them could be any, which is what the promise rests on.",
    )
    slider, box = st.columns([4, 1.2], vertical_alignment="bottom")
    low, high = _span(found)
    moved = {"on_change": _take_threshold, "format": f"%.{digits}f"}
    slider.slider(
        "Threshold: called defective above",
        low,
        high,
        step=(high - low) / 400 or 1.0,
        key=keys["threshold"],
        args=(run, found, keys["threshold"]),
        help="To move it and look at the test images is to choose on the test set: good for "
        "learning, not for reporting.",
        **moved,
    )
    box.number_input(
        "or typed", step=None, key=keys["typed"], args=(run, found, keys["typed"]), **moved
    )
    if message := st.session_state.pop(f"{run.id}.refused", None):
        st.warning(plain(message))


def _by_hand(found: Evaluation) -> bool:
    return found.decision.typed is not None


def _span(found: Evaluation) -> tuple[float, float]:
    score = np.nan_to_num(np.concatenate([found.score, found.held_out]).astype(np.float64))
    low, high = float(score.min()), float(np.quantile(score, 0.95, method="lower"))
    low, high = min(low, found.threshold), max(high, found.threshold)
    return low, high if high > low else low + 1.0


def _digits(found: Evaluation) -> int:
    low, high = _span(found)
    return max(0, 3 - math.floor(math.log10(max(high - low, 1e-3))))


def _take_rate(run: Run, found: Evaluation, key: str) -> None:
    """Take a rate over; a callback."""
    rate = st.session_state[key]
    _take(run, found, Decision(typed=found.threshold) if rate == BY_HAND else Decision(rate))


def _take_threshold(run: Run, found: Evaluation, key: str) -> None:
    """Take a threshold over; a callback."""
    value = st.session_state[key]
    if value is not None:
        _take(run, found, Decision(typed=float(value)))


def _take(run: Run, found: Evaluation, decision: Decision) -> None:
    """Decide so from now on: in this session, and in the run if it is the visitor's own."""
    try:
        decision.threshold(found.held_out)
        st.session_state[f"{run.id}.decision"] = decision
        if lab().may_change(run.id):
            keep_decision(run, found, decision)
    except ValueError as error:
        st.session_state[f"{run.id}.refused"] = str(error)
    except OSError as error:
        words = f"It could not be kept with the run: {error.strerror or error}."
        st.session_state[f"{run.id}.refused"] = words


# -- what it is worth ----------------------------------------------------------------------------


def promise_words(found: Evaluation) -> str:
    """Return what held-out good images say about the rate of false alarms at the threshold."""
    worth, count = promise(found.held_out, found.threshold), len(found.held_out)
    if _by_hand(found):
        words = (
            f"Set by hand. As {count} held-out good images tell, "
            f"**{percent(worth.low)} to {percent(worth.high)}** of new good ones exceed it (95 %)."
        )
    else:
        words = (
            f"New good images exceed it in at most **{percent(found.decision.rate)}** of the cases "
            f"on average, promised by {count} held-out good training images; with these, the true "
            f"rate lies between {percent(worth.low)} and {percent(worth.high)} (95 %)."
        )
        if found.decision == usual(found.held_out) and found.decision.rate > false_alarms.USUAL:
            words += (
                f" With {count} images a rate of {percent(false_alarms.USUAL)} cannot be promised."
            )
    return f"{words} That holds for images that come about as the training images did."


def percent(fraction: float) -> str:
    """Return a fraction as a percentage with two digits that count."""
    return f"{100 * fraction:.2g} %"


def _promise(found: Evaluation) -> None:
    st.caption(promise_words(found))
    good = found.score[~found.defective]
    if not len(good):
        return
    beyond = int((good > found.threshold).sum())
    seen, worth = _rate(beyond, len(good)), promise(found.held_out, found.threshold)
    words = (
        f"Of the {len(good)} good test images **{beyond}** are called defective, "
        f"{percent(beyond / len(good))} ({percent(seen.low)} to {percent(seen.high)})."
    )
    if seen.low > worth.high:
        words += (
            " That is more than the held-out images allow for: the good test images are not like "
            "the good training images, and tomorrow's may not be, either."
        )
    st.caption(words)


def _rate(beyond: int, count: int) -> Interval:
    low, high = detection.clopper_pearson(beyond / count, count, 0.95)
    return Interval(beyond / count, low, high)


# -- charts and tables ---------------------------------------------------------------------------


def _histogram(run: Run, found: Evaluation, values: dict[str, np.ndarray], shade: str) -> None:
    title = f"score: {score_name(found)} [{score_unit(found)}]"
    drawn = histogram(values, title, shade, threshold=found.threshold, height=300)
    words = f"Histogram of the scores of {' and '.join(values)} images"
    st.vega_lite_chart(*drawn, key=f"{run.id}.hist", alt=words)
    st.caption("The last bin holds all above. The dashed line is the threshold.")


def _held_out(run: Run, found: Evaluation, shade: str) -> None:
    """Draw what there is where defective images, or good ones, are missing in the test."""
    values = {"held-out good": found.held_out, "good": found.score[~found.defective]}
    values["defective"] = found.score[found.defective]
    _histogram(run, found, {name: part for name, part in values.items() if len(part)}, shade)


def _confusion(d: detection.Decisions) -> str:
    lines = ("**good**", d.passes, d.alarms), ("**defective**", d.misses, d.hits)
    return markdown(("", "called good", "called defective"), lines)


def _measures(score: np.ndarray, defective: np.ndarray, threshold: float) -> str:
    answers = {
        "**This threshold**": detection.decide(score, defective, threshold),
        "All defective": detection.all_defective(defective),
    }
    head = ("", "accuracy", "balanced", "class", "precision", "recall", "F1")
    lines = []
    for name, d in answers.items():
        bad = (d.precision, d.recall, d.f1)
        good = (d.precision_good, d.recall_good, d.f1_good)
        both = (number(d.accuracy), number(d.balanced_accuracy))
        lines.append((name, *both, "defective", *map(number, bad)))
        lines.append(("", "", "", "good", *map(number, good)))
    return markdown(head, lines, right=(1, 2, 4, 5, 6))


def number(value: float) -> str:
    """Return a fraction with three digits, a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def _by_kind(found: Evaluation, threshold: float) -> str:
    names = np.array(found.kinds)
    lines = []
    for kind, area in found.per_kind.items():
        score = found.score[names == kind]
        interval, part = f"{area.low:.3f} to {area.high:.3f}", (score > threshold).mean()
        lines.append((spaced(kind), len(score), f"{area.value:.3f}", interval, f"{part:.0%}"))
    head = ("kind", "images", "AUROC", "95 % interval", "found")
    return markdown(head, lines, right=(1, 2, 4))

"""Results on the test images: how well scores separate defective from good ones, and where."""

from __future__ import annotations

import math

import numpy as np
import streamlit as st

from analysis.maf_scores import Evaluation
from datasets.defects import GOOD
from datasets.own import DataError
from figures.detection_charts import histogram, roc
from figures.images import png
from figures.maf_images import framed, framed_heat, sheet
from lab.store import Run
from lab.view import View
from metrics import detection
from ui.common.cached import painted
from ui.common.page import show_image, theme
from ui.common.plain import markdown, plain
from ui.common.widgets import HIDDEN, choice
from ui.maf.model import evaluation, test_image

ALL = "All defects"
COLUMNS, ROWS = 4, 2  # test images on a page of the gallery
SIDE = 256


def results(view: View, version: float) -> None:
    """Draw how a trained model does on the test images."""
    found = evaluation(view, version)
    if found is None:
        return
    bad = int(found.defective.sum())
    good = len(found.kinds) - bad
    area = found.auroc
    one, two, three = st.columns(3)
    one.metric(
        "AUROC of the images",
        f"{area.value:.3f}",
        f"95 % interval {area.low:.3f} to {area.high:.3f}",
        delta_color="off",
        delta_arrow="off",
        help="The chance that a defective test image scores above a good one. The interval is "
        "DeLong's, on the logit scale: where other images of the same kinds would put it. One "
        "training: another seed gives another value.",
    )
    two.metric(
        "AUROC of the pixels",
        "-" if math.isnan(found.pixel_auroc) else f"{found.pixel_auroc:.3f}",
        help="Over all pixels of all test images, against the true masks."
        + (" There are no masks." if math.isnan(found.pixel_auroc) else ""),
    )
    three.metric(
        "Good and defective test images",
        f"{good} and {bad}",
        help="Nothing was chosen on them: they are looked at here for the first time.",
    )
    shade = theme()
    st.fragment(_decide)(view.run, found, shade)
    st.fragment(_gallery)(view.run, found, shade)


def score_name(found: Evaluation) -> str:
    """Return what a score is."""
    return "NLL of the image" if found.config.model == "image" else "most anomalous place"


def score_unit(found: Evaluation) -> str:
    """Return the unit of a score."""
    return "nats" if found.config.model == "image" else "spreads of the good ones"


# -- the threshold -------------------------------------------------------------------------------


def _decide(run: Run, found: Evaluation, shade: str) -> None:
    kinds = [ALL, *found.per_kind]
    chosen = choice("Kind of defect", kinds, f"{run.id}.kind", format_func=_spaced, **HIDDEN)
    names = np.array(found.kinds)
    some = np.ones(len(names), bool) if chosen == ALL else (names == GOOD) | (names == chosen)
    score, defective = np.nan_to_num(found.score[some]), found.defective[some]
    threshold = _threshold(run, found)
    left, right = st.columns([1.35, 1])
    with left:
        values = {"good": score[~defective], "defective": score[defective]}
        title = f"score: {score_name(found)} [{score_unit(found)}]"
        drawn = histogram(values, title, shade, threshold=threshold, height=300)
        words = "Histogram of the scores of good and defective test images"
        st.vega_lite_chart(*drawn, key=f"{run.id}.hist", alt=words)
        st.caption("The last bin holds all above. The dashed line is the threshold.")
    with right:
        area = found.auroc if chosen == ALL else found.per_kind[chosen]
        drawn = roc(score, defective, threshold, shade)
        st.vega_lite_chart(*drawn, key=f"{run.id}.roc", alt="ROC curve")
        st.caption(
            f"{_spaced(chosen)}: AUROC **{area.value:.3f}** ({area.low:.3f} to "
            f"{area.high:.3f}). The dot is the threshold, the dotted line is chance."
        )
    st.markdown(_measures(score, defective, threshold))
    one, two = st.columns([1, 1.6])
    one.markdown(_confusion(detection.decide(score, defective, threshold)))
    two.markdown(_by_kind(found, threshold))


def _threshold(run: Run, found: Evaluation) -> float:
    """Draw the slider; return the score above which an image is called defective."""
    key = f"{run.id}.threshold"
    score = np.nan_to_num(found.score.astype(np.float64))
    low, high = float(score.min()), float(np.quantile(score, 0.95, method="lower"))
    low, high = min(low, found.threshold), max(high, found.threshold)
    digits = max(0, 3 - math.floor(math.log10(max(high - low, 1e-3))))
    slider, button = st.columns([4, 1.2], vertical_alignment="bottom")
    button.button(
        "Back to the start",
        key=f"{key}.back",
        icon=":material/restart_alt:",
        on_click=st.session_state.__setitem__,
        args=(key, found.threshold),
        help="The score that 5 % of the held-out good training images "
        f"exceed, {found.threshold:,.{digits}f}.",
        width="stretch",
    )
    if key not in st.session_state:
        st.session_state[key] = found.threshold
    return slider.slider(
        "Threshold: called defective above",
        low,
        high,
        step=(high - low) / 400 or 1.0,
        format=f"%.{digits}f",
        key=key,
        help="It starts at the score that 5 % of the held-out good training images exceed. To "
        "move it and look at the test images is to choose on the test set: good for learning, "
        "not for reporting.",
    )


def _spaced(kind: str) -> str:
    return kind.replace("_", " ")


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
        both = (_number(d.accuracy), _number(d.balanced_accuracy))
        lines.append((name, *both, "defective", *map(_number, bad)))
        lines.append(("", "", "", "good", *map(_number, good)))
    return markdown(head, lines, right=(1, 2, 4, 5, 6))


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _by_kind(found: Evaluation, threshold: float) -> str:
    names = np.array(found.kinds)
    lines = []
    for kind, area in found.per_kind.items():
        score = found.score[names == kind]
        interval, part = f"{area.low:.3f} to {area.high:.3f}", (score > threshold).mean()
        lines.append((_spaced(kind), len(score), f"{area.value:.3f}", interval, f"{part:.0%}"))
    head = ("kind", "images", "AUROC", "95 % interval", "found")
    return markdown(head, lines, right=(1, 2, 4))


# -- the images --------------------------------------------------------------------------------


def heat_span(found: Evaluation) -> tuple[float, float]:
    """Return where heat begins to show, and where it gets the last colour."""
    low = found.calibration.map_threshold
    return low, 3 * low


def _gallery(run: Run, found: Evaluation, shade: str) -> None:
    st.markdown("##### The test images by their score")
    which, order, page = st.columns([2.4, 1.6, 1], vertical_alignment="bottom")
    kinds = ["all", GOOD, *found.per_kind]
    kind = which.selectbox("Show", kinds, format_func=_spaced, key=f"{run.id}.show")
    first = choice("First", ["most anomalous", "least anomalous"], f"{run.id}.order", order)
    ranked = np.argsort(np.nan_to_num(found.score), kind="stable")
    if first == "most anomalous":
        ranked = ranked[::-1]
    rank = {int(place): i for i, place in enumerate(np.argsort(-np.nan_to_num(found.score)), 1)}
    shown = [int(i) for i in ranked if kind in ("all", found.kinds[i])]
    pages = math.ceil(len(shown) / (COLUMNS * ROWS))
    key = f"{run.id}.page"
    st.session_state[key] = min(st.session_state.get(key, 1), pages)
    number = page.number_input(f"Page of {pages}", 1, pages, key=key)
    part = shown[(number - 1) * COLUMNS * ROWS : number * COLUMNS * ROWS]
    threshold = st.session_state.get(f"{run.id}.threshold", found.threshold)
    for start in range(0, len(part), COLUMNS):
        columns = st.columns(COLUMNS)
        for column, place in zip(columns, part[start : start + COLUMNS]):
            with column:
                _entry(run, found, place, shade, rank[place], threshold)
    low, high = heat_span(found)
    st.caption(
        f"Above the image, below its anomaly map: nats per dimension away from good ones at that "
        f"place, from {low:.2f} (yellow; 5 % of the held-out good images have more somewhere) to "
        f"{high:.2f} and above (dark red). The true mask is outlined."
    )


def _entry(
    run: Run, found: Evaluation, place: int, shade: str, rank: int, threshold: float
) -> None:
    try:
        drawn = painted(_entry_png, (run.id, place, shade, found.score), run, found, place, shade)
    except DataError as error:
        st.warning(plain(str(error)))
        return
    name, kind = found.names[place], _spaced(found.kinds[place])
    called = found.score[place] > threshold
    right = called == (found.kinds[place] != GOOD)
    show_image(st, drawn, f"Anomaly map of test image {name}")
    verdict = "called defective" if called else "called good"
    colour = "green" if right else "red"
    st.caption(f"{rank}. **{plain(kind)}**, score {found.score[place]:,.2f}: :{colour}[{verdict}]")


def _entry_png(run: Run, found: Evaluation, place: int, shade: str) -> bytes:
    """Return a test image with its anomaly map below as PNG."""
    pixels, mask = test_image(run, found, place)
    heat = found.heat([place])[0]
    above = framed(pixels, mask, SIDE)
    below = framed_heat(pixels, heat, mask, heat_span(found), SIDE)
    return png(sheet([[above], [below]], shade))


# -- take away -----------------------------------------------------------------------------------


def scores_of(run: Run, _shade: str) -> bytes:
    """Return ``scores.csv`` of a run, or a line that says that there is none yet."""
    file = run.path / "scores.csv"
    return file.read_bytes() if file.exists() else _NOT_YET


def figure_of(name: str):
    """Return what gives a figure from the folder of a run."""

    def read(run: Run, _shade: str) -> bytes:
        file = run.path / name
        return file.read_bytes() if file.exists() else _NOT_YET

    return read


_NOT_YET = b"The test images have not been scored yet: open Results first.\n"

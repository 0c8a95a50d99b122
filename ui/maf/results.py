"""Results on the test images: how well scores separate defective from good ones, and where."""

from __future__ import annotations

import math

import numpy as np
import streamlit as st

from analysis.maf_scores import Evaluation
from datasets.defects import GOOD
from datasets.own import DataError
from figures.images import png
from figures.maf_images import framed, framed_heat, sheet
from lab.store import Run
from lab.view import View
from training.maf import UNTRAINED
from ui.common.cached import painted
from ui.common.page import show_image, theme
from ui.common.plain import markdown, plain
from ui.common.widgets import choice
from ui.maf.data import NAMES
from ui.maf.decide import decided, draw_decision, number, score_unit, spaced
from ui.maf.model import evaluation, test_image

COLUMNS, ROWS = 4, 2  # test images on a page of the gallery
SIDE = 256


def results(view: View, version: float) -> None:
    """Draw how a trained model does on the test images."""
    found = evaluation(view, version)
    if found is None:
        return
    _headline(found)
    if found.defective.any() and not found.defective.all():
        st.markdown(_beside(found))
        if words := _winner(found):
            st.caption(words)
    st.fragment(_body)(view.run, found, theme())


def _body(run: Run, found: Evaluation, shade: str) -> None:
    """Draw the decision and the images: what moves the one colours the others."""
    found = decided(run, found)
    draw_decision(run, found, shade)
    if len(found.names):
        _gallery(run, found, shade)


def _headline(found: Evaluation) -> None:
    bad = int(found.defective.sum())
    good, quality = len(found.kinds) - bad, found.quality
    one, two, three, four = st.columns(4)
    if math.isnan(quality.auroc.value):
        missing = "defective" if good else "good" if bad else "any"
        one.metric("AUROC of the images", "-", help=f"There are no {missing} test images.")
    else:
        one.metric(
            "AUROC of the images",
            f"{quality.auroc.value:.3f}",
            f"95 % interval {quality.auroc.low:.3f} to {quality.auroc.high:.3f}",
            delta_color="off",
            delta_arrow="off",
            help="The chance that a defective test image scores above a good one. The interval is "
            "DeLong's, on the logit scale: where other images of the same kinds would put it. One "
            "training: another seed gives another value.",
        )
    of = "over the test images whose masks are known"
    none = " There are no masks." if math.isnan(quality.pixel_auroc) else ""
    words = f"The same question of pixels, {of}.{none}"
    two.metric("AUROC of the pixels", number(quality.pixel_auroc), help=words)
    words = (
        "Area under the per-region overlap up to 30 % of false alarms: a small defect counts as "
        f"much as a large one, {of}. Chance has 0.15.{none}"
    )
    three.metric("AUPRO of the pixels", number(quality.aupro), help=words)
    four.metric(
        "Good and defective test images",
        f"{good} and {bad}",
        help="Nothing was chosen on them: they are looked at here for the first time.",
    )


def _beside(found: Evaluation) -> str:
    """Return the table of this model and of those that need no training."""
    rows = {f"**{NAMES[found.config.model]}**": found.quality}
    rows |= {NAMES[name]: one for name, one in found.baselines.items()}
    lines = []
    for name, one in rows.items():
        interval = f"{one.auroc.low:.3f} to {one.auroc.high:.3f}"
        rest = (one.average_precision, one.pixel_auroc, one.aupro)
        lines.append((name, number(one.auroc.value), interval, *map(number, rest)))
    head = ("Model", "AUROC of the images", "95 % interval", "average precision")
    return markdown((*head, "AUROC of the pixels", "AUPRO"), lines, right=(1, 3, 4, 5))


def _winner(found: Evaluation) -> str:
    """Say if a model beside this one does better, and which."""
    best = max(found.baselines, key=lambda name: found.baselines[name].auroc.value)
    if found.baselines[best].auroc.value <= found.auroc.value:
        return ""
    learns = ", which learns nothing," if best in UNTRAINED else ""
    return (
        f"**{NAMES[best]}**{learns} does better on these test images. To take it for that would be "
        "to choose on the test set; choose it for the next part."
    )


# -- the images --------------------------------------------------------------------------------


def _gallery(run: Run, found: Evaluation, shade: str) -> None:
    st.markdown("##### The test images by their score")
    which, order, page = st.columns([2.4, 1.6, 1], vertical_alignment="bottom")
    kinds = ["all", GOOD, *found.per_kind]
    kind = which.selectbox("Show", kinds, format_func=spaced, key=f"{run.id}.show")
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
    for start in range(0, len(part), COLUMNS):
        columns = st.columns(COLUMNS)
        for column, place in zip(columns, part[start : start + COLUMNS]):
            with column:
                _entry(run, found, place, shade, rank[place])
    outlined = " The true mask is outlined." if _masked(found) else ""
    st.caption(f"Above the image, below its anomaly map: {heat_words(found)}{outlined}")


def _masked(found: Evaluation) -> bool:
    return not math.isnan(found.pixel_auroc)


def heat_words(found: Evaluation) -> str:
    """Return what the colours of anomaly maps mean."""
    low, high = found.heat_span
    if found.config.model == "image":
        return (
            f"nats per dimension away from good ones at that place, from {low:.2f} (yellow; 5 % of "
            f"the held-out good images have more somewhere) to {high:.2f} and above (dark red)."
        )
    return (
        f"{score_unit(found)}, from the threshold, {low:.2f} (yellow), to {high:.2f} and above "
        "(dark red). What is called defective shows where."
    )


def _entry(run: Run, found: Evaluation, place: int, shade: str, rank: int) -> None:
    by = run.id, place, shade, found.score, found.threshold
    try:
        drawn = painted(_entry_png, by, run, found, place, shade)
    except DataError as error:
        st.warning(plain(str(error)))
        return
    name, kind = found.names[place], spaced(found.kinds[place])
    called = found.score[place] > found.threshold
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
    below = framed_heat(pixels, heat, mask, found.heat_span, SIDE)
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

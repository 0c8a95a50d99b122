"""A visitor's own images: scored, decided upon, and their anomaly maps."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import streamlit as st

from analysis.maf_scores import Evaluation, scores_csv
from datasets.defects import GOOD
from datasets.drawn import coverage, paint_over
from datasets.files.images import SUFFIXES
from datasets.own import DataError
from figures.images import png
from figures.maf_images import framed, framed_heat, sheet
from lab.view import View
from metrics.anomaly_map import half
from ui.common.page import show_image, theme
from ui.common.plain import plain, refuse
from ui.common.uploads import SINGLE, Upload, read_apart, take
from ui.common.widgets import HIDDEN, KEPT, choice, download
from ui.maf.decide import decided, promise_words, score_name, score_unit
from ui.maf.model import evaluation, test_image, trained
from ui.maf.results import COLUMNS, heat_words
from ui.stage.drawing import draw
from ui.stage.scene import Brush, Panel, Pixels

SIDE = 384
SMALL = 256
MOST = 200  # images at once
PER_PAGE = 12
PAINT = "Paint a defect"
PAINTS = {"Dark": 20, "Bright": 235}  # grey levels


def score_own(view: View, version: float) -> None:
    """Let the visitor upload images, or paint a defect on a good one; draw what comes of it."""
    found = evaluation(view, version)
    if found is None:
        return
    found = decided(view.run, found)
    way = choice("What to score", ["Upload", PAINT], f"{view.run.id}.own_way", **HIDDEN)
    (_uploaded if way == "Upload" else _painted)(view, version, found)


def _uploaded(view: View, version: float, found: Evaluation) -> None:
    """Let the visitor upload images; draw their scores, the decisions and the anomaly maps."""
    st.markdown(
        "**Score images of your own.** They should show the thing as the training images do: as "
        "large, at the same place, the same way up. Each is fitted to a square of "
        f"{found.config.side} pixels."
    )
    key = f"{view.run.id}.own"
    files = take("Images", SUFFIXES, key, accept_multiple_files=True)
    if not files:
        st.info("Nothing uploaded yet. An image of Results, saved to your disk, will do.")
        return
    if len(files) > MOST:
        st.warning(
            f"Only the first {MOST} are scored here. `python -m training score` takes a folder of "
            "any size."
        )
    entries = _entries(view, version, found, files[:MOST])
    if len(entries) == 1:
        _show(found, *entries[0])
    elif entries:
        _table(view, found, entries)


Entry = tuple[str, np.ndarray, float, np.ndarray]  # name, image, score, anomaly map


def _entries(view: View, version: float, found: Evaluation, files: list[Upload]) -> list[Entry]:
    """Return those of some files that can be read, scored; say which cannot."""
    key, kept = f"{view.run.id}.own_entries", {}
    before = st.session_state.get(key, {})
    bar = st.progress(0.0) if any((version, f.id) not in before for f in files) else None
    for number, file in enumerate(files):
        mark = version, file.id
        kept[mark] = before[mark] if mark in before else _entry(view, version, found, file)
        if bar is not None:
            done = number + 1
            bar.progress(done / len(files), f"Scoring: {done} of {len(files)} images")
    if bar is not None:
        bar.empty()
    st.session_state[key] = kept
    for file in files:
        if isinstance(error := kept[version, file.id], str):
            refuse(f"{file.name}: {error}")
    return [one for one in kept.values() if not isinstance(one, str)]


def _entry(view: View, version: float, found: Evaluation, file: Upload) -> Entry | str:
    """Return an image and its score, or why it cannot be read."""
    try:
        pixels = _read(file, found.config.side)
    except DataError as error:
        return str(error)
    experiment = trained(view, version)
    if experiment is None:
        return "It cannot be scored."
    scores = experiment.score(pixels[None], found.calibration)
    return file.name, pixels, float(scores.score[0]), half(scores.maps[0])


def _table(view: View, found: Evaluation, entries: list[Entry]) -> None:
    """Draw many images: how many are called defective, a table to take away, and their maps."""
    entries = sorted(entries, key=lambda entry: -entry[2])
    names, scores = [entry[0] for entry in entries], np.array([entry[2] for entry in entries])
    called = int((scores > found.threshold).sum())
    st.markdown(
        f"**{called} of {len(entries)}** are called defective: they score above "
        f"{found.threshold:,.2f}. {promise_words(found)}"
    )
    text = scores_csv(names, scores, found.threshold)
    download("Scores (CSV)", text, "scores.csv", "text/csv", key=f"{view.run.id}.own_csv")
    pages = math.ceil(len(entries) / PER_PAGE)
    number = 1
    if pages > 1:
        key = f"{view.run.id}.own_page"
        number = st.number_input(f"Page of {pages}", 1, pages, key=key)
    part = entries[(number - 1) * PER_PAGE : number * PER_PAGE]
    for start in range(0, len(part), COLUMNS):
        for column, entry in zip(st.columns(COLUMNS), part[start : start + COLUMNS]):
            with column:
                _small(found, *entry)
    st.caption(f"The highest score first; below each image its anomaly map: {heat_words(found)}")


def _small(found: Evaluation, name: str, pixels: np.ndarray, score: float, heat) -> None:
    mask = np.zeros(heat.shape, bool)
    above = framed(pixels, mask, SMALL)
    below = framed_heat(pixels, heat, mask, found.heat_span, SMALL)
    show_image(st, png(sheet([[above], [below]], theme())), f"{name} and its anomaly map")
    called = score > found.threshold
    verdict = ":red[called defective]" if called else ":green[called good]"
    st.caption(f"{plain(name)}, score {score:,.2f}: {verdict}")


def _read(file: Upload, side: int) -> np.ndarray:
    return read_apart("datasets.defects:read_one", file.whole, side, load=np.load, bounds=SINGLE)


def _score(
    view: View, version: float, found: Evaluation, pixels: np.ndarray
) -> tuple[float, np.ndarray] | None:
    """Return score and anomaly map ``(S, S)`` of an image ``(3, S, S)``."""
    if (experiment := trained(view, version)) is None:
        return None
    # Kept by the image: other widgets of the page must not score it again.
    key, mark = f"{view.run.id}.own_score", hashlib.sha256(pixels.tobytes()).hexdigest()
    kept = st.session_state.get(key)
    if kept is None or kept[0] != (version, mark):
        with st.spinner("Scoring it"):
            scores = experiment.score(pixels[None], found.calibration)
        kept = st.session_state[key] = (version, mark), float(scores.score[0]), scores.maps[0]
    return kept[1:]


def _show(found: Evaluation, name: str, pixels: np.ndarray, score: float, heat: np.ndarray) -> None:
    left, right = st.columns([2.2, 1])
    mask = np.zeros(heat.shape, bool)
    span = found.heat_span
    rows = [[framed(pixels, mask, SIDE), framed_heat(pixels, heat, mask, span, SIDE)]]
    show_image(left, png(sheet(rows, theme())), f"{name} and its anomaly map")
    left.caption(f"{plain(name)} as the model takes it, and its anomaly map: {heat_words(found)}")
    _decided(found, score, right)


def _decided(found: Evaluation, score: float, right, before: float | None = None) -> None:
    """Draw a score, beside that of the image as it was before, and what it is called."""
    called = score > found.threshold
    right.metric(
        f"Score [{score_unit(found)}]",
        f"{score:,.2f}",
        None if before is None else f"{score - before:+,.2f} by the paint",
        delta_color="inverse",
        border=True,
        help=f"{score_name(found).capitalize()}. Higher is more anomalous.",
    )
    beyond = (found.held_out < score).mean()
    words = (
        f"{'Called **defective**' if called else 'Called **good**'}: the threshold is "
        f"{found.threshold:,.2f}. {beyond:.0%} of the {len(found.held_out)} held-out good training "
        "images score below this image."
    )
    (right.error if called else right.success)(words)
    right.caption(promise_words(found))
    if found.config.model == "image":
        right.caption("The score of the whole-image model is one number; the map only splits it.")


# -- a painted defect ----------------------------------------------------------------------------


def _painted(view: View, version: float, found: Evaluation) -> None:
    """Let the visitor paint on a good image; draw scores and anomaly maps before and after."""
    st.markdown("**Paint a scratch on a good image**, and see the anomaly map answer.")
    good = np.flatnonzero(np.array(found.kinds) == GOOD)
    if not len(good):
        st.info("There is no good test image to paint on.")
        return
    sheet_, shown = st.columns([1, 1.6], gap="medium")
    with sheet_:
        try:
            mine = _paint(view, found, good)
        except DataError as error:
            refuse(error)
            return
    with shown:
        if not mine.covered.any():
            st.info("Nothing is painted yet.")
        elif (scored := _score(view, version, found, mine.after)) is not None:
            _compare(found, mine, *scored)


@dataclass(frozen=True)
class _Painted:
    """A good test image with paint on it.

    Attributes:
        place: its number among the test images.
        before: without paint, uint8, ``(3, S, S)``.
        after: with it.
        covered: how much of each pixel is painted, ``(S, S)``.
    """

    place: int
    before: np.ndarray
    after: np.ndarray
    covered: np.ndarray


def _paint(view: View, found: Evaluation, good: np.ndarray) -> _Painted:
    """Let the visitor choose an image and paint on it."""
    key = f"{view.run.id}.paint"
    left, right = st.columns(2, vertical_alignment="bottom")
    label = f"Good image, of {len(good)}"
    number = left.number_input(label, 1, len(good), key=f"{key}.number", **KEPT)
    grey = PAINTS[choice("Paint", list(PAINTS), f"{key}.colour", right)]
    place = int(good[number - 1])
    before, _ = test_image(view.run, found, place)
    side = before.shape[-1]
    layer = Pixels("image", before.transpose(1, 2, 0), colour=True)
    panel = Panel("", (0, side, 0, side), [layer], "Your drawing on a good image", axes=None)
    brush = Brush(0, side / 50, f"#{grey:02x}{grey:02x}{grey:02x}", weights=False)
    covered = coverage(draw(key, [panel], brush, lambda _: None), side, side)
    return _Painted(place, before, paint_over(before, covered, grey), covered)


def _compare(found: Evaluation, mine: _Painted, score: float, heat: np.ndarray) -> None:
    span, mask = found.heat_span, mine.covered > 0.5
    first = framed_heat(mine.before, found.heat([mine.place])[0], mask & False, span, SMALL)
    second = framed_heat(mine.after, heat, mask, span, SMALL)
    show_image(st, png(sheet([[first, second]], theme())), "Anomaly maps before and after")
    st.caption(f"Its anomaly map before and after, your paint outlined: {heat_words(found)}")
    _decided(found, score, st, float(found.score[mine.place]))

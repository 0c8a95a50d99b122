"""A visitor's own image: scored, decided upon, and its anomaly map."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import streamlit as st

from analysis.maf_scores import Evaluation
from datasets.defects import GOOD
from datasets.drawn import coverage, paint_over
from datasets.files.images import SUFFIXES
from datasets.own import DataError
from figures.images import png
from figures.maf_images import framed, framed_heat, sheet
from lab.view import View
from ui.common.page import show_image, theme
from ui.common.plain import plain, refuse
from ui.common.uploads import SINGLE, Upload, read_apart, read_once, take
from ui.common.widgets import HIDDEN, KEPT, choice
from ui.maf.model import evaluation, test_image, trained
from ui.maf.results import heat_span, score_name, score_unit
from ui.stage.drawing import draw
from ui.stage.scene import Brush, Panel, Pixels

SIDE = 384
SMALL = 256
PAINT = "Paint a defect"
PAINTS = {"Dark": 20, "Bright": 235}  # grey levels


def score_own(view: View, version: float) -> None:
    """Let the visitor upload an image, or paint a defect on a good one; draw what comes of it."""
    found = evaluation(view, version)
    if found is None:
        return
    way = choice("What to score", ["Upload", PAINT], f"{view.run.id}.own_way", **HIDDEN)
    (_uploaded if way == "Upload" else _painted)(view, version, found)


def _uploaded(view: View, version: float, found: Evaluation) -> None:
    """Let the visitor upload an image; draw its score, the decision and its anomaly map."""
    st.markdown(
        "**Score an image of your own.** It should show the thing as the training images do: as "
        "large, at the same place, the same way up. It is fitted to a square of "
        f"{found.config.side} pixels."
    )
    files = take("An image", SUFFIXES, f"{view.run.id}.own")
    if not files:
        st.info("Nothing uploaded yet. An image of Results, saved to your disk, will do.")
        return
    (file,), side = files, found.config.side
    try:
        pixels = read_once(f"{view.run.id}.own", (side, file.id), lambda: _read(file, side))
    except DataError as error:
        refuse(f"{file.name}: {error}")
        return
    if (scored := _score(view, version, found, pixels)) is not None:
        _show(found, file.name, pixels, *scored)


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
    span = heat_span(found)
    rows = [[framed(pixels, mask, SIDE), framed_heat(pixels, heat, mask, span, SIDE)]]
    show_image(left, png(sheet(rows, theme())), f"{name} and its anomaly map")
    left.caption(f"{plain(name)} as the model takes it, and its anomaly map: {_colours(span)}")
    _decided(found, score, right)


def _colours(span: tuple[float, float]) -> str:
    return f"yellow from {span[0]:.2f}, dark red from {span[1]:.2f} nats per dimension."


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
        f"{found.threshold:,.2f}, which 5 % of the held-out good training images exceed. "
        f"{beyond:.0%} of those score below this image."
    )
    (right.error if called else right.success)(words)
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
    span, mask = heat_span(found), mine.covered > 0.5
    first = framed_heat(mine.before, found.heat([mine.place])[0], mask & False, span, SMALL)
    second = framed_heat(mine.after, heat, mask, span, SMALL)
    show_image(st, png(sheet([[first, second]], theme())), "Anomaly maps before and after")
    st.caption(f"Its anomaly map before and after, your paint outlined: {_colours(span)}")
    _decided(found, score, st, float(found.score[mine.place]))

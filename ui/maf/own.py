"""A visitor's own image: scored, decided upon, and its anomaly map."""

from __future__ import annotations

import hashlib

import numpy as np
import streamlit as st

from analysis.maf_scores import Evaluation
from datasets.files.images import SUFFIXES
from datasets.own import DataError
from figures.images import png
from figures.maf_images import framed, framed_heat, sheet
from lab.view import View
from ui.common.page import show_image, theme
from ui.common.plain import plain, refuse
from ui.common.uploads import SINGLE, Upload, read_apart, read_once, take
from ui.maf.model import evaluation, trained
from ui.maf.results import heat_span, score_name, score_unit

SIDE = 384


def score_own(view: View, version: float) -> None:
    """Let the visitor upload an image; draw its score, the decision and its anomaly map."""
    found = evaluation(view, version)
    if found is None:
        return
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
    left.caption(
        f"{plain(name)} as the model takes it, and its anomaly map: yellow from "
        f"{span[0]:.2f}, dark red from {span[1]:.2f} nats per dimension."
    )
    called = score > found.threshold
    right.metric(
        f"Score [{score_unit(found)}]",
        f"{score:,.2f}",
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

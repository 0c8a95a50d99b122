"""What an autoencoder finds strange: scores of clean and damaged images, and of one's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from analysis.image_checks import other_sets
from analysis.vae_latents import CORRUPTIONS, SCORES, Detection, Scores, corrupt, detect, score
from figures.detection_charts import histogram, roc
from figures.image_figures import labelled_rows, tile
from figures.images import colour_bar, png, signed_image
from lab.view import View
from ui.common.cached import painted
from ui.common.widgets import KEPT, choice, choose_part
from ui.image_flows.desk import Base, at_desk, choose_base, sheet
from ui.image_flows.upload import take_mine
from ui.vae.model import VAEDesk

CHART = 260  # pixels of the charts in height
COMPARED = 500  # clean test images, as many damaged ones, and as many clean ones for the threshold
WORST = 10  # images to look at
OTHER = "another data set"


@dataclass(frozen=True)
class Clean:
    """Test images cut in two: one half sets the threshold, the other is what is evaluated."""

    validation: Scores
    images: Tensor
    scores: Scores


def anomalies(view: View, version: float) -> None:
    """Draw the part of anomaly detection that was chosen."""
    desk = at_desk(view, version, VAEDesk)
    if desk is None:
        return
    if desk.stand_in:
        st.warning("Test images here are those of the set that stands in.")
    choose_part(desk, "Anomalies", {"Clean against damaged": _compare, f"One {desk.word}": _one})


# -- clean against damaged -----------------------------------------------------------------------


def _compare(desk: VAEDesk) -> None:
    st.markdown(
        "**Damage the test images and see whether the model minds.** It has only learned to draw "
        "images like those it was trained on. What it cannot draw again is strange to it."
    )
    left, middle, right = st.columns([1.2, 1.6, 1.2])
    kind = left.selectbox(
        "What is done to them",
        [*CORRUPTIONS, OTHER],
        format_func=_upper,
        key=desk.key("kind"),
        **KEPT,
    )
    strength = _strength(desk, kind, middle)
    which = choice(
        "Score", list(SCORES), desk.key("score"), right, "bce", format_func=lambda k: SCORES[k]
    )
    found = desk.kept(_compared, kind, strength, words="Scoring images")
    if found is None:
        st.info("No other set of this size is on this machine.")
        return
    clean, strange, images, name = found
    _show_comparison(desk, clean, strange, images, name, which)


def _strength(desk: VAEDesk, kind: str, where) -> float:
    if kind == OTHER:
        where.caption("Images of another set of the same size, as they are.")
        return 0.0
    what, values = CORRUPTIONS[kind]
    key = desk.key(f"strength.{kind}")
    return where.select_slider(what, values, values[1], key=key, **KEPT)


def _show_comparison(
    desk: VAEDesk, clean: Clean, strange: Scores, images: Tensor, name: str, which: str
) -> None:
    values = getattr(clean.scores, which), getattr(strange, which)
    held_out = getattr(clean.validation, which)
    result = painted(detect, (*values, held_out), *values, held_out)
    title = f"{SCORES[which]} [nats/image]"
    left, right, numbers = st.columns([1.7, 1.1, 0.9])
    names = ("clean", name)
    sets = dict(zip(names, values, strict=True))
    chart = histogram(sets, title, desk.shade, threshold=result.threshold, height=CHART)
    left.vega_lite_chart(*chart, key=desk.key("histograms"), alt="Scores of clean and other images")
    right.vega_lite_chart(
        *roc(np.concatenate(values), _truth(*values), result.threshold, desk.shade, CHART),
        key=desk.key("roc"),
        alt="ROC curve",
    )
    with numbers:
        _numbers(result)
    st.caption(
        f"{len(values[0])} clean test images against {len(values[1])} others. The threshold is the "
        f"score that 5 % of {len(held_out)} further clean images exceed; those are test images, "
        "too, but none of those that are evaluated. AUROC with its 95 % interval "
        "(DeLong's, on the logit scale). The last bin holds all above."
    )
    st.markdown(f"**The strangest {WORST} of either kind**: image, what was made of it, difference")
    for column, kind, some, scores in zip(
        st.columns(2), names, (clean.images, images), (clean.scores, strange), strict=True
    ):
        with column:
            drawn = _worst_png(desk, some, scores, which)
            sheet(drawn, f"Strangest {kind} images and their reconstructions", _upper(kind))


def _truth(clean: np.ndarray, strange: np.ndarray) -> np.ndarray:
    return np.arange(len(clean) + len(strange)) >= len(clean)


def _upper(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}"


def _numbers(result: Detection) -> None:
    area = result.auroc
    st.metric(
        "AUROC",
        f"{area.value:.3f}",
        help="The chance that a damaged image scores above a clean one. Guessing has 0.5.",
    )
    st.caption(f"95 %: {area.low:.3f} to {area.high:.3f}")
    st.metric("Found at the threshold", f"{result.found:.0%}")
    st.caption(
        f"False alarms: {result.alarms:.1%}. Threshold {result.threshold:.1f} nats; calling all of "
        "them strange would find 100 % with 100 % false alarms."
    )


def _worst_png(desk: VAEDesk, images: Tensor, scores: Scores, which: str) -> bytes:
    order = np.argsort(-getattr(scores, which), kind="stable")[:WORST].copy()
    some, again = images[torch.from_numpy(order)].numpy(), scores.reconstructions[order]
    apart = np.abs(some.astype(int) - again).astype(np.uint8)
    rows = np.concatenate([some, again, apart])
    return png(labelled_rows(rows, len(order), ["image", "again", "apart"], desk.shade, width=560))


def _compared(
    desk: VAEDesk, kind: str, strength: float
) -> tuple[Clean, Scores, Tensor, str] | None:
    """Return clean images, the scores of damaged ones, these, and what they are called."""
    clean, images = desk.kept(_clean), desk.images
    if kind == OTHER:
        sets = other_sets(images, images.shape[1], COMPARED)
        known = {"test images", "inverted", "half the contrast", "pixels shuffled", "one grey"}
        others = [name for name in sets if name not in known | {"black", "noise"}]
        if not others:
            return None
        strange, name = sets[others[0]], others[0]
    else:
        strange, name = corrupt(clean.images, kind, strength, seed=11), kind
    return clean, score(desk.model, strange), strange, name


def _clean(desk: VAEDesk) -> Clean:
    test = desk.images.test
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(9))
    half = min(COMPARED, len(test) // 2)
    validation, images = test[order[:half]], test[order[half : 2 * half]]
    return Clean(score(desk.model, validation), images, score(desk.model, images))


# -- one image -----------------------------------------------------------------------------------


def _one(desk: VAEDesk) -> None:
    st.markdown(
        f"**Take one {desk.word}, damage it or bring your own**, and see its score, what the model "
        "makes of it, and where the two differ."
    )
    left, right = st.columns([1, 1.9], gap="medium")
    with left:
        _upload(desk)
        base = choose_base(desk, "Which", min(2, len(desk.images.classes) - 1), st)
        kind = st.selectbox(
            "What is done to it",
            ["nothing", *CORRUPTIONS],
            format_func=_upper,
            key=desk.key("one.kind"),
            **KEPT,
        )
        strength = 0.0 if kind == "nothing" else _strength(desk, kind, st)
    with right:
        _show_one(desk, base, kind, strength)


def _upload(desk: VAEDesk) -> None:
    own = f"It then stands under Which as my own {desk.word}, here and in the latent space."
    take_mine(desk, f"An image of a {desk.word}", "Which", help=own)


def _show_one(desk: VAEDesk, base: Base, kind: str, strength: float) -> None:
    image = base.image if kind == "nothing" else corrupt(base.image, kind, strength, seed=11)
    found, clean = score(desk.model, image), desk.kept(_clean)
    pair = np.concatenate([desk.shown(image), found.reconstructions])
    apart = (image[0].float().mean(0).numpy() - found.reconstructions[0].mean(0)) / 255
    shown, differ = st.columns([1.5, 1])
    with shown:
        sheet(tile(pair, 2, desk.shade, width=344), "Image and reconstruction", "Image, and again")
    with differ:
        sheet(signed_image(apart, 1.0, desk.shade, 172), "Error map", "Difference")
        sheet(colour_bar("too bright", "missing", desk.shade), "Colour bar")
    for column, (name, words) in zip(st.columns(2), SCORES.items(), strict=True):
        value, usual = float(getattr(found, name)[0]), getattr(clean.scores, name)
        threshold = float(np.quantile(getattr(clean.validation, name), 0.95))
        column.metric(f"{_upper(words)} [nats]", f"{value:.1f}", border=True)
        lower = float((usual < value).mean())
        verdict = "**strange**" if value > threshold else "**as usual**"
        column.markdown(
            f"{lower:.0%} of clean test images score lower. Against the threshold of "
            f"{threshold:.1f}: {verdict}."
        )

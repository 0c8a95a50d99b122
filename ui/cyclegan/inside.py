"""What a discriminator sees: verdicts of its patches, and how far one of them looks."""

from __future__ import annotations

import numpy as np
import streamlit as st

from figures.cyclegan_figures import framed, shown, verdicts
from figures.images import colour_bar, png
from lab.view import View
from models.cyclegan import receptive_field
from ui.common.page import show_image
from ui.common.plain import plain
from ui.common.widgets import KEPT, choice
from ui.cyclegan.model import Translator, translator_of
from ui.cyclegan.translate import choose_image

KINDS = ("The image itself", "Translated", "There and back")


def see_inside(view: View, version: float) -> None:
    """Let the visitor show an image to a discriminator, and ask what each verdict is based on."""
    found = translator_of(view, version)
    st.markdown(
        "**A discriminator does not score the image but its patches**: each number it puts out "
        "depends on 70 x 70 pixels, and it is right as a whole if all of them are. So it looks at "
        "texture and colour, and leaves the layout to the cycle loss."
    )
    chosen = choose_image(found)
    if chosen is None:
        return
    a, b = map(plain, found.domains)
    left, right = st.columns(2)
    of_b = choice(
        "Ask the discriminator of",
        [False, True] if len(found.ways) == 2 else [True],
        found.key("discriminator"),
        right,
        True,
        format_func=lambda is_b: b if is_b else a,
    )
    kind = choice(
        "It is shown",
        KINDS[: len(found.ways) + 1],
        found.key("shown"),
        left,
        KINDS[1],
        help="Translated: by the generator whose work this discriminator scores.",
    )
    image = _made(found, chosen.image, kind, of_b)
    scores = found.patch_scores(image, of_b)
    _patches(found, image, scores)


def _made(found: Translator, image: np.ndarray, kind: str, of_b: bool) -> np.ndarray:
    if kind == KINDS[0]:
        return image
    if kind == KINDS[1]:
        return found.carry(image, of_b)
    return found.carry(found.carry(image, not of_b), of_b)


def _patches(found: Translator, image: np.ndarray, scores: np.ndarray) -> None:
    height, width = scores.shape
    controls = st.columns(2)
    row = _place(controls[0], "Row of the verdict", height, found.key(f"row.{height}"))
    column = _place(controls[1], "Column of the verdict", width, found.key(f"column.{width}"))
    reach = [receptive_field(found.model.discriminator_b, place) for place in (row, column)]
    drawn = found.painted(_images, image, row, column, scores, reach)
    size = image.shape[1]
    inside = [min(last, size - 1) - max(first, 0) + 1 for first, last in reach]
    words = (
        "**What it is shown**",
        f"**{height} x {width} verdicts**: {scores.mean():.2f} on average; 1 is real, 0 is fake",
        f"**What verdict {row + 1}, {column + 1} sees**: 70 x 70 pixels, of which "
        f"{inside[0]} x {inside[1]} lie in the image. It says {scores[row, column]:.2f}",
    )
    alts = ("The image that is scored", "Verdicts on its patches", "What one verdict sees")
    places = st.columns(3)
    for place, part, caption, alt in zip(places, drawn, words, alts, strict=True):
        show_image(place, part, alt, caption)
    show_image(places[1], colour_bar("fake, 0", "real, 1", found.shade), "Colours of the verdicts")
    st.caption(
        "The 70 pixels are those of the convolutions. Through the instance norms each verdict also "
        "knows mean and variance of the whole image. "
        + (
            f"At {size} pixels one verdict sees most of the image: it is at 256 that patches are "
            "small beside it."
            if size < 128
            else ""
        )
    )


def _place(where, label: str, count: int, key: str) -> int:
    """Draw a slider over places 1 to ``count``; return the chosen one, from 0."""
    if count < 2:
        return 0
    return where.slider(label, 1, count, (count + 1) // 2, key=key, **KEPT) - 1


def _images(
    found: Translator,
    image: np.ndarray,
    row: int,
    column: int,
    scores: np.ndarray,
    reach: list[tuple[int, int]],
) -> list[bytes]:
    parts = (
        shown(image),
        verdicts(scores, (row, column), found.shade),
        framed(image, *reach, found.shade),
    )
    return [png(part) for part in parts]

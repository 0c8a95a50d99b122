"""Translate an image: a test image, an upload or what the webcam sees, both ways and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from datasets.files.images import SUFFIXES
from datasets.own import DataError
from figures.cyclegan_figures import difference, heat, shown
from figures.images import png
from lab.view import View
from ui.common.page import show_image
from ui.common.plain import plain, refuse
from ui.common.uploads import SINGLE, Upload, read_apart, read_once, take, take_photo
from ui.common.widgets import KEPT, choice, download
from ui.cyclegan.model import MINE, Translator, translator_of

SOURCES = ("Test image", "Upload", "Webcam")
LARGEST = 256  # pixels along each side that a page translates within a second or two
LIMIT = 0.4  # difference that gets the last colour


@dataclass(frozen=True)
class Chosen:
    """The image to translate.

    Attributes:
        image: uint8 ``(3, S, S)``.
        name: of its file, or what it is.
        side: 0 if it is of A, 1 if it is of B, -1 if nobody knows.
    """

    image: np.ndarray
    name: str
    side: int = -1


def translate(view: View, version: float) -> None:
    """Let the visitor choose an image, and show it translated both ways."""
    found = translator_of(view, version)
    chosen = choose_image(found)
    if chosen is None:
        return
    ways = [True, False] if chosen.side <= 0 else [False, True]
    for to_b in ways:
        if ("ab" if to_b else "ba") in found.ways:
            _one_way(found, chosen, to_b)
    st.caption(
        "Difference: how far the translation is from the image, in percent of the range of grey "
        f"levels, the mean over red, green and blue; {LIMIT:.0%} and more have the last colour. "
        "The number with the round trip is the same for what came back."
    )


def choose_image(found: Translator) -> Chosen | None:
    """Let the visitor choose an image; ``None`` while there is none."""
    left, right = st.columns([1, 1.4], vertical_alignment="bottom")
    source = choice("Image", SOURCES, found.key("source"), left)
    if source == "Test image":
        return _test_image(found, right)
    if source == "Upload":
        files = take("An image", SUFFIXES, "cyclegan.upload")
    else:
        files = take_photo("An image from your webcam", "cyclegan.webcam")
    side = right.select_slider(
        "Pixels per side",
        sorted({found.size, 64, 128, 192, LARGEST}),
        found.size,
        key=found.key("side"),
        **KEPT,
        help=f"It has learned from images of {found.size} pixels: there it does best. Its "
        "convolutions take any size.",
    )
    if files:
        st.session_state[MINE] = files[0]
    kept: Upload | None = st.session_state.get(MINE)
    if kept is None:
        st.info("Nothing to translate yet. The image stays on this machine.")
        return None
    try:
        pixels = read_once(MINE, (side, kept.id), lambda: _read(kept, side))
        return Chosen(pixels, kept.name)
    except DataError as error:
        st.session_state.pop(MINE, None)
        refuse(error)
        return None


def _read(file: Upload, side: int) -> np.ndarray:
    return read_apart(
        "datasets.files.images:read_square",
        file.whole,
        file.name,
        side,
        3,
        load=np.load,
        bounds=SINGLE,
    )


def _test_image(found: Translator, where) -> Chosen:
    options = [(side, i) for side in (0, 1) for i in range(len(found.real[side]))]
    side, i = where.selectbox(
        "Which",
        options,
        format_func=lambda place: f"{found.domains[place[0]]} {place[1] + 1}",
        key=found.key("which"),
        **KEPT,
    )
    name = f"{found.domains[side]} {i + 1}"
    return Chosen(found.real[side][i], name, side)


def _one_way(found: Translator, chosen: Chosen, to_b: bool) -> None:
    start, end = found.domains if to_b else found.domains[::-1]
    drawn, there, apart, off = found.painted(_images, chosen.image, to_b, words="Translating")
    words = (
        f"**{plain(chosen.name)}**",
        f"**As {plain(end)}**",
        f"**What changed**: {apart:.1%} on average",
        f"**And back**, as {plain(start)}: {off:.1%} off" if off is not None else "",
    )
    alts = (
        "The image to translate",
        f"The image as {end}",
        f"What changed on the way to {end}",
        f"The image as {end}, and back",
    )
    for place, image, caption, alt in zip(st.columns(4), drawn, words, alts, strict=False):
        show_image(place, image, alt, caption)
    stem = chosen.name.rpartition(".")[0] or chosen.name
    download(
        f"The image as {plain(end)} (PNG)",
        there,
        f"{stem}-as-{end}.png".replace(" ", "-"),
        "image/png",
        key=found.key(f"download.{to_b}"),
    )


def _images(
    found: Translator, image: np.ndarray, to_b: bool
) -> tuple[list[bytes], bytes, float, float | None]:
    """Return images, the translation in its own size, and two mean differences.

    Without a second generator nothing comes back: then the last is missing, image and number.
    """
    there, off = found.carry(image, to_b), None
    apart = difference(image, there)
    drawn = [shown(image), shown(there), heat(apart, LIMIT, found.shade)]
    own_size = png(shown(there, there.shape[1]))
    if len(found.ways) == 2:
        back = found.carry(there, not to_b)
        drawn.append(shown(back))
        off = float(difference(image, back).mean())
    return [png(one) for one in drawn], own_size, float(apart.mean()), off

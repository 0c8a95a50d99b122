"""Names of classes on images: each sign as a font has it, or as its code point, never as a box."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image, ImageDraw, ImageFont
from streamlit.testing.v1 import AppTest

from figures import text as words
from figures.image_figures import labelled_rows
from figures.text import as_drawn, missing, text_width, write
from figures.vae_figures import scatter

NAMES = ["Ångström", "naïve façade", "Łódź čeština", "Ελλάδα", "Русский", "עברית", "العربية", "₂√∞"]
CJK = "日本"
NOBODYS = "\U0010fffd"  # a private sign, which no font here has


@pytest.fixture
def only_ours(monkeypatch):
    """No font but those that come with the libraries."""
    monkeypatch.setattr(words, "installed", lambda: ())
    words._set.cache_clear()
    yield
    words._set.cache_clear()


def drawn(text: str) -> np.ndarray:
    image = Image.new("L", (400, 60))
    write(ImageDraw.Draw(image), (8, 8), text, "#FFFFFF", 24)
    return np.asarray(image)


def boxed(text: str, face: str) -> np.ndarray:
    """What Pillow draws of a text with one font, boxes and all."""
    image = Image.new("L", (400, 60))
    font = ImageFont.truetype(face, 24) if face else ImageFont.load_default(24)
    ImageDraw.Draw(image).text((8, 8), text, "#FFFFFF", font)
    return np.asarray(image)


@pytest.mark.usefixtures("only_ours")
@pytest.mark.parametrize("name", NAMES)
def test_no_sign_of_a_name_is_a_box(name):
    assert as_drawn(name) == name
    assert missing([name]) == ""
    boxes = [boxed(NOBODYS, face) for face in (words.PILLOWS, words.DEJAVU)]
    assert all(box.any() for box in boxes)
    for sign in set(name) - {" "}:
        assert drawn(sign).any()
        assert not any(np.array_equal(drawn(sign), box) for box in boxes), sign


@pytest.mark.usefixtures("only_ours")
def test_signs_apart_look_as_signs_in_one():
    apart = unicodedata.normalize("NFD", NAMES[0])
    assert apart != NAMES[0]
    np.testing.assert_array_equal(drawn(apart), drawn(NAMES[0]))


@pytest.mark.usefixtures("only_ours")
def test_a_sign_that_no_font_has_is_written_as_its_code_point():
    assert as_drawn(f"to {CJK}") == "to U+65E5 U+672C"
    assert missing([CJK, "cats", f"{CJK} ü"]) == CJK
    np.testing.assert_array_equal(drawn(CJK), drawn("U+65E5 U+672C"))
    assert text_width(CJK, 12) == text_width("U+65E5 U+672C", 12)


@pytest.mark.usefixtures("only_ours")
@pytest.mark.parametrize("strange", ["", " ", "\n", "a\tb\nc", "\0", "\u200f\ufeff", "\ud800"])
def test_strange_names_are_drawn_too(strange):
    assert drawn(strange).shape == (60, 400)


@pytest.mark.usefixtures("only_ours")
def test_a_sheet_has_room_for_code_points_and_a_map_has_dots_for_them():
    images = np.zeros((2, 1, 8, 8), np.uint8)
    plain, coded = (labelled_rows(images, 1, ["a", last], "light", 4) for last in ("b", CJK))
    assert coded.width - plain.width > 50
    points, labels = np.zeros((1, 2)), np.array([0])
    dot = scatter(points, labels, ["long name"], 1.0, "light")
    assert scatter(points, labels, ["日"], 1.0, "light").tobytes() == dot.tobytes()
    assert scatter(points, labels, ["ä"], 1.0, "light").tobytes() != dot.tobytes()


def _page() -> None:
    import streamlit as st

    from ui.common.plain import code_points

    code_points(st.session_state["names"])


@pytest.mark.usefixtures("only_ours")
def test_a_page_says_which_signs_are_missing_and_what_helps():
    app = AppTest.from_function(_page)
    app.session_state["names"] = ["Ü", f"{CJK}*"]
    assert "No font here has 日本:" in app.run().caption[0].value
    app.session_state["names"] = NAMES
    assert not app.run().caption


def a_font(path, *signs: str) -> str:
    """A font in which each sign is a full square, and what it lacks is nothing."""
    square, empty = TTGlyphPen(None), TTGlyphPen(None)
    for place in ((0, 0), (0, 1000), (1000, 1000), (1000, 0)):
        (square.lineTo if place != (0, 0) else square.moveTo)(place)
    square.closePath()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(sign): "square" for sign in signs})
    builder.setupGlyf({".notdef": empty.glyph(), "square": square.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


def test_a_font_of_this_machine_is_taken_where_it_has_more(tmp_path, monkeypatch):
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    fonts = str(broken), a_font(tmp_path / "squares.ttf", *CJK)
    monkeypatch.setattr(words, "installed", lambda: fonts)
    words._set.cache_clear()
    try:
        assert as_drawn(CJK) == CJK
        np.testing.assert_array_equal(drawn(CJK), boxed(CJK, fonts[1]))
        assert as_drawn(f"{CJK}中") == f"{CJK} U+4E2D"
        assert missing([CJK, "中"]) == "中"
    finally:
        words._set.cache_clear()

"""Words on images, in any script that a font here has.

Pillow draws a text in one font, and a box for each sign that the font lacks. Names of classes come
from people, so a text gets the first font that has all of it: the one that Pillow brings (ASCII),
the DejaVu Sans that matplotlib brings (Latin, Greek, Cyrillic, Hebrew, Arabic and more), then the
fonts of this machine. What none of them has is written as its code point, ``U+65E5``.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.font_manager import findSystemFonts
from matplotlib.ft2font import FT2Font
from PIL import ImageDraw, ImageFont

PILLOWS = ""  # the font that Pillow brings, which is no file
DEJAVU = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
SLANTED = ("bold", "italic", "oblique", "light", "thin", "black", "mono", "serif")


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    colour: str,
    size: float,
    anchor: str = "la",
) -> None:
    """Write a line of text.

    Args:
        draw: of the image.
        place: in pixels.
        text: in any script.
        colour: as ``#RRGGBB``.
        size: of the font, in pixels.
        anchor: what of the text is at the place, as Pillow names it.
    """
    face, words, _ = _set(text)
    draw.text(place, words, colour, _font(face, size), anchor)


def text_width(text: str, size: float) -> float:
    """Return how wide a text is, in pixels."""
    face, words, _ = _set(text)
    return _font(face, size).getlength(words)


def as_drawn(text: str) -> str:
    """Return what is written for a text: itself, with code points for signs that no font has."""
    return _set(text)[1]


def missing(texts: Iterable[str]) -> str:
    """Return the signs of some texts that no font here has, each once."""
    return "".join(dict.fromkeys("".join(_set(text)[2] for text in texts)))


@lru_cache(1000)
def _set(text: str) -> tuple[str, str, str]:
    """Return the font for a text, what is written of the text, and the signs that are missing."""
    composed = unicodedata.normalize("NFC", " ".join(text.split()))
    signs = "".join(sign for sign in composed if unicodedata.category(sign) != "Cf")
    needed = np.array(sorted(map(ord, set(signs))), np.int32)
    fewest, best = len(needed) + 1, (PILLOWS, signs, "")
    for face in _faces():
        lacks = {chr(code) for code in np.setdiff1d(needed, _covered(face)).tolist()}
        if len(lacks) < fewest:
            words = "".join(f" U+{ord(s):04X} " if s in lacks else s for s in signs)
            lost = "".join(s for s in signs if s in lacks)
            fewest, best = len(lacks), (face, " ".join(words.split()), lost)
        if not lacks:
            break
    return best


def _faces() -> Iterator[str]:
    yield from (PILLOWS, DEJAVU)
    yield from installed()  # looked for only where a text needs them


@cache
def installed() -> tuple[str, ...]:
    """Return the font files of this machine, upright ones without serifs first."""
    files = sorted(findSystemFonts())
    return tuple(sorted(files, key=lambda file: any(s in Path(file).name.lower() for s in SLANTED)))


@cache
def _covered(face: str) -> np.ndarray:
    """Return the code points that a font has, as int32."""
    try:
        font = FT2Font(face or io.BytesIO(ImageFont.load_default(10).font_bytes))
    except (OSError, RuntimeError):
        return np.empty(0, np.int32)
    codes = font.get_charmap() if font.scalable else ()
    return np.fromiter(codes, np.int32)


@lru_cache(32)
def _font(face: str, size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(face, size) if face else ImageFont.load_default(size)

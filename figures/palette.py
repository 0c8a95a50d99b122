"""The colours of the lab: one palette for the theme, the charts, the images and the drawings.

The categorical colours descend from Okabe and Ito's ("Color Universal Design", 2008). Hue and
lightness were then moved apart until the closest two stay distinguishable with protanopia,
deuteranopia and tritanopia, and until each has a contrast of 3:1 with the page and with the
sidebar. `.streamlit/config.toml` repeats the values for Streamlit, and a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

# From linear sRGB to the cone responses of OKLab, and from their cube roots to its L, a, b.
# Ottosson, "A perceptual color space for image processing", 2020.
_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours as `#RRGGBB`. `data` is always what was observed, `model` what was learned."""

    background: str
    surface: str
    ink: str
    muted: str
    grid: str
    accent: str  # links, and what is chosen
    primary: str  # the accent, deep enough to carry the white word on a button
    data: str
    model: str
    warn: str
    categorical: tuple[str, ...]
    sequential_stops: tuple[str, ...]  # no density -> the highest density
    diverging_stops: tuple[str, ...]  # shrinks <- unchanged -> stretches


LIGHT = Palette(
    background="#FBF9F4",
    surface="#F1EDE4",
    ink="#1C2434",
    muted="#5E6673",
    grid="#DDD6C8",
    accent="#0F6B73",
    primary="#0F6B73",
    data="#C2500A",
    model="#0067A5",
    warn="#A8201A",
    categorical=("#C2500A", "#0067A5", "#079069", "#863270", "#50450D", "#273247"),
    sequential_stops=("#FBF9F4", "#BFE0DA", "#5FB3BC", "#1F74A0", "#1F3C7D", "#17163F"),
    diverging_stops=("#123F75", "#3F83BD", "#A9CBE0", "#FBF9F4", "#F2C49B", "#CF6E26", "#7A2E05"),
)

DARK = Palette(
    background="#0E1726",
    surface="#17223A",
    ink="#E8E6E0",
    muted="#9AA7BD",
    grid="#2C3A57",
    accent="#4FC3C7",
    primary="#12808A",
    data="#F59E42",
    model="#56B4E9",
    warn="#FF8A7A",
    categorical=("#F59E42", "#56B4E9", "#80DCBD", "#CB3B7A", "#9E8614", "#E7ECFE"),
    sequential_stops=("#0E1726", "#173C63", "#1F6E92", "#35A7AB", "#8FD9B6", "#FBF6D0"),
    diverging_stops=("#BFE4FA", "#4FA3DB", "#1F4E7E", "#0E1726", "#7A4216", "#E08A35", "#FFDDB0"),
)


def palette(theme: str) -> Palette:
    """The palette for `theme`, "light" or "dark" (as `st.context.theme.type` says it)."""
    return {"light": LIGHT, "dark": DARK}[theme]


@cache
def sequential(theme: str) -> np.ndarray:
    """Colour table for densities: uint8, (256, 4), read-only. Entry 0 is the colour of the page."""
    return _table(palette(theme).sequential_stops)


@cache
def diverging(theme: str) -> np.ndarray:
    """Colour table for signed values: uint8, (256, 4), read-only. The page's colour is the middle.

    A value v in [-m, m] has entry `round(127.5 * (1 + v / m))`: blue shrinks, orange stretches.
    """
    stops = palette(theme).diverging_stops
    middle = len(stops) // 2
    # Each half by itself: the page's colour stays in the middle however far away the ends are.
    return _frozen(np.vstack([_table(stops[: middle + 1], 128), _table(stops[middle:], 128)]))


def rgb(colour: str) -> np.ndarray:
    """`#RRGGBB` as sRGB values in [0, 1], (3,)."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def luminance(srgb: np.ndarray) -> np.ndarray:
    """Relative luminance as WCAG 2 defines it, of sRGB values in [0, 1], (..., 3) -> (...)."""
    return _linear(srgb) @ np.array([0.2126, 0.7152, 0.0722])


def _table(stops: tuple[str, ...], size: int = 256) -> np.ndarray:
    """`size` colours through `stops`, each step as large to the eye as the next."""
    lab = np.array([np.cbrt(_linear(rgb(stop)) @ _TO_LMS.T) @ _TO_LAB.T for stop in stops])
    travelled = np.r_[0, np.cumsum(np.linalg.norm(np.diff(lab, axis=0), axis=1))]
    where = np.linspace(0, travelled[-1], size)
    lab = np.stack([np.interp(where, travelled, lab[:, k]) for k in range(3)], axis=1)  # (size, 3)
    linear = (lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_LMS).T
    table = np.full((size, 4), 255, dtype=np.uint8)
    table[:, :3] = np.rint(255 * _gamma(np.clip(linear, 0, 1)))
    return _frozen(table)


def _linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _gamma(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _frozen(table: np.ndarray) -> np.ndarray:
    table.setflags(write=False)  # cached: every page shares it
    return table

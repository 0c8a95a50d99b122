"""The palette: readable by everybody, even in its steps, and the one Streamlit's theme uses."""

import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from figures.palette import diverging, luminance, palette, rgb, sequential

THEMES = ("light", "dark")
CONFIG = Path(__file__).parents[1] / ".streamlit" / "config.toml"

# What a dichromat sees, on linear sRGB. Machado et al., "A physiologically-based model for
# simulation of color vision deficiency", 2009, severity 1.
DICHROMACY = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(luminance(rgb(colour))) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(srgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65), by its textbook definition: the palette itself is built in another space."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array(
        [[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]
    )
    f = xyz / [0.9505, 1.0, 1.089]
    f = np.where(f > (6 / 29) ** 3, np.cbrt(f), f / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def seen_with(deficiency: str, colour: str) -> np.ndarray:
    srgb = rgb(colour)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(DICHROMACY[deficiency]) @ linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("theme", THEMES)
def test_sequential_runs_evenly_from_the_page_to_its_opposite(theme):
    table = sequential(theme)
    assert table.shape == (256, 4) and table.dtype == np.uint8 and (table[:, 3] == 255).all()
    assert np.array_equal(table[0, :3], np.rint(255 * rgb(palette(theme).background)))

    steps = np.diff(luminance(table[:, :3] / 255))
    assert (steps < 0).all() if theme == "light" else (steps > 0).all()

    lightness = lab(table[:, :3] / 255)
    strides = np.linalg.norm(lightness[16:] - lightness[:-16], axis=1)  # 16: above the rounding
    assert strides.max() < 2.5 * strides.min()


@pytest.mark.parametrize("theme", THEMES)
def test_diverging_has_the_page_in_the_middle_and_both_ends_alike(theme):
    table = diverging(theme)
    assert table.shape == (256, 4) and table.dtype == np.uint8 and (table[:, 3] == 255).all()
    page = np.rint(255 * rgb(palette(theme).background))
    assert np.array_equal(table[127, :3], page) and np.array_equal(table[128, :3], page)

    lightness = lab(table[:, :3] / 255)[:, 0]
    towards = 1 if theme == "light" else -1  # from either end, lightness goes to the page's
    assert (np.diff(lightness[:128]) * towards > -0.2).all()
    assert (np.diff(lightness[128:]) * towards < 0.2).all()
    assert abs(lightness[0] - lightness[-1]) < 8
    assert (table[0, 2] > table[0, 0]) and (table[-1, 0] > table[-1, 2])  # blue, orange


@pytest.mark.parametrize("theme", THEMES)
def test_tables_are_shared_but_cannot_be_changed(theme):
    assert sequential(theme) is sequential(theme)
    for table in (sequential(theme), diverging(theme)):
        with pytest.raises(ValueError):
            table[0] = 0


@pytest.mark.parametrize("theme", THEMES)
def test_contrast(theme):
    colours = palette(theme)
    for ground in (colours.background, colours.surface):
        for colour in (*colours.categorical, colours.data, colours.model):
            assert contrast(colour, ground) >= 3, (colour, ground)
        assert contrast(colours.primary, ground) >= 3
        for text in (colours.ink, colours.muted, colours.accent, colours.warn):
            assert contrast(text, ground) >= 4.5, (text, ground)
    assert contrast("#FFFFFF", colours.primary) >= 4
    assert colours.categorical[:2] == (colours.data, colours.model)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("deficiency", DICHROMACY)
def test_categories_stay_apart_for_the_colour_blind(theme, deficiency):
    for one, other in combinations(palette(theme).categorical, 2):
        apart = np.linalg.norm(lab(seen_with(deficiency, one)) - lab(seen_with(deficiency, other)))
        assert apart > 10, (one, other, apart)


@pytest.mark.parametrize("theme", THEMES)
def test_streamlit_shows_the_same_colours(theme):
    colours, settings = palette(theme), tomllib.loads(CONFIG.read_text())["theme"][theme]
    assert settings["primaryColor"] == colours.primary
    assert settings["linkColor"] == colours.accent
    assert settings["backgroundColor"] == settings["sidebar"]["secondaryBackgroundColor"]
    assert settings["backgroundColor"] == colours.background
    assert settings["secondaryBackgroundColor"] == settings["sidebar"]["backgroundColor"]
    assert settings["secondaryBackgroundColor"] == colours.surface
    assert settings["textColor"] == settings["codeTextColor"] == colours.ink
    assert settings["borderColor"] == colours.grid
    assert settings["redColor"] == colours.warn
    assert settings["orangeColor"] == colours.data
    assert settings["blueColor"] == colours.model
    assert settings["greenColor"] == colours.categorical[2]
    assert settings["violetColor"] == colours.categorical[3]
    assert settings["grayColor"] == colours.muted
    assert settings["codeBackgroundColor"] == colours.surface
    assert tuple(settings["chartCategoricalColors"]) == colours.categorical
    for key, table, first in (
        ("chartSequentialColors", sequential(theme), 25),  # charts leave out the page's own colour
        ("chartDivergingColors", diverging(theme), 0),
    ):
        picked = table[np.linspace(first, 255, 10).round().astype(int), :3]
        assert settings[key] == ["#{:02X}{:02X}{:02X}".format(*colour) for colour in picked]


def test_every_theme_setting_is_one_that_streamlit_knows():
    """Streamlit passes over a misspelt option in silence."""
    from streamlit import config

    known = config._config_options_template

    def check(section: str, values: dict) -> None:
        for key, value in values.items():
            name = f"{section}.{key}"
            if isinstance(value, dict):
                check(name, value)
            else:
                assert name in known, name

    for section, values in tomllib.loads(CONFIG.read_text()).items():
        check(section, values)


def test_the_style_of_the_pages_has_their_background() -> None:
    style = (Path(__file__).parents[1] / "ui" / "common" / "page.css").read_text(encoding="utf-8")
    backgrounds = ", ".join(palette(theme).background for theme in THEMES)
    assert f"light-dark({backgrounds})" in style

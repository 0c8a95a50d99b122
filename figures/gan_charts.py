"""Charts of what a GAN has learned, as plain Vega-Lite (see :mod:`figures.charts`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from figures.charts import Chart, nominal, quantity
from figures.palette import palette


def mode_bars(fractions: np.ndarray, expected: np.ndarray, theme: str) -> Chart:
    """Draw the fraction of the samples at each mode, with a tick where it should be.

    Args:
        fractions: of all samples, at each mode, shape ``(k,)``.
        expected: what they should be.
        theme: ``"light"`` or ``"dark"``.
    """
    colours = palette(theme)
    rows = [
        (i + 1, float(got), float(wanted), f"{got:.1%}", f"{wanted:.1%}")
        for i, (got, wanted) in enumerate(zip(fractions, expected, strict=True))
    ]
    frame = pd.DataFrame(rows, columns=["mode", "fraction", "wanted", "got", "should be"])
    x = {"field": "mode", "type": "ordinal", "title": "mode", "axis": {"labelAngle": 0}}
    y = quantity("fraction", "fraction of the samples", axis={"format": ".0%"})
    tips = [{"field": name} for name in ("mode", "got", "should be")]
    bars = {
        "mark": {"type": "bar", "color": colours.model},
        "encoding": {"x": x, "y": y, "tooltip": tips},
    }
    ticks = {
        "mark": {"type": "tick", "color": colours.data, "thickness": 3},
        "encoding": {"x": x, "y": {**y, "field": "wanted"}, "tooltip": tips},
    }
    return frame, {"height": 200, "layer": [bars, ticks]}


def class_fractions(
    classes: Sequence[str], fractions: Mapping[str, np.ndarray], theme: str
) -> Chart:
    """Draw the fraction of each class side by side for several sets of images.

    Args:
        classes: their names; beyond the first 20 they are left out.
        fractions: by the name of the set, ``(K,)``; the first is what was made.
        theme: ``"light"`` or ``"dark"``.
    """
    colours = palette(theme)
    rows = [
        (name, str(classes[k]), float(values[k]), f"{values[k]:.1%}")
        for name, values in fractions.items()
        for k in range(min(len(classes), 20))
    ]
    frame = pd.DataFrame(rows, columns=["set", "class", "fraction", "words"])
    names = list(fractions)
    encoding = {
        "x": {"field": "class", "type": "nominal", "sort": None, "axis": {"labelAngle": 0}},
        "xOffset": {"field": "set", "sort": names},
        "y": quantity("fraction", "fraction", axis={"format": ".0%"}),
        "color": nominal("set", names, (colours.model, colours.data)),
        "tooltip": [{"field": "set"}, {"field": "class"}, {"field": "words"}],
    }
    return frame, {"height": 220, "mark": "bar", "encoding": encoding}

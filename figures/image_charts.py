"""Bars and strips for flows over images, as plain Vega-Lite (see :mod:`figures.charts`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.image_checks import Term
from figures.charts import Chart, nominal, number, quantity
from figures.palette import palette

ROW = 30  # pixels of a bar or strip with the space around it
AXIS = 62  # pixels of the axis below, its title included
LEGEND = 34


def waterfall(terms: Sequence[Term], whole: float, theme: str) -> Chart:
    """Draw how terms add up to bits/dim: each bar starts where the one above it ended."""
    colours = palette(theme)
    rows, total = [], 0.0
    for term in terms:
        kind = "adds" if term.bits >= 0 else "takes off"
        after = total + term.bits
        rows.append((term.name, total, after, f"{term.bits:+.4f}", max(total, after), kind))
        total = after
    rows.append(("Bits/dim", 0.0, whole, f"{whole:.4f}", max(whole, 0.0), "sum"))
    names = ["name", "start", "end", "bits", "right", "kind"]
    frame = pd.DataFrame(rows, columns=names)
    y = _rows("name", [row[0] for row in rows])
    tints = (colours.data, colours.model, colours.muted)
    bars = {
        "mark": {"type": "bar", "height": 18},
        "encoding": {
            "y": y,
            "x": quantity("start", "bits/dim, added up from the top"),
            "x2": {"field": "end"},
            "color": nominal("kind", ["adds", "takes off", "sum"], tints),
            "tooltip": [{"field": "name"}, {"field": "bits"}],
        },
    }
    words = {
        "mark": {"type": "text", "align": "left", "dx": 5, "color": colours.ink},
        "encoding": {"y": y, "x": quantity("right", ""), "text": {"field": "bits"}},
    }
    return frame, {"height": ROW * len(rows) + AXIS + LEGEND, "layer": [bars, words]}


def strips(
    values: Mapping[str, np.ndarray], title: str, theme: str, *, wide_range: bool = False
) -> Chart:
    """Draw one tick per value, a row for each set of values, with its mean.

    Args:
        values: by the name of the set, in the order of the rows; the first one is the yardstick.
        title: what the values are, with their unit.
        theme: ``"light"`` or ``"dark"``.
        wide_range: compress large values, as a logarithm would, but let zero be.
    """
    colours = palette(theme)
    rows = [(name, float(v)) for name, part in values.items() for v in part if np.isfinite(v)]
    frame = pd.DataFrame(rows, columns=["set", "value"])
    first = next(iter(values))
    scale = {"type": "symlog", "constant": 1, "nice": True} if wide_range else {"zero": False}
    tint = {
        "condition": {"test": {"field": "set", "equal": first}, "value": colours.data},
        "value": colours.model,
    }
    y = _rows("set", list(values))
    ticks = {
        "mark": {"type": "tick", "thickness": 1.5, "height": 18, "opacity": 0.55},
        "encoding": {
            "y": y,
            "x": quantity("value", title, scale=scale),
            "color": tint,
            "tooltip": [{"field": "set"}, number("value", ".3f")],
        },
    }
    mean = {"aggregate": "mean", **quantity("value", title, scale=scale)}
    shape = {"type": "point", "shape": "diamond", "size": 90, "filled": True}
    means = {
        "mark": {**shape, "color": colours.ink, "opacity": 1},
        "encoding": {
            "y": y,
            "x": mean,
            "tooltip": [
                {"field": "set"},
                {"aggregate": "mean", "field": "value", "format": ".3f", "title": "mean"},
            ],
        },
    }
    return frame, {"height": ROW * len(values) + AXIS, "layer": [ticks, means]}


def class_bars(classes: Sequence[str], probabilities: Sequence[float], theme: str) -> Chart:
    """Draw how likely each class is, with numbers behind the bars."""
    colours = palette(theme)
    rows = [(name, float(p), f"{p:.1%}") for name, p in zip(classes, probabilities, strict=True)]
    frame = pd.DataFrame(rows, columns=["class", "probability", "words"])
    y = _rows("class", list(classes))
    x = quantity("probability", "p(class | image)", scale={"domain": [0, 1]}, axis={"format": "%"})
    bars = {
        "mark": {"type": "bar", "color": colours.model},
        "encoding": {"y": y, "x": x, "tooltip": [{"field": "class"}, {"field": "words"}]},
    }
    words = {
        "mark": {"type": "text", "align": "left", "dx": 4, "color": colours.ink},
        "encoding": {"y": y, "x": x, "text": {"field": "words"}},
    }
    return frame, {"height": 22 * len(rows) + AXIS, "layer": [bars, words]}


def _rows(field: str, order: list[str]) -> dict[str, Any]:
    axis = {"labelLimit": 320, "labelOverlap": False, "ticks": False, "domain": False}
    return {"field": field, "type": "nominal", "sort": order, "title": None, "axis": axis}

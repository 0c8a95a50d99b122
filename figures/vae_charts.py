"""Histograms, ROC curves and bars of a VAE, as plain Vega-Lite (see :mod:`figures.charts`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from figures.charts import Chart
from figures.palette import palette

HEIGHT = 260
BINS = 40


def histograms(values: Mapping[str, np.ndarray], threshold: float, title: str, theme: str) -> Chart:
    """Draw two histograms over each other, and a threshold.

    Args:
        values: scores by the name of the set, the clean one first.
        threshold: where the decision falls.
        title: what the scores are, with their unit.
        theme: ``"light"`` or ``"dark"``.
    """
    colours = palette(theme)
    both = np.concatenate([part[np.isfinite(part)] for part in values.values()])
    # A few images beyond all measure would leave one bar of all others.
    edges = np.linspace(both.min(), np.quantile(both, 0.995) + 1e-6, BINS + 1)
    rows = []
    for name, part in values.items():
        counts, _ = np.histogram(part.clip(edges[0], edges[-1]), edges)
        rows += zip([name] * BINS, edges[:-1], edges[1:], counts.tolist(), strict=True)
    frame = pd.DataFrame(rows, columns=["set", "from", "to", "images"])
    colour = {
        "field": "set",
        "type": "nominal",
        "scale": {"domain": list(values), "range": [colours.data, colours.model]},
        "legend": {"orient": "top", "title": None},
    }
    bars = {
        "mark": {"type": "bar", "opacity": 0.6, "binSpacing": 0},
        "encoding": {
            "x": {
                "field": "from",
                "type": "quantitative",
                "title": title,
                "bin": {"binned": True},
                "scale": {"zero": False, "nice": False},
            },
            "x2": {"field": "to"},
            "y": {"field": "images", "type": "quantitative", "stack": None, "title": "images"},
            "color": colour,
            "tooltip": [
                {"field": "set"},
                {"field": "from", "type": "quantitative", "format": ".1f"},
                {"field": "images"},
            ],
        },
    }
    line = {
        "data": {"values": [{"at": threshold, "label": "threshold"}]},
        "mark": {"type": "rule", "color": colours.ink, "strokeDash": [5, 4]},
        "encoding": {"x": {"field": "at", "type": "quantitative"}},
    }
    words = {
        **line,
        "mark": {"type": "text", "align": "left", "dx": 4, "y": 8, "color": colours.ink},
        "encoding": {**line["encoding"], "text": {"field": "label"}},
    }
    return frame, {"height": HEIGHT, "layer": [bars, line, words]}


def roc(alarms: np.ndarray, hits: np.ndarray, at: tuple[float, float], theme: str) -> Chart:
    """Draw a ROC curve with the point of a threshold and the line of guessing.

    Args:
        alarms: false alarm rates.
        hits: detection rates.
        at: both at the threshold.
        theme: ``"light"`` or ``"dark"``.
    """
    colours = palette(theme)
    x = _rate("alarms", "false alarms")
    y = _rate("hits", "found")
    curve = {
        "mark": {"type": "line", "color": colours.model, "strokeWidth": 2},
        "encoding": {"x": x, "y": y, "order": {"field": "alarms"}},
    }
    guess = {
        "data": {"values": [{"alarms": 0, "hits": 0}, {"alarms": 1, "hits": 1}]},
        "mark": {"type": "line", "color": colours.muted, "strokeDash": [5, 4]},
        "encoding": {"x": x, "y": y},
    }
    point = {
        "data": {"values": [{"alarms": at[0], "hits": at[1]}]},
        "mark": {"type": "point", "filled": True, "size": 90, "color": colours.ink, "opacity": 1},
        "encoding": {"x": x, "y": y, "tooltip": [{"field": "alarms"}, {"field": "hits"}]},
    }
    frame = pd.DataFrame({"alarms": alarms, "hits": hits})
    return frame, {"height": HEIGHT, "layer": [guess, curve, point]}


def _rate(field: str, title: str) -> dict:
    axis = {"format": "%", "tickCount": 5}
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"domain": [0, 1]},
        "axis": axis,
    }


def unit_bars(nats: Sequence[float], used: Sequence[bool], theme: str) -> Chart:
    """Draw the KL of each latent unit, the largest first.

    Args:
        nats: mean KL of each unit over the test images, in the order to draw.
        used: whether each unit counts as active.
        theme: ``"light"`` or ``"dark"``.
    """
    colours = palette(theme)
    rows = [
        (i + 1, float(v), "active" if a else "unused")
        for i, (v, a) in enumerate(zip(nats, used, strict=True))
    ]
    frame = pd.DataFrame(rows, columns=["unit", "nats", "state"])
    spec = {
        "height": HEIGHT,
        "mark": {"type": "bar"},
        "encoding": {
            "x": {
                "field": "unit",
                "type": "quantitative" if len(rows) > 60 else "ordinal",
                "title": "latent units, by their KL",
                "axis": {"labelAngle": 0},
            },
            "y": {"field": "nats", "type": "quantitative", "title": "KL [nats/image]"},
            "color": {
                "field": "state",
                "type": "nominal",
                "scale": {"domain": ["active", "unused"], "range": [colours.model, colours.muted]},
                "legend": {"orient": "top", "title": None},
            },
            "tooltip": [{"field": "unit"}, {"field": "nats", "format": ".3f"}],
        },
    }
    return frame, spec

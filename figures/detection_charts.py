"""Histograms and ROC curves of anomaly scores, as plain Vega-Lite (see :mod:`figures.charts`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from figures.charts import LEGEND_FITS, Chart, nominal, number, quantity, rule
from figures.palette import palette
from metrics.detection import roc_curve

BINS = 30


def histogram(
    values: Mapping[str, np.ndarray],
    title: str,
    theme: str,
    *,
    threshold: float | None = None,
    height: int = 220,
) -> Chart:
    """Draw how some sets of values lie, each as fractions of its set.

    The tenth that lies highest in all goes into the last bin: a few exploding likelihoods would
    otherwise hide the rest.

    Args:
        values: by the name of the set; the first ones are good images, the last one is not.
        title: what the values are, with their unit.
        theme: ``"light"`` or ``"dark"``.
        threshold: drawn as a line.
        height: in pixels.
    """
    colours = palette(theme)
    frame, edges = _counted(values, threshold)
    tints = [colours.model, colours.categorical[2], colours.warn]
    tints = [tints[0], tints[2]] if len(values) == 2 else tints
    bars = {
        "mark": {"type": "bar", "opacity": 0.55, "binSpacing": 0},
        "encoding": {
            "x": quantity("from", title, scale={"domain": [edges[0], edges[-1]], "nice": False}),
            "x2": {"field": "to"},
            "y": quantity("fraction", "fraction of the set", stack=None, axis={"format": "%"}),
            "y2": {"datum": 0},
            "color": nominal("set", values, tints),
            "tooltip": [
                {"field": "set"},
                number("from", ",.4g"),
                number("to", ",.4g"),
                {"field": "images"},
            ],
        },
    }
    layers = [bars] if threshold is None else [bars, rule(threshold, colours.ink, "x")]
    return frame, {"height": height, "layer": layers, "config": LEGEND_FITS}


def _counted(
    values: Mapping[str, np.ndarray], threshold: float | None
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a row for each set and bin with something in it, and the edges of the bins."""
    sets = {name: np.nan_to_num(part.astype(np.float64)) for name, part in values.items()}
    every = np.concatenate(list(sets.values()))
    high = float(np.quantile(every, 0.9, method="lower"))
    if threshold is not None:
        high = max(high, threshold * 1.15 if threshold > 0 else threshold)
    edges = np.linspace(every.min(), max(high, every.min() + 1e-6), BINS + 1)
    table = []
    for name, part in sets.items():
        counts, _ = np.histogram(part.clip(max=edges[-1]), edges)
        fractions = counts / max(len(part), 1)
        rows = zip(edges[:-1], edges[1:], fractions, counts.tolist(), strict=True)
        table += [(name, *row) for row in rows if row[3]]
    return pd.DataFrame(table, columns=["set", "from", "to", "fraction", "images"]), edges


def roc(
    score: np.ndarray, defective: np.ndarray, threshold: float, theme: str, height: int = 300
) -> Chart:
    """Draw the ROC curve of scores, and where a threshold lies on it."""
    colours = palette(theme)
    alarms, hits, thresholds = roc_curve(score, defective)
    frame = pd.DataFrame({"alarms": alarms, "hits": hits, "threshold": thresholds})
    frame = frame.replace([np.inf, -np.inf], np.nan)
    called = score > threshold
    chosen = {"alarms": called[~defective].mean(), "hits": called[defective].mean()}
    unit = {"domain": [0, 1], "nice": False}
    x = quantity("alarms", "false alarms", scale=unit, axis={"format": "%"})
    y = quantity("hits", "found", scale=unit, axis={"format": "%"})
    tip = [number(name, ".1%") for name in ("alarms", "hits")]
    line = {
        "mark": {
            "type": "line",
            "interpolate": "step-after",
            "color": colours.model,
            "strokeWidth": 2,
            "point": {"size": 14, "color": colours.model},
        },
        "encoding": {
            "x": x,
            "y": y,
            "order": {"field": "hits", "type": "quantitative"},
            "tooltip": [*tip, number("threshold", ",.4g")],
        },
    }
    chance = {
        "data": {"values": [{"alarms": 0, "hits": 0}, {"alarms": 1, "hits": 1}]},
        "mark": {"type": "line", "color": colours.muted, "strokeDash": [2, 3], "strokeWidth": 1.2},
        "encoding": {"x": x, "y": y},
    }
    point = {
        "data": {"values": [chosen]},
        "mark": {"type": "point", "filled": True, "size": 110, "color": colours.warn},
        "encoding": {"x": x, "y": y, "tooltip": tip},
    }
    return frame, {"height": height, "layer": [chance, line, point]}

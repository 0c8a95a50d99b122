"""The live plots of a comparison: curves of the NLL, samples beside the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.comparison_results import Point
from figures.arena.figures import colour_of, window
from figures.charts import Chart, nominal, number, quantity, rule
from figures.images import contact_sheet, points_image
from figures.palette import palette
from lab.comparison import ENTRANTS

PANEL = 260  # pixels along each side of an image of samples


def nll_chart(points: Sequence[Point], floor: float | None, over: str, theme: str) -> Chart:
    """Draw the NLL over the training: a line per model, a band from the least to the greatest seed.

    Args:
        points: from :func:`~analysis.comparison_results.curves`.
        floor: the entropy of the data, if it is known.
        over: ``"step"`` or ``"seconds"``.
        theme: ``"light"`` or ``"dark"``.
    """
    keys = list(dict.fromkeys(p.entrant for p in points))
    names = {key: _name(key) for key in keys}
    table = [
        (names[p.entrant], f"{p.part} data", getattr(p, over), p.mean, p.low, p.high)
        for p in points
    ]
    frame = pd.DataFrame(table, columns=["model", "part", "x", "mean", "low", "high"])
    title = "optimiser step" if over == "step" else "seconds of training"
    low, high = window(points, floor)
    scale = {"domain": [round(low, 3), round(high, 3)], "zero": False, "nice": False}
    x = quantity("x", title, scale={"nice": False})
    y = {"type": "quantitative", "title": "NLL [nats]", "scale": scale, "axis": {"tickCount": 6}}
    colour = nominal("model", names.values(), [colour_of(key, theme) for key in keys])
    # The band's opacity would make the legend pale.
    colour["legend"] |= {"symbolOpacity": 1, "symbolType": "stroke"}
    band = {
        "transform": [{"filter": "datum.part == 'test data'"}],
        "mark": {"type": "area", "opacity": 0.16, "clip": True},
        "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
    }
    encoding = {"x": x, "y": {**y, "field": "mean"}, "color": colour, "strokeDash": _dashes()}
    lines = {
        "mark": {"type": "line", "strokeWidth": 1.8, "clip": True},
        "encoding": {**encoding, "tooltip": _tooltip(title)},
    }
    layers = [band, lines]
    if floor is not None:  # the caption of the chart says what it is
        layers.append(rule(floor, palette(theme).muted))
    return frame, {"height": 340, "layer": layers}


def _dashes() -> dict:
    return {
        "field": "part",
        "type": "nominal",
        "scale": {"domain": ["test data", "train data"], "range": [[1, 0], [2, 3]]},
        "legend": None,
    }


def _tooltip(title: str) -> list[dict]:
    return [
        {"field": "model"},
        {"field": "part"},
        number("x", ",.5~r", title=title),
        number("mean", ".4f"),
        number("low", ".4f", title="lowest seed"),
        number("high", ".4f", title="highest seed"),
    ]


def _name(key: str) -> str:
    entrant = ENTRANTS[key]
    return f"{entrant.title} (bound)" if entrant.likelihood == "bound" else entrant.title


def samples_sheet(
    data: np.ndarray, samples: Mapping[str, np.ndarray], box: Sequence[float], theme: str
) -> bytes:
    """Return the data and the samples of each model as one PNG.

    Args:
        data: points ``(n, 2)``.
        samples: points ``(n, 2)`` by the key of the model.
        box: the window of all.
        theme: ``"light"`` or ``"dark"``.
    """
    panels = [points_image(data, tuple(box), palette(theme).data, theme, PANEL)]
    labels = ["data"]
    for key, points in samples.items():
        finite = points[np.isfinite(points).all(1)]
        panels.append(points_image(finite, tuple(box), colour_of(key, theme), theme, PANEL))
        labels.append(ENTRANTS[key].title)
    rows = -(-len(panels) // 4)
    return contact_sheet(panels, labels, theme, per_row=-(-len(panels) // rows))

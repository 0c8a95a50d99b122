"""A prediction, one's own number and what was measured, on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from figures.charts import Chart, quantity
from figures.palette import palette

ROW, AXIS = 24, 72  # pixels


@dataclass(frozen=True, slots=True)
class Found:
    """One row of the chart.

    Attributes:
        what: whose number it is.
        values: one number, or several of which the range is drawn.
        colour: a name of ``figures.palette.Palette``.
    """

    what: str
    values: Sequence[float]
    colour: str

    def words(self) -> str:
        """Return the row as words, ``"Your run: 1.45"``."""
        if not self.values:
            return f"{self.what}: none yet"
        low, high = (f"{value:.3g}" for value in (min(self.values), max(self.values)))
        return f"{self.what}: {low}" if low == high else f"{self.what}: {low} to {high}"


def side_by_side(rows: Sequence[Found], ends: tuple[float, float], unit: str, theme: str) -> Chart:
    """Draw numbers and ranges below each other, on one axis.

    Args:
        rows: from the top.
        ends: of the axis at least; what lies outside widens it.
        unit: what the axis measures.
        theme: ``"light"`` or ``"dark"``.
    """
    colours = palette(theme)
    names = [row.words() for row in rows]
    table = [
        (name, min(row.values), max(row.values), getattr(colours, row.colour))
        for name, row in zip(names, rows, strict=True)
        if row.values
    ]
    frame = pd.DataFrame(table, columns=["what", "low", "high", "colour"])
    low = min([ends[0], *frame["low"]])
    high = max([ends[1], *frame["high"]])
    x = quantity("low", unit, scale={"domain": [low, high], "nice": False}, axis={"tickCount": 6})
    axis = {"labelLimit": 0, "labelOverlap": False, "labelFontSize": 13, "title": None}
    axis |= {"ticks": False, "domain": False}
    y = {"field": "what", "type": "nominal", "scale": {"domain": names}, "axis": axis}
    colour = {"field": "colour", "type": "nominal", "scale": None, "legend": None}
    encoding = {"x": x, "x2": {"field": "high"}, "y": y, "color": colour}
    points = {key: value for key, value in encoding.items() if key != "x2"}
    layers: list[dict[str, Any]] = [
        {"mark": {"type": "rule", "strokeWidth": 9, "strokeCap": "round"}, "encoding": encoding},
        {
            "transform": [{"filter": "datum.low === datum.high"}],
            "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
            "encoding": points,
        },
    ]
    return frame, {"height": ROW * len(rows) + AXIS, "layer": layers, "background": "transparent"}

"""Bars of the latent units of a VAE, as plain Vega-Lite (see :mod:`figures.charts`)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from figures.charts import Chart, nominal, quantity
from figures.palette import palette

HEIGHT = 260


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
            "y": quantity("nats", "KL [nats/image]"),
            "color": nominal("state", ["active", "unused"], (colours.model, colours.muted)),
            "tooltip": [{"field": "unit"}, {"field": "nats", "format": ".3f"}],
        },
    }
    return frame, spec

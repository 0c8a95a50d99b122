"""Images and charts of a latent space. Arrays in, images out; no Streamlit, no state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from figures.charts import Chart, quantity
from figures.palette import palette
from figures.text import as_drawn, write

SIDE = 360  # pixels along each side of an image of the plane
CELLS = 64  # places to click at along each side of the chart
CHART = 520  # pixels along each side of the chart
SHAPES = ("circle", "triangle-up", "square", "diamond", "cross", "triangle-down")


def reach_of(points: np.ndarray) -> float:
    """Return how far a square window around the origin must go to hold nearly all points."""
    edge = float(np.quantile(np.abs(points.astype(np.float32)), 0.998)) if len(points) else 0.0
    return float(np.ceil(max(3.0, 1.08 * edge)))


def class_colours(count: int, theme: str) -> list[str]:
    """Return a colour for each class; beyond six they come again, with another mark."""
    colours = palette(theme).categorical
    return [colours[k % len(colours)] for k in range(count)]


def are_glyphs(names: Sequence[str]) -> bool:
    """Return whether the names of classes are short enough to be the marks themselves."""
    return all(len(as_drawn(name)) <= 2 for name in names)


def scatter(
    points: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    reach: float,
    theme: str,
) -> Image.Image:
    """Paint 2-D points, each as the name of its class if that is short, or as a dot.

    Args:
        points: ``(N, 2)``.
        labels: their classes, ``(N,)``.
        names: of the classes.
        reach: half of the window's side.
        theme: ``"light"`` or ``"dark"``.
    """
    shade = palette(theme)
    image = Image.new("RGB", (SIDE, SIDE), shade.background)
    draw = ImageDraw.Draw(image)
    for line in (0.25, 0.5, 0.75):
        draw.line((line * SIDE, 0, line * SIDE, SIDE), shade.grid)
        draw.line((0, line * SIDE, SIDE, line * SIDE), shade.grid)
    draw.rectangle((0, 0, SIDE - 1, SIDE - 1), outline=shade.grid)
    colours = class_colours(len(names), theme)
    glyphs = are_glyphs(names)
    places = (points.astype(np.float32) * [1, -1] + reach) / (2 * reach) * SIDE
    for (x, y), label in zip(places.tolist(), labels.tolist(), strict=True):
        if glyphs:
            write(draw, (x, y), names[label], colours[label], 13, "mm")
        else:
            draw.ellipse((x - 2.2, y - 2.2, x + 2.2, y + 2.2), colours[label])
    return image


def map_chart(
    points: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    reach: float,
    axes: tuple[str, str],
    theme: str,
) -> Chart:
    """Draw 2-D points under a fine lattice that answers to clicks anywhere.

    The selection is called ``place`` and has the fields ``x`` and ``y``.

    Args:
        points: ``(N, 2)``.
        labels: their classes, ``(N,)``.
        names: of the classes.
        reach: half of the window's side.
        axes: titles of the two axes.
        theme: ``"light"`` or ``"dark"``.
    """
    width = 2 * reach / CELLS
    along = np.round(-reach + width * (np.arange(CELLS) + 0.5), 4)
    x, y = np.meshgrid(along, along)
    frame = pd.DataFrame({"x": x.ravel(), "y": y.ravel()})
    scale = {"domain": [-reach, reach], "nice": False, "zero": False}
    shared = {field: quantity(field, title, scale=scale) for field, title in zip("xy", axes)}
    layers = [_points(points, labels, names, shared, theme), _cells(shared, palette(theme).warn)]
    return frame, {"height": CHART, "layer": layers}


def _cells(shared: dict, colour: str) -> dict[str, Any]:
    """Return the lattice, invisible but for the place that was clicked."""
    select = {"type": "point", "fields": ["x", "y"], "on": "click", "toggle": False}
    picked = {"param": "place", "empty": False}
    size = (CHART / CELLS) ** 2
    return {
        "mark": {"type": "square", "size": size, "cursor": "crosshair"},
        "params": [{"name": "place", "select": select}],
        "encoding": {
            **shared,
            "color": {"value": colour},
            "opacity": {"condition": {**picked, "value": 1}, "value": 0},
            "size": {"condition": {**picked, "value": 130}, "value": size},
        },
    }


def _points(
    points: np.ndarray, labels: np.ndarray, names: Sequence[str], shared: dict, theme: str
) -> dict[str, Any]:
    values = [
        {"x": round(float(x), 3), "y": round(float(y), 3), "class": names[k]}
        for (x, y), k in zip(points, labels, strict=True)
    ]
    colours = class_colours(len(names), theme)
    glyphs = are_glyphs(names)
    colour = {
        "field": "class",
        "type": "nominal",
        "scale": {"domain": list(names), "range": colours},
        "legend": None if glyphs else {"title": None, "orient": "top", "columns": 5},
    }
    encoding = {**shared, "color": colour}
    if glyphs:
        mark = {"type": "text", "fontSize": 11, "fontWeight": 600, "opacity": 0.85}
        encoding["text"] = {"field": "class"}
    else:
        mark = {"type": "point", "size": 26, "filled": True, "opacity": 0.8}
        marks = [SHAPES[k // 6 % len(SHAPES)] for k in range(len(names))]
        encoding["shape"] = {**colour, "scale": {"domain": list(names), "range": marks}}
    return {"data": {"values": values}, "mark": mark, "encoding": encoding}

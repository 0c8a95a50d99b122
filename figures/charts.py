"""Curves as Vega-Lite charts: they cost the server little and answer to the mouse.

The specifications are plain dictionaries: the checks of a chart library over them would take three
quarters of the time of a page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from figures.palette import palette

Rows = Sequence[Mapping[str, float]]
# Legends end where the plot ends and grow to the left: in a narrow chart they would be cut off.
LEGEND_FITS = {"legend": {"layout": {"top": {"anchor": "end"}}}}
Marks = Sequence[tuple[int, str]]  # steps at which something was done, and what
Chart = tuple[pd.DataFrame, dict[str, Any]]  # what `st.vega_lite_chart` takes: data, specification


def curves(
    rows: Rows,
    names: Mapping[str, str],
    *,
    unit: str,
    theme: str,
    total: int,
    floor: tuple[float, str] | None = None,
    log: bool = False,
    dots: bool | None = None,
    height: int = 220,
    domain: tuple[float, float] | None = None,
    marks: Marks = (),
    ghost: Rows = (),
) -> Chart:
    """Draw measured columns over the optimiser steps.

    Args:
        rows: rows of ``metrics.csv``.
        names: column to the name in the legend.
        unit: unit of the vertical axis, with what it measures.
        theme: ``"light"`` or ``"dark"``.
        total: steps of the whole training, so that the axis does not move while it runs.
        floor: the best value there can be, and what to call it.
        log: logarithmic vertical axis; values that are not positive are left out.
        dots: mark each value; left out, it is done where there is a single curve.
        height: in pixels.
        domain: ends of the vertical axis; left out, the values decide.
        marks: steps at which something was done, and what.
        ghost: rows of another run, to be drawn dashed behind these.
    """
    frame = _long(rows, names, positive=log)
    behind = _long(ghost, names, positive=log)
    colours = palette(theme)
    lowest = floor[0] if floor else math.inf
    seen = pd.concat([frame, behind]) if len(behind) else frame
    scale = {"type": "log", "nice": True} if log else _linear_scale(seen, total, lowest)
    if domain is not None:
        scale = {"domain": list(domain)}
    lines = _lines(list(names.values()), unit, scale, total, theme)
    lines["mark"]["point"] = len(names) == 1 if dots is None else dots
    layers = [lines] if floor is None else [lines, *_labelled_rule(*floor, total, colours.muted)]
    layers += [_behind(lines, behind)] if len(behind) else []
    layers += [_marks(marks, colours.muted)] if marks else []
    return frame, {"height": height, "layer": layers, "config": LEGEND_FITS}


def _lines(
    names: Sequence[str], unit: str, scale: Mapping[str, Any], total: int, theme: str
) -> dict[str, Any]:
    """Return the lines of named curves over the optimiser steps."""
    colours = palette(theme)
    return {
        "mark": {"type": "line", "strokeWidth": 1.8, "clip": True},
        "encoding": {
            "x": quantity("step", "optimiser step", scale={"domain": [0, total], "nice": False}),
            "y": quantity("value", unit, scale=scale, axis={"tickCount": 5}),
            "color": nominal("curve", names, (colours.model, colours.data), len(names) > 1),
            "tooltip": [{"field": "curve"}, number("step", ",d"), number("value", ".4f")],
        },
    }


def _behind(lines: dict[str, Any], behind: pd.DataFrame) -> dict[str, Any]:
    """Return the same lines for other values, dashed and pale."""
    mark = {**lines["mark"], "strokeDash": [4, 3], "opacity": 0.55, "point": False}
    return {**lines, "data": {"values": behind.to_dict("records")}, "mark": mark}


def _long(rows: Rows, names: Mapping[str, str], *, positive: bool) -> pd.DataFrame:
    """Return one row per value: ``step``, ``value`` and the name of its ``curve``."""
    table = [
        (row["step"], row[column], name)
        for column, name in names.items()
        for row in rows
        if column in row and (not positive or row[column] > 0)
    ]
    return pd.DataFrame(table, columns=["step", "value", "curve"])


def overlay(
    curves: Mapping[str, Rows],
    column: str,
    *,
    over: str,
    unit: str,
    theme: str,
    log: bool = False,
    marks: Mapping[str, Marks] | None = None,
) -> Chart:
    """Draw one column of several runs in one chart.

    Args:
        curves: rows of ``metrics.csv`` by the name of their run.
        column: what to draw.
        over: column of the horizontal axis: ``"step"`` or ``"seconds"``.
        unit: what the vertical axis measures.
        theme: ``"light"`` or ``"dark"``.
        log: logarithmic vertical axis; values that are not positive are left out.
        marks: what was done to a run after which step, by its name.
    """
    table = [
        (row[over], row[column], name)
        for name, rows in curves.items()
        for row in rows
        if column in row and over in row and (not log or row[column] > 0)
    ]
    frame = pd.DataFrame(table, columns=["x", "value", "run"])
    encoding = _of_runs(list(curves), over, unit, theme)
    encoding["y"]["scale"] = {"type": "log"} if log else {"zero": False}
    mark = {"type": "line", "strokeWidth": 1.8, "clip": True}
    layers = [{"mark": mark, "encoding": encoding}]
    layers += _marks_of_runs(curves, marks or {}, over, encoding)
    return frame, {"height": 320, "layer": layers}


def _of_runs(names: list[str], over: str, unit: str, theme: str) -> dict[str, Any]:
    """Return how the curves of runs of these names are drawn."""
    title = "optimiser step" if over == "step" else "seconds of training"
    colours = palette(theme).categorical
    # More runs than colours: the colours come round again with another dash.
    dashes = [[1, 0] if i < len(colours) else [5, 3] for i in range(len(names))]
    legend = {"orient": "bottom", "title": None, "columns": 1, "labelLimit": 0}
    colour = nominal("run", names, (colours * len(names))[: len(names)], True)
    return {
        "x": quantity("x", title, scale={"nice": False}),
        "y": quantity("value", unit, axis={"tickCount": 5}),
        "color": {**colour, "legend": legend if len(names) > 1 else None},
        "strokeDash": {
            "field": "run",
            "type": "nominal",
            "scale": {"domain": names, "range": dashes},
            "legend": None,
        },
        "tooltip": [{"field": "run"}, number("x", ",.6~r", title=title), number("value", ".4f")],
    }


def _marks_of_runs(
    curves: Mapping[str, Rows], marks: Mapping[str, Marks], over: str, encoding: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return a dotted upright line, in the colour of its run, where something was done to it."""
    values = [
        {"x": _place(curves[name], step, over), "run": name, "done": f"step {step:,}: {words}"}
        for name, done in marks.items()
        for step, words in done
    ]
    if not values:
        return []
    tooltip = [{"field": "run"}, {"field": "done", "type": "nominal", "title": "done"}]
    return [
        {
            "data": {"values": values},
            "mark": {"type": "rule", "strokeDash": [2, 3], "strokeWidth": 1.5},
            "encoding": {
                "x": {"field": "x", "type": "quantitative"},
                "color": encoding["color"],
                "tooltip": tooltip,
            },
        }
    ]


def _place(rows: Rows, step: int, over: str) -> float:
    """Return where on an axis a step lies: of the last row up to it, if the axis is of seconds."""
    if over == "step":
        return step
    return max((row[over] for row in rows if over in row and row["step"] <= step), default=0.0)


def quantity(field: str, title: str | None, **options: Any) -> dict[str, Any]:
    """Return an axis of numbers; without a title if that is empty."""
    return {"field": field, "type": "quantitative", "title": title or None, **options}


def number(field: str, form: str, **options: Any) -> dict[str, Any]:
    """Return a number for a tooltip, in a format of d3."""
    return {"field": field, "type": "quantitative", "format": form, **options}


def nominal(field: str, names: Iterable[str], colours: Iterable[str], legend: bool = True) -> dict:
    """Return the colours of some names, with or without a legend above the chart."""
    names = list(names)
    return {
        "field": field,
        "type": "nominal",
        "scale": {"domain": names, "range": list(colours)[: len(names)]},
        "legend": {"orient": "top", "title": None} if legend else None,
    }


def rule(value: float, colour: str, axis: str = "y") -> dict[str, Any]:
    """Return a dashed line at a value of the ``"x"`` or ``"y"`` axis."""
    return {
        "data": {"values": [{"value": value}]},
        "mark": {"type": "rule", "color": colour, "strokeDash": [5, 4]},
        "encoding": {axis: {"field": "value", "type": "quantitative"}},
    }


def _labelled_rule(value: float, label: str, total: int, colour: str) -> list[dict[str, Any]]:
    """Return a dashed line at the best value there can be, and its words below it."""
    line = rule(value, colour)
    words = {"type": "text", "align": "right", "baseline": "top", "dy": 4, "color": colour}
    places = {"x": {"field": "step", "type": "quantitative"}, "text": {"field": "label"}}
    label_data = {"values": [{"value": value, "label": label, "step": total}]}
    encoding = {**line["encoding"], **places}
    return [line, {"data": label_data, "mark": words, "encoding": encoding}]


def _marks(marks: Marks, colour: str) -> dict[str, Any]:
    """Return a dotted upright line at each step at which something was done."""
    values = [{"step": step, "done": f"after step {step:,}: {words}"} for step, words in marks]
    return {
        "data": {"values": values},
        "mark": {"type": "rule", "color": colour, "strokeDash": [2, 3], "strokeWidth": 1.5},
        "encoding": {
            "x": {"field": "step", "type": "quantitative"},
            "tooltip": {"field": "done", "type": "nominal", "title": "done"},
        },
    }


def _linear_scale(frame: pd.DataFrame, total: int, lowest: float) -> dict[str, Any]:
    """Return the vertical scale of a curve that falls to ``lowest`` at best."""
    # The first steps and a spike dwarf all the rest: they may leave the top of the chart.
    late = frame.loc[frame["step"] > 0.02 * total, "value"]
    if len(late) <= 3:
        return {"zero": False}
    low, high = min(late.min(), lowest), late.quantile(0.98)
    margin = 0.05 * (high - low)
    # Rounded, so that the chart keeps its shape while values come in; below, room for the words.
    digits = max(1, 1 - math.floor(math.log10(high - low))) if high > low else 1
    domain = [round(low - 3 * margin, digits), round(high + margin, digits)]
    return {"domain": domain, "zero": False}

"""Curves as Altair charts: they cost the server a few milliseconds and answer to the mouse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from ui.palette import palette

Rows = Sequence[Mapping[str, float]]


def curves(
    rows: Rows,
    names: Mapping[str, str],
    *,
    unit: str,
    theme: str,
    total: int,
    floor: tuple[float, str] | None = None,
    log: bool = False,
    height: int = 220,
) -> alt.LayerChart:
    """Draw measured columns over the optimiser steps.

    Args:
        rows: rows of ``metrics.csv``.
        names: column to the name in the legend.
        unit: unit of the vertical axis, with what it measures.
        theme: ``"light"`` or ``"dark"``.
        total: steps of the whole training, so that the axis does not move while it runs.
        floor: the best value there can be, and what to call it.
        log: logarithmic vertical axis; values that are not positive are left out.
        height: in pixels.
    """
    table = [
        {"step": row["step"], "value": row[column], "curve": name}
        for column, name in names.items()
        for row in rows
        if column in row and (not log or row[column] > 0)
    ]
    frame = pd.DataFrame(table, columns=["step", "value", "curve"])
    colours = palette(theme)
    lowest = floor[0] if floor else float("inf")
    scale = alt.Scale(type="log", nice=True) if log else _linear_scale(frame, total, lowest)
    legend = alt.Legend(orient="top-right", title=None) if len(names) > 1 else None
    base = alt.Chart(frame).encode(
        x=alt.X("step:Q", title="optimiser step", scale=alt.Scale(domain=[0, total], nice=False)),
        y=alt.Y("value:Q", title=unit, scale=scale, axis=alt.Axis(tickCount=5)),
        color=alt.Color(
            "curve:N",
            legend=legend,
            scale=alt.Scale(domain=list(names.values()), range=[colours.model, colours.data]),
        ),
        tooltip=[
            alt.Tooltip("curve:N", title="curve"),
            alt.Tooltip("step:Q", format=",d"),
            alt.Tooltip("value:Q", format=".4f"),
        ],
    )
    layers = [base.mark_line(strokeWidth=1.8, clip=True, point=len(table) < 40)]
    if floor is not None:
        mark = pd.DataFrame({"value": [floor[0]], "label": [floor[1]], "step": [total]})
        rule = alt.Chart(mark).encode(y="value:Q")
        layers.append(rule.mark_rule(color=colours.muted, strokeDash=[5, 4]))
        words = rule.mark_text(align="right", baseline="top", dy=4, color=colours.muted)
        layers.append(words.encode(x="step:Q", text="label:N"))
    return alt.layer(*layers).properties(height=height)


def _linear_scale(frame: pd.DataFrame, total: int, lowest: float) -> alt.Scale:
    """Return the vertical scale of a curve that falls to ``lowest`` at best."""
    # The first steps and a spike dwarf all the rest: they may leave the top of the chart.
    late = frame[frame["step"] > 0.02 * total]["value"]
    if len(late) <= 3:
        return alt.Scale(zero=False)
    low, high = min(late.min(), lowest), late.quantile(0.98)
    margin = 0.05 * (high - low)
    return alt.Scale(domain=[low - 3 * margin, high + margin], zero=False)  # room for the words


def journey(
    values: Sequence[Sequence[float]], moved: Sequence[Sequence[bool]], theme: str
) -> alt.LayerChart:
    """Draw the two coordinates of one point through the layers of a flow.

    Args:
        values: per layer boundary, the two coordinates; first the data, last the latent.
        moved: per layer boundary, whether the layer before it was allowed to move each coordinate.
        theme: ``"light"`` or ``"dark"``.
    """
    rows = [
        {
            "layer": i,
            "coordinate": f"coordinate {j + 1}",
            "value": pair[j],
            "half": "start" if i == 0 else ("active" if moved[i][j] else "passive"),
        }
        for i, pair in enumerate(values)
        for j in range(2)
    ]
    colours = palette(theme)
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("layer:O", title="after layer (0: data)", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("value:Q", title="value [standardised]", scale=alt.Scale(zero=False)),
        color=alt.Color(
            "coordinate:N",
            scale=alt.Scale(range=[colours.data, colours.model]),
            legend=alt.Legend(orient="top", title=None),
        ),
    )
    marks = base.mark_point(size=70, strokeWidth=2).encode(
        fill=alt.condition(
            alt.datum.half == "passive", alt.value(colours.background), alt.Color("coordinate:N")
        ),
        tooltip=["layer", "coordinate", alt.Tooltip("value:Q", format=".4f"), "half"],
    )
    return alt.layer(base.mark_line(strokeWidth=1.5), marks).properties(height=260)

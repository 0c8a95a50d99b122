"""Curves and numbers of a training, drawn alike on all pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from figures.charts import Rows, curves
from ui.common.history import Moment


def draw_curves(
    moment: Moment,
    where,
    key: str,
    names: Mapping[str, str],
    unit: str,
    alt: str,
    rows: Rows | None = None,
    **options: Any,
) -> None:
    """Draw measured columns over the optimiser steps.

    Args:
        moment: of the run.
        where: ``st`` or a column.
        key: of the chart, among those of the run.
        names: column to the name in the legend.
        unit: unit of the vertical axis, with what it measures.
        alt: what the chart shows, for those who cannot see it.
        rows: in place of those of the moment.
        options: what ``figures.charts.curves`` takes beside these.
    """
    chart = curves(
        moment.rows if rows is None else rows,
        names,
        unit=unit,
        theme=moment.shade,
        total=moment.view.status.total,
        marks=[(one.step, one.words()) for one in moment.run.interventions.load()],
        **options,
    )
    where.vega_lite_chart(*chart, key=f"{moment.run.id}.{key}", alt=alt)


def last_with(rows: Rows, column: str) -> Mapping[str, float] | None:
    """Return the last row that has a column, if one has it."""
    return next((row for row in reversed(rows) if column in row), None)


def pace(moment: Moment, where=st, what: str = "images") -> None:
    """Draw how many examples a second it learns from, or after the training, how many it saw."""
    view, batch = moment.view, moment.run.config.batch
    if view.rate:
        rate = view.rate * batch
        where.metric(f"Speed [{what}/s]", f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}")
    elif view.status.seconds:
        where.metric(f"{what.capitalize()} seen", f"{view.status.step * batch:,}")

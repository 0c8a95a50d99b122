"""Curves and numbers of a training, drawn alike on all pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from figures.charts import Rows, curves
from lab.store import Run
from lab.view import View
from ui.common.data import run_title
from ui.common.history import Moment
from ui.common.plain import plain

PINNED = "pinned"  # in the session: whose curves are drawn behind others


@dataclass(frozen=True, slots=True)
class Pinned:
    """The curves of a run as they were when they were pinned."""

    id: str
    title: str
    rows: Rows


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
        ghost=ghost_rows(moment.run),
        **options,
    )
    where.vega_lite_chart(*chart, key=f"{moment.run.id}.{key}", alt=alt)


def ghost_rows(run: Run) -> Rows:
    """Return the rows of the run whose curves are pinned, if that is another one."""
    pinned = st.session_state.get(PINNED)
    return pinned.rows if pinned is not None and pinned.id != run.id else ()


def pin_button(view: View, key: str) -> None:
    """Draw the button that keeps the curves of a run, dashed, behind those of the next."""
    pinned: Pinned | None = st.session_state.get(PINNED)
    here = pinned is not None and pinned.id == view.run.id
    if pinned is not None and not here:
        st.caption(f"Dashed: {plain(pinned.title)}", width="content")
    st.button(
        "Unpin" if pinned is not None else "Pin its curves",
        on_click=_pin,
        args=(view,),
        disabled=not view.rows and pinned is None,
        type="tertiary",
        icon=":material/keep_off:" if pinned is not None else ":material/keep:",
        key=key,
        help="Pinned curves stay, dashed, behind those of the next run that you look at.",
    )


def _pin(view: View) -> None:
    if st.session_state.pop(PINNED, None) is None:
        st.session_state[PINNED] = Pinned(view.run.id, run_title(view.run), view.rows)


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

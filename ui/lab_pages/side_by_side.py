"""Several runs side by side: their curves, what they looked like, the settings that differ."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from figures.charts import overlay
from lab.store import Run
from lab.view import thin
from ui.common.page import theme

COMPARED = 8  # runs in one chart, at most
SHOWN = 8  # things done to a run that are named, at most
NO_RESULTS = {"step", "seconds", "learning_rate", "learning_rate_d"}  # columns of the metrics


def side_by_side(ticked: Sequence[Run]) -> None:
    """Draw what tells some runs apart."""
    runs = ticked[:COMPARED]
    st.subheader(f"{len(runs)} runs side by side", anchor=False)
    if len(ticked) > len(runs):
        st.caption(f"The first {len(runs)} of the {len(ticked)} that are ticked.")
    draw_curve(runs)
    st.markdown("**Settings in which they differ**")
    names = list(dict.fromkeys(n for run in runs for n in type(run.config).model_fields))
    rows = {name: [setting(run, name) for run in runs] for name in names}
    rows["while it trained"] = [_done_to(run) for run in runs]
    differing = {name: values for name, values in rows.items() if len(set(values)) > 1}
    if not differing:
        st.caption("In none: the same settings throughout.")
        return
    frame = pd.DataFrame.from_dict(differing, orient="index", columns=_labels(runs))
    st.dataframe(frame)


def _done_to(run: Run) -> str:
    """Return what was done to a run while it trained."""
    done = run.interventions.load()
    words = [f"step {one.step:,}: {one.words()}" for one in done[:SHOWN]]
    words += [f"{len(done) - SHOWN:,} more"] if len(done) > SHOWN else []
    return "; ".join(words) or "nothing was changed"


def _labels(runs: Sequence[Run]) -> list[str]:
    """Return a name for each run; equal ones get the end of their id."""
    names = [run.notes.name() or run.id for run in runs]
    return [f"{n} ({r.id[-4:]})" if names.count(n) > 1 else n for n, r in zip(names, runs)]


def draw_curve(runs: Sequence[Run]) -> None:
    """Draw a column that all runs have, over steps or seconds."""
    rows = {name: thin(run.metrics.rows()) for name, run in zip(_labels(runs), runs)}
    columns = [{name for row in part for name in row} - NO_RESULTS for part in rows.values()]
    shared = sorted(set.intersection(*columns))
    if not shared:
        st.info("There is no number that all of them measured, so there is no curve to compare.")
        return
    what, over, scale = st.columns([2, 1.4, 1], vertical_alignment="bottom")
    column = what.selectbox("Curve", shared, key="runs.curve")
    axis = over.segmented_control("Over", ["step", "seconds"], default="step", required=True)
    log = scale.toggle("Log scale")
    chart = overlay(rows, column, over=axis, unit=column, theme=theme(), log=log)
    st.vega_lite_chart(*chart, alt=f"{column} of {len(runs)} runs")


def setting(run: Run, name: str) -> str:
    """Return the value of a setting, or a dash where its family has no such setting."""
    value = getattr(run.config, name, None)
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)

"""Several runs side by side: their curves, what they looked like, the settings that differ."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from figures.charts import overlay
from figures.images import png
from figures.thumbnails import thumbnail
from lab.store import Run
from lab.view import thin
from ui.common.cached import painted
from ui.common.data import run_title
from ui.common.page import show_image, theme
from ui.common.plain import plain

COMPARED = 8  # runs in one chart, at most
IMAGES, IMAGE = 4, 320  # runs whose images are drawn, at most, and pixels along their sides
SHOWN = 8  # things done to a run that are named, at most
NO_RESULTS = {"step", "seconds", "learning_rate", "learning_rate_d"}  # columns of the metrics


def side_by_side(ticked: Sequence[Run]) -> None:
    """Draw what tells some runs apart."""
    runs = ticked[:COMPARED]
    st.subheader(f"{len(runs)} runs side by side", anchor=False)
    if len(ticked) > len(runs):
        st.caption(f"The first {len(runs)} of the {len(ticked)} that are ticked.")
    draw_curve(runs)
    _history(runs[:IMAGES])
    st.markdown("**Settings in which they differ**")
    differing = _differing(runs)
    done = [_done_to(run) for run in runs]
    if len(set(done)) > 1:
        differing["while it trained"] = done
    if not differing:
        st.caption("In none: the same settings throughout.")
        return
    frame = pd.DataFrame.from_dict(differing, orient="index", columns=_labels(runs))
    st.dataframe(frame)


def _differing(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return the settings in which some runs differ, with the value of each run."""
    names = dict.fromkeys(n for run in runs for n in type(run.config).model_fields)
    rows = {name: [setting(run, name) for run in runs] for name in names}
    return {name: values for name, values in rows.items() if len(set(values)) > 1}


def _history(runs: Sequence[Run]) -> None:
    """Draw what a few runs looked like after so many steps, on one slider."""
    steps = {run.id: run.snapshots.steps() for run in runs}
    together = sorted({step for known in steps.values() for step in known})
    if len(together) < 2:
        return
    chosen = st.select_slider(
        "History of both" if len(runs) == 2 else "History of all",
        together,
        together[-1],
        format_func=lambda step: f"step {step:,}",
        key=f"runs.history.{'.'.join(run.id for run in runs)}",
        help="Each run as it was after that step, or at its end if it is shorter.",
    )
    for place, run, name in zip(st.columns(len(runs)), runs, _labels(runs)):
        step = max((step for step in steps[run.id] if step <= chosen), default=None)
        image = None if step is None else small_image(run, step, IMAGE)
        if image is None:
            place.caption(f"{plain(name)}: nothing to see at that step")
        else:
            show_image(place, image, f"{name}, step {step}", f"{plain(name)}: step {step:,}")


def small_image(run: Run, step: int, side: int) -> bytes | None:
    """Return a snapshot as a PNG, or ``None`` where it cannot be drawn."""
    try:
        return painted(_painted, (run.id, step, theme(), side), run, step, side)
    except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError):
        return None  # of a run from a file; its own page says why


def _painted(run: Run, step: int, side: int) -> bytes | None:
    target = run.snapshots.target() or {}
    image = thumbnail(run.snapshots.load(step), target, theme(), side)
    return None if image is None else png(image)


def _done_to(run: Run) -> str:
    """Return what was done to a run while it trained."""
    done = run.interventions.load()
    words = [f"step {one.step:,}: {one.words()}" for one in done[:SHOWN]]
    words += [f"{len(done) - SHOWN:,} more"] if len(done) > SHOWN else []
    return "; ".join(words) or "nothing was changed"


def _labels(runs: Sequence[Run]) -> list[str]:
    """Return a name for each run; equal ones get the end of their id."""
    names = [run_title(run, _differing(runs) if len(runs) > 1 else None) for run in runs]
    return [f"{n} ({r.id[-4:]})" if names.count(n) > 1 else n for n, r in zip(names, runs)]


def draw_curve(runs: Sequence[Run]) -> None:
    """Draw a column that all runs have, over steps or seconds."""
    named = dict(zip(_labels(runs), runs))
    rows = {name: thin(run.metrics.rows()) for name, run in named.items()}
    columns = [{name for row in part for name in row} - NO_RESULTS for part in rows.values()]
    shared = sorted(set.intersection(*columns))
    if not shared:
        st.info("There is no number that all of them measured, so there is no curve to compare.")
        return
    what, over, scale = st.columns([2, 1.4, 1], vertical_alignment="bottom")
    column = what.selectbox("Curve", shared, key="runs.curve")
    axis = over.segmented_control("Over", ["step", "seconds"], default="step", required=True)
    log = scale.toggle("Log scale")
    marks = {
        name: [(one.step, one.words()) for one in run.interventions.load()]
        for name, run in named.items()
    }
    options = {"unit": column, "theme": theme(), "log": log, "marks": marks}
    chart = overlay(rows, column, over=axis, **options)
    st.vega_lite_chart(*chart, alt=f"{column} of {len(runs)} runs")


def setting(run: Run, name: str) -> str:
    """Return the value of a setting, or a dash where its family has no such setting."""
    value = getattr(run.config, name, None)
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)

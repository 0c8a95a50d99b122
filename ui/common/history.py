"""What the live part of every page knows of a run's past: its snapshots, rows and weights."""

from __future__ import annotations

import time

import numpy as np
import streamlit as st

from lab.view import View
from ui.common.pace import CURVES_EVERY

Arrays = dict[str, np.ndarray]


def history_slider(view: View) -> None:
    """Draw the slider that goes back through the training."""
    total = view.status.total
    if not total:
        return
    st.slider(
        "History",
        0,
        total,
        total,
        step=max(1, total // 200),
        key=f"{view.run.id}.history",
        help="Go back through the training. At the right end you see the newest state.",
        format="step %d",
    )


def chosen_frame(view: View) -> tuple[int, Arrays]:
    """Return the snapshot that the slider through the history asks for; at its end, the newest."""
    chosen = st.session_state.get(f"{view.run.id}.history", view.status.total)
    if chosen >= view.step:
        return view.step, view.snapshot
    steps = [s for s in view.run.snapshots.steps() if s <= chosen]
    return (steps[-1], view.run.snapshots.load(steps[-1])) if steps else (view.step, view.snapshot)


def rows_of_the_moment(view: View) -> list[dict[str, float]]:
    """Return the rows to draw: while it trains, new ones at most every ``CURVES_EVERY``.

    A browser takes longer to draw a chart than an image, and a curve grows more slowly.
    """
    key = f"{view.run.id}.curves"
    due, rows = st.session_state.get(key, (0.0, []))
    if time.monotonic() >= due or not view.status.active:
        rows = view.rows
        st.session_state[key] = time.monotonic() + CURVES_EVERY, rows
    return rows


def target_of(view: View) -> Arrays | None:
    """Return what there is to learn, or ``None`` before the first snapshot."""
    cache = st.session_state.setdefault("targets", {})
    if view.run.id not in cache and (target := view.run.snapshots.target()) is not None:
        cache[view.run.id] = target
    return cache.get(view.run.id)


def tenths(view: View) -> list[int]:
    """Return the steps of the snapshots at every tenth of the training done so far."""
    total, there = view.status.total, set(view.run.snapshots.steps())
    return [s for s in (round(total * tenth / 10) for tenth in range(11)) if s in there]


def weights_shown(view: View) -> float:
    """Return the version of the weights to look into, 0 if there are none yet.

    While a run trains, it stays at the version that was looked into first, until asked for newer.
    """
    key = f"{view.run.id}.weights"
    if view.status.state != "running" or not st.session_state.get(key):
        st.session_state[key] = view.run.weights.version()
    return st.session_state[key]

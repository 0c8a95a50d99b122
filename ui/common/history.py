"""What the live part of every page knows of a run: its present moment and its past."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import streamlit as st

from lab.store import Run
from lab.view import View
from training.core.devices import usable_cores
from ui.common.cached import painted
from ui.common.page import theme

Arrays = dict[str, np.ndarray]
T = TypeVar("T")
NEWEST = "newest"  # at the right end of the slider through the history

# Measured on two cores, a browser without a GPU takes about 0.15 s of both to draw snapshots and
# curves anew. Where there are no others, that is missing to the training.
_FEW = 0 < len(usable_cores()) <= 2

POLL = 1.0 if _FEW else 0.5  # seconds between two looks at a run at work
CURVES_EVERY = 3.5 if _FEW else 1.5  # seconds between two drawings of the curves


@dataclass(frozen=True)
class Moment:
    """What the live part of a page draws.

    Attributes:
        view: of the run.
        step: of the snapshot.
        snapshot: the one that the slider through the history asks for.
        target: what there is to learn.
        shade: ``"light"`` or ``"dark"``.
        whole: whether the browser needs the whole history, not only what is new.
    """

    view: View
    step: int
    snapshot: Arrays
    target: Arrays
    shade: str
    whole: bool = True

    @property
    def run(self) -> Run:
        return self.view.run

    @property
    def rows(self) -> list[dict[str, float]]:
        """Rows to draw: while it trains, new ones at most every ``CURVES_EVERY`` seconds."""
        return rows_of_the_moment(self.view)

    def painted(self, make: Callable[..., T], *args: Any) -> T:
        """Return ``make(self, *args)``, an image of this step, made once for these ``args``."""
        return painted(make, (self.run.id, self.step, self.shade, args), self, *args)

    def of_run(self, make: Callable[..., T], *args: Any) -> T:
        """Return ``make(self, *args)``, an image that is the same at every step."""
        return painted(make, (self.run.id, self.shade, args), self, *args)


def live(draw: Callable[[Moment], None]) -> Callable[[View], None]:
    """Have a function that draws a moment draw a view, as soon as it has a snapshot."""

    @functools.wraps(draw)
    def drawn(view: View) -> None:
        target = _target(view)
        if target is None or view.snapshot is None:
            st.caption("The first snapshot comes with the first step.")
        else:
            whole = st.session_state.pop(f"{view.run.id}.whole", not view.status.active)
            draw(Moment(view, *_chosen(view), target, theme(), whole))

    return drawn


def history_slider(moment: Moment) -> None:
    """Draw the slider that goes back through the training."""
    status = moment.view.status
    if not status.total:
        return
    # No further than it has come: a slider that ended at the last step would name one not trained.
    steps = range(0, moment.view.step, max(1, status.total // 200))
    st.select_slider(
        "History",
        [*steps, NEWEST],
        NEWEST,
        format_func=lambda step: step if step == NEWEST else f"step {step:,}",
        key=f"{moment.run.id}.history",
        help="Go back through the training. At the right end you see the newest state.",
    )


def rows_of_the_moment(view: View) -> list[dict[str, float]]:
    """Return the rows of a run's curves: while it trains, every few seconds new ones."""
    # A browser takes longer to draw a chart than an image, and a curve grows more slowly.
    key = f"{view.run.id}.curves"
    due, rows = st.session_state.get(key, (0.0, []))
    if time.monotonic() >= due or not view.status.active:
        rows = view.rows
        st.session_state[key] = time.monotonic() + CURVES_EVERY, rows
    return rows


def tenths(total: int, run: Run) -> list[int]:
    """Return the steps of the snapshots at every tenth of the training done so far."""
    there = set(run.snapshots.steps())
    return [s for s in (round(total * tenth / 10) for tenth in range(11)) if s in there]


def last_snapshot(run: Run) -> Arrays:
    """Return the newest snapshot in the folder of a run."""
    return run.snapshots.load(run.snapshots.steps()[-1])


def _chosen(view: View) -> tuple[int, Arrays]:
    """Return the snapshot that the slider through the history asks for; at its end, the newest."""
    chosen = st.session_state.get(f"{view.run.id}.history", NEWEST)
    if chosen == NEWEST or chosen >= view.step:
        return view.step, view.snapshot
    steps = [s for s in view.run.snapshots.steps() if s <= chosen]
    return (steps[-1], view.run.snapshots.load(steps[-1])) if steps else (view.step, view.snapshot)


def _target(view: View) -> Arrays | None:
    cache = st.session_state.setdefault("targets", {})
    if view.run.id not in cache and (target := view.run.snapshots.target()) is not None:
        cache[view.run.id] = target
    return cache.get(view.run.id)

"""A training on the stage: its newest snapshot live, and all of them to scrub through."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress

from ui.common.cached import kept, painted
from ui.common.history import Arrays, Moment
from ui.stage.component import show_stage
from ui.stage.encode import encode
from ui.stage.scene import Panel, Scene, Timeline

# Makes the panels of a run from its snapshots: layers with one frame per snapshot.
Panels = Callable[[Moment, Sequence[Arrays]], Sequence[Panel]]


def show_training(moment: Moment, panels: Panels, *, play: bool = False) -> None:
    """Draw a run's snapshots on the stage, with the slider through its history.

    The browser keeps the frames that it has: a tick of the live part sends the newest one alone.

    Args:
        moment: of the run.
        panels: a function of a module that makes the panels.
        play: whether the history plays once by itself.
    """
    steps = _steps(moment)
    by = moment.run.id, steps, moment.shade, moment.whole
    # A whole history is a megabyte: fewer of these are kept than of single frames.
    by = *by, panels.__qualname__, play
    made = (kept if moment.whole else painted)(_block, by, moment, steps, panels, play)
    show_stage(made, key=f"{moment.run.id}.stage")


def _steps(moment: Moment) -> tuple[int, ...]:
    newest = moment.view.step
    if not moment.whole:
        return (newest,)
    return (*(s for s in moment.run.snapshots.steps() if s < newest), newest)


def _block(moment: Moment, steps: Sequence[int], panels: Panels, play: bool) -> bytes:
    run, view, frames = moment.run, moment.view, {}
    for step in steps:
        # Damaged, or thinned out just now: the history goes on without it.
        with suppress(OSError, ValueError, EOFError, zipfile.BadZipFile):
            frames[step] = view.snapshot if step == view.step else run.snapshots.load(step)
    timeline = Timeline(
        labels=[f"step {step:,}" for step in frames],
        values=list(frames),
        name="History",
        run=run.id,
        whole=moment.whole,
        play=play,
    )
    shown = panels(moment, list(frames.values()))
    return encode(Scene(shown, moment.shade, timeline, save=run.id))

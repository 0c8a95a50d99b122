"""The training panel: buttons, progress and a live picture of one run. The same for every family.

The buttons stand outside the ticking fragment: one inside would never start the ticking, since only
the fragment would run again. When the state changes, the fragment has the whole page drawn once.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from datasets.own import OwnData
from registry import Family
from training.config import RunConfig
from training.lab import LabFull, View
from training.store import RunError
from ui.form import log_options, use_config
from ui.lab import lab
from ui.runs import badge, duration, show, shown_run, time_left

POLL = 0.4  # seconds between two looks at a run at work
FIRST_PICTURE = 1.5  # seconds to wait for the first picture within the click itself
ANSWER = 0.6  # seconds to wait for the answer to a command within the click itself

Draw = Callable[[View], None]


def training_panel(
    family: Family, config: RunConfig, draw: Draw, *, own: OwnData | None, ready: bool = True
) -> View | None:
    """Draw the panel and return the run it shows.

    Args:
        family: whose page this is.
        config: what Train would train.
        draw: draws curves and pictures of a run; called inside the fragment.
        own: the user's data, if the config asks for it.
        ready: whether there is all that a training needs.
    """
    if message := st.session_state.pop(f"{family.stem}.refused", None):
        st.error(message)
    view, shipped = shown_run(family)
    _buttons(family, config, own, view, shipped, ready)
    if view is None:
        st.info("Nothing has been trained yet: press Train.")
        return None
    if shipped:
        st.caption("This is a finished run that ships with the lab. Press **Train** for your own.")
    else:
        _settings_of(family, config, view)
    ticking = st.fragment(run_every=POLL if view.status.active else None)
    ticking(_live)(view, draw, _phase(view), shipped)
    return view


def _buttons(
    family: Family,
    config: RunConfig,
    own: OwnData | None,
    view: View | None,
    shipped: bool,
    ready: bool,
) -> None:
    state = "shipped" if shipped or view is None else view.status.state
    run_id = view.run.id if view is not None else ""
    active = state in ("queued", "starting", "running", "paused")
    resumable = state in ("stopped", "interrupted", "failed", "diverged")
    train, pause, step, stop, rate = st.columns([1.2, 1.2, 1, 1, 2.4], vertical_alignment="bottom")
    train.button(
        "Train",
        type="primary",
        icon=":material/play_arrow:",
        disabled=active or not ready,
        on_click=_train,
        args=(family, config, own),
        width="stretch",
        key=f"{family.stem}.train",
    )
    if state == "paused" or resumable:
        pause.button(
            "Resume",
            icon=":material/resume:",
            on_click=_resume,
            args=(family, run_id, resumable),
            width="stretch",
            key=f"{family.stem}.resume",
        )
    else:
        pause.button(
            "Pause",
            icon=":material/pause:",
            disabled=state != "running",
            on_click=_command,
            args=(run_id, "pause"),
            width="stretch",
            key=f"{family.stem}.pause",
        )
    step.button(
        "Step",
        icon=":material/skip_next:",
        disabled=state != "paused",
        on_click=_command,
        args=(run_id, "step"),
        help="One optimiser step, while paused.",
        width="stretch",
        key=f"{family.stem}.step",
    )
    stop.button(
        "Stop",
        icon=":material/stop:",
        disabled=not active,
        on_click=_command,
        args=(run_id, "stop"),
        width="stretch",
        key=f"{family.stem}.stop",
    )
    if active and view.live:
        with rate:
            _live_knobs(view)


def _live_knobs(view: View) -> None:
    for knob in view.run.config.knobs():
        if knob.live and knob.name in view.live:
            key = f"{view.run.id}.live.{knob.name}"
            st.session_state.setdefault(key, view.live[knob.name])
            st.select_slider(
                f"{knob.label}, now",
                options=log_options(knob, st.session_state[key]),
                format_func=lambda v: f"{v:g}",
                key=key,
                on_change=_set_live,
                args=(view.run.id, knob.name, key),
                help="Takes effect with the next step. The cycle over the training scales it.",
            )


def _train(family: Family, config: RunConfig, own: OwnData | None) -> None:
    try:
        run_id = lab().submit(family, config, own)
    except (LabFull, RunError) as error:
        st.session_state[f"{family.stem}.refused"] = str(error)
        return
    show(family, run_id)
    lab().wait(run_id, 0, FIRST_PICTURE)


def _resume(family: Family, run_id: str, from_folder: bool) -> None:
    if not from_folder:
        _command(run_id, "resume")
        return
    try:
        lab().resume(run_id)
    except LabFull as error:
        st.session_state[f"{family.stem}.refused"] = str(error)
        return
    view = lab().view(run_id)
    lab().wait(run_id, view.seq + 1 if view else 0, FIRST_PICTURE)


def _command(run_id: str, *command: object) -> None:
    view = lab().view(run_id)
    seen = view.seq if view is not None else 0
    lab().command(run_id, *command)
    lab().wait(run_id, seen, ANSWER)


def _set_live(run_id: str, name: str, key: str) -> None:
    _command(run_id, "set", name, st.session_state[key])


def _settings_of(family: Family, config: RunConfig, view: View) -> None:
    """Say where the form differs from what this run was started with; offer to take it over."""
    used = view.run.config
    other = [k for k in used.knobs() if getattr(used, k.name) != getattr(config, k.name)]
    if not other:
        return
    words = ", ".join(f"{k.label.lower()} {getattr(used, k.name)}" for k in other)
    text, button = st.columns([5, 1.6], vertical_alignment="center")
    text.caption(f"Shown: a run with {words}. The form has other settings for the next one.")
    button.button(
        "Use its settings", on_click=use_config, args=(family, used), key=f"{family.stem}.take_over"
    )


def _phase(view: View) -> str:
    """Return what the buttons depend on."""
    state = view.status.state
    return "training" if state in ("starting", "running") else state


def _live(view: View, draw: Draw, phase: str, shipped: bool) -> None:
    if not shipped:
        view = lab().view(view.run.id) or view
        if _phase(view) != phase:
            st.rerun()
    _progress(view)
    draw(view)


def _progress(view: View) -> None:
    status = view.status
    words = [badge(status), f"step **{status.step:,}** of {status.total:,}"]
    if status.state == "queued":
        words = [badge(status), f"{view.ahead} before you" if view.ahead else "next in line"]
    elif view.rate:
        words += [f"{view.rate:,.0f} steps/s", time_left(view)]
    elif status.seconds:
        words.append(f"{duration(status.seconds)} of training")
    if status.skipped:
        words.append(f":orange[{status.skipped} steps skipped: loss or gradient not finite]")
    st.markdown(" · ".join(words))
    st.progress(min(status.step / status.total, 1.0) if status.total else 0.0)
    if status.message:
        (st.error if status.state in ("failed", "diverged") else st.warning)(status.message)

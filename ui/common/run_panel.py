"""The training panel: buttons, progress and a live snapshot of one run. The same for every family.

The buttons stand outside the ticking fragment: one inside would never start the ticking, since only
the fragment would run again. When the state changes, the fragment has the whole page drawn once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import streamlit as st

from lab.runs.status import RESUMABLE
from lab.store import RunError
from lab.view import View
from registry import Family
from training.core.config import RunConfig
from training.core.family import Own
from ui.common.curves import pin_button
from ui.common.data import data_title
from ui.common.form import choice_label, knob_widget, url_problems, use_settings_of
from ui.common.history import POLL
from ui.common.lab import lab
from ui.common.plain import plain, refusals, refuse
from ui.common.run_words import (
    address,
    badge,
    device_words,
    drawing,
    duration,
    latest_run,
    line_words,
    owner_words,
    rate_words,
    show,
    shown_run,
    time_left,
)
from ui.common.way_out import way_out

FIRST_SNAPSHOT = 1.5  # seconds to wait for the first snapshot within the click itself
ANSWER = 0.6  # seconds to wait for the answer to a command within the click itself

Draw = Callable[[View], None]


def training_panel(
    family: Family, config: RunConfig, draw: Draw, *, own: Own | None, ready: bool = True
) -> View | None:
    """Draw the panel and return the run it shows.

    Args:
        family: whose page this is.
        config: what Train would train.
        draw: draws curves and snapshots of a run; called inside the fragment.
        own: the user's data, if the config asks for it.
        ready: whether there is all that a training needs.
    """
    # Nothing that comes and goes may stand above the buttons: they would move under the mouse.
    view, shipped = shown_run(family)
    mine = not shipped and view is not None and lab().may_change(view.run.id)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="controls"):
        _buttons(family, config, own, view, mine, ready)
        if shipped:
            _mention(family)
    if message := st.session_state.pop(f"{family.stem}.refused", None):
        refuse(message)
    url_problems(family)
    if view is None:
        st.info("Nothing has been trained yet: press Train.")
        return None
    # A tick draws what is new; the page drawn as a whole, all there is.
    st.session_state[f"{view.run.id}.whole"] = True
    ticking = st.fragment(run_every=POLL if view.status.active else None)
    ticking(_live)(view, draw, _phase(view), shipped)
    _settings_of(family, config, view, shipped)
    return view


def _mention(family: Family) -> None:
    """Offer the visitor's latest run on this page, where another tab or visit left one."""
    if (view := latest_run(family)) is None:
        return
    run = view.run
    which = "" if run.family is family else f" of {run.family.title}"
    st.page_link(
        f"pages/{family.page}.py",
        label=f"Your run{which}: {badge(view.status)} step {view.status.step:,}",
        icon=":material/history:",
        query_params=address(run),
    )


def _buttons(
    family: Family,
    config: RunConfig,
    own: Own | None,
    view: View | None,
    mine: bool,
    ready: bool,
) -> None:
    # What ships with the lab, or is another person's, can only be looked at.
    state = view.status.state if view is not None and mine else "not mine"
    run_id = view.run.id if view is not None else ""
    active = state in ("queued", "starting", "running", "paused")
    paused, resumable = state == "paused", state in RESUMABLE
    training = state in ("starting", "running")
    # Each has its place for good: a button that replaced another would be one click behind. The
    # one that makes sense now is the big one.
    button = partial(_button, family)
    button("Train", "play_arrow", ready and not active, not active, _train, family, config, own)
    button("Pause", "pause", training, training, _command, run_id, "pause")
    can_resume = paused or resumable
    button("Resume", "resume", can_resume, paused, _resume, family, run_id, resumable)
    tip = "One optimiser step, while paused."
    button("Step", "skip_next", paused, False, _command, run_id, "step", help=tip)
    for part in family.training.parts:
        tip = f"One step in which only the {part} learns, while paused."
        step = "step", part
        button(f"Step {part}", "skip_next", paused, False, _command, run_id, *step, help=tip)
    button("Stop", "stop", active, False, _command, run_id, "stop")
    _adjust(family, view if mine else None)


def _button(
    family: Family, label: str, icon: str, enabled: bool, main: bool, click, *args, help: str = ""
) -> None:
    st.button(
        label,
        icon=f":material/{icon}:",
        disabled=not enabled,
        type="primary" if main else "secondary",
        on_click=click,
        args=args,
        key=f"{family.stem}.{label.lower()}",
        help=help or None,
    )


def _adjust(family: Family, view: View | None) -> None:
    """Offer what can be changed while a run trains."""
    if not any(knob.live for knob in family.training.config.knobs()):
        return
    live = view is not None and view.status.active and bool(view.live)
    with st.popover(
        "Adjust", icon=":material/tune:", disabled=not live, key=f"{family.stem}.adjust"
    ):
        if live:
            _live_knobs(view)


def _live_knobs(view: View) -> None:
    for knob in view.run.config.knobs():
        if not (knob.live and knob.name in view.live):
            continue
        key = f"{view.run.id}.live.{knob.name}"
        st.session_state.setdefault(key, view.live[knob.name])
        knob_widget(
            knob,
            st,
            key=key,
            label=f"{knob.label}, from now on",
            on_change=_set_live,
            args=(view.run.id, knob.name, key),
            help=f"{knob.help} Takes effect with the next step.",
        )


def _train(family: Family, config: RunConfig, own: Own | None) -> None:
    with refusals(f"{family.stem}.refused"):
        run_id = lab().submit(family, config, own)
        show(family, run_id)
        lab().wait(run_id, 0, FIRST_SNAPSHOT)


def _resume(family: Family, run_id: str, from_folder: bool) -> None:
    if not from_folder:
        _command(run_id, "resume")
        return
    with refusals(f"{family.stem}.refused"):
        lab().resume(run_id)
        view = lab().view(run_id)
        lab().wait(run_id, view.seq + 1 if view else 0, FIRST_SNAPSHOT)


def _command(run_id: str, *command: object) -> None:
    view = lab().view(run_id)
    seen = view.seq if view is not None else 0
    with suppress(RunError):  # somebody else's: its buttons are off, and say so
        lab().command(run_id, *command)
    lab().wait(run_id, seen, ANSWER)


def _set_live(run_id: str, name: str, key: str) -> None:
    _command(run_id, "set", name, st.session_state[key])


def _settings_of(family: Family, config: RunConfig, view: View, shipped: bool) -> None:
    """Say what run this is and where the form differs from it; offer to take its settings over."""
    used = view.run.config
    other = [k for k in used.knobs() if getattr(used, k.name) != getattr(config, k.name)]
    whose, data = owner_words(view), plain(data_title(view.run))
    words = f"A run {whose} on {data}" if whose else f"Your run on {data}"
    if shipped:
        words = f"A run on {data} that ships with the lab"
    if other:
        values = ", ".join(
            f"{k.label[0].lower()}{k.label[1:]} {choice_label(str(getattr(used, k.name)))}"
            for k in other
            if k.name != "dataset"
        )
        words += f", with {values}" if values else ""
        words += ". The form has other settings for the next one"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{words}.", width="stretch")
        st.button(
            "Use its settings",
            on_click=use_settings_of,
            args=(view.run,),
            disabled=not other,
            type="tertiary",
            icon=":material/tune:",
            key=f"{family.stem}.take_over",
        )
        pin_button(view, f"{family.stem}.pin")


def _phase(view: View) -> str:
    """Return what the buttons depend on, and the knobs that can be changed."""
    state = view.status.state
    if state not in ("starting", "running"):
        return state
    # A slow start reports its live values later than the click that drew the page.
    return "training" if view.live else "starting"


def _live(view: View, draw: Draw, phase: str, shipped: bool) -> None:
    if not shipped:
        view = lab().view(view.run.id) or view
        if _phase(view) != phase:
            st.rerun()
    _progress(view, shipped)
    with st.container(key="live"), drawing(view.run):
        draw(view)


def _progress(view: View, shipped: bool) -> None:
    status = view.status
    words = [badge(status)]
    if shipped:
        words.append("ships with the lab")
    if status.total:  # it is not known before the model is built
        words.append(f"step **{status.step:,}** of {status.total:,}")
    if status.state == "queued":
        words = [badge(status), line_words(view)]
    elif view.rate:
        words += [rate_words(view.rate), time_left(view)]
        if rate := view.rows and view.rows[-1].get("learning_rate"):
            words.append(f"learning rate now {rate:.2g}")
    elif status.seconds:
        words.append(f"{duration(status.seconds)} of training")
    words += device_words(view)
    if status.skipped:
        words.append(f":orange[{status.skipped} steps skipped: loss or gradient not finite]")
    part = min(status.step / status.total, 1.0) if status.total else 0.0
    st.progress(part, " · ".join(words))
    if status.message and shipped:
        st.caption(plain(status.message))
    elif status.message:
        (st.error if status.state in ("failed", "diverged") else st.warning)(plain(status.message))
        way_out(view.run, status.state)

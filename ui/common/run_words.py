"""Which run a page shows, and how to say where it stands."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import streamlit as st

from lab.store import Run, Status
from lab.view import View, view_of
from paths import ASSETS
from registry import Family
from ui.common.lab import lab
from ui.common.plain import plain, refuse

LATEST = 2.0**33  # seconds: a time in 2242, which every calendar here can still show
STATE_WORDS = {
    "queued": ("Waiting", "blue"),
    "starting": ("Starting", "blue"),
    "running": ("Training", "green"),
    "paused": ("Paused", "orange"),
    "finished": ("Finished", "gray"),
    "stopped": ("Stopped", "gray"),
    "diverged": ("Diverged", "red"),
    "failed": ("Failed", "red"),
    "interrupted": ("Interrupted", "orange"),
    "parked": ("Parked", "orange"),
}


def shown_run(family: Family) -> tuple[View | None, bool]:
    """Return the run that a family's page shows, and whether it ships with the lab.

    Without a run of the visitor's own, the shipped one is shown, or none on a page that is bare.
    """
    run_id = st.session_state.get(f"{family.stem}.run")
    view = lab().view(run_id) if run_id else None
    if view is not None:
        return view, False
    return (None if st.session_state.get(f"{family.stem}.bare") else shipped(family.stem)), True


def bare(stem: str, yes: bool) -> None:
    """Have the page of a family show only runs of the visitor's own, or not any more."""
    st.session_state[f"{stem}.bare"] = yes


def latest_run(family: Family) -> View | None:
    """Return the visitor's latest run on the page of a family, as it was when they came."""
    key = f"{family.page}.latest"
    if key not in st.session_state:  # all folders are walked over: once is enough
        seat = lab()
        own = (r.id for r in seat.runs() if r.opens() and r.family.page == family.page)
        st.session_state[key] = next((name for name in own if seat.may_change(name)), None)
    found = st.session_state[key]
    return lab().view(found) if found else None


def adopt_run(family: Family) -> Run | None:
    """Take over the run that the URL names (after a refresh, or from a link); return it if so.

    Raises:
        KeyError: there is no such run of this family (any more).
    """
    asked = st.query_params.get("run")
    # What this page wrote itself is behind the session, which a click may just have changed.
    if not asked or asked == st.session_state.get(f"{family.stem}.written"):
        return None
    st.session_state[f"{family.stem}.written"] = asked
    view = lab().view(asked)
    if view is None or not view.run.opens() or view.run.family.stem != family.stem:
        raise KeyError(asked)
    show(family, asked)
    return view.run


def show(family: Family, run_id: str | None) -> None:
    """Have the page of a family show a run from now on."""
    st.session_state[f"{family.stem}.run"] = run_id


@st.cache_resource(show_spinner=False)
def shipped(stem: str) -> View | None:
    """Return the run of a family that ships with the lab, if there is one."""
    run = Run(ASSETS / "runs" / stem)
    return view_of(run) if (run.path / "config.json").exists() else None


@contextmanager
def drawing(run: Run) -> Iterator[None]:
    """Say so when what a run from a file holds cannot be drawn; an error of our own is raised."""
    try:
        yield
    except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError):
        if not run.notes.foreign:
            raise
        logging.getLogger(__name__).warning("%s cannot be drawn", run.id, exc_info=True)
        refuse(
            "This run came from a file, and what it holds does not fit its settings: it cannot be "
            "drawn. It can be deleted on the page of runs."
        )


def badge(status: Status) -> str:
    """Return the state of a run as a coloured Markdown badge."""
    word, colour = STATE_WORDS.get(status.state, (status.state, "gray"))
    return f":{colour}-badge[{word}]"


def time_left(view: View) -> str:
    """Return the time that the rest of the training takes at the present pace, in words."""
    if not view.rate:
        return ""
    return f"{duration((view.status.total - view.status.step) / view.rate)} left"


def rate_words(rate: float) -> str:
    """Return steps per second as ``"1,200 steps/s"``, ``"2.5 steps/s"`` or ``"40 s a step"``."""
    if rate >= 1:
        return f"{rate:,.{0 if rate >= 10 else 1}f} steps/s"
    return f"{1 / rate:,.{0 if rate <= 0.1 else 1}f} s a step"


def device_words(view: View) -> list[str]:
    """Return where a run trains or waits to, and why; nothing where the lab has no choice."""
    choice = len({device == "cpu" for device in lab().devices}) == 2
    if not (choice and view.devices and view.status.active):
        return []
    if view.devices[0] == "cpu":
        return ["on the CPU, faster in 2-D"]
    where = "a GPU" if view.status.state == "queued" else view.status.device
    return [f"on {where}, faster for images"]


def line_words(view: View) -> str:
    """Return where a run stands in the queue, and how long it waits as far as can be estimated."""
    if view.held:
        return "waits for another run of its owner to end"
    words = f"{view.ahead} before it" if view.ahead else "next in line"
    return f"{words}, about {duration(view.wait)}" if view.wait else words


def address(run: Run) -> dict[str, str]:
    """Return the parameters of a link that opens a run on the page of its family."""
    family = run.family
    return {"run": run.id} | ({"on": family.stem} if family.page != family.stem else {})


def owner_words(view: View) -> str:
    """Return whose run it is where that is somebody else's, as Markdown that is shown as it is."""
    seat = lab()
    others = seat.signed_in and view.access.owner != seat.who.id
    return f"of {plain(view.access.name or 'nobody')}" if others else ""


def duration(seconds: float) -> str:
    """Return seconds as ``"0.4 s"``, ``"42 s"``, ``"3 min 20 s"`` or ``"2 h 5 min"``."""
    if 0 < seconds < 0.95:
        return f"{max(seconds, 0.1):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def zone() -> tzinfo:
    """Return the visitor's time zone; UTC where their browser names none that is known here."""
    try:
        return ZoneInfo(st.context.timezone or "")
    except (KeyError, OSError, ValueError):
        return UTC


def moment(seconds: float) -> datetime:
    """Return a Unix time in the visitor's time zone; what a damaged file says is bounded."""
    return datetime.fromtimestamp(min(max(seconds, 0.0), LATEST), UTC).astimezone(zone())


def clock(seconds: float) -> str:
    """Return a Unix time as ``"27 Nov 2026, 14:05 CET"``, in the visitor's time zone."""
    time = moment(seconds)
    return f"{time.day} {time:%b %Y, %H:%M %Z}"


def size_words(count: int) -> str:
    """Return bytes as ``"42 MB"`` or ``"1.5 GB"``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"

"""The first visit: a model that learns before one's eyes, and a path through the lab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from figures.images import peak_of
from lab.view import View
from registry import FAMILIES
from training.core.config import RunConfig
from ui.common.history import POLL, Arrays, Moment, live
from ui.common.lab import lab
from ui.common.plain import refusals, refuse
from ui.common.run_words import address, line_words, shipped
from ui.guide.answers import answers
from ui.guide.known import address as address_of
from ui.guide.known import known
from ui.stage.scene import Heat, Panel, Points
from ui.stage.training import show_training

FAMILY = FAMILIES["realnvp"]
RUN = "home.run"  # the visitor's own, that they watch here
REFUSED = "home.refused"
IN_A_ROW = 3  # stations, the arena among them
FIRST = 1.5  # seconds to wait for the first snapshot within the click itself
SETTINGS = {"dataset": "two_moons", "blocks": 8, "hidden": 64, "batch": 256, "iterations": 2500}


@dataclass(frozen=True)
class Station:
    """One stop of the path: an exercise, and how long it takes."""

    exercise: str
    title: str
    what: str
    minutes: int


PATH = (
    Station(
        "nice-0-where-it-is-steep",
        "Change of variables",
        "Bend a line, and see what becomes of a density on it.",
        3,
    ),
    Station(
        "realnvp-1-two-blocks",
        "Couplings",
        "Predict how far two blocks get, then beat them.",
        4,
    ),
    Station(
        "glow-1-what-the-levels-hold",
        "Images",
        "Draw one level of a digit anew, and see what changes.",
        3,
    ),
    Station(
        "gan-1-one-side-alone",
        "The duel",
        "Let a generator and a discriminator step one at a time.",
        4,
    ),
    Station(
        "vae-1-between-two-digits",
        "Latent space",
        "Walk between two digits.",
        3,
    ),
)


def settings() -> RunConfig:
    """Return what *Watch a model learn* trains."""
    return FAMILY.training.config(**SETTINGS)


def watch() -> None:
    """Draw a training: the one that ships plays at first, then the visitor's own, live."""
    if message := st.session_state.pop(REFUSED, None):
        refuse(message)
    view = _mine()
    st.fragment(run_every=POLL if view and view.status.active else None)(_stage)(bool(view))


def watch_button() -> None:
    """Draw the one button of the first visit."""
    view = _mine()
    busy = view is not None and view.status.active
    st.button(
        "Watch a model learn",
        type="primary",
        icon=":material/play_arrow:",
        key="home.watch",
        disabled=busy,
        on_click=_begin,
    )
    if busy:
        st.caption("It trains on this machine now, for some 20 seconds.")
    elif view is None:
        st.caption("A real training on this machine, some 20 seconds.")
    else:
        link = {"label": "Open this run", "icon": ":material/arrow_forward:"}
        st.page_link(f"pages/{FAMILY.page}.py", query_params=address(view.run), **link)


def path() -> None:
    """Draw the five stations, and the arena at the end."""
    st.subheader("A path through the lab", anchor=False)
    done = [known()[s.exercise].done(answers().get(s.exercise, {})) for s in PATH]
    next_one = done.index(False) if False in done else len(PATH)
    columns = [*st.columns(IN_A_ROW), *st.columns(IN_A_ROW)]
    for number, (column, station) in enumerate(zip(columns, PATH, strict=False)):
        with column.container(border=True, height="stretch", key=f"station.{number}"):
            _station(station, number, done[number], here=number == next_one)
    with columns[-1].container(border=True, height="stretch", key="station.arena"):
        st.page_link("pages/arena.py", label="The arena", icon=":material/stadium:")
        st.markdown("See who does best on equal terms, and why it is not so simple.")
        st.caption("5 min")


# -- the training ----------------------------------------------------------------------------------


def _mine() -> View | None:
    run_id = st.session_state.get(RUN)
    return lab().view(run_id) if run_id else None


def _begin() -> None:
    with refusals(REFUSED):
        st.session_state[RUN] = lab().submit(FAMILY, settings())
        lab().wait(st.session_state[RUN], 0, FIRST)


def _stage(own: bool) -> None:
    view = _mine() if own else None
    was = st.session_state.get(f"{RUN}.state")
    now = view.status.state if view else None
    st.session_state[f"{RUN}.state"] = now
    if own and was != now and now not in ("starting", "running"):
        st.rerun()
    shown = view or shipped(FAMILY.stem)
    if shown is not None:
        _says(shown, own)
        (_draw if own else _play)(shown)


def _says(view: View, own: bool) -> None:
    status = view.status
    if not own:
        st.caption("RealNVP learns a pinwheel: a training that ships with the lab, once more.")
    elif status.state == "queued":
        st.caption(f"Your run waits: {line_words(view)}.")
    else:
        words = f"RealNVP learns two moons. Step {status.step:,} of {status.total:,}"
        row = next((row for row in reversed(view.rows) if "kl_to_truth" in row), None)
        words += f", {row['kl_to_truth']:.2f} nats from the truth" if row else ""
        st.caption(f"{words}.")


@live
def _draw(moment: Moment) -> None:
    show_training(moment, _panels)


@live
def _play(moment: Moment) -> None:
    show_training(moment, _panels, play=True)


def _panels(moment: Moment, frames: Sequence[Arrays]) -> list[Panel]:
    """Return the learned density, and samples of it."""
    box, target = moment.target["box"], moment.target["density"]
    density = np.stack([frame["density"] for frame in frames])
    samples = np.stack([frame["samples"] for frame in frames])
    learned = Heat("density", density, peak_of(target), root=True, name="density")
    return [
        Panel("What it has learned", box, [learned], "Learned density", first=True),
        Panel("Samples of it", box, [Points("samples", samples)], "Samples"),
    ]


# -- the path --------------------------------------------------------------------------------------


def _station(station: Station, number: int, done: bool, *, here: bool) -> None:
    one = known()[station.exercise]
    mark = ":material/check_circle:" if done else f":material/counter_{number + 1}:"
    st.page_link(
        f"pages/{one.page}.py",
        label=f"**{station.title}**" if here else station.title,
        icon=mark,
        query_params=address_of(one),
    )
    st.markdown(station.what)
    st.caption("done" if done else f"{station.minutes} min")

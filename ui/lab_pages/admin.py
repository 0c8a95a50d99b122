"""The admin page: slots, queue, memory, disk, and the rules that hold."""

from __future__ import annotations

import shutil

import pandas as pd
import streamlit as st

from lab.rules import Rules
from lab.telemetry import AtWork, Census, census
from lab.view import View
from ui.common.lab import lab, rules
from ui.common.plain import plain, refuse
from ui.common.run_words import STATE_WORDS, badge, duration, line_words, size_words, time_left

EVERY = 5.0  # seconds between two looks: each walks over all run folders


def overview() -> None:
    """Draw the state of the whole lab, fresh every few seconds."""
    st.fragment(run_every=EVERY)(_now)()


def what_holds() -> None:
    """Draw the rules of this lab."""
    st.subheader("Rules", anchor=False)
    _rules(rules())


def ask_for_access() -> None:
    """Say whose page this is, and by which key the visitor could be named as one of them.

    The first admin can be named in no other way where a provider does not verify addresses.
    """
    st.info("This page is for who runs the lab: the addresses under `admins` in its configuration.")
    st.markdown("Whoever edits that file can name you there by your address, or by this key:")
    st.code(lab().who.id, language=None)


def _now() -> None:
    if message := st.session_state.pop("admin.refused", None):
        refuse(message)
    seat = lab()
    if not seat.who.admin:  # signed out meanwhile
        st.rerun()
    now = census(seat.lab)
    _numbers(now)
    st.subheader("At work", anchor=False)
    if not now.at_work:
        st.info("No training is at work.")
    for work in now.at_work:
        _at_work(work)
    if now.waiting:
        st.subheader("Queue, in the order of turns", anchor=False)
        for view in now.waiting:
            _row(view, badge(view.status), line_words(view))
    _people(now)


def _numbers(now: Census) -> None:
    free = shutil.disk_usage(_existing(lab().lab.store.root)).free
    busy, waiting, disk, memory = st.columns(4)
    busy.metric("Slots taken", f"{len(now.at_work)} of {now.slots}")
    waiting.metric("Waiting", len(now.waiting))
    left = f"{size_words(free)} are free."
    disk.metric(f"{now.runs:,} runs take", size_words(now.disk), help=left)
    workers = sum(work.memory for work in now.at_work)
    memory.metric(
        "Memory of the server",
        size_words(now.memory),
        help=f"Workers: {size_words(workers)}; what they share is counted in each.",
    )


def _existing(path):
    return path if path.exists() else path.resolve().parent


def _at_work(work: AtWork) -> None:
    view = work.view
    state = f"{badge(view.status)} step {view.status.step:,} of {view.status.total:,}"
    words = [size_words(work.memory), f"looked at {duration(work.unseen)} ago", time_left(view)]
    _row(view, state, " · ".join(word for word in words if word))


def _row(view: View, words: str, numbers: str) -> None:
    what, state, more, stop = st.columns([3, 2.4, 2.4, 1], vertical_alignment="center")
    what.markdown(f"**{view.run.family.title}** of {plain(view.access.name) or 'nobody'}")
    state.markdown(words)
    more.caption(numbers)
    _stop(stop, view)


def _stop(place, view: View) -> None:
    place.button(
        "Stop",
        icon=":material/stop:",
        key=f"admin.stop.{view.run.id}",
        on_click=lab().command,
        args=(view.run.id, "stop"),
        width="stretch",
    )


def _people(now: Census) -> None:
    """Draw what each person has, all states together."""
    counts: dict[str, dict[str, int]] = {}
    names: dict[str, str] = {}
    for run in lab().runs():
        access = run.notes.access()
        names[access.owner] = access.name or "nobody"
        word = STATE_WORDS.get(run.status().state, ("Other", ""))[0]
        row = counts.setdefault(access.owner, {})
        row["Runs"] = row.get("Runs", 0) + 1
        row[word] = row.get(word, 0) + 1
    if counts:
        st.subheader("People", anchor=False)
        rows = [{"Who": names[owner], "Key": owner, **row} for owner, row in counts.items()]
        frame = pd.DataFrame(rows).sort_values("Runs", ascending=False)
        numbers = frame.columns.drop(["Who", "Key"])
        frame[numbers] = frame[numbers].fillna(0).astype(int)
        st.dataframe(frame, hide_index=True)


def _rules(limits: Rules) -> None:
    rows = [
        {"rule": name, "value": _value(getattr(limits, name)), "what it is": field.description}
        for name, field in type(limits).model_fields.items()
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content")
    st.caption(
        "0 means no limit. They come from the file that `GENLAB_CONFIG` names, and hold from the "
        "next start of the lab on."
    )


def _value(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)

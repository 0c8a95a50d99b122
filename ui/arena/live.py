"""What the arena shows of a comparison: progress, curves, samples, table, who wins, downloads."""

from __future__ import annotations

import json
import shlex
import zlib
from collections.abc import Callable
from functools import partial
from urllib.parse import urlencode

import streamlit as st

from analysis.comparison_results import (
    Row,
    curves,
    overfitted,
    rows_of,
    runs_csv,
    table,
    table_csv,
    verdicts,
)
from figures.arena.charts import nll_chart, samples_sheet
from figures.arena.figures import encoded, entropy_of, figures_of, window_of
from lab.comparison import ENTRANTS, Comparison, Terms
from lab.runs.repeat import PROGRAM, flags_of
from lab.view import View
from ui.arena.terms import Pairs, ships, title_of, views_of
from ui.common.downloads import deferred, say_what_becomes_of
from ui.common.history import POLL
from ui.common.lab import lab
from ui.common.page import show_image, theme
from ui.common.plain import markdown
from ui.common.run_words import STATE_WORDS, address, badge, duration, rate_words

TICK = max(POLL, 1.0)  # seconds between two looks: several runs are drawn at once
FILES = {"nll": "NLL curves", "samples": "Samples"}
MIME = {"pdf": "application/pdf", "svg": "image/svg+xml"}
NOTE = "Mean ± standard deviation over seeds. Samples of the truth have a KL of {floor}. {speed}"
SHARED = "These trainings shared two cores with much other work: their seconds say little."
TOGETHER = (
    "{count} trainings share this machine at a time: their seconds say less than those of the "
    "command line, which trains one after the other."
)


def board(comparison: Comparison, pairs: Pairs) -> None:
    """Draw a comparison; while it trains, anew every second or so."""
    active = _active(pairs)
    st.fragment(run_every=TICK if active else None)(_board)(comparison, active)
    _trouble(pairs)


def _active(pairs: Pairs) -> bool:
    return any(view.status.active for _, view in pairs if view is not None)


def _board(comparison: Comparison, drawn: bool) -> None:
    pairs = views_of(comparison)
    if _active(pairs) != drawn:
        st.rerun()  # the buttons change, and the ticking stops
    ship = ". It ships with the lab; **Compare** trains your own." if ships(comparison) else ""
    st.markdown(f"**{title_of(comparison)}**{ship}")
    _progress(pairs)
    states = tuple(view.status.state if view is not None else "" for _, view in pairs)
    rows = _rows(comparison.id, states, comparison)
    over = "seconds" if comparison.terms.config.seconds else "step"
    left, right = st.columns([1.35, 1])
    with right:
        _who_wins(rows, drawn)
    _curves(comparison, pairs, over, left, right)
    _samples(comparison, pairs)
    _table(rows, ships(comparison))


def _progress(pairs: Pairs) -> None:
    """Draw a bar per model: how far its trainings are."""
    keys = list(dict.fromkeys(entry.entrant.key for entry, _ in pairs))
    for start in range(0, len(keys), 4):
        for column, key in zip(st.columns(4), keys[start : start + 4]):
            views = [view for entry, view in pairs if entry.entrant.key == key and view is not None]
            done = sum(view.status.step for view in views)
            total = sum(view.run.config.iterations for view in views)
            ended = sum(view.status.state == "finished" for view in views)
            rates = sum(view.rate for view in views)
            words = f"**{ENTRANTS[key].title}**: {ended} of {len(views)} seeds"
            words += f", {rate_words(rates)}" if rates else ""
            column.progress(min(done / total, 1.0) if total else 0.0, text=words)


def _curves(comparison: Comparison, pairs: Pairs, over: str, left, right) -> None:
    """Draw the NLL on the left, and on the right what there is to say of it."""
    metrics = [(entry, view.rows) for entry, view in pairs if view is not None]
    points = curves(metrics)
    if not points:
        left.caption(
            "The curves of the NLL come with the first steps."
            if any(entry.entrant.likelihood != "none" for entry, _ in pairs)
            else "None of these models has a likelihood, so there is no curve of it."
        )
        return
    floor = entropy_of(comparison)
    chart = nll_chart(points, floor, over, theme())
    left.vega_lite_chart(*chart, key=f"{comparison.id}.nll", alt="NLL over the training")
    words = "Solid: held-out points, mean over seeds, with the range over seeds; dotted: training."
    if floor is not None:
        words += f" Dashed: the entropy, {floor:.3f} nats. On fresh points no model gets below it "
        words += "on average; points that come again in training can be overfitted."
    entrants = [ENTRANTS[key] for key in comparison.terms.entrants]
    silent = [entrant.title for entrant in entrants if entrant.likelihood == "none"]
    if silent:
        words += f" {' and '.join(silent)}: no likelihood, no curve."
    right.caption(words)
    if rises := overfitted(points):
        rising = [
            f"{ENTRANTS[key].title} from {least.mean:.2f} (step {least.step:,}) to {last.mean:.2f}"
            for key, least, last in rises
        ]
        right.caption(
            f"The test NLL rises while that of training falls: {'; '.join(rising)}. Points that "
            "come again and again are overfitted. What counts here is the end all the same: "
            "a step chosen on the test points would flatter."
        )


def _samples(comparison: Comparison, pairs: Pairs) -> None:
    """Draw data and samples: of each model, the newest of its first training that has some."""
    shown: dict[str, View] = {}
    for entry, view in pairs:
        if view is not None and view.snapshot is not None:
            shown.setdefault(entry.entrant.key, view)
    if not shown:
        st.caption("The first samples come with the first steps.")
        return
    steps = tuple((key, view.step) for key, view in shown.items())
    sheet = _sheet(comparison.id, steps, theme(), shown, comparison)
    show_image(st, sheet, "Samples of each model beside the data")
    st.caption("1,000 points each. The samples of a model always come from the same latents.")


@st.cache_data(max_entries=16, show_spinner=False)
def _sheet(name: str, steps: tuple, shade: str, _shown: dict, _comparison: Comparison) -> bytes:
    data = next(iter(_shown.values())).run.snapshots.target()["samples"]
    samples = {key: view.snapshot["samples"] for key, view in _shown.items()}
    return samples_sheet(data, samples, window_of(_comparison), shade)


@st.cache_data(max_entries=32, show_spinner=False)
def _rows(name: str, states: tuple[str, ...], _comparison: Comparison) -> list[Row]:
    return rows_of(_comparison)


def _who_wins(rows: list[Row], active: bool) -> None:
    st.markdown("**So far**" if active else "**Result**")
    found = verdicts(rows)
    st.markdown("\n".join(f"- {verdict.words()}" for verdict in found))
    if not found:
        st.markdown("The winner is named when two models with a likelihood have ended a seed.")


def _table(rows: list[Row], shipped: bool) -> None:
    """Draw a column per model, a row per number: so it fits on narrow screens, too."""
    lines = table(rows)
    names = [line.pop("Model") for line in lines]
    body = [(what, *(line[what] for line in lines)) for what in lines[0]]
    st.markdown(markdown(("", *names), body))
    floors = [row.kl_floor for row in rows if row.kl_floor is not None]
    floor = f"{floors[0]:.3f}" if floors else "a little above zero"
    count = len(lab().devices)
    speed = TOGETHER.format(count=count) if count > 1 else ""
    speed = SHARED if shipped else speed
    st.caption(NOTE.format(floor=floor, speed=speed))


def _trouble(pairs: Pairs) -> None:
    """Say which trainings did not come to their end, and why."""
    bad = [
        f"- {entry.entrant.title}, seed {entry.seed}: {badge(view.status)} {view.status.message}"
        for entry, view in pairs
        if view is not None and view.status.state in ("failed", "diverged", "interrupted")
    ]
    gone = sum(view is None for _, view in pairs)
    if gone:
        bad.append(f"- {gone} of its runs have been deleted; their numbers are gone with them.")
    if bad:
        st.warning("Not all trainings came to their end.\n" + "\n".join(bad))


# -- take away -----------------------------------------------------------------------------------


def take_away(comparison: Comparison, pairs: Pairs) -> None:
    """Draw the downloads, the command that repeats the comparison, and links to its runs."""
    st.subheader("Take away", anchor=False)
    columns = st.columns(3)
    known = any(ENTRANTS[key].likelihood != "none" for key in comparison.terms.entrants)
    buttons: list[tuple[str, Callable[[], bytes | str], str, str]] = [
        (f"{title} ({form.upper()})", partial(_figure, comparison, name, form), f"{name}.{form}", m)
        for name, title in FILES.items()
        for form, m in MIME.items()
    ]
    buttons += [
        ("Table (CSV)", lambda: table_csv(rows_of(comparison)), "table.csv", "text/csv"),
        ("All trainings (CSV)", lambda: runs_csv(rows_of(comparison)), "runs.csv", "text/csv"),
    ]
    for i, (label, make, name, mime) in enumerate(buttons):
        columns[i % 3].download_button(
            label,
            deferred(make, label),
            f"arena-{name}",
            mime,
            on_click="ignore",
            icon=":material/download:",
            width="stretch",
            key=f"{comparison.id}.{name}",
            disabled=name.startswith("nll") and not known,
        )
    say_what_becomes_of(*(label for label, *_ in buttons))
    st.markdown("The same comparison from the command line, in the folder of the lab:")
    st.code(command_of(comparison.terms), language="bash", wrap_lines=True)
    if not ships(comparison):  # those have no page to be opened on
        with st.expander("Its trainings, each to be opened on its page", key="arena.trainings"):
            _trainings(pairs)


def _figure(comparison: Comparison, name: str, form: str) -> bytes:
    figures = figures_of(comparison)
    return encoded(figures[name], form) if name in figures else b""


def command_of(terms: Terms) -> str:
    """Return the command line that repeats a comparison, in a folder of these terms."""
    ignored = "steps" if terms.config.seconds else "seconds"
    mark = zlib.crc32(json.dumps(terms.as_values()).encode())
    words = ["compare", "--families", *terms.entrants, *flags_of(terms.config, without=(ignored,))]
    return shlex.join([*PROGRAM, *words, "--out", f"runs/comparison-{mark:08x}"])


def _trainings(pairs: Pairs) -> None:
    lines = [
        (
            entry.entrant.title,
            entry.seed,
            STATE_WORDS.get(view.status.state, (view.status.state,))[0],
            f"{view.status.step:,}",
            duration(view.status.seconds),
            f"[Open](./{view.run.family.page}?{urlencode(address(view.run))})",
        )
        for entry, view in pairs
        if view is not None
    ]
    head = ("Model", "Seed", "State", "Steps", "Trained for", "Page")
    st.markdown(markdown(head, lines, right=(1, 3, 4)))

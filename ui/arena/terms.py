"""The arena: several models on one data set, trained by the lab, on equal terms."""

from __future__ import annotations

from contextlib import nullcontext

import streamlit as st

from lab.comparison import (
    CLASSIC,
    ENTRANTS,
    CompareConfig,
    Comparison,
    Entry,
    Terms,
    entries_for,
    epochs_of,
    steps_measured_elsewhere,
)
from lab.store import RunStore
from lab.view import View, view_of
from paths import ASSETS
from training.core.config import ConfigError
from ui.common.form import choice_label, knob_widget
from ui.common.lab import lab
from ui.common.plain import counted, refusals
from ui.common.run_words import clock
from ui.common.widgets import HIDDEN, KEPT

UNDONE = ("stopped", "interrupted", "failed")  # parked ones go on by themselves
SHOWN = "arena.comparison"
SHIPPED = ASSETS / "comparison"
EQUAL = {"steps": "Equal steps", "seconds": "Equal seconds"}
SECONDS = 20.0  # that the form starts with


# -- terms -------------------------------------------------------------------------------------


def terms_form() -> Terms | None:
    """Draw the form; return what it says, or ``None`` where that cannot be compared."""
    knobs = {knob.name: knob for knob in CompareConfig.knobs()}
    _fill()
    st.markdown("**Who**")
    st.pills(
        "Models",
        list(ENTRANTS),
        selection_mode="multi",
        format_func=lambda key: ENTRANTS[key].title,
        key="arena.entrants",
        **HIDDEN,
        **KEPT,
    )
    st.markdown("**On what**")
    values: dict[str, object] = {}

    def ask(name: str) -> None:
        knob = knobs[name]
        options = {"label": knob.label, "help": knob.help, **KEPT}
        values[name] = knob_widget(knob, st, key=f"arena.{name}", **options)

    ask("dataset")
    st.markdown("**How**")
    equal = st.segmented_control(
        "Equal",
        list(EQUAL),
        format_func=EQUAL.get,
        required=True,
        key="arena.equal",
        **HIDDEN,
        **KEPT,
    )
    ask("steps" if equal == "steps" else "seconds")
    ask("batch")
    ask("seeds")
    try:
        chosen = [key for key in ENTRANTS if key in st.session_state["arena.entrants"]]
        terms = Terms(tuple(chosen), CompareConfig.parse(values))
    except ConfigError as error:
        empty = not st.session_state["arena.entrants"]
        st.caption(":red[Choose at least one model.]" if empty else f":red[{error}]")
        return None
    st.caption(_said(terms))
    return terms


def _fill() -> None:
    if "arena.entrants" not in st.session_state:
        use(CLASSIC)
    # Equal seconds of zero would mean equal steps.
    if st.session_state.get("arena.equal") == "seconds" and not st.session_state["arena.seconds"]:
        st.session_state["arena.seconds"] = SECONDS


def use(terms: Terms) -> None:
    """Set the form to some terms. Only before it is drawn (a callback, say)."""
    st.session_state["arena.entrants"] = list(terms.entrants)
    st.session_state["arena.equal"] = "seconds" if terms.config.seconds else "steps"
    for name, value in terms.config.model_dump().items():
        st.session_state[f"arena.{name}"] = value


def _said(terms: Terms) -> str:
    config = terms.config
    trainings = len(terms.entrants) * config.seeds
    words = f"{trainings} training{'s' if trainings > 1 else ''}"
    if config.seconds:
        return f"{words} of about {config.seconds:g} s each, with {config.batch} points a step."
    epochs = epochs_of(config, config.steps)
    seen = f", which is {epochs:,.0f} epochs" if epochs else ""
    return f"{words} of {config.steps:,} steps of {config.batch} points each{seen}."


# -- which comparison ----------------------------------------------------------------------------


def shown_comparison() -> tuple[Comparison | None, dict[str, Comparison]]:
    """Return the comparison that the page shows, and all that the lab has.

    Without one of the lab's, it is the one that ships, if it is there.
    """
    known = {comparison.id: comparison for comparison in lab().comparisons()}
    asked = st.query_params.get("comparison")
    if asked in known and st.session_state.get("arena.written") != asked:
        st.session_state[SHOWN] = asked
    if st.session_state.get(SHOWN) not in known:
        st.session_state[SHOWN] = next(iter(known), None)
    own = known.get(st.session_state[SHOWN])
    chosen = own or _shipped()
    wanted = {"comparison": own.id} if own else {}
    st.session_state["arena.written"] = wanted.get("comparison")
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)
    return chosen, known


@st.cache_resource(show_spinner=False)
def _shipped() -> Comparison | None:
    path = SHIPPED / "comparison.json"
    return Comparison(path, RunStore(SHIPPED / "runs")) if path.exists() else None


def ships(comparison: Comparison) -> bool:
    """Return whether a comparison ships with the lab: it can only be looked at."""
    return comparison.path.parent == SHIPPED


def pick(known: dict[str, Comparison]) -> None:
    """Draw the choice among the comparisons of the lab, if there are several."""
    if len(known) > 1:
        st.selectbox(
            "Comparison",
            list(known),
            format_func=lambda name: title_of(known[name]),
            key=SHOWN,
            **KEPT,
        )


def title_of(comparison: Comparison) -> str:
    """Return what a comparison is, in a line."""
    terms = comparison.terms
    config = terms.config
    who = ", ".join(ENTRANTS[key].title for key in terms.entrants)
    long = f"{config.seconds:g} s" if config.seconds else f"{config.steps:,} steps"
    seeds = counted(config.seeds, "seed")
    made = clock(comparison.created)
    return f"{who} on {choice_label(config.dataset)}, {long}, {seeds} ({made})"


Pairs = list[tuple[Entry, View | None]]


def views_of(comparison: Comparison) -> Pairs:
    """Return the trainings of a comparison with what the lab knows of them."""
    if ships(comparison):
        runs = [(entry, comparison.run_of(entry)) for entry in comparison.entries]
        return [(entry, view_of(run) if run else None) for entry, run in runs]
    return [(entry, lab().view(entry.run)) for entry in comparison.entries]


# -- buttons -------------------------------------------------------------------------------------


def buttons(terms: Terms | None, comparison: Comparison | None, pairs: Pairs) -> None:
    """Draw the buttons, each in its place for good, and carry out what was clicked."""
    states = [view.status.state for _, view in pairs if view is not None]
    active = any(view.status.active for _, view in pairs if view is not None)
    ids = [view.run.id for _, view in pairs if view is not None]

    def draw(label: str, icon: str, enabled: bool, click, *args, **options) -> None:
        st.button(
            label,
            icon=f":material/{icon}:",
            disabled=not enabled,
            on_click=click,
            args=args,
            key=f"arena.{label.lower()}",
            **options,
        )

    tip = "RealNVP against Glow on 1,000 points of a mixture: 1,000 epochs, five seeds."
    primary = {"type": "primary"}
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="controls"):
        draw("Compare", "stadium", terms is not None and not active, _ask, terms, **primary)
        draw("Classic", "emoji_events", not active, _ask_classic, help=tip)
        draw("Stop", "stop", active, _stop, ids, help="Keeps what is done; Resume goes on.")
        can_resume = not active and any(state in UNDONE for state in states)
        draw("Resume", "resume", can_resume, _resume, ids)
        disabled = comparison is None or active or ships(comparison)
        with st.popover("Delete", icon=":material/delete:", disabled=disabled):
            st.markdown(f"Delete this comparison and its {len(ids)} runs for good?")
            st.button("Yes, delete it", type="primary", on_click=_delete, args=(comparison,))
    if (wanted := st.session_state.pop("arena.wanted", None)) is not None:
        _start(wanted)
    if refused := st.session_state.pop("arena.refused", None):
        st.error(refused)


def _ask(terms: Terms) -> None:
    st.session_state["arena.wanted"] = terms


def _ask_classic() -> None:
    use(CLASSIC)
    st.session_state["arena.wanted"] = CLASSIC


def _start(terms: Terms) -> None:
    """Give the trainings to the lab and write down which they are; then draw the page anew."""
    with refusals("arena.refused"):
        waiting = st.spinner("Measuring the pace of each model, some seconds")
        with waiting if terms.config.seconds else nullcontext():
            device = lab().devices_for(ENTRANTS[terms.entrants[0]].family)[0]
            steps = steps_measured_elsewhere(terms, device)
        entries = entries_for(terms, steps)
        ids = lab().submit_all([(entry.entrant.family, entry.config) for entry in entries])
        made = [Entry(e.entrant, e.seed, e.config, i) for e, i in zip(entries, ids, strict=True)]
        comparison = lab().compare(terms, made)
        for entry in made:
            name = f"Arena: {entry.entrant.title}, seed {entry.seed}"
            comparison.run_of(entry).notes.rename(name)
        st.session_state[SHOWN] = comparison.id
    st.rerun()


def _stop(ids: list[str]) -> None:
    with refusals("arena.refused"):
        lab().stop_all(ids)


def _resume(ids: list[str]) -> None:
    states = {run_id: view.status.state for run_id in ids if (view := lab().view(run_id))}
    with refusals("arena.refused"):
        lab().resume_all([run_id for run_id in ids if states.get(run_id) in UNDONE])


def _delete(comparison: Comparison) -> None:
    with refusals("arena.refused"):
        lab().delete_comparison(comparison)
    st.session_state[SHOWN] = None

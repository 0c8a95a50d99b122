"""The table of all runs, and what can be done with those that are ticked."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from datasets.own import DataError
from lab.imports.run_import import import_run
from lab.lab import LabFull
from lab.runs.notes import MAX_NAME
from lab.store import Run, RunError, Status
from registry import FAMILIES, Family
from ui.common.data import data_title, run_title, special_settings
from ui.common.downloads import deferred, say_what_becomes_of, show_command
from ui.common.lab import lab, rules
from ui.common.page import theme
from ui.common.plain import counted, plain, refusals, refuse
from ui.common.run_words import STATE_WORDS, address, clock, duration, moment, size_words, zone
from ui.common.uploads import take, uploads
from ui.lab_pages.side_by_side import draw_curve, setting, side_by_side, small_image

ALL = "All families"
THUMBNAIL, ROW = 64, 44  # pixels along a small image, and of a row that shows it
# The column of the metrics that tells most of a run, the first that it has.
RESULTS = {
    "kl_to_truth": "KL {:.3f} nats",
    "auroc_validation": "AUROC {:.3f}",
    "bits_per_dim_test": "{:.3f} bits/dim",
    "elbo_test": "ELBO {:.1f} nats",
    "bound_test": "-ELBO {:.3f} nats",
    "nll_test": "NLL {:.3f} nats",
    "taken_ab": "{:.0%} taken for B",
    "matching_test": "squared error {:.3f}",
    "diversity": "diversity {:.2f}",
    "cycle_error_a": "cycle error {:.3f}",
}
RESULT_HELP = "As measured last, on held-out data or samples; of different families not the same."
TICKED = "runs.ticked"


def desk() -> None:
    """Draw the table, and below it what fits the number of ticked runs."""
    if refused := st.session_state.pop("runs.refused", None):
        refuse(refused)
    say_what_becomes_of("The zip")
    found = [(run, run.trouble()) for run in lab().runs()]
    _unreadable([(run, why) for run, why in found if why])
    runs = [run for run, why in found if not why]
    if not runs:
        st.info("There are no runs yet: open a family and press **Train**, or import one below.")
        return
    families = {run.family.title: run.family for run in runs}
    chosen = st.selectbox("Family", [ALL, *families], key="runs.family", width=320)
    runs = [run for run in runs if chosen in (ALL, run.family.title)]
    statuses = {run.id: run.status() for run in runs}
    at_work = [run for run in runs if statuses[run.id].active]
    drawn = _states(at_work)
    frame = pd.DataFrame([_cells(run, statuses[run.id]) for run in runs])
    event = st.dataframe(
        frame,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key=f"{TICKED}.{len(runs)}.{chosen}",
        column_config=_columns(),
        row_height=ROW,
        height=min(420, 38 + ROW * len(runs)),
    )
    total = sum(_size(run.id, run.weights.version(), run) for run in runs)
    st.caption(f"{counted(len(runs), 'run')}, {size_words(total)} in all. {_whose()}")
    _say_what_leaves(runs)
    ticked = [runs[i] for i in event.selection.rows if i < len(runs)]
    if len(ticked) == 1:
        _one(ticked[0], statuses[ticked[0].id])
    elif ticked:
        side_by_side(ticked)
    _keep_fresh(drawn, at_work)


def _unreadable(runs: Sequence[tuple[Run, str]]) -> None:
    """List the runs that cannot be opened, and why; they can be deleted."""
    if not runs:
        return
    with st.expander(f"Runs that cannot be read: {len(runs)}", icon=":material/warning:"):
        for run, why in runs:
            words, delete = st.columns([5, 1], vertical_alignment="center")
            words.markdown(f"`{run.id}`: {plain(why)}")
            delete.button(
                "Delete",
                key=f"{run.id}.delete",
                disabled=not lab().may_change(run.id),
                on_click=_delete,
                args=(run.id,),
                width="stretch",
            )


def _keep_fresh(drawn: dict[str, str], shown: Sequence[Run]) -> None:
    """While something trains, look every two seconds whether a state is not what was drawn.

    Args:
        drawn: the states that the page was drawn with, as ``_states`` gives them.
        shown: the runs at work in the table, which other processes may train.
    """

    def look() -> None:
        if drawn != _states(shown):
            st.rerun()

    if drawn:
        st.fragment(run_every=2.0)(look)()


def _states(shown: Sequence[Run]) -> dict[str, str]:
    """Return the states of some runs and of those that this lab has at work."""
    here = {view.run.id: view.status.state for view in lab().active()}
    return {run.id: run.status().state for run in shown} | here


def _whose() -> str:
    if not lab().signed_in:
        return "There is no sign-in here: whoever opens this lab sees and controls them all."
    return "Those of others are here because they share them, or because you run this lab."


def _say_what_leaves(runs: Sequence[Run]) -> None:
    """Warn of runs that are deleted soon to make room."""
    limits = rules()
    if not limits.runs and not limits.disk_gb:
        return
    going = {run: at for run in runs if (at := run.notes.leaves()) is not None}
    if going:
        first = clock(min(going.values()))
        names = ", ".join(plain(run_title(run)) for run in going)
        st.warning(
            f"Room is short, so the oldest runs leave from {first} on: {names}. "
            "Download what you want to keep, or delete others."
        )


def _cells(run: Run, status: Status) -> dict[str, object]:
    word, _ = STATE_WORDS.get(status.state, (status.state, ""))
    return {
        "look": _look(run.id, run.weights.version(), theme(), run),
        "name": run.notes.name() or ", ".join(special_settings(run)) or "default settings",
        "result": _result(run.id, run.weights.version(), status.step, run),
        "family": run.family.title,
        "data": data_title(run),
        **({"owner": run.notes.access().name} if lab().signed_in else {}),
        "state": word,
        "done": status.step / status.total if status.total else 0.0,
        "step": status.step,
        "seconds": duration(status.seconds),
        "size": _size(run.id, run.weights.version(), run) / 1e6,
        "created": moment(status.created) if status.created else None,
    }


def _columns() -> dict[str, object]:
    column = st.column_config
    return {
        "look": column.ImageColumn("", width="small"),
        "name": column.TextColumn("Name", width="large"),
        "result": column.TextColumn("Result", help=RESULT_HELP),
        "family": "Family",
        "data": "Data",
        "owner": "Owner",
        "state": "State",
        "done": column.ProgressColumn("Done", format="percent", min_value=0, max_value=1),
        "step": column.NumberColumn("Step", format="localized"),
        "seconds": "Trained for",
        "size": column.NumberColumn("Size [MB]", format="%.1f"),
        "created": column.DatetimeColumn(f"Created ({zone()})", format="D MMM YYYY, HH:mm"),
    }


@st.cache_data(max_entries=1000, show_spinner=False)
def _size(run_id: str, version: float, _run: Run) -> int:
    return _run.size()


@st.cache_data(max_entries=1000, show_spinner=False)
def _result(run_id: str, version: float, step: int, _run: Run) -> str:
    """Return the number that tells most of a run, as it was measured last."""
    last = {name: value for row in _run.metrics.rows() for name, value in row.items()}
    name = next((name for name in RESULTS if name in last), None)
    return RESULTS[name].format(last[name]) if name else ""


@st.cache_data(max_entries=1000, show_spinner=False)
def _look(run_id: str, version: float, shade: str, _run: Run) -> str | None:
    """Return the newest snapshot as a small image, as an address that holds it."""
    steps = _run.snapshots.steps()
    image = small_image(_run, steps[-1], THUMBNAIL) if steps else None
    return f"data:image/png;base64,{b64encode(image).decode()}" if image else None


# -- one run -----------------------------------------------------------------------------------


def _one(run: Run, status: Status) -> None:
    family = run.family
    mine = lab().may_change(run.id)
    st.subheader(plain(run_title(run)), anchor=False)
    st.caption(f"`{run.id}` · {plain(status.message or 'nothing to report')}")
    _buttons(run, status, mine)
    key = f"{run.id}.name"
    st.session_state.setdefault(key, run.notes.name())
    st.text_input(
        "Name",
        key=key,
        max_chars=MAX_NAME,
        placeholder="Call it something you will remember",
        on_change=_rename,
        args=(run.id, key),
        disabled=not mine,
        width=420,
    )
    if lab().signed_in:
        _sharing(run, mine)
    left, right = st.columns(2)
    with left:
        st.markdown("**Settings** that differ from the defaults")
        _settings_table(family, run)
    with right:
        draw_curve([run])


def _buttons(run: Run, status: Status, mine: bool) -> None:
    family = run.family
    opening, resume, download, delete = st.columns(4)
    opening.page_link(
        f"pages/{family.page}.py",
        label=f"Open on the page of {FAMILIES[family.page].title}",
        icon=family.icon,
        query_params=address(run),
    )
    resume.button(
        "Resume",
        icon=":material/resume:",
        disabled=not mine or not status.resumable,
        on_click=_resume,
        args=(run.id,),
        width="stretch",
    )
    download.download_button(
        "Download (zip)",
        deferred(run.zipped, "The zip"),
        f"{run.id}.zip",
        "application/zip",
        on_click="ignore",
        icon=":material/download:",
        width="stretch",
    )
    with delete.popover(
        "Delete", icon=":material/delete:", disabled=not mine or status.active, width="stretch"
    ):
        st.markdown("Delete this run for good, with its weights and snapshots?")
        st.button("Yes, delete it", type="primary", on_click=_delete, args=(run.id,))


def _sharing(run: Run, mine: bool) -> None:
    key = f"{run.id}.shared"
    st.session_state[key] = run.notes.access().shared
    st.toggle(
        "Everybody may look at it",
        key=key,
        disabled=not mine,
        help="Others can then open and download it and use its settings, but not change it. "
        "Its address is all they need.",
        on_change=_share,
        args=(run.id, key),
    )


def _settings_table(family: Family, run: Run) -> None:
    rows = [
        {"setting": knob.label, "value": setting(run, knob.name), "default": str(knob.default)}
        for knob in family.training.config.knobs()
        if getattr(run.config, knob.name) != knob.default
    ]
    if rows:
        st.dataframe(pd.DataFrame(rows), hide_index=True)
    else:
        st.caption("None: it was trained as the page offers it.")
    show_command(run)


def _resume(run_id: str) -> None:
    with refusals("runs.refused"):
        lab().resume(run_id)


def _rename(run_id: str, key: str) -> None:
    with refusals("runs.refused"):
        lab().rename(run_id, st.session_state[key])


def _share(run_id: str, key: str) -> None:
    with refusals("runs.refused"):
        lab().share(run_id, st.session_state[key])


def _delete(run_id: str) -> None:
    with refusals("runs.refused"):
        lab().delete(run_id)
        for family in FAMILIES:  # its page must not look for it
            if st.session_state.get(f"{family}.run") == run_id:
                st.session_state[f"{family}.run"] = None


# -- import ------------------------------------------------------------------------------------


def bring_in() -> None:
    """Draw the upload of a run as zip."""
    with st.expander("Import a run", icon=":material/upload:", key="runs.import"):
        st.caption(
            "The zip that **Take away** or this page gives. Nothing in it is executed, and each "
            "file is checked before it is used. A checkpoint is left out."
        )
        take(
            "A run (zip)",
            ["zip"],
            "runs.file",
            advice="Copy the folder of a larger run into the lab's folder of runs.",
            on_change=_import,
        )
        if word := st.session_state.get("runs.imported"):
            (st.success if word[0] else st.error)(word[1])


def _import() -> None:
    files = uploads(st.session_state["runs.file"])
    st.session_state.pop("runs.imported", None)
    if not files:
        return
    (file,) = files
    try:
        run = lab().bring_in(lambda store: import_run(store, file.path))
    except (DataError, LabFull, RunError) as error:
        st.session_state["runs.imported"] = False, plain(f"{file.name}: {error}")
        return
    words = f"{plain(run_title(run))} is in the table above."
    st.session_state["runs.imported"] = True, words

"""A form from a config: one widget per field, values in the page's URL, bounds by the config."""

from __future__ import annotations

import functools
import re
from itertools import islice
from typing import Any

import streamlit as st

from datasets.defects import DefectSet
from datasets.files.images import SUFFIXES
from datasets.own import DataError, OwnData
from datasets.own_images import OwnImages
from datasets.own_pairs import OwnPairs
from datasets.plane import OWN
from lab.store import Run
from registry import FAMILIES, Family
from training.core.config import MAX_PROBLEMS, ConfigError, Knob, RunConfig, current_names
from ui.common.plain import plain, refuse
from ui.common.run_words import adopt_run, shown_run
from ui.common.uploads import SINGLE, Upload, read_apart, read_once, take

NETWORKS = {
    "mlp": "Fully connected",
    "conv": "Convolutional",
    "residual": "Residual",
    "dcgan": "DCGAN",
}
OWN_KEY = "own_data"  # the user's data is shared by all pages of a session
KEPT_AS = {
    OwnData: OWN_KEY,
    OwnImages: "own_images",
    OwnPairs: "own_pairs",
    DefectSet: "own_defects",
}


def config_form(family: Family) -> RunConfig:
    """Draw the widgets of a family's config, grouped, and return what they say.

    At the first visit the values come from the URL. Those that are out of range or unknown are
    named in a message, and the default takes their place.
    """
    config = family.training.config
    knobs = config.knobs()
    _fill_from_url(family, knobs, _adopt_run(family))
    groups: dict[str, list[Knob]] = {}
    for knob in sorted(knobs, key=lambda k: ("Data", "Model", "Training").index(k.group)):
        groups.setdefault(knob.group, []).append(knob)
    values: dict[str, Any] = {}
    for title, members in groups.items():
        st.markdown(f"**{title}**")
        for knob in members:
            values[knob.name] = _widget(knob, f"{family.stem}.{knob.name}", family.stem)
    parsed = config.parse(values)
    _write_url(family, parsed)
    return parsed


def own_points(_family: Family, config: RunConfig) -> tuple[OwnData | None, bool]:
    """Draw the upload of the user's own points, if the config asks for it.

    Returns:
        The data and whether there is all that a training needs.
    """
    if config.dataset != OWN:
        return None, True
    held: OwnData | None = st.session_state.get(OWN_KEY)
    files = take(
        "A CSV of points, or an image",
        ["csv", "txt", "tsv", *SUFFIXES],
        "own_points.file",
        advice="Thin a larger table out, save a larger image as JPEG.",
        help="Two columns of numbers; or an image, whose dark pixels become the density.",
    )
    if files:
        try:
            held = read_once(OWN_KEY, files[0].id, lambda: _read_points(files[0]))
            st.session_state[OWN_KEY] = held
        except DataError as error:
            refuse(error)
    if held is None:
        st.info("Upload a file, then press Train.")
    elif held.kind == "points":
        taken = f", x from {plain(held.columns[0])}, y from {plain(held.columns[1])}"
        st.caption(
            f"{len(held.array):,} points from {plain(held.name)}{taken if held.columns else ''}; "
            "a fifth is held out as test set."
        )
    else:
        height, width = held.array.shape
        st.caption(f"{plain(held.name)}, read as {width} x {height} cells of density.")
    return held, held is not None


def _read_points(file: Upload) -> OwnData:
    return read_apart(
        "datasets.own:read_own", file.whole, file.name, load=OwnData.load, bounds=SINGLE
    )


def url_problems(family: Family) -> None:
    """Say which values in the address of the page could not be used, until the form is touched."""
    problems = st.session_state.get(f"{family.stem}.problems", [])
    if problems:
        lines = "".join(f"\n- {plain(problem)}" for problem in problems)
        st.warning(
            f"The address of this page has values that cannot be used; defaults stand in.{lines}"
        )


def use_config(family: Family, config: RunConfig) -> None:
    """Set the widgets to the values of a config. Only before they are drawn (a callback, say)."""
    for knob in config.knobs():
        st.session_state[f"{family.stem}.{knob.name}"] = getattr(config, knob.name)


def use_settings_of(run: Run, **changed: Any) -> None:
    """Set the widgets to the settings of a run, some of them changed, and bring its data along.

    Only before they are drawn (a callback, say).
    """
    use_config(run.family, run.config.replace(**changed))
    _bring_data(run)


def _bring_data(run: Run) -> None:
    """Keep the user's own data of a run in the session, as if they had been uploaded."""
    try:
        own = run.own_data()
    except DataError as error:
        st.session_state.setdefault(f"{run.family.stem}.problems", []).append(str(error))
        return
    if own is not None:
        st.session_state[KEPT_AS[type(own)]] = own


# What those who pass a link on, mailing lists say, hang onto it: no setting of anybody's.
_TRACKING = re.compile(r"utm_\w+|\w*clid|mc_[ce]id|_ga|_gl|igshid|ref(errer|_src)?|source")


def _asked() -> dict[str, str]:
    """Return the settings that the address of the page names, by their names of today."""
    given = {k: v for k, v in st.query_params.items() if not _TRACKING.fullmatch(k)}
    return current_names({k: v for k, v in given.items() if k not in ("run", "on", "exercise")})


def address_is_new() -> bool:
    """Return whether the visitor came by an address that the page did not write itself.

    So it is after a link and after *Back*. From the menu one comes without any: then what was set
    before stays as it is.
    """
    written, address = st.session_state.get("address"), st.query_params.to_dict()
    return bool(address) if written is None else address != written


def _is_addressed(family: Family) -> bool:
    """Return whether the URL speaks of this family, and not of another variant on the same page."""
    return st.query_params.get("on", family.page) == family.stem


def _adopt_run(family: Family) -> RunConfig | None:
    """Have the page show the run that the address names, if it does; return its settings."""
    if not _is_addressed(family):
        return None
    try:
        run = adopt_run(family)
    except KeyError:
        problem = "The run it names does not exist (any more) for this family."
        st.session_state.setdefault(f"{family.stem}.problems", []).append(problem)
        return None
    if run is None:
        return _shipped_config(family)
    _bring_data(run)
    return run.config


def _shipped_config(family: Family) -> RunConfig | None:
    """Return the settings of the shipped run, where an exercise is about that one."""
    view, is_shipped = shown_run(family)
    asked = "exercise" in st.query_params and view is not None and is_shipped
    return view.run.config if asked else None


def _fill_from_url(family: Family, knobs: list[Knob], used: RunConfig | None) -> None:
    """Set the widgets to what the address says, and the rest to a run's settings or defaults."""
    addressed = _is_addressed(family)
    first = f"{family.stem}.{knobs[0].name}"
    if first in st.session_state and not (addressed and address_is_new()):
        return
    given = _asked() if addressed else {}
    known = {knob.name for knob in knobs}
    problems = st.session_state.get(f"{family.stem}.problems", [])
    unknown = (f"{name[:40]!r} is not a setting." for name in given if name not in known)
    problems += islice(unknown, MAX_PROBLEMS)
    for knob in knobs:
        value = knob.default if used is None or given else getattr(used, knob.name)
        if knob.name in given:
            try:
                alone = family.training.config.parse({knob.name: given[knob.name]})
                value = getattr(alone, knob.name)
            except ConfigError as error:
                problems.append(str(error))
        st.session_state[f"{family.stem}.{knob.name}"] = value
    st.session_state[f"{family.stem}.problems"] = problems


def _write_url(family: Family, config: RunConfig) -> None:
    wanted = {
        knob.name: str(getattr(config, knob.name)).lower()
        if knob.kind == "bool"
        else str(getattr(config, knob.name))
        for knob in config.knobs()
        if getattr(config, knob.name) != knob.default
    }
    if family.page != family.stem:
        wanted["on"] = family.stem
    if exercise := st.session_state.get(f"{family.stem}.exercise"):
        wanted["exercise"] = exercise
    if run := st.session_state.get(f"{family.stem}.run"):
        wanted["run"] = st.session_state[f"{family.stem}.written"] = run
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)
    st.session_state["address"] = wanted


def _widget(knob: Knob, key: str, stem: str) -> Any:
    """Draw the widget that fits a field; its value is in the session under ``key``."""
    common = {
        "label": knob.label,
        "help": knob.help,
        "key": key,
        "persist_state": "session",
        "on_change": _forget_problems,
        "args": (stem,),
    }
    return knob_widget(knob, st, **common)


def knob_widget(knob: Knob, where, *, key: str, **options: Any) -> Any:
    """Draw the widget that fits a field and return what it says.

    Args:
        knob: the field.
        where: ``st`` or a column.
        key: where its value is in the session; it must be there already.
        options: what every widget takes, its label first of all.
    """
    options["key"] = key
    if knob.kind == "choice":
        return where.selectbox(options=knob.choices, format_func=choice_label, **options)
    if knob.kind == "bool":
        return where.toggle(**options)
    if knob.scale == "log":
        values = log_options(knob, st.session_state[key])
        return where.select_slider(options=values, format_func=lambda v: f"{v:g}", **options)
    number = int if knob.kind == "int" else float
    bounds = {"min_value": number(knob.low), "max_value": number(knob.high)}
    if (knob.high - knob.low) / knob.step > 1000:
        return where.number_input(step=number(knob.step), **bounds, **options)
    return where.slider(step=number(knob.step), **bounds, **options)


def log_options(knob: Knob, value: float) -> list[float]:
    """Return 1-2-5 values between the bounds of a knob, and ``value`` itself."""
    decades = [float(f"{m}e{e}") for e in range(-8, 4) for m in (1, 2, 5)]
    return sorted({v for v in decades if knob.low <= v <= knob.high} | {value})


def choice_label(choice: str) -> str:
    """Return what a choice, the name of a data set say, is called on the pages."""
    return _titles().get(choice) or choice.replace("_", " ").capitalize()


@functools.cache
def _titles() -> dict[str, str]:
    """Return what the known sets of all families are called, and what else has a name."""
    kinds = (family.training.data for family in FAMILIES.values())
    sets = {name: title for kind in kinds for name, title in kind.titles.items()}
    return {**sets, **NETWORKS, OWN: "My own data"}


def _forget_problems(stem: str) -> None:
    st.session_state.pop(f"{stem}.problems", None)

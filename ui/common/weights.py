"""Weights from a file: an upload that becomes the run that a page shows."""

from __future__ import annotations

import streamlit as st

from datasets.files.apart import turn
from datasets.own import DataError
from lab.imports.weights_import import read_weights, run_from_weights
from lab.lab import LabFull
from lab.store import RunError
from registry import FAMILIES, Family
from training.core.family import Own
from ui.common.lab import lab
from ui.common.plain import refuse
from ui.common.run_words import show
from ui.common.uploads import take, uploads


def load_weights(family: Family, own: Own | None) -> None:
    """Draw the upload of weights, and say why a file was refused.

    Args:
        family: whose page this is.
        own: the user's own data, for weights that were trained on it.
    """
    key = f"{family.stem}.weights.file"
    with st.expander("Load weights from a file", icon=":material/upload:", key=f"{key}.box"):
        st.caption(
            "The `model.safetensors` of a run, yours or somebody else's. It holds numbers and no "
            "program; names, shapes and sizes are compared with the model before any of it is used."
        )
        take(
            f"Weights of {family.title}",
            ["safetensors"],
            key,
            advice="Those of a larger model go on from the folder of their run.",
            on_change=_take,
            args=(family, key, own),
        )
        if refused := st.session_state.get(f"{key}.refused"):
            refuse(refused)


def _take(family: Family, key: str, own: Own | None) -> None:
    """Make a run of the uploaded file and show it; a callback, before the page is drawn."""
    files = uploads(st.session_state[key])
    st.session_state.pop(f"{key}.refused", None)
    if not files:
        return
    (file,) = files
    try:
        with turn():  # one model at a time is made here
            weights = read_weights(file.path)
            if weights.family is not family:
                raise DataError(_of_another_page(weights.family))
            run = lab().bring_in(lambda store: run_from_weights(store, weights, file.name, own))
    except (DataError, LabFull, RunError) as error:
        st.session_state[f"{key}.refused"] = f"{file.name}: {error}"
        return
    show(family, run.id)


def _of_another_page(other: Family) -> str:
    page = FAMILIES[other.page].title
    where = f"its page, {page}" if other.stem == other.page else f"the page of {page}"
    return f"These are weights of {other.title}: load them on {where}."

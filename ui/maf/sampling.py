"""Sampling from a trained MAF, watched: noise becomes an image, dimension after dimension."""

from __future__ import annotations

import streamlit as st

from analysis.maf_sampling import Filling, fill
from figures.maf_pictures import enlarged, film, sheet
from figures.pictures import png
from lab.store import Run
from lab.view import View
from training.core.defect_flow import DefectFlow
from ui.common.page import show_image, theme
from ui.maf.model import trained

SIDE = 384


def sampling(view: View, version: float) -> None:
    """Draw one image from the model and how it came about."""
    if (experiment := trained(view, version)) is None:
        return
    left, right = st.columns([3, 1.2], vertical_alignment="bottom")
    temperature = left.slider(
        "Temperature",
        0.0,
        1.2,
        0.7,
        0.05,
        key=f"{view.run.id}.temperature",
        help="What the latents are multiplied by. 1 is the model itself.",
    )
    key = f"{view.run.id}.draw"
    right.button(
        "Draw another",
        icon=":material/casino:",
        key=f"{key}.next",
        on_click=_next,
        args=(key,),
        width="stretch",
    )
    seed = st.session_state.get(key, 1)
    found = _filling(view.run.id, version, seed, temperature, experiment)
    st.fragment(_watch)(view.run, version, seed, temperature, found)
    _words(experiment, found)


def _next(key: str) -> None:
    st.session_state[key] = st.session_state.get(key, 1) + 1


def _watch(run: Run, version: float, seed: int, temperature: float, found: Filling) -> None:
    last = len(found.frames) - 1
    at = st.slider("Stop it at stage", 0, last, last, key=f"{run.id}.frame")
    moving, still = st.columns(2)
    moving.image(
        _film(run.id, version, seed, temperature, found),
        alt="A film of the image as it fills",
        width="stretch",
    )
    moving.caption("**As it fills**, again and again")
    drawn = png(sheet([[enlarged(found.frames[at], SIDE)]], theme()))
    done, share = found.places[at]
    if at == 0:
        words = "The latents: independent noise."
    else:
        words = f"Block {done + 1}, counted from the latents: {share:.0%} of its dimensions known."
    show_image(still, drawn, f"The image at stage {at} of {last}", words)


def _words(experiment: DefectFlow, found: Filling) -> None:
    config = experiment.config
    dims, count = config.features, 1 if config.model == "image" else None
    degrees = min(config.hidden, dims - 1)
    many = "" if count else " All patches of the image are drawn at once, each given its place."
    st.caption(
        f"Sampling took **{1000 * found.seconds:,.0f} ms**, the way back (data to latents) "
        f"{1000 * found.forward:,.0f} ms: a ratio of {found.seconds / found.forward:.1f}, measured "
        f"here and now, once.{many} The textbook's way asks the network once per dimension, "
        f"{config.blocks} x {dims:,} full passes. Here the hidden units are sorted by degree: "
        f"between two degrees all is known that a whole group of outputs needs. So a block takes "
        f"at most {degrees + 1:,} short steps, and each hidden unit is computed once."
    )


@st.cache_data(max_entries=12, show_spinner="Sampling")
def _filling(
    run_id: str, version: float, seed: int, temperature: float, _experiment: DefectFlow
) -> Filling:
    return fill(_experiment, seed=seed, temperature=temperature)


@st.cache_data(max_entries=12, show_spinner=False)
def _film(run_id: str, version: float, seed: int, temperature: float, _found: Filling) -> bytes:
    return film(list(_found.frames), SIDE)

"""Sampling from a trained MAF, watched: noise becomes an image, dimension after dimension."""

from __future__ import annotations

import streamlit as st

from analysis.maf_sampling import Filling, fill
from figures.images import png
from figures.maf_images import enlarged, film, sheet
from lab.store import Run
from lab.view import View
from training.defects.flows import DefectFlow
from ui.common.cached import kept, painted
from ui.common.page import show_image, theme
from ui.maf.model import learned

SIDE = 384


def sampling(view: View, version: float) -> None:
    """Draw one image from the model and how it came about."""
    if (experiment := learned(view, version)) is None:
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
    by = view.run.id, version, seed, temperature
    found = kept(_filling, by, experiment, seed, temperature, words="Sampling")
    st.fragment(_watch)(view.run, by, found)
    _words(experiment, found)


def _next(key: str) -> None:
    st.session_state[key] = st.session_state.get(key, 1) + 1


def _watch(run: Run, by: tuple, found: Filling) -> None:
    last = len(found.frames) - 1
    at = st.slider("Stop it at stage", 0, last, last, key=f"{run.id}.frame")
    moving, still = st.columns(2)
    moving.image(
        painted(_film, by, found),
        alt="A film of the image as it fills",
        width="stretch",
    )
    moving.caption("**As it fills**, again and again")
    drawn = png(sheet([[enlarged(found.frames[at], SIDE)]], theme()))
    done, known = found.places[at]
    if at == 0:
        words = "The latents: independent noise."
    else:
        words = f"Block {done + 1}, counted from the latents: {known:.0%} of its dimensions known."
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


def _filling(experiment: DefectFlow, seed: int, temperature: float) -> Filling:
    return fill(experiment, seed=seed, temperature=temperature)


def _film(found: Filling) -> bytes:
    return film(list(found.frames), SIDE)

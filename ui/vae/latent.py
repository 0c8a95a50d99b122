"""The latent space of a trained autoencoder: a map to click on, walks, and ways between images."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from analysis.image_latents import blend
from analysis.vae_latents import class_means, decode, normal_lattice, walk
from figures.image_figures import labelled_rows, tile
from figures.pictures import png
from figures.vae_figures import map_chart, reach_of
from lab.view import View
from metrics.vae import ACTIVE, encode, unit_variances
from ui.common.plain import plain
from ui.image_flows.desk import Base, choose_base, choose_part, choose_two, sheet
from ui.vae.model import Latents, VAEDesk, at_vae_desk, latents_of

SHOWN = 1500  # test images on the map
GRID = 20  # images along each side of the manifold
STEPS = 11  # images on a way
UNITS = 10  # walks drawn at once at most
REACH = 3.0  # how far a walk goes, in standard deviations of the prior


def latent_space(view: View, version: float) -> None:
    """Draw the part of the latent space that was chosen."""
    desk = at_vae_desk(view, version)
    if desk is None:
        return
    parts = {"Map": _map}
    if desk.model.latent == 2:
        parts["Manifold"] = _manifold
    parts |= {"Walk": _walk, "Interpolate": _interpolate, "Arithmetic": _arithmetic}
    choose_part(desk, "Latent space", parts)


# -- map -----------------------------------------------------------------------------------------


def _map(desk: VAEDesk) -> None:
    found = latents_of(desk)
    st.markdown(
        f"**Click anywhere: on a {desk.word}, between two, or where none is.** The point is "
        "decoded."
    )
    _clickable(desk, found)


@st.fragment
def _clickable(desk: VAEDesk, found: Latents) -> None:
    chart, decoded = st.columns([1.6, 1], gap="medium")
    with chart:
        drawn = _map_chart(*desk.where, desk, found)
        picked = st.vega_lite_chart(
            *drawn,
            key=desk.key("map"),
            on_select="rerun",
            selection_mode="place",
            alt="Means of test images in the plane; click on a point to decode it",
        )
        st.caption(_about(desk, found))
    place = next(iter(picked.selection.get("place", [])), {"x": 0.0, "y": 0.0})
    with decoded:
        _decoded(desk, found, float(place["x"]), float(place["y"]))


def _about(desk: VAEDesk, found: Latents) -> str:
    count = min(SHOWN, len(found.points))
    words = f"Each mark is the mean of q(z | x) of one of {count:,} test images, by its class. "
    if desk.model.latent == 2:
        return words + "The two axes are the two latent units: this is the whole latent space."
    one, two = found.plane.explained
    return words + (
        f"Of {desk.model.latent} units, the plane holds the two directions in which the means vary "
        f"most (PCA): {one:.0%} and {two:.0%} of their variance. A click decodes the point of this "
        "plane; in the other directions it is the average image's."
    )


@st.cache_data(max_entries=16, show_spinner=False)
def _map_chart(run_id: str, version: float, shade: str, _desk: VAEDesk, _found: Latents):
    some = torch.randperm(len(_found.points), generator=torch.Generator().manual_seed(4))[:SHOWN]
    points, labels = _found.points[some].numpy(), _found.labels[some].numpy()
    two = _desk.model.latent == 2
    axes = ("latent unit 1", "latent unit 2") if two else ("component 1", "component 2")
    names = _desk.trained.images.classes
    return map_chart(points, labels, names, reach_of(_found.points.numpy()), axes, shade)


def _decoded(desk: VAEDesk, found: Latents, x: float, y: float) -> None:
    z = found.plane.lift(torch.tensor([[x, y]]))
    near = torch.cdist(z, found.means)[0].topk(min(5, len(found.means)), largest=False).indices
    image, real = desk.shown(decode(desk.model, z)), desk.shown(desk.trained.images.test[near])
    sheet(
        tile(image, 1, desk.shade, scale=max(1, 280 // image.shape[-1])),
        f"Decoded at {x:.2f}, {y:.2f}",
        f"The point **({x:.2f}, {y:.2f})**, decoded",
    )
    names = desk.trained.images.classes
    classes = ", ".join(plain(names[k]) for k in found.labels[near].tolist())
    caption = f"The nearest test images in latent space: {classes}"
    sheet(tile(real, 5, desk.shade, width=280), "Nearest test images", caption)
    st.caption(
        f"Its length is {float(z.norm()):.2f}; latents of the prior have about "
        f"{desk.model.latent**0.5:.2f}."
    )


# -- manifold ------------------------------------------------------------------------------------


def _manifold(desk: VAEDesk) -> None:
    st.markdown(
        f"**See all that it can draw.** {GRID} x {GRID} points of the latent space, decoded: each "
        "stands for an equal share of the prior, so what takes much room here is what samples show "
        "often."
    )
    sheet(_manifold_png(*desk.where, desk), "The decoded latent space, point by point")


@st.cache_data(max_entries=16, show_spinner="Decoding the plane")
def _manifold_png(run_id: str, version: float, shade: str, _desk: VAEDesk) -> bytes:
    images = _desk.shown(decode(_desk.model, normal_lattice(GRID)))
    side = images.shape[-1]
    # Side by side without a gap: it is one surface.
    rows = images.reshape(GRID, GRID, -1, side, side).transpose(2, 0, 3, 1, 4)
    whole = rows.reshape(1, -1, GRID * side, GRID * side)
    return png(tile(whole, 1, shade, scale=max(1, 800 // (GRID * side))))


# -- walk ----------------------------------------------------------------------------------------


def _walk(desk: VAEDesk) -> None:
    st.markdown(
        f"**Turn one unit, leave the others.** A row is one latent unit from −{REACH:g} to "
        f"{REACH:g}; the column in the middle is at 0. The units that vary most over the test "
        "images come first."
    )
    left, right = st.columns([1, 2.4])
    with left:
        base = choose_base(desk, "Start from", min(4, len(desk.trained.images.classes) - 1), st)
        unit, value = _turn(desk)
        pair = _turned_png(*desk.where, _bytes(base), unit, value, desk, base)
        sheet(pair, "The image decoded, and with one unit turned", "Decoded, and turned")
    with right:
        drawn = _walks_png(*desk.where, _bytes(base), desk, base)
        sheet(drawn, "Walks along single latent units")
    variances = unit_variances(latents_of(desk).means)
    used = int((variances > ACTIVE).sum())
    st.caption(
        f"{used} of {desk.model.latent} units are in use: over the test images their mean varies "
        f"by more than {ACTIVE}. Turning one of the others changes nothing."
    )


def _turn(desk: VAEDesk) -> tuple[int, float]:
    order = unit_variances(latents_of(desk).means).argsort(descending=True).tolist()
    unit = st.selectbox(
        "Unit",
        order,
        format_func=lambda k: f"unit {k + 1}",
        key=desk.key("unit"),
        persist_state="session",
    )
    value = st.slider(
        "Its value", -REACH, REACH, 0.0, 0.1, key=desk.key("value"), persist_state="session"
    )
    return unit, value


@st.cache_data(max_entries=64, show_spinner=False)
def _turned_png(
    run_id: str,
    version: float,
    shade: str,
    pixels: bytes,
    unit: int,
    value: float,
    _desk: VAEDesk,
    _base: Base,
) -> bytes:
    z = encode(_desk.model, _base.image).repeat(2, 1)
    z[1, unit] = value
    return png(tile(_desk.shown(decode(_desk.model, z)), 2, shade, width=284))


@st.cache_data(max_entries=32, show_spinner=False)
def _walks_png(
    run_id: str, version: float, shade: str, pixels: bytes, _desk: VAEDesk, _base: Base
) -> bytes:
    z = encode(_desk.model, _base.image)[0]
    variances = unit_variances(latents_of(_desk).means)
    units = variances.argsort(descending=True)[:UNITS].tolist()
    ways = torch.cat([walk(z, unit, REACH, STEPS) for unit in units])
    labels = [f"unit {unit + 1}" for unit in units]
    images = _desk.shown(decode(_desk.model, ways))
    return png(labelled_rows(images, STEPS, labels, shade, width=620))


# -- interpolate ---------------------------------------------------------------------------------


def _interpolate(desk: VAEDesk) -> None:
    st.markdown(
        f"**Choose two real {desk.word}s.** Both are encoded, and what lies between their latents "
        "is decoded. The last row fades the pixels of the two into each other instead."
    )
    start, end = choose_two(desk)
    drawn = _between_png(*desk.where, _bytes(start, end), desk, start, end)
    words = (
        "The first and last column of the upper row are reconstructions: what the latents keep of "
        "the two images below them."
    )
    sheet(drawn, "Images between two real ones", words)


@st.cache_data(max_entries=64, show_spinner=False)
def _between_png(
    run_id: str,
    version: float,
    shade: str,
    pixels: bytes,
    _desk: VAEDesk,
    _start: Base,
    _end: Base,
) -> bytes:
    images = torch.cat([_start.image, _end.image])
    start, end = encode(_desk.model, images)
    shares = torch.linspace(0, 1, STEPS)
    between = _desk.shown(decode(_desk.model, blend(start, end, shares)))
    shares = shares[:, None, None, None]
    faded = _desk.shown(((1 - shares) * images[0] + shares * images[1]) / 255)
    rows = np.concatenate([between, faded])
    return png(labelled_rows(rows, STEPS, ["latents", "pixels"], shade))


# -- arithmetic ----------------------------------------------------------------------------------


def _arithmetic(desk: VAEDesk) -> None:
    names = desk.trained.images.classes
    st.markdown(
        f"**Take one class off and add another.** To the latents of one {desk.word} comes the mean "
        "of a class, less the mean of another: what the two classes differ in changes, and what is "
        "the image's own, its slant or its stroke, should stay."
    )
    there = desk.trained.images.test_labels.unique().tolist()
    left, middle, right = st.columns(3)
    base = choose_base(desk, "Start from", min(4, len(names) - 1), left)
    minus = _class(desk, "Less the mean of", base.label, there, middle)
    plus = _class(desk, "Plus the mean of", 9 if 9 in there else there[-1], there, middle)
    share = right.slider(
        "How much of it", 0.0, 1.5, 1.0, 0.1, key=desk.key("share"), persist_state="session"
    )
    parts, ways = _sum_png(*desk.where, _bytes(base), minus, plus, share, desk, base)
    words = (
        f"The real {desk.word} and its reconstruction; the means of {plain(names[minus])} and "
        f"{names[plus]}, decoded; and the sum."
    )
    sheet(parts, "An image, the means of two classes, and the sum", words)
    sheet(ways, "The way of the sum", "The sum with 0 to 1.5 times the difference.")


def _class(desk: VAEDesk, name: str, first: int, there: list[int], where) -> int:
    key = desk.key(name)
    if st.session_state.get(key) not in there:
        st.session_state[key] = first if first in there else there[0]
    return where.selectbox(
        name,
        there,
        format_func=lambda k: desk.trained.images.classes[k],
        key=key,
        persist_state="session",
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _sum_png(
    run_id: str,
    version: float,
    shade: str,
    pixels: bytes,
    minus: int,
    plus: int,
    share: float,
    _desk: VAEDesk,
    _base: Base,
) -> tuple[bytes, bytes]:
    means = _means(run_id, version, _desk)
    z, way = encode(_desk.model, _base.image), means[plus] - means[minus]
    first = torch.cat([z, means[[minus, plus]], z + share * way])
    ways = z + torch.linspace(0, 1.5, STEPS)[:, None] * way
    top = np.concatenate([_desk.shown(_base.image), _desk.shown(decode(_desk.model, first))])
    between = _desk.shown(decode(_desk.model, ways))
    return png(tile(top, 5, shade, width=420)), png(tile(between, STEPS, shade))


@st.cache_resource(max_entries=6, show_spinner="Encoding training images")
def _means(run_id: str, version: float, _desk: VAEDesk) -> Tensor:
    """Return the mean latents of each class, from up to 5,000 training images."""
    images = _desk.trained.images
    some = torch.randperm(len(images.train), generator=torch.Generator().manual_seed(0))[:5000]
    latents = encode(_desk.model, images.train[some])
    return class_means(latents, images.train_labels[some], len(images.classes)).nan_to_num()


def _bytes(*bases: Base) -> bytes:
    """Return what images to start from are cached by."""
    return b"".join(base.image.numpy().tobytes() + bytes([base.label % 256]) for base in bases)

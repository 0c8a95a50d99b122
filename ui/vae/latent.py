"""The latent space of a trained autoencoder: a map to drag over, walks, and ways between images."""

from __future__ import annotations

from functools import partial

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from analysis.image_latents import blend
from analysis.vae_latents import class_means, decode, normal_lattice, walk
from figures.image_figures import labelled_rows, tile
from figures.images import png
from figures.vae_figures import reach_of
from lab.view import View
from metrics.vae import ACTIVE, encode, unit_variances
from ui.common.plain import plain
from ui.common.widgets import KEPT, among, choose_part
from ui.image_flows.desk import Base, at_desk, choose_base, choose_two, sheet
from ui.stage.component import asked_point, show_stage
from ui.stage.encode import encode as block_of
from ui.stage.latents import drag_images, lattice_images
from ui.stage.scene import Panel, Scene
from ui.vae.model import AXES, COMPONENTS, Latents, VAEDesk, by_class, latents_of, square

SHOWN = 1500  # test images on the map
GRID = 20  # images along each side of the manifold
STEPS = 11  # images on a way
UNITS = 10  # walks drawn at once at most
REACH = 3.0  # how far a walk goes, in standard deviations of the prior


def latent_space(view: View, version: float) -> None:
    """Draw the part of the latent space that was chosen."""
    desk = at_desk(view, version, VAEDesk)
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
        f"**Drag the red point: over a {desk.word}, between two, or where none is.** It is decoded "
        "as it moves; arrow keys move it, too."
    )
    _draggable(desk, found)


@st.fragment
def _draggable(desk: VAEDesk, found: Latents) -> None:
    key = desk.key("map")
    point = asked_point(key, (0.0, 0.0), _window(found))
    show_stage(desk.painted(_map_block, point), key=key)
    near, about = st.columns([1, 1.6], gap="medium")
    with near:
        _nearest(desk, found, point)
    about.caption(_about(desk, found))


def _about(desk: VAEDesk, found: Latents) -> str:
    count = min(SHOWN, len(found.points))
    words = f"Each mark is the mean of q(z | x) of one of {count:,} test images, by its class. "
    if desk.model.latent == 2:
        return words + "The two axes are the two latent units: this is the whole latent space."
    one, two = found.plane.explained
    return words + (
        f"Of {desk.model.latent} units, the plane holds the two directions in which the means vary "
        f"most (PCA): {one:.0%} and {two:.0%} of their variance. What is decoded is the point of "
        "this plane; in the other directions it is the average image's."
    )


def _window(found: Latents) -> tuple[float, float, float, float]:
    return square(reach_of(found.points.numpy()))


def _map_block(desk: VAEDesk, point: tuple[float, float]) -> bytes:
    """Return the map with the point that is dragged over it, and what it is decoded to."""
    found = latents_of(desk)
    box = _window(found)
    some = torch.randperm(len(found.points), generator=torch.Generator().manual_seed(4))[:SHOWN]
    layers = by_class(found.points[some].numpy(), found.labels[some].numpy(), desk.images.classes)
    axes = AXES if desk.model.latent == 2 else COMPONENTS
    panels = [
        Panel("Test images; drag the red point", box, layers, "Latent plane, test images", axes),
        Panel("The point, decoded", box, [], "The image that the point is decoded to", axes=None),
    ]
    images = desk.kept(_images, words="Decoding the plane")
    drag = drag_images(partial(_decoded, desk), box, point, images)
    return block_of(Scene(panels, desk.shade, drag=drag, save=f"{desk.run.id}-latents"))


def _images(desk: VAEDesk) -> np.ndarray:
    return lattice_images(partial(_decoded, desk), _window(latents_of(desk)))


def _decoded(desk: VAEDesk, places: Tensor) -> np.ndarray:
    """Return the images of places ``(n, 2)`` of the plane, as bytes ``(n, C, H, W)``."""
    return desk.shown(decode(desk.model, latents_of(desk).plane.lift(places)))


def _nearest(desk: VAEDesk, found: Latents, point: tuple[float, float]) -> None:
    z = found.plane.lift(torch.tensor([point]))
    near = torch.cdist(z, found.means)[0].topk(min(5, len(found.means)), largest=False).indices
    real, names = desk.shown(desk.images.test[near]), desk.images.classes
    classes = ", ".join(plain(names[k]) for k in found.labels[near].tolist())
    caption = (
        f"The test images nearest in latent space to ({point[0]:.2f}, {point[1]:.2f}): {classes}"
    )
    sheet(tile(real, 5, desk.shade, width=280), "Nearest test images", caption)
    st.caption(
        f"Its length is {float(z.norm()):.2f}; latents of the prior have about "
        f"{desk.model.latent**0.5:.2f}."
    )


# -- manifold ------------------------------------------------------------------------------------


def _manifold(desk: VAEDesk) -> None:
    st.markdown(
        f"**See all that it can draw.** {GRID} x {GRID} points of the latent space, decoded: each "
        "stands for an equal part of the prior, so what takes much room here is what samples show "
        "often."
    )
    sheet(
        desk.painted(_manifold_png, words="Decoding the plane"),
        "The decoded latent space, point by point",
    )


def _manifold_png(desk: VAEDesk) -> bytes:
    images = desk.shown(decode(desk.model, normal_lattice(GRID)))
    side = images.shape[-1]
    # Side by side without a gap: it is one surface.
    rows = images.reshape(GRID, GRID, -1, side, side).transpose(2, 0, 3, 1, 4)
    whole = rows.reshape(1, -1, GRID * side, GRID * side)
    return png(tile(whole, 1, desk.shade, scale=max(1, 800 // (GRID * side))))


# -- walk ----------------------------------------------------------------------------------------


def _walk(desk: VAEDesk) -> None:
    st.markdown(
        f"**Turn one unit, leave the others.** A row is one latent unit from −{REACH:g} to "
        f"{REACH:g}; the column in the middle is at 0. The units that vary most over the test "
        "images come first."
    )
    left, right = st.columns([1, 2.4])
    with left:
        base = choose_base(desk, "Start from", min(4, len(desk.images.classes) - 1), st)
        unit, value = _turn(desk)
        pair = desk.painted(_turned_png, base, unit, value)
        sheet(pair, "The image decoded, and with one unit turned", "Decoded, and turned")
    with right:
        drawn = desk.painted(_walks_png, base)
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
        "Unit", order, format_func=lambda k: f"unit {k + 1}", key=desk.key("unit"), **KEPT
    )
    value = st.slider("Its value", -REACH, REACH, 0.0, 0.1, key=desk.key("value"), **KEPT)
    return unit, value


def _turned_png(desk: VAEDesk, base: Base, unit: int, value: float) -> bytes:
    z = encode(desk.model, base.image).repeat(2, 1)
    z[1, unit] = value
    return png(tile(desk.shown(decode(desk.model, z)), 2, desk.shade, width=284))


def _walks_png(desk: VAEDesk, base: Base) -> bytes:
    z = encode(desk.model, base.image)[0]
    variances = unit_variances(latents_of(desk).means)
    units = variances.argsort(descending=True)[:UNITS].tolist()
    ways = torch.cat([walk(z, unit, REACH, STEPS) for unit in units])
    labels = [f"unit {unit + 1}" for unit in units]
    images = desk.shown(decode(desk.model, ways))
    return png(labelled_rows(images, STEPS, labels, desk.shade, width=620))


# -- interpolate ---------------------------------------------------------------------------------


def _interpolate(desk: VAEDesk) -> None:
    st.markdown(
        f"**Choose two real {desk.word}s.** Both are encoded, and what lies between their latents "
        "is decoded. The last row fades the pixels of the two into each other instead."
    )
    start, end = choose_two(desk)
    drawn = desk.painted(_between_png, start, end)
    words = (
        "The first and last column of the upper row are reconstructions: what the latents keep of "
        "the two images below them."
    )
    sheet(drawn, "Images between two real ones", words)


def _between_png(desk: VAEDesk, start: Base, end: Base) -> bytes:
    images = torch.cat([start.image, end.image])
    parts = torch.linspace(0, 1, STEPS)
    between = desk.shown(decode(desk.model, blend(*encode(desk.model, images), parts)))
    parts = parts[:, None, None, None]
    faded = desk.shown(((1 - parts) * images[0] + parts * images[1]) / 255)
    rows = np.concatenate([between, faded])
    return png(labelled_rows(rows, STEPS, ["latents", "pixels"], desk.shade))


# -- arithmetic ----------------------------------------------------------------------------------


def _arithmetic(desk: VAEDesk) -> None:
    names = desk.images.classes
    st.markdown(
        f"**Take one class off and add another.** To the latents of one {desk.word} comes the mean "
        "of a class, less the mean of another: what the two classes differ in changes, and what is "
        "the image's own, its slant or its stroke, should stay."
    )
    there = desk.images.test_labels.unique().tolist()
    left, middle, right = st.columns(3)
    base = choose_base(desk, "Start from", min(4, len(names) - 1), left)
    minus = _class(desk, "Less the mean of", base.label, there, middle)
    plus = _class(desk, "Plus the mean of", 9 if 9 in there else there[-1], there, middle)
    much = right.slider("How much of it", 0.0, 1.5, 1.0, 0.1, key=desk.key("share"), **KEPT)
    parts, ways = desk.painted(_sum_png, base, minus, plus, much)
    words = (
        f"The real {desk.word} and its reconstruction; the means of {plain(names[minus])} and "
        f"{names[plus]}, decoded; and the sum."
    )
    sheet(parts, "An image, the means of two classes, and the sum", words)
    sheet(ways, "The way of the sum", "The sum with 0 to 1.5 times the difference.")


def _class(desk: VAEDesk, name: str, first: int, there: list[int], where) -> int:
    key = desk.key(name)
    among(key, there, first)
    classes = desk.images.classes
    return where.selectbox(name, there, format_func=lambda k: classes[k], key=key, **KEPT)


def _sum_png(desk: VAEDesk, base: Base, minus: int, plus: int, much: float) -> tuple[bytes, bytes]:
    means = desk.kept(_means, words="Encoding training images")
    z, way = encode(desk.model, base.image), means[plus] - means[minus]
    first = torch.cat([z, means[[minus, plus]], z + much * way])
    ways = z + torch.linspace(0, 1.5, STEPS)[:, None] * way
    top = np.concatenate([desk.shown(base.image), desk.shown(decode(desk.model, first))])
    between = desk.shown(decode(desk.model, ways))
    return png(tile(top, 5, desk.shade, width=420)), png(tile(between, STEPS, desk.shade))


def _means(desk: VAEDesk) -> Tensor:
    """Return the mean latents of each class, from up to 5,000 training images."""
    images = desk.images
    some = torch.randperm(len(images.train), generator=torch.Generator().manual_seed(0))[:5000]
    latents = encode(desk.model, images.train[some])
    return class_means(latents, images.train_labels[some], len(images.classes)).nan_to_num()

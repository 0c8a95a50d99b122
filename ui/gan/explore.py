"""Play with a trained generator: sample, go from one to another, look for copies, drag latents."""

from __future__ import annotations

from functools import partial

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from analysis.gan_latents import directions, path, plane
from figures.image_figures import labelled_rows, tile
from figures.images import LECTURE, gif, png
from lab.view import View
from ui.common.widgets import KEPT, choice, choose_part, download
from ui.gan.model import Studio, at_studio, choose_average, real_images
from ui.gan.own import show_own
from ui.image_flows.desk import sheet
from ui.image_flows.nearest import (
    PAIRS,
    YARDSTICK,
    Neighbours,
    look_for_copies,
    neighbours,
    show_nearest,
)
from ui.stage.component import asked_point, show_stage
from ui.stage.encode import encode
from ui.stage.latents import drag_images, lattice_images, sheet_box, sheet_of
from ui.stage.scene import Panel, Pixels, Scene

SHOWN = 140  # pixels along each side of the film on the page, at least
FRAMES = 12  # of a film, from one sample to the next
STEPS = 10  # of a strip between two samples, and for four
REACH = 3.0  # how far one goes along a direction
PLANE = (-REACH, REACH, -REACH, REACH)


def explore(view: View, version: float) -> None:
    """Draw the part of the playground that was chosen."""
    studio = at_studio(view, version)
    parts = {
        "Sample": _sample,
        "Interpolate": _interpolate,
        "Nearest real images": _nearest,
        "Drag two directions": _drag,
        "Your own image": partial(show_own, view),
    }
    choose_part(studio, "Explore", parts, "part")


def _number(studio: Studio, label: str, first: int, where) -> int:
    """Let the visitor choose a sample by its number."""
    key = studio.key(label)
    return where.number_input(label, 0, 2**31 - 1, first, key=key, **KEPT)


# -- sample --------------------------------------------------------------------------------------


def _sample(studio: Studio) -> None:
    controls, shown = st.columns([1, 2.2])
    with controls:
        spread = st.slider(
            "Scale of the latents",
            0.0,
            2.0,
            1.0,
            0.05,
            key=studio.key("scale"),
            **KEPT,
            help="1 is what it was trained with. Below, images come closer to one of them all; "
            "above, from where the generator never was.",
        )
        first = _number(studio, "Number of the first sample", 0, st)
        averaged = choose_average(studio.model, studio.key("average"))
    with shown:
        words = f"Samples {first:,} to {first + 59:,}. Each number stands for the same latents "
        words += "whatever the weights; the parts beside this one take it."
        sheet(studio.painted(_samples_png, first, spread, averaged), "Samples", words)


def _samples_png(studio: Studio, first: int, spread: float, averaged: bool) -> bytes:
    z = spread * studio.latents(list(range(first, first + 60)))
    return png(tile(studio.paint(z, averaged), 10, studio.shade))


# -- interpolate ---------------------------------------------------------------------------------


def _interpolate(studio: Studio) -> None:
    st.markdown(
        "**Go from one sample to another.** Line: straight through the latent space, whose middle "
        "is nearer to the origin than any latent that the generator was trained with. Arc: on the "
        "sphere where latents of so many dimensions lie."
    )
    left, *places = st.columns([1.2, 1, 1, 1, 1])
    count = choice("Between", [2, 4], studio.key("corners"), left)
    numbers = [_number(studio, f"Sample {i + 1}", 3 * i + 1, places[i]) for i in range(int(count))]
    drawn = studio.painted(_between_png, numbers)
    sheet(drawn, f"Images between {count} samples", "The chosen samples, and what lies between.")
    way = choice("Film along the", ["arc", "line"], studio.key("way"))
    shown = studio.painted(_between_gif, numbers, way == "arc", SHOWN)
    st.image(shown, alt=f"A film from sample to sample along the {way}", width="content")
    large = partial(_between_gif, studio, numbers, way == "arc", LECTURE)
    name = f"{studio.run.id}-between.gif"
    download("Film (GIF)", large, name, "image/gif", key=studio.key("film"))


def _between_png(studio: Studio, numbers: list[int]) -> bytes:
    corners = studio.latents(numbers)
    steps = STEPS if len(numbers) == 2 else 4
    rows = [studio.paint(path(corners, steps, spherical=spherical)) for spherical in (False, True)]
    return png(labelled_rows(np.concatenate(rows), len(rows[0]), ["line", "arc"], studio.shade))


def _between_gif(studio: Studio, numbers: list[int], spherical: bool, side: int) -> bytes:
    corners = studio.latents([*numbers, numbers[0]])  # and back, so that it can go round
    images = studio.paint(path(corners, FRAMES, spherical=spherical))[:-1]
    scale = max(1, -(-side // max(images.shape[2:])))
    return gif([tile(image[None], 1, studio.shade, scale) for image in images], each=90, pause=90)


# -- nearest real images -------------------------------------------------------------------------


def _nearest(studio: Studio) -> None:
    look_for_copies("A generator")
    if real_images(studio) is None:
        return
    first = _number(studio, "Number of the first sample", 0, st.columns(4)[0])
    found = studio.painted(_neighbours, first, words="Comparing with all training images")
    show_nearest(studio, found, "")


def _neighbours(studio: Studio, first: int) -> Neighbours:
    images, numbers = studio.real()[0], list(range(first, first + PAIRS))
    samples = torch.from_numpy(studio.paint(studio.latents(numbers)))
    test = images.test[:YARDSTICK]
    return neighbours(samples, images.train, test, Tensor.numpy, studio.shade)


# -- drag ----------------------------------------------------------------------------------------


def _drag(studio: Studio) -> None:
    st.markdown(
        "**Drag two directions of the latent space** and see the image change. They are drawn at "
        "random, at right angles to each other; the training gave them no meaning."
    )
    _draggable(studio)


@st.fragment
def _draggable(studio: Studio) -> None:
    left, right, _ = st.columns([1, 1, 2])
    number = _number(studio, "Start from sample", 1, left)
    seed = _number(studio, "Which two directions", 0, right)
    key = studio.key("drag")
    point = asked_point(key, (0.0, 0.0), PLANE)
    show_stage(studio.painted(_drag_block, number, seed, point), key=key)


def _drag_block(studio: Studio, number: int, seed: int, point: tuple[float, float]) -> bytes:
    """Return the plane of two directions with a point in it, and what it is decoded to."""
    images = studio.kept(_images, number, seed, words="Decoding the plane")
    layer = Pixels("images all over the plane", sheet_of(images), images.ndim == 5)
    axes = "along the first direction", "along the second direction"
    alt = "The plane of two directions, with images all over it"
    panels = [
        Panel("Drag the red point, or use the arrow keys", sheet_box(PLANE), [layer], alt, axes),
        Panel("The image at the point", PLANE, [], "The image at the point", axes=None),
    ]
    drag = drag_images(partial(_pushed, studio, number, seed), PLANE, point, images)
    return encode(Scene(panels, studio.shade, drag=drag, save=f"{studio.run.id}-drag"))


def _images(studio: Studio, number: int, seed: int) -> np.ndarray:
    return lattice_images(partial(_pushed, studio, number, seed), PLANE)


def _pushed(studio: Studio, number: int, seed: int, places: Tensor) -> np.ndarray:
    """Return images that are pushed along two directions, as bytes ``(n, C, H, W)``."""
    ways = directions(studio.model.latent, seed)
    return studio.paint(plane(studio.latents([number])[0], ways, *places.T))

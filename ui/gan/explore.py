"""Play with a trained generator: sample, go from one to another, look for copies, drag latents."""

from __future__ import annotations

import io

import numpy as np
import streamlit as st
import torch
from PIL import Image

from analysis.gan_latents import directions, path, plane
from analysis.image_checks import nearest
from figures.image_charts import strips
from figures.image_figures import labelled_rows, tile
from figures.pictures import png
from lab.view import View
from ui.gan.model import Studio, at_studio, real_images
from ui.image_flows.desk import sheet

FRAMES = 12  # of a film, from one sample to the next
STEPS = 10  # of a strip between two samples, and for four
PAIRS = 30  # samples beside their nearest real images
YARDSTICK = 200  # test images whose nearest training images tell what is usual
REACH = 3.0  # how far the sliders go along a direction


def explore(view: View, version: float) -> None:
    """Draw the part of the playground that was chosen."""
    studio = at_studio(view, version)
    parts = {
        "Sample": _sample,
        "Interpolate": _interpolate,
        "Nearest real images": _nearest,
        "Drag two directions": _drag,
    }
    chosen = st.segmented_control(
        "Explore",
        list(parts),
        default="Sample",
        required=True,
        key=studio.key("part"),
        persist_state="session",
        label_visibility="collapsed",
    )
    parts[chosen](studio)


def _number(studio: Studio, label: str, first: int, where) -> int:
    """Let the visitor choose a sample by its number."""
    key = studio.key(label)
    return where.number_input(label, 0, 2**31 - 1, first, key=key, persist_state="session")


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
            persist_state="session",
            help="1 is what it was trained with. Below, images come closer to one of them all; "
            "above, from where the generator never was.",
        )
        first = _number(studio, "Number of the first sample", 0, st)
    with shown:
        words = f"Samples {first:,} to {first + 59:,}. Each number stands for the same latents "
        words += "whatever the weights; the parts beside this one take it."
        sheet(_samples_png(*studio.where, first, spread, studio), "Samples", words)


@st.cache_data(max_entries=64, show_spinner=False)
def _samples_png(
    run_id: str, version: float, shade: str, first: int, spread: float, _studio: Studio
) -> bytes:
    z = spread * _studio.latents(list(range(first, first + 60)))
    return png(tile(_studio.paint(z), 10, shade))


# -- interpolate ---------------------------------------------------------------------------------


def _interpolate(studio: Studio) -> None:
    st.markdown(
        "**Go from one sample to another.** Line: straight through the latent space, whose middle "
        "is nearer to the origin than any latent that the generator was trained with. Arc: on the "
        "sphere where latents of so many dimensions lie."
    )
    left, *places = st.columns([1.2, 1, 1, 1, 1])
    count = left.segmented_control(
        "Between", [2, 4], default=2, required=True, key=studio.key("corners")
    )
    numbers = [_number(studio, f"Sample {i + 1}", 3 * i + 1, places[i]) for i in range(int(count))]
    drawn = _between_png(*studio.where, tuple(numbers), studio)
    sheet(drawn, f"Images between {count} samples", "The chosen samples, and what lies between.")
    way = st.segmented_control(
        "Film along the", ["arc", "line"], default="arc", required=True, key=studio.key("way")
    )
    gif = _between_gif(*studio.where, tuple(numbers), way == "arc", studio)
    st.image(gif, alt=f"A film from sample to sample along the {way}", width="content")
    st.download_button(
        "Film (GIF)",
        gif,
        f"{studio.run.id}-between.gif",
        "image/gif",
        on_click="ignore",
        icon=":material/download:",
        key=studio.key("film"),
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _between_png(
    run_id: str, version: float, shade: str, numbers: tuple[int, ...], _studio: Studio
) -> bytes:
    corners = _studio.latents(list(numbers))
    steps = STEPS if len(numbers) == 2 else 4
    rows = [_studio.paint(path(corners, steps, spherical=spherical)) for spherical in (False, True)]
    return png(labelled_rows(np.concatenate(rows), len(rows[0]), ["line", "arc"], shade))


@st.cache_data(max_entries=32, show_spinner=False)
def _between_gif(
    run_id: str,
    version: float,
    shade: str,
    numbers: tuple[int, ...],
    spherical: bool,
    _studio: Studio,
) -> bytes:
    corners = _studio.latents([*numbers, numbers[0]])  # and back, so that it can go round
    images = _studio.paint(path(corners, FRAMES, spherical=spherical))[:-1]
    frames = [tile(image[None], 1, shade, width=140) for image in images]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=90, loop=0)
    return buffer.getvalue()


# -- nearest real images -------------------------------------------------------------------------


def _nearest(studio: Studio) -> None:
    st.markdown(
        "**Look for copies.** Below each sample is the training image that is closest to it, pixel "
        "by pixel. A generator that had learned images by heart would show pairs that are the "
        "same, and distances far below those of test images, which it cannot have copied."
    )
    images = real_images(studio)
    if images is None:
        return
    first = _number(studio, "Number of the first sample", 0, st.columns(4)[0])
    drawn, samples, usual = _neighbours(*studio.where, first, studio, images)
    sheet(drawn, "Samples and the training images nearest to them")
    title = "distance to the nearest training image (L2, pixels 0 to 1)"
    chart = strips({"test images": usual, "samples": samples}, title, studio.shade)
    st.vega_lite_chart(*chart, key=studio.key("nearest"), alt="Distances to training images")
    st.caption(
        f"{PAIRS} samples, the closest first, among {len(images.train):,} training images. Median "
        f"distance: samples {np.median(samples):.2f}, test images {np.median(usual):.2f}."
    )


@st.cache_data(max_entries=8, show_spinner="Comparing with all training images")
def _neighbours(
    run_id: str, version: float, shade: str, first: int, _studio: Studio, _images
) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Return pairs as PNG, and the distances of samples and of test images."""
    painted = torch.from_numpy(_studio.paint(_studio.latents(list(range(first, first + PAIRS)))))
    found = nearest(painted, _images.train)
    order = found.distance.argsort()
    above = painted[order].numpy().reshape(-1, 10, *painted.shape[1:])
    below = _images.train[found.index[order]].numpy().reshape(above.shape)
    rows = np.stack([above, below], 1).reshape(-1, *painted.shape[1:])
    usual = nearest(_images.test[:YARDSTICK], _images.train).distance
    names = ["sample", "nearest"] * (PAIRS // 10)
    drawn = png(labelled_rows(rows, 10, names, shade))
    return drawn, found.distance.numpy(), usual.numpy()


# -- drag ----------------------------------------------------------------------------------------


def _drag(studio: Studio) -> None:
    st.markdown(
        "**Drag two directions of the latent space** and see the image change. They are drawn at "
        "random, at right angles to each other; the training gave them no meaning."
    )
    controls, one, many = st.columns([1, 0.7, 1.6])
    with controls:
        number = _number(studio, "Start from sample", 1, st)
        seed = _number(studio, "Which two directions", 0, st)
        first = st.slider("Along the first", -REACH, REACH, 0.0, 0.1, key=studio.key("first"))
        second = st.slider("Along the second", -REACH, REACH, 0.0, 0.1, key=studio.key("second"))
    with one:
        drawn = _dragged_png(*studio.where, number, seed, first, second, studio)
        sheet(drawn, "The image where the sliders stand", "Where the sliders stand.")
    with many:
        drawn = _plane_png(*studio.where, number, seed, studio)
        words = "The whole plane: the first direction from left to right, the second from below."
        sheet(drawn, "Images all over the plane of the two directions", words)


@st.cache_data(max_entries=256, show_spinner=False)
def _dragged_png(
    run_id: str,
    version: float,
    shade: str,
    number: int,
    seed: int,
    first: float,
    second: float,
    _studio: Studio,
) -> bytes:
    ways = directions(_studio.model.latent, seed)
    base = _studio.latents([number])[0]
    z = plane(base, ways, torch.tensor([first]), torch.tensor([second]))
    image: Image.Image = tile(_studio.paint(z), 1, shade, width=140)
    return png(image)


@st.cache_data(max_entries=32, show_spinner=False)
def _plane_png(
    run_id: str, version: float, shade: str, number: int, seed: int, _studio: Studio
) -> bytes:
    places = torch.linspace(-REACH, REACH, 7)
    second, first = torch.meshgrid(places.flip(0), places, indexing="ij")
    ways = directions(_studio.model.latent, seed)
    z = plane(_studio.latents([number])[0], ways, first.flatten(), second.flatten())
    return png(tile(_studio.paint(z), 7, shade, width=360))

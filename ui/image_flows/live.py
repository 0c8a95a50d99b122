"""What the pages of flows on images show of a run while it trains, and what data they offer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from datasets.files.images import SUFFIXES
from datasets.files.sources import folder_state
from datasets.images import IMAGES, OWN, download, image_folders, is_here
from datasets.own import DataError
from datasets.own_images import OwnImages, read_image_folder
from registry import Family
from training.core.config import RunConfig
from training.core.image_flow import COLUMNS, TEMPERATURE
from ui.common.curves import draw_curves, last_with, pace
from ui.common.data import offer, preview
from ui.common.history import Moment, history_slider, live
from ui.common.plain import counted, plain, refuse
from ui.common.uploads import Upload, read_apart, read_once, take
from ui.guide.family_page import Parts
from ui.image_flows.checks import checks
from ui.image_flows.explore import explore
from ui.image_flows.sheets import draw_growth, draw_real, draw_samples, film_of, sheet_of

OWN_KEY = "own_images"  # the user's images are shared by all pages of a session
UPLOAD = "Upload"


@live
def draw_images(moment: Moment) -> None:
    """Draw real images, samples, curves and a slider through the history of a run."""
    left, right = st.columns(2)
    draw_real(moment, left)
    draw_samples(moment, right, words=f", temperature {TEMPERATURE}")
    history_slider(moment)
    _curves(moment)
    draw_growth(moment, COLUMNS)


def _curves(moment: Moment) -> None:
    chart, numbers = st.columns([2.2, 1])
    names, unit = {"bits_per_dim": "training batch", "bits_per_dim_test": "test"}, "NLL [bits/dim]"
    draw_curves(moment, chart, "loss", names, unit, "Bits per dimension")
    if last := last_with(moment.rows, "bits_per_dim_test"):
        bound = ", at most" if _learned_noise(moment) else ""
        numbers.metric(
            f"Test{bound} [bits/dim]",
            f"{last['bits_per_dim_test']:.3f}",
            help=f"{_noise(moment)} On the same 512 test images while it trains, on all of them "
            "at the end. Uniform noise has 8.",
        )
    pace(moment, numbers)


def _learned_noise(moment: Moment) -> bool:
    return getattr(moment.run.config, "dequantisation", "uniform") == "variational"


def _noise(moment: Moment) -> str:
    """Say what the number is, given the noise that makes bytes a density."""
    if not _learned_noise(moment):
        return "Uniform dequantisation, 8-bit pixel space: an upper bound on the bits of the bytes."
    return (
        "Variational dequantisation, 8-bit pixel space: an upper bound on the bits of the bytes, "
        "with noise that was learned together with the model."
    )


# -- data --------------------------------------------------------------------------------------


def image_data(family: Family, config: RunConfig) -> tuple[OwnImages | None, bool]:
    """Offer a download or an upload if the config asks for it.

    Returns:
        The user's own images and whether there is all that a training needs.
    """
    if config.dataset == OWN:
        own = _own_images()
        return own, own is not None
    source = IMAGES[config.dataset]
    if is_here(config.dataset):
        return None, True
    offer(
        family,
        f"**{source.title} is not on this machine yet.** It is a download of "
        f"{source.megabytes:,.0f} MB from [its home]({source.url}); {source.licence}",
        lambda progress: download(config.dataset, progress),
        f"The built-in digits ({IMAGES['digits'].title}) need no download: choose them in the "
        "form, and they stand in.",
    )
    return None, is_here(config.dataset)


def _own_images() -> OwnImages | None:
    """Draw the choice of the user's own images; return them, or ``None`` while there are none."""
    with st.container(border=True):
        st.markdown(
            "**Your own images.** One folder per class, packed as a zip; or some images, then all "
            "of one class; or a folder that lies under `GENLAB_DATA`."
        )
        where, size, colour = st.columns([3, 1, 1], vertical_alignment="bottom")
        folders = {path.name: path for path in image_folders()}
        chosen = where.selectbox("From", [UPLOAD, *folders], key="own_images.from")
        pixels = size.selectbox("Pixels per side", [28, 32, 48, 64], key="own_images.size")
        channels = 3 if colour.toggle("In colour", value=True, key="own_images.colour") else 1
        try:
            images = (
                _uploaded(pixels, channels)
                if chosen == UPLOAD
                else _folder(folders[chosen], pixels, channels, folder_state(folders[chosen]))
            )
        except DataError as error:
            refuse(error)
            return None
        if images is None:
            st.info("Upload some images, then press Train.")
            return None
        _describe(images)
        return images


def _describe(own: OwnImages) -> None:
    preview(
        [
            (name, own.images, np.flatnonzero(own.labels == k), None)
            for k, name in enumerate(own.classes)
        ],
        f"{len(own.images):,} images of {counted(len(own.classes), 'class')} from "
        f"{plain(own.name)}; {int(own.held_out.sum()):,} are held out as test set.",
        f"the central square of each, at {own.images.shape[2]} x {own.images.shape[3]} pixels",
        own.skipped,
    )


def _uploaded(size: int, channels: int) -> OwnImages | None:
    files = take(
        "A zip of folders, or images",
        ["zip", *SUFFIXES],
        "own_images.files",
        advice="Pack a larger set into several zips, or lay it under `GENLAB_DATA`.",
        accept_multiple_files=True,
    )
    # The files stay, so that another size is read from them anew.
    files = files or st.session_state.get(f"{OWN_KEY}.kept", [])
    if not files:
        return st.session_state.get(OWN_KEY)
    seen = (size, channels, *(file.id for file in files))
    images = read_once(OWN_KEY, seen, lambda: _read(files, size, channels))
    st.session_state[OWN_KEY], st.session_state[f"{OWN_KEY}.kept"] = images, files
    return images


def _read(files: list[Upload], size: int, channels: int) -> OwnImages:
    named = [(file.name, file.path) for file in files]
    return read_apart(
        "datasets.own_images:read_uploads",
        named,
        size,
        channels,
        load=lambda path: OwnImages.load(path, mapped=True),
    )


@st.cache_resource(max_entries=4, show_spinner="Reading the images")
def _folder(path: Path, size: int, channels: int, state: str) -> OwnImages:
    return read_image_folder(path, size, channels)


IMAGE_PARTS = Parts(
    data=image_data,
    draw=draw_images,
    sections={"Explore": explore, "Check": checks},
    files={
        "gif": ("Film of the training (GIF)", film_of),
        "png": ("Samples (PNG)", sheet_of),
    },
)

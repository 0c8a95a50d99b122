"""The masks of RealNVP on images, as the layers themselves cut them."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch
from PIL import Image

from datasets.images import load_images
from figures.images import png
from figures.palette import palette, rgb
from models.blocks.image_layers import Squeeze
from ui.common.page import show_image, theme

KINDS = {"Checkerboard": True, "Channels, after a squeeze": False}
SCALE = 12  # pixels on the page for one of the image


def feel_masks() -> None:
    """Draw which pixels a coupling sees and which it moves, on a real digit."""
    st.markdown("**Feel it**: what one coupling sees, and what it moves")
    controls, passive, active = st.columns([1.1, 1, 1])
    with controls:
        kind = st.segmented_control(
            "Mask", list(KINDS), default="Checkerboard", required=True, key="masks.kind"
        )
        flip = st.toggle("The next coupling: the halves change places", key="masks.flip")
        which = st.slider("Digit", 0, 9, 7, key="masks.digit", persist_state="session")
        st.caption(
            "A checkerboard hides every other pixel from the network, which must guess it from its "
            "neighbours. After a squeeze, each 2x2 block of pixels is four channels at one place: "
            "half of the channels then decide about the other half."
        )
    image = real_digit(which)
    seen = mask(image.shape, checkerboard=KINDS[kind], flip=flip)
    shade = theme()
    shown = png(_masked(image, seen, shade, palette(shade).model))
    show_image(passive, shown, "Passive pixels", "**Passive**: the network sees these")
    shown = png(_masked(image, ~seen, shade, palette(shade).model))
    show_image(active, shown, "Active pixels", "**Active**: these are scaled and shifted")


def real_digit(which: int) -> np.ndarray:
    """Return an image of one of the digits 0 to 9, uint8, ``(28, 28)``."""
    digits = load_images("digits")
    return digits.test[digits.test_labels == which][0, 0].numpy()


def mask(size: tuple[int, int], *, checkerboard: bool, flip: bool) -> np.ndarray:
    """Return which pixels of a grey image a coupling behind a squeeze leaves alone, ``(H, W)``."""
    squeeze = Squeeze(checkerboard=checkerboard)
    squeezed, _ = squeeze.inverse(torch.zeros(1, 1, *size))
    squeezed[:, 2:] = 1.0
    second, _ = squeeze.forward(squeezed)
    return (second[0, 0].numpy() > 0) == flip


def _masked(image: np.ndarray, shown: np.ndarray, shade: str, hidden: str) -> Image.Image:
    grey = np.repeat(image[..., None], 3, axis=2)
    colour = (rgb(hidden) * 255).astype(np.uint8)
    pixels = np.where(shown[..., None], grey, colour).repeat(SCALE, 0).repeat(SCALE, 1)
    lines = (rgb(palette(shade).background) * 255).astype(np.uint8)
    pixels[::SCALE] = lines
    pixels[:, ::SCALE] = lines
    return Image.fromarray(pixels)

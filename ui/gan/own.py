"""A visitor's own image before a GAN: what the discriminator says, and the closest sample."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from analysis.gan_latents import closest
from figures.image_charts import strips
from figures.image_figures import tile
from figures.images import png
from lab.view import View
from training.core.images import scattered, signed
from ui.gan.model import Studio
from ui.image_flows.desk import Mine, at_desk, sheet
from ui.image_flows.upload import take_mine

OTHERS = 60  # test images and samples that it is compared with
OWN = "yours"


def show_own(view: View, studio: Studio) -> None:
    """Let the visitor draw or upload an image; show what both networks make of it."""
    desk = at_desk(view, studio.version)
    if desk is None:
        return
    st.markdown(
        f"**Draw or upload an image** of a {desk.word}. The discriminator says how real it is; the "
        "generator has no way back from images to latents, so its closest sample is searched for."
    )
    given, shown = st.columns([1, 2], gap="medium")
    with given:
        taken = take_mine(desk, f"An image of a {desk.word}")
    with shown:
        if taken and desk.mine is not None:
            _show(studio, desk.padded(desk.mine.pixels), desk.mine)
        elif taken:
            st.info(f"There is no {desk.word} of yours yet.")


def _show(studio: Studio, padded: Tensor, mine: Mine) -> None:
    pair, left = studio.painted(_pair_png, padded, mine, words="Searching for the closest sample")
    words = f"Yours, and the closest sample that was found: {left:.2f} apart, the root mean square "
    sheet(pair, "Your image and the closest sample", words + "over pixels from 0 to 1.")
    scores = studio.kept(_scores, padded)
    chart = strips(scores, "the discriminator's score: higher is more real", studio.shade)
    st.vega_lite_chart(*chart, key=studio.key("own.scores"), alt="Scores of the discriminator")
    own = float(scores[OWN][0])
    below = [f"{(part < own).mean():.0%} of {OTHERS} {name}" for name, part in scores.items()]
    st.caption(
        f"Above {below[0]} and {below[1]}. It was trained to tell those two apart and nothing "
        "else: of other images its score means little."
    )


def _pair_png(studio: Studio, padded: Tensor, mine: Mine) -> tuple[bytes, float]:
    """Return an image beside the closest sample, and how far apart they are."""
    z, left = closest(studio.model, signed(padded)[0])
    images = np.concatenate([mine.pixels[None], studio.paint(z)])
    return png(tile(images, 2, studio.shade, width=340)), left / 2


@torch.no_grad()
def _scores(studio: Studio, padded: Tensor) -> dict[str, np.ndarray]:
    """Return the discriminator's scores of test images, of samples and of one's own."""
    images = studio.real()[0].pad_to(padded.shape[-1])
    sets = {
        "test images": signed(scattered(images.test, OTHERS)),
        "samples": studio.model(studio.latents(list(range(OTHERS)))),
        OWN: signed(padded),
    }
    return {name: studio.model.discriminator(x).flatten().numpy() for name, x in sets.items()}

"""What the page of GANs on images shows of a run while it trains."""

from __future__ import annotations

import streamlit as st

from training.core.image_flow import COLUMNS
from ui.common.curves import draw_curves, pace
from ui.common.history import Moment, history_slider, live
from ui.gan.explore import explore
from ui.gan.health import samples_of, show_look
from ui.gan.plane import draw_losses, show_beliefs, show_health, show_loss
from ui.gan.quality import checks
from ui.guide.family_page import Parts
from ui.image_flows.live import image_data
from ui.image_flows.sheets import draw_growth, draw_real, draw_samples, film_of, sheet_of


@live
def draw_images(moment: Moment) -> None:
    """Draw real images, samples, health, curves and a slider through the history of a run."""
    left, middle, right = st.columns([1, 1, 0.9])
    draw_real(moment, left)
    draw_samples(moment, middle)
    look = samples_of(moment)
    with right:
        show_health(moment, look)
        show_look(look)
        show_loss(moment)
        show_beliefs(moment)
    history_slider(moment)
    _curves(moment)
    draw_growth(moment, COLUMNS)


def _curves(moment: Moment) -> None:
    left, middle, right = st.columns([1.1, 1.1, 0.5])
    draw_losses(moment, left)
    names, unit = {"diversity": "samples"}, "diversity [of real images]"
    floor = 1.0, "as different as real ones"
    alt = "Diversity of samples"
    draw_curves(moment, middle, "diversity", names, unit, alt, floor=floor)
    pace(moment, right)


IMAGE_DUEL = Parts(
    data=image_data,
    draw=draw_images,
    sections={"Explore": explore, "Check": checks},
    files={
        "gif": ("Film of the training (GIF)", film_of),
        "png": ("Samples (PNG)", sheet_of),
    },
)

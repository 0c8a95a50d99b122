"""A visitor's own image, drawn with a brush: white on black, as MNIST's digits are."""

from __future__ import annotations

from functools import partial

import numpy as np
import streamlit as st
from PIL import Image

from datasets.digit import fit_digit, mnist_like
from datasets.drawn import NOTHING, coverage
from datasets.own import DataError
from ui.image_flows.desk import MINE, Desk, Mine
from ui.stage.drawing import Strokes, draw, drawing_of
from ui.stage.scene import Brush, Panel, Pixels

SIZE = 28  # of the sheet
SIDE = 200  # pixels of a digit before it is brought to the size of MNIST's
RADIUS = 1.3  # about that of the pen that wrote MNIST
WIDTH = 340  # pixels on the page


def draw_mine(desk: Desk, into: str = "") -> bool:
    """Let the visitor draw an image and keep it; ``False`` if it is of no use.

    Args:
        desk: the desk.
        into: name of the choice that then stands at the drawing, see ``choose_base``.
    """
    key, ground = f"draw.{desk.mine_key}", np.zeros((SIZE, SIZE), np.uint8)
    panel = Panel("", (0, SIZE, 0, SIZE), [Pixels("ground", ground)], "Your drawing", axes=None)
    brush = Brush(0, RADIUS, "#ffffff", weights=False)
    with st.container(width=WIDTH):
        then = partial(_keep, desk.mine_key, desk.digits, desk.crop[0], desk.key(f"{into}.class"))
        draw(key, [panel], brush, then)
    return not drawing_of(key).refused


def _keep(mine_key: str, is_digit: bool, inner: int, into: str, strokes: Strokes) -> None:
    st.session_state.pop(mine_key, None)
    st.session_state[mine_key] = Mine("your drawing", image_of(strokes, is_digit, inner))
    st.session_state[into] = MINE


def image_of(strokes: Strokes, is_digit: bool, inner: int) -> np.ndarray:
    """Make a drawing look like the flow's data, uint8, ``(1, inner, inner)``.

    Raises:
        DataError: nothing is drawn.
    """
    grey = np.rint(255 * coverage(strokes, SIZE, SIDE if is_digit else inner)).astype(np.uint8)
    if not grey.any():
        raise DataError(NOTHING)
    return fit_digit(mnist_like(Image.fromarray(grey)), inner) if is_digit else grey[None]

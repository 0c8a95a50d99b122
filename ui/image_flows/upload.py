"""A visitor's own image: made like the flow's data, encoded, rated, kept for the other parts."""

from __future__ import annotations

import numpy as np
import streamlit as st

from analysis.image_latents import context_of, decode, encode
from datasets.files.images import SUFFIXES
from datasets.own import DataError
from figures.image_charts import class_bars
from figures.image_figures import tile
from figures.images import png
from ui.common.plain import plain, refuse
from ui.common.uploads import SINGLE, Upload, read_apart, read_once, take
from ui.common.widgets import HIDDEN, choice
from ui.image_flows.desk import Base, Desk, Mine, rate, sheet
from ui.image_flows.drawn import draw_mine

TOP = 12  # classes in the chart at most


def show_upload(desk: Desk) -> None:
    """Let the visitor upload an image; show it encoded, decoded and rated."""
    what = (
        "**Draw a digit**, or write one and photograph it: dark on light or light on dark, one on "
        "an image. It is brought to the size and place of the others, encoded and decoded, and "
        "rated."
        if desk.digits
        else "**Upload an image.** Its central square is brought to the size of the others, "
        "encoded and decoded, and rated."
    )
    st.markdown(f"{what} The parts beside this one then offer it as a start.")
    label = f"An image of a {desk.word}" if desk.digits else "An image"
    given, shown = st.columns([1, 2], gap="medium")
    with given:
        taken = take_mine(desk, label)
    with shown:
        if taken and desk.mine is not None:
            _show(desk, desk.mine)
        elif taken:
            st.info(f"There is no {desk.word} of yours yet.")


def take_mine(desk: Desk, label: str, into: str = "", **options: str) -> bool:
    """Draw the upload of the visitor's own image and keep it; ``False`` if it was refused.

    A grey one can be drawn, too; the choice of that name, see ``choose_base``, then stands at it.
    """
    if desk.images.shape[0] == 1:
        way = choice("Where it comes from", ["Upload", "Draw"], desk.key("way"), **HIDDEN)
        if way == "Draw":
            return draw_mine(desk, into)
    key = desk.key("upload")
    files = take(label, SUFFIXES, key, **options)
    if files:
        (file,) = files
        try:
            pixels = read_once(key, file.id, lambda: _read(desk, file))
            st.session_state[desk.mine_key] = Mine(file.name, pixels)
        except DataError as error:
            refuse(error)
            return False
    return True


def _read(desk: Desk, file: Upload) -> np.ndarray:
    """Read an upload and make it look like the flow's data, uint8, ``(C, H, W)``."""
    reader = "datasets.digit:read_digit" if desk.digits else "datasets.files.images:read_square"
    side = desk.crop[0]
    more = () if desk.digits else (desk.images.shape[0],)
    return read_apart(reader, file.whole, file.name, side, *more, load=np.load, bounds=SINGLE)


def _show(desk: Desk, mine: Mine) -> None:
    rating = rate(desk, mine)
    left, right = st.columns([1, 1.2])
    with left:
        base = Base(desk.padded(mine.pixels), rating.label if desk.conditional else 0)
        pair, shrunk, error = desk.painted(_upload_png, base)
        words = (
            f"{plain(mine.name)} as the flow takes it, and decoded again from its latents: the "
            f"largest difference is {error} of 255 grey levels."
        )
        sheet(pair, "The uploaded image, encoded and decoded", words)
        words = "Its latents times 1, 0.75, 0.5, 0.25 and 0: towards the flow's most central image."
        sheet(shrunk, "The uploaded image with its latents shrunk", words)
    with right:
        low, high = rating.usual
        st.metric("Bits/dim", f"{rating.bits:.3f}", border=True)
        st.markdown(
            f"Test images mostly take {low:.2f} to {high:.2f}. {rating.stranger:.0%} of them take "
            f"fewer than yours{_verdict(rating.stranger)}"
        )
        if desk.conditional:
            _posterior(desk, rating.probabilities)
        else:
            st.caption("This flow is not conditioned on classes, so it cannot say which this is.")


def _posterior(desk: Desk, probabilities: list[float]) -> None:
    names = desk.classes
    order = range(len(names))
    if len(names) > TOP:
        order = sorted(order, key=lambda k: -probabilities[k])[:TOP]
    chart = class_bars([names[k] for k in order], [probabilities[k] for k in order], desk.shade)
    st.vega_lite_chart(*chart, key=desk.key("posterior"), alt="Probability of each class")
    st.caption(
        "The flow gives a density for each class; by Bayes' rule that is a classifier. It was "
        "never trained as one, and it is surer than it should be: log-densities differ by many "
        "nats."
    )


def _verdict(stranger: float) -> str:
    if stranger > 0.99:
        return ": to the flow it is stranger than all of them."
    if stranger < 0.01:
        return ": to the flow it is plainer than any of them."
    return "."


def _upload_png(desk: Desk, base: Base) -> tuple[bytes, bytes, int]:
    """Return two images, and the largest error of a decoded pixel in grey levels."""
    flow, shade = desk.model, desk.shade
    context = context_of(flow, base.labels)
    z = encode(flow, base.image, context)
    scales = z.new_tensor([1.0, 0.75, 0.5, 0.25, 0.0])[:, None]
    repeated = None if context is None else context.expand(len(scales), -1)
    shrunk = desk.shown(decode(flow, z * scales, repeated))
    pair = np.concatenate([desk.shown(base.image), shrunk[:1]])
    error = int(np.abs(np.diff(pair.astype(int), axis=0)).max())
    return png(tile(pair, 2, shade, width=340)), png(tile(shrunk, 5, shade, width=340)), error

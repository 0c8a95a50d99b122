"""The desk at which one plays with a trained flow over images: its data, choices and images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch
from PIL import Image
from torch import Tensor

from analysis.image_latents import bits, log_mean_exp, log_prob_by_class, posterior
from datasets.own import DataError
from figures.pictures import png
from lab.view import View
from training.core.image_flow import bits_per_dim
from training.core.images import crop, dequantise, quantise
from ui.common.page import theme
from ui.image_flows.model import Trained, trained_flow

DIGITS = ("mnist", "digits", "digits8")
MINE = "mine"  # among the classes to choose from: the visitor's own image
DRAWS = 4  # of the dequantisation noise, when one image is rated
COMPARED = 64  # test images that one's own is compared with


@dataclass(frozen=True)
class Mine:
    """An image that a visitor uploaded, as the flow's data looks.

    Attributes:
        name: of the file.
        pixels: uint8, ``(C, H, W)``, without padding.
    """

    name: str
    pixels: np.ndarray


@dataclass(frozen=True)
class Base:
    """An image to start from.

    Attributes:
        image: uint8, ``(1, C, S, S)``, padded for the flow.
        label: its class; of an uploaded one, the class that the flow takes it for.
    """

    image: Tensor
    label: int

    @property
    def labels(self) -> Tensor:
        return torch.tensor([self.label])


@dataclass(frozen=True)
class Desk:
    """A trained flow, and which one it is for the caches.

    Attributes:
        run_id: of its run.
        version: of its weights.
        trained: the flow with its images.
        shade: ``"light"`` or ``"dark"``.
    """

    run_id: str
    version: float
    trained: Trained
    shade: str

    @property
    def conditional(self) -> bool:
        return self.trained.flow.context > 0

    @property
    def digits(self) -> bool:
        return self.trained.images.name in DIGITS

    @property
    def fits(self) -> bool:
        """Whether the real images have the classes that the flow was conditioned on."""
        return not self.conditional or self.trained.images.classes == self.trained.classes

    @property
    def word(self) -> str:
        return "digit" if self.digits else "image"

    @property
    def where(self) -> tuple[str, float, str]:
        """Return what an image of this desk is cached by."""
        return self.run_id, self.version, self.shade

    def key(self, name: str) -> str:
        return f"{self.run_id}.desk.{name}"

    def shown(self, x: Tensor) -> np.ndarray:
        """Return images with values in [0, 1], or uint8, as bytes without their padding."""
        x = crop(x, *self.trained.crop)
        return x.numpy() if x.dtype == torch.uint8 else quantise(x)

    def padded(self, pixels: np.ndarray) -> Tensor:
        """Return one image ``(C, H, W)`` as the flow takes it, ``(1, C, S, S)``."""
        inner, side = self.trained.crop
        before = (side - inner) // 2
        frame = (before, side - inner - before) * 2
        return torch.nn.functional.pad(torch.from_numpy(pixels.copy())[None], frame)

    @property
    def mine_key(self) -> str:
        """Return where the visitor's own image is kept: for all flows that take such images."""
        return f"mine.{self.trained.images.shape[0]}x{self.trained.crop[0]}.{self.digits}"

    @property
    def mine(self) -> Mine | None:
        return st.session_state.get(self.mine_key)


def at_desk(view: View, version: float) -> Desk | None:
    """Return the desk of a run, or say why there is none."""
    try:
        trained = trained_flow(view, version)
    except DataError as error:
        st.info(f"{error} Without the images there is nothing to look into here.")
        return None
    words = f"Weights of step {trained.step:,}."
    if trained.stand_in:
        words += f" {trained.stand_in}"
    st.caption(words)
    return Desk(view.run.id, version, trained, theme())


def choose_part(desk: Desk, what: str, parts: dict[str, Callable[[Desk], None]]) -> None:
    """Let the visitor choose one of some parts, and draw only that."""
    chosen = st.segmented_control(
        what,
        list(parts),
        default=next(iter(parts)),
        required=True,
        key=desk.key(what),
        persist_state="session",
        label_visibility="collapsed",
    )
    parts[chosen](desk)


def sheet(image: Image.Image | bytes, alt: str, caption: str = "") -> None:
    """Draw tiled images at their own size: stretched, their pixels would blur."""
    data = image if isinstance(image, bytes) else png(image)
    st.image(data, alt=alt, width="content", output_format="PNG")
    if caption:
        st.caption(caption)


# -- an image to start from ----------------------------------------------------------------------


def choose_base(desk: Desk, name: str, first: int, where) -> Base:
    """Let the visitor choose a test image, by class and number, or take the uploaded one.

    Args:
        desk: the desk.
        name: what to call it; also the name of its widgets.
        first: the class that is chosen at first.
        where: ``st`` or a column.
    """
    images = desk.trained.images
    options: list[int | str] = images.test_labels.unique().tolist()
    if desk.mine is not None:
        options.append(MINE)
    key = desk.key(f"{name}.class")
    if st.session_state.get(key) not in options:
        st.session_state[key] = first if first in options else options[0]
    chosen = where.selectbox(
        name,
        options,
        format_func=lambda k: f"my own {desk.word}" if k == MINE else images.classes[k],
        key=key,
        persist_state="session",
    )
    if chosen == MINE:
        label = rate(desk, desk.mine).label if desk.conditional else 0
        return Base(desk.padded(desk.mine.pixels), label)
    places = (images.test_labels == chosen).nonzero()[:, 0]
    key = desk.key(f"{name}.number")
    if st.session_state.get(key, 0) not in range(1, len(places) + 1):
        st.session_state[key] = 1
    number = where.number_input(
        f"Which of {len(places):,}", 1, len(places), key=key, persist_state="session"
    )
    place = int(places[number - 1])
    return Base(images.test[place : place + 1], int(chosen))


def draw_lots(desk: Desk, *names: str) -> None:
    """Choose other test images at random; a callback, before the widgets are drawn."""
    labels = desk.trained.images.test_labels
    random = np.random.default_rng()
    for name in names:
        label = int(random.choice(labels.unique().numpy()))
        st.session_state[desk.key(f"{name}.class")] = label
        count = int((labels == label).sum())
        st.session_state[desk.key(f"{name}.number")] = int(random.integers(1, count + 1))


def choose_two(desk: Desk) -> tuple[Base, Base]:
    """Let the visitor choose two test images, or have two drawn at random."""
    left, right, button = st.columns([2, 2, 1], vertical_alignment="bottom")
    classes = len(desk.trained.images.classes)
    start = choose_base(desk, "From", min(3, classes - 1), left)
    end = choose_base(desk, "To", min(8, classes - 1), right)
    button.button(
        "Two others",
        icon=":material/casino:",
        on_click=draw_lots,
        args=(desk, "From", "To"),
        key=desk.key("lots"),
    )
    return start, end


# -- what the flow thinks of one image -----------------------------------------------------------


@dataclass(frozen=True)
class Rating:
    """What a flow thinks of one image.

    Attributes:
        bits: bits/dim, without the class.
        shares: p(class | image), one entry for a flow without classes.
        stranger: share of test images that need fewer bits than this one.
        usual: the middle nine tenths of the bits/dim of test images.
    """

    bits: float
    shares: list[float]
    stranger: float
    usual: tuple[float, float]

    @property
    def label(self) -> int:
        return int(np.argmax(self.shares))


def rate(desk: Desk, mine: Mine) -> Rating:
    """Return what the flow thinks of an uploaded image."""
    return _rate(desk.run_id, desk.version, mine.pixels.tobytes(), desk, mine)


@st.cache_data(max_entries=64, show_spinner="Rating it")
def _rate(run_id: str, version: float, pixels: bytes, _desk: Desk, _mine: Mine) -> Rating:
    trained = _desk.trained
    many = _desk.padded(_mine.pixels).expand(DRAWS, -1, -1, -1)
    x = dequantise(many, torch.Generator().manual_seed(3))
    by_class = log_prob_by_class(trained.flow, x).mean(0, keepdim=True)
    value = float(bits_per_dim(log_mean_exp(by_class), trained.flow, trained.dims))
    others = typical_bits(run_id, version, _desk)
    low, high = np.quantile(others, (0.05, 0.95))
    return Rating(
        value,
        posterior(by_class)[0].tolist(),
        float((others < value).mean()),
        (float(low), float(high)),
    )


@st.cache_data(max_entries=16, show_spinner="Rating test images")
def typical_bits(run_id: str, version: float, _desk: Desk) -> np.ndarray:
    """Return bits/dim of some test images, without their classes."""
    images = _desk.trained.images.test
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(2))[:COMPARED]
    return bits(_desk.trained.flow, images[order], _desk.trained.dims).numpy()

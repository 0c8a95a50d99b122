"""The desk at which one plays with a trained flow over images: its data, choices and images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import streamlit as st
import torch
from PIL import Image
from torch import Tensor, nn

from analysis.image_latents import bits, log_mean_exp, log_prob_by_class, posterior
from datasets.images import ImageSet
from datasets.own import DataError
from figures.images import png
from lab.store import Run
from lab.view import View
from training.core.image_flow import bits_per_dim
from training.core.images import crop, dequantise, quantise
from ui.common.cached import kept
from ui.common.page import carried, theme
from ui.common.trained import Bench, trained_model
from ui.common.widgets import KEPT, among
from ui.image_flows.model import OTHERS, images_of

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
class Desk(Bench):
    """A trained model of images, with real ones to play with.

    Attributes:
        model: the flow.
        classes: names of the classes of its data; those it is conditioned on, if it is.
        crop: pixels per side of the images and of the padded ones that it sees.
        images: real images, padded.
        stand_in: why ``images`` are not those that it was trained on, or an empty string.
    """

    model: nn.Module
    classes: tuple[str, ...]
    crop: tuple[int, int]
    images: ImageSet
    stand_in: str

    NAME = "desk"

    @property
    def dims(self) -> int:
        """Pixels times channels that count for bits/dim."""
        return self.images.shape[0] * self.crop[0] ** 2

    @property
    def conditional(self) -> bool:
        return self.model.context > 0

    @property
    def digits(self) -> bool:
        return self.images.name in DIGITS

    @property
    def fits(self) -> bool:
        """Whether the real images have the classes that the flow was conditioned on."""
        return not self.conditional or self.images.classes == self.classes

    @property
    def word(self) -> str:
        return "digit" if self.digits else "image"

    def shown(self, x: Tensor) -> np.ndarray:
        """Return images with values in [0, 1], or uint8, as bytes without their padding."""
        x = crop(x, *self.crop)
        return x.numpy() if x.dtype == torch.uint8 else quantise(x)

    def padded(self, pixels: np.ndarray) -> Tensor:
        """Return one image ``(C, H, W)`` as the flow takes it, ``(1, C, S, S)``."""
        inner, side = self.crop
        before = (side - inner) // 2
        frame = (before, side - inner - before) * 2
        return torch.nn.functional.pad(torch.from_numpy(pixels.copy())[None], frame)

    @property
    def mine_key(self) -> str:
        """Return where the visitor's own image is kept: for all flows that take such images."""
        return f"mine.{self.images.shape[0]}x{self.crop[0]}.{self.digits}"

    @property
    def mine(self) -> Mine | None:
        return st.session_state.get(self.mine_key)


AnyDesk = TypeVar("AnyDesk", bound=Desk)


def at_desk(view: View, version: float, kind: type[AnyDesk] = Desk) -> AnyDesk | None:
    """Return the desk of a run, or say why there is none."""
    run = view.run
    try:
        classes, sides, images, stand_in = kept(_data_of, (run.id, version), run)
    except DataError as error:
        st.info(f"{error} Without the images there is nothing to look into here.")
        return None
    if stand_in:
        st.caption(stand_in)
    model = trained_model(run, version)
    return kind(run, version, theme(), model, classes, sides, images, stand_in)


def _data_of(run: Run) -> tuple[tuple[str, ...], tuple[int, int], ImageSet, str]:
    """Return classes, sides of an image and of a padded one, real images and why others stand in.

    Raises:
        DataError: the images are not here, and no others fit.
    """
    target = run.snapshots.target()
    channels, height, width = (int(n) for n in target["shape"])
    inner, side = (int(n) for n in target.get("crop", (height, width)))
    images, stand_in = images_of(run, (channels, inner, inner))
    if (channels, side, side) != run.config.padded(images.shape):
        raise DataError(OTHERS)
    classes = tuple(str(name) for name in target["classes"])
    return classes, (inner, side), images.pad_to(side), stand_in


def sheet(image: Image.Image | bytes, alt: str, caption: str = "") -> None:
    """Draw tiled images at their own size: stretched, their pixels would blur."""
    data = image if isinstance(image, bytes) else png(image)
    st.image(carried(data), alt=alt, width="content")
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
    images = desk.images
    options: list[int | str] = images.test_labels.unique().tolist()
    if desk.mine is not None:
        options.append(MINE)
    key = desk.key(f"{name}.class")
    among(key, options, first)
    chosen = where.selectbox(
        name,
        options,
        format_func=lambda k: f"my own {desk.word}" if k == MINE else images.classes[k],
        key=key,
        **KEPT,
    )
    if chosen == MINE:
        label = rate(desk, desk.mine).label if desk.conditional else 0
        return Base(desk.padded(desk.mine.pixels), label)
    places = (images.test_labels == chosen).nonzero()[:, 0]
    key = desk.key(f"{name}.number")
    among(key, range(1, len(places) + 1), 1)
    number = where.number_input(f"Which of {len(places):,}", 1, len(places), key=key, **KEPT)
    place = int(places[number - 1])
    return Base(images.test[place : place + 1], int(chosen))


def draw_lots(desk: Desk, *names: str) -> None:
    """Choose other test images at random; a callback, before the widgets are drawn."""
    labels = desk.images.test_labels
    random = np.random.default_rng()
    for name in names:
        label = int(random.choice(labels.unique().numpy()))
        st.session_state[desk.key(f"{name}.class")] = label
        count = int((labels == label).sum())
        st.session_state[desk.key(f"{name}.number")] = int(random.integers(1, count + 1))


def choose_two(desk: Desk) -> tuple[Base, Base]:
    """Let the visitor choose two test images, or have two drawn at random."""
    left, right, button = st.columns([2, 2, 1], vertical_alignment="bottom")
    classes = len(desk.images.classes)
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
        probabilities: p(class | image), one entry for a flow without classes.
        stranger: fraction of test images that need fewer bits than this one.
        usual: the middle nine tenths of the bits/dim of test images.
    """

    bits: float
    probabilities: list[float]
    stranger: float
    usual: tuple[float, float]

    @property
    def label(self) -> int:
        return int(np.argmax(self.probabilities))


def rate(desk: Desk, mine: Mine) -> Rating:
    """Return what the flow thinks of an uploaded image."""
    return desk.kept(_rate, mine, words="Rating it")


def _rate(desk: Desk, mine: Mine) -> Rating:
    many = desk.padded(mine.pixels).expand(DRAWS, -1, -1, -1)
    x = dequantise(many, torch.Generator().manual_seed(3))
    by_class = log_prob_by_class(desk.model, x).mean(0, keepdim=True)
    value = float(bits_per_dim(log_mean_exp(by_class), desk.model, desk.dims))
    others = desk.kept(_typical_bits, words="Rating test images")
    low, high = np.quantile(others, (0.05, 0.95))
    return Rating(
        value,
        posterior(by_class)[0].tolist(),
        float((others < value).mean()),
        (float(low), float(high)),
    )


def _typical_bits(desk: Desk) -> np.ndarray:
    """Return bits/dim of some test images, without their classes."""
    images = desk.images.test
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(2))[:COMPARED]
    return bits(desk.model, images[order], desk.dims).numpy()

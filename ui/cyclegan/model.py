"""The trained CycleGAN that its page looks into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch

from datasets.files.images import central_square, read_image
from lab.store import Run
from lab.view import View
from models.cyclegan import CycleGAN
from training.core.config import RunConfig
from training.core.images import bytes_of_signed, signed
from ui.common.page import theme
from ui.common.plain import plain

MINE = "cyclegan.mine"  # the visitor's own image, kept for the session


@dataclass(frozen=True)
class Translator:
    """Two generators and two discriminators with the weights of a run, and which these are.

    Attributes:
        run_id: of the run.
        version: of its weights.
        model: on the CPU, in float32, without gradients.
        config: what it was trained with.
        domains: what A and B show.
        real: test images of A and of B, uint8, each ``(n, 3, S, S)``.
        step: optimiser step of the weights.
    """

    run_id: str
    version: float
    model: CycleGAN
    config: RunConfig
    domains: tuple[str, str]
    real: tuple[np.ndarray, np.ndarray]
    step: int

    @property
    def size(self) -> int:
        """Pixels per side of the images that it was trained on."""
        return self.real[0].shape[-1]

    def key(self, name: str) -> str:
        return f"{self.run_id}.cyclegan.{name}"

    @torch.no_grad()
    def carry(self, image: np.ndarray, to_b: bool) -> np.ndarray:
        """Return one image, uint8 ``(3, S, S)``, as it would be in B, or in A."""
        net = self.model.a_to_b if to_b else self.model.b_to_a
        return bytes_of_signed(net(signed(torch.from_numpy(image.copy())[None])))[0].numpy()

    @torch.no_grad()
    def patch_scores(self, image: np.ndarray, of_b: bool) -> np.ndarray:
        """Return how real each patch of one image looks to a discriminator, ``(h, w)``."""
        net = self.model.discriminator_b if of_b else self.model.discriminator_a
        return net(signed(torch.from_numpy(image.copy())[None]))[0, 0].numpy()


def translator_of(view: View, version: float) -> Translator:
    """Return the networks of a run with its weights of a version, and say which they are."""
    found = _translator(view.run.id, version, view.run)
    a, b = found.domains
    st.caption(f"Weights of step {found.step:,}. A: {plain(a)}; B: {plain(b)}.")
    return found


@st.cache_resource(max_entries=6, show_spinner="Loading the weights")
def _translator(run_id: str, version: float, _run: Run) -> Translator:
    config, target = _run.config, _run.snapshots.target()
    model = _run.family.training.blank(config, target)
    step = _run.weights.load_into(model)
    model.eval().requires_grad_(False)
    a, b = (str(name) for name in target["classes"])
    real = target["a"], target["b"]
    return Translator(run_id, version, model, config, (a, b), real, step)


def squared(data: bytes, name: str, side: int) -> np.ndarray:
    """Read an image of a visitor: its central square, upright, uint8 ``(3, side, side)``.

    Raises:
        DataError: it is no image that can be used; the message says why.
    """
    return central_square(read_image(data, name, at_least=2 * side), side, 3)


def shade_of(found: Translator) -> tuple[str, float, str]:
    """Return what an image of these networks is cached by."""
    return found.run_id, found.version, theme()

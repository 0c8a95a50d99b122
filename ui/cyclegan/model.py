"""The trained CycleGAN that its page looks into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch

from lab.view import View
from models.cut import CUT
from models.cyclegan import CycleGAN
from training.core.images import bytes_of_signed, signed
from ui.common.page import theme
from ui.common.plain import plain
from ui.common.trained import Bench, trained_model

MINE = "cyclegan.mine"  # the visitor's own image, kept for the session


@dataclass(frozen=True)
class Translator(Bench):
    """Two generators and two discriminators with the weights of a run.

    Attributes:
        model: on the CPU, in float32, without gradients.
        domains: what A and B show.
        real: test images of A and of B, uint8, each ``(n, 3, S, S)``.
    """

    model: CycleGAN | CUT
    domains: tuple[str, str]
    real: tuple[np.ndarray, np.ndarray]

    NAME = "cyclegan"

    @property
    def size(self) -> int:
        """Pixels per side of the images that it was trained on."""
        return self.real[0].shape[-1]

    @property
    def ways(self) -> tuple[str, ...]:
        """The directions that there is a generator for: ``"ab"``, and ``"ba"`` of a cycle."""
        return ("ab", "ba") if isinstance(self.model, CycleGAN) else ("ab",)

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
    """Return the networks of a run with its weights of a version, and say what A and B are."""
    run, target = view.run, view.run.snapshots.target()
    a, b = (str(name) for name in target["classes"])
    st.caption(f"A: {plain(a)}; B: {plain(b)}.")
    real = target["a"], target["b"]
    return Translator(run, version, theme(), trained_model(run, version), (a, b), real)

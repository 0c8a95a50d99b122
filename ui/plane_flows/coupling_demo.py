"""One coupling layer to play with: bend a grid by hand, see what areas and a point do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import streamlit as st
import torch
from torch import Tensor, nn

from figures.images import hues, warp_svg
from models.blocks.layers import AdditiveCoupling, AffineCoupling, Coupling
from ui.common.page import show_image, theme
from ui.common.widgets import KEPT
from ui.plane_flows.inside import grid_lines

BOX = (-3.0, 3.0, -3.0, 3.0)


class _Formula(nn.Module):
    """A conditioner that is a formula, not a network."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, passive: Tensor) -> Tensor:
        return self.formula(passive)


def feel_coupling(stem: str, *, affine: bool) -> None:
    """Draw a coupling layer whose shift (and scale, if ``affine``) the reader sets with sliders."""
    st.markdown("**Feel it**: one coupling layer, its conditioner in your hands")
    controls, before, after = st.columns([1.1, 1, 1])
    with controls:
        shift = st.slider(
            "Shift: a in t(x₁) = a sin(2 x₁)", -1.5, 1.5, 0.8, 0.1, key=f"{stem}.a", **KEPT
        )
        scale = 0.0
        if affine:
            scale = st.slider(
                "Log-scale: b in s(x₁) = b tanh(x₁)", -1.0, 1.0, 0.5, 0.1, key=f"{stem}.b", **KEPT
            )
        flip = st.toggle("Coordinate 2 is passive", key=f"{stem}.flip", **KEPT)
        x = st.slider("Point, coordinate 1", -2.5, 2.5, 1.0, 0.1, key=f"{stem}.x", **KEPT)
        y = st.slider("Point, coordinate 2", -2.5, 2.5, 0.5, 0.1, key=f"{stem}.y", **KEPT)
    layer = _layer(shift, scale, affine=affine, flip=flip)
    point = torch.tensor([[x, y]])
    moved, log_det = layer.inverse(point)
    back, _ = layer.forward(moved)
    cloud = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    shade, lines = theme(), grid_lines(BOX)
    colours = hues(cloud.numpy(), shade)
    bent = layer.inverse(torch.from_numpy(lines.reshape(-1, 2)))[0].view(lines.shape).numpy()
    way = np.stack([point[0].numpy(), moved[0].numpy()])
    drawn = warp_svg(lines, cloud.numpy(), colours, BOX, shade, way[:1])
    show_image(before, drawn, "Before the layer", "Before")
    drawn = warp_svg(bent, layer.inverse(cloud)[0].numpy(), colours, BOX, shade, way)
    show_image(after, drawn, "After the layer", "After")
    passive = "2" if flip else "1"
    controls.caption(
        f"({x:.1f}, {y:.1f}) goes to ({moved[0, 0]:.2f}, {moved[0, 1]:.2f}); coordinate {passive} "
        f"stays. Areas there change by exp({log_det[0]:.2f}) = {log_det.exp()[0]:.2f}. Back again: "
        f"({back[0, 0]:.2f}, {back[0, 1]:.2f})."
    )


def _layer(shift: float, scale: float, *, affine: bool, flip: bool) -> Coupling:
    if not affine:
        return AdditiveCoupling(_Formula(lambda x: -shift * torch.sin(2 * x)), flip=flip)

    def parameters(x: Tensor) -> Tensor:
        # AffineCoupling takes tanh of what it is given, so it is given the inverse of what we mean.
        raw = torch.atanh(scale * torch.tanh(x) / 3)
        return torch.cat([shift * torch.sin(2 * x), raw], dim=1)

    return AffineCoupling(_Formula(parameters), flip=flip, bound=3.0)

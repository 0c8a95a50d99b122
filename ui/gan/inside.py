"""See inside a GAN in 2-D: a latent is dragged, and the point that it becomes follows."""

from __future__ import annotations

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from figures.images import categories
from lab.store import Run
from lab.view import View
from training.core.gan_losses import LOSSES, realness
from training.gan import LATTICE, PlaneGAN
from ui.common.cached import painted
from ui.common.page import theme
from ui.common.trained import trained_experiment
from ui.stage.component import asked_point, show_stage
from ui.stage.encode import encode
from ui.stage.latents import lattice_points
from ui.stage.scene import Box, Drag, Heat, Lines, Panel, Points, Scene

DENSE = 65  # places along each side, between which a dragged latent is interpolated
LATENTS = 600  # that are drawn
HALF = {
    "signed": True,
    "middle": 0.5,
    "alpha": 0.55,
}  # points of the same colours have to stand out


def loss_of(view: View) -> str:
    """Return the loss that a run has now; it can be changed while it trains."""
    return view.live.get("loss", view.run.config.loss)


def belief_of(view: View) -> str:
    """Return what the discriminator's map shows: a probability, or what stands in for one."""
    losses = {view.run.config.loss, loss_of(view)}
    return "D(x)" if all(LOSSES[loss].real is torch.sigmoid for loss in losses) else "how real"


def see_inside(view: View, version: float) -> None:
    """Let a latent be dragged, and show where the generator takes it."""
    st.caption(
        "The generator is a map of the latent plane into the plane of the data: nothing can be "
        "torn, so between two modes there is always a bridge. **Drag the red point** among the "
        "latents, or move it with the arrow keys."
    )
    _draggable(view, version)


@st.fragment
def _draggable(view: View, version: float) -> None:
    run, shade, loss = view.run, theme(), loss_of(view)
    key = f"{run.id}.inside"
    point = asked_point(key, (0.0, 0.0), _box(run))
    by = run.id, version, shade, point, loss
    show_stage(painted(_block, by, view, version, shade, point), key=key)
    experiment = trained_experiment(run, version)
    place = experiment.model(torch.tensor([point]))
    words = f"The latent ({point[0]:.2f}, {point[1]:.2f}) lands at ({place[0, 0]:.2f}, "
    words += f"{place[0, 1]:.2f}), standardised."
    if LOSSES[loss].real is torch.sigmoid:
        taken = float(torch.sigmoid(experiment.model.discriminator(place)))
        words += f" The discriminator takes that for real with probability {taken:.2f}."
    st.caption(words)


def _box(run: Run, wider: float = 1.0) -> Box:
    """Return the window in which a latent is dragged, or a wider one."""
    reach = wider * (1.0 if run.config.prior == "uniform" else 2.6)
    return -reach, reach, -reach, reach


def _block(view: View, version: float, shade: str, point: tuple[float, float]) -> bytes:
    """Return latents and data with a grid that the generator bends, and a latent to drag."""
    experiment, box = trained_experiment(view.run, version), _box(view.run)

    def both(z: Tensor) -> np.ndarray:
        """Return latents ``(..., 2)`` and where the generator takes them, ``(2, ..., 2)``."""
        return torch.stack([z, experiment.model(z.reshape(-1, 2)).view(z.shape)]).numpy()

    lines, latents = both(_grid(experiment)), both(experiment.latents[:LATENTS])
    colours = categories(latents[0])
    before, after = (
        [Lines("grid", lines[i]), Points("latents", latents[i], colours, size=2)] for i in (0, 1)
    )
    wide, axes, belief = _box(view.run, 1.15), ("latent 1", "latent 2"), _belief(view, experiment)
    panels = [
        Panel("Latents: drag the red point", wide, before, "The latent plane", axes),
        Panel("After the generator", experiment.window, [belief, *after], "The data plane"),
    ]
    lattice = both(lattice_points(box, DENSE)).reshape(2, DENSE, DENSE, 2)
    exact = both(torch.tensor([point]))[:, 0]
    drag = Drag(0, box, point, states=lattice, exact=exact, shown=1)
    return encode(Scene(panels, shade, drag=drag, save=f"{view.run.id}-inside"))


def _belief(view: View, experiment: PlaneGAN) -> Heat:
    scores = experiment.model.discriminator(experiment.grid)
    side = round(len(scores) ** 0.5)
    values = realness(loss_of(view), scores).view(side, side).numpy()
    return Heat("discriminator", values, 1.0, name=belief_of(view), on=False, **HALF)


def _grid(experiment: PlaneGAN) -> Tensor:
    """Return the lines of the lattice ``(m, k, 2)``, with corners between the crossings.

    A straight piece between two crossings would lie.
    """
    lattice = experiment.lattice.view(LATTICE, LATTICE, 2)
    lines = torch.cat([lattice, lattice.transpose(0, 1)])  # (2 k, k, 2)
    parts = torch.linspace(0, 1, 5)[:-1, None]
    pieces = lines[:, :-1, None] * (1 - parts) + lines[:, 1:, None] * parts
    return torch.cat([pieces.flatten(1, 2), lines[:, -1:]], 1)

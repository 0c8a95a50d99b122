"""Samples of a trained flow in 2-D, and the numbers that prove it."""

from __future__ import annotations

import streamlit as st
import torch

from analysis.plane_checks import Check, check_plane_flow
from lab.store import Run
from lab.view import View
from ui.common.cached import kept
from ui.common.page import theme
from ui.common.plain import table_of
from ui.common.trained import trained_model
from ui.plane_flows.inside import anatomy_of
from ui.plane_flows.points import count_and_generator, plane_of, take_points
from ui.stage.component import show_stage
from ui.stage.encode import encode
from ui.stage.scene import Panel, Points, Scene


def explore(view: View, version: float) -> None:
    """Let one sample from the trained flow at a temperature."""
    flow = trained_model(view.run, version)
    controls, shown = st.columns([1, 2.8])
    with controls:
        temperature = st.slider(
            "Temperature",
            0.1,
            2.0,
            1.0,
            0.05,
            help="Scales the latents. Below 1: safe, typical points. Above 1: the flow goes where "
            "it saw no data.",
        )
        count, generator = count_and_generator()
    z = flow.prior.sample(count, generator=generator, temperature=temperature)
    with torch.no_grad():
        x = flow.forward(z)[0]
    boxes = anatomy_of(view.run, version).boxes
    axes = ("z₁", "z₂")
    panels = [
        Panel(
            "Latents, drawn from the prior", boxes[-1], [Points("z", z, "muted")], "Latents", axes
        ),
        Panel("The same points after the flow", boxes[0], [Points("x", x)], "Samples"),
    ]
    with shown:
        show_stage(encode(Scene(panels, theme(), save=f"{view.run.id}-samples")), "explore")
    take_points(controls, view.run, x)


def checks(view: View, version: float) -> None:
    """Show the numbers that prove the trained flow."""
    by = view.run.id, version
    st.markdown(table_of(kept(_checks, by, view.run, version, words="Measuring")))


def _checks(run: Run, version: float) -> list[Check]:
    return check_plane_flow(trained_model(run, version), plane_of(run))

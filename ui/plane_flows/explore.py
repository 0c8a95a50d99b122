"""Samples of a trained flow in 2-D, and the numbers that prove it."""

from __future__ import annotations

import streamlit as st
import torch

from analysis.plane_checks import Check, check_plane_flow
from lab.store import Run
from lab.view import View
from ui.common.cached import kept
from ui.common.page import theme
from ui.common.tables import table_of
from ui.common.trained import trained_model
from ui.plane_flows.inside import anatomy_of
from ui.plane_flows.points import count_and_generator, plane_of, show_points, take_points


def explore(view: View, version: float) -> None:
    """Let one sample from the trained flow at a temperature."""
    flow, shade = trained_model(view.run, version), theme()
    controls, latent, data = st.columns([1, 1.4, 1.4])
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
    anatomy = anatomy_of(view.run, version)
    words = "**Latents**, drawn from the prior"
    show_points(latent, z, anatomy.latent_box, "muted", shade, "Latents", words)
    words = "**The same points after the flow**"
    show_points(data, x, anatomy.box, "model", shade, "Samples", words)
    take_points(controls, view.run, x)


def checks(view: View, version: float) -> None:
    """Show the numbers that prove the trained flow."""
    by = view.run.id, version
    st.markdown(table_of(kept(_checks, by, view.run, version, words="Measuring")))


def _checks(run: Run, version: float) -> list[Check]:
    return check_plane_flow(trained_model(run, version), plane_of(run))

"""Samples of a trained flow in the plane, and the numbers that prove it."""

from __future__ import annotations

import streamlit as st
import torch

from analysis.plane_checks import check_plane_flow
from figures.palette import palette
from figures.pictures import png, points_image
from lab.store import Run
from lab.view import View
from ui.common.page import show_image, theme
from ui.plane_flows.inside import anatomy_of
from ui.plane_flows.model import trained_flow


def explore(view: View, version: float) -> None:
    """Let one sample from the trained flow at a temperature."""
    trained, shade = trained_flow(view.run.id, version, view.run), theme()
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
        count = st.select_slider("Samples", [200, 500, 1000, 2000, 5000, 10000], 2000)
        seed = st.number_input("Seed of the latents", 0, 2**31 - 1, 0)
    z = trained.flow.prior.sample(
        count, generator=torch.Generator().manual_seed(seed), temperature=temperature
    )
    with torch.no_grad():
        x = trained.flow.forward(z)[0].numpy()
    anatomy = anatomy_of(view.run.id, version, view.run)
    colours = palette(shade)
    drawn = png(points_image(z.numpy(), anatomy.latent_box, colours.muted, shade))
    show_image(latent, drawn, "Latents", "**Latents**, drawn from the prior")
    drawn = png(points_image(x, anatomy.box, colours.model, shade))
    show_image(data, drawn, "Samples", "**The same points after the flow**")
    restored = trained.plane.restore(torch.from_numpy(x)).numpy()
    controls.download_button(
        "Samples as CSV",
        lambda: "x1,x2\n" + "".join(f"{a:.6g},{b:.6g}\n" for a, b in restored),
        f"{view.run.id}-samples.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/download:",
        help="In the data's own units.",
    )


def checks(view: View, version: float) -> None:
    """Show the numbers that prove the trained flow."""
    with st.spinner("Measuring"):
        results = _checks(view.run.id, version, view.run)
    words = {True: ":green-badge[right]", False: ":red-badge[not right]", None: ""}
    lines = ["| What | Measured | Should be | | How |", "|---|---:|---|---|---|"]
    for check in results:
        cells = (check.name, check.value, check.expected, words[check.passed], check.how)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    st.markdown("\n".join(lines))


@st.cache_data(max_entries=32, show_spinner=False)
def _checks(run_id: str, version: float, _run: Run) -> list:
    trained = trained_flow(run_id, version, _run)
    return check_plane_flow(trained.flow, trained.plane)

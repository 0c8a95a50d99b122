"""The trained flow of a run in the plane, as its page looks into it."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from datasets.plane import Plane, load_plane
from lab.store import Run
from models.flow import Flow


@dataclass(frozen=True, slots=True)
class Trained:
    """A flow with the weights of a run, beside the density that it learned.

    Attributes:
        flow: on the CPU, without gradients.
        plane: the data.
        step: optimiser step of the weights.
    """

    flow: Flow
    plane: Plane
    step: int


@st.cache_resource(max_entries=8, show_spinner=False)
def trained_flow(run_id: str, version: float, _run: Run) -> Trained:
    """Return the flow of a run, loaded once per version of its weights."""
    # Not the whole training: its optimiser would import seconds' worth of torch into the server.
    config = _run.config
    flow = _run.family.training.blank(config, _run.snapshots.target())
    step = _run.weights.load_into(flow)
    flow.eval().requires_grad_(False)
    return Trained(flow, load_plane(config.dataset, config.noise, _run.own_data()), step)

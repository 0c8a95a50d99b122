"""The trained model of a run, loaded once per version of its weights, and what a page does with it.

One run may be trained on while a page looks into it: a version of its weights stays on the page
until newer ones are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import streamlit as st
from torch import nn

from analysis.maf.scores import weights_step
from lab.store import Run
from lab.view import View
from training.core.experiment import Experiment
from ui.common.cached import kept, painted

T = TypeVar("T")


@dataclass(frozen=True)
class Bench:
    """A trained model, and which one it is for the caches.

    Attributes:
        run: its run.
        version: of its weights.
        shade: ``"light"`` or ``"dark"``.
    """

    run: Run
    version: float
    shade: str

    NAME: ClassVar[str] = "bench"  # of its widgets

    def key(self, name: str) -> str:
        """Return the key of a widget."""
        return f"{self.run.id}.{self.NAME}.{name}"

    def painted(self, make: Callable[..., T], *args: Any, words: str = "") -> T:
        """Return ``make(self, *args)``, an image say, made once for these weights and ``args``."""
        by = self.run.id, self.version, self.shade, args
        return painted(make, by, self, *args, words=words)

    def kept(self, make: Callable[..., T], *args: Any, words: str = "") -> T:
        """Return ``make(self, *args)``, which looks alike in every theme and is not changed."""
        return kept(make, (self.run.id, self.version, args), self, *args, words=words)


def trained_model(run: Run, version: float) -> nn.Module:
    """Return the model of a run: on the CPU, in float32, without gradients.

    Raises:
        RunError: there are no weights, or they do not fit.
    """
    return kept(_model, (run.id, version), run, words="Loading the weights")


def _model(run: Run) -> nn.Module:
    # Not the whole training: its optimiser would import seconds' worth of torch into the server.
    model = run.family.training.blank(run.config, run.snapshots.target())
    run.weights.load_into(model)
    return model.eval().requires_grad_(False)


def trained_experiment(run: Run, version: float) -> Experiment:
    """Return the experiment of a run with its weights, for what takes more than the model.

    Raises:
        DataError: its data are not here.
        RunError: there are no weights, or they do not fit.
    """
    return _experiment(run.id, version, run)


# With all its data it is large: some few, not as many as there are models.
@st.cache_resource(max_entries=4, show_spinner="Loading data and weights")
def _experiment(run_id: str, version: float, _run: Run) -> Experiment:
    experiment = _run.experiment("cpu")
    experiment.step = _run.weights.load_into(experiment.model)
    experiment.model.eval().requires_grad_(False)
    return experiment


def weights_shown(view: View) -> float:
    """Say which weights a page looks into; return their version, 0 if there are none yet.

    While a run trains, they stay those that were looked into first, until newer are asked for.
    """
    key = f"{view.run.id}.weights"
    training = view.status.state == "running"
    if not training or not st.session_state.get(key, (0, 0))[0]:
        st.session_state[key] = view.run.weights.version(), weights_step(view.run)
    version, step = st.session_state[key]
    if version:
        _say(view, step, training, key)
    return version


def _say(view: View, step: int | None, training: bool, key: str) -> None:
    words, button = st.columns([5, 1], vertical_alignment="center")
    words.caption(
        f"Weights of step {step or 0:,}."
        + (" The training goes on: *Newer* takes its latest checkpoint." if training else "")
    )
    if training:
        button.button(
            "Newer",
            icon=":material/refresh:",
            help="Look into the newest weights.",
            on_click=st.session_state.pop,
            args=(key, None),
            key=f"{key}.newer",
        )

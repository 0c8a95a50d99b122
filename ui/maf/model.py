"""The trained MAF that a page looks into, and its evaluation: computed once, kept with the run."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import streamlit as st

from analysis.maf_scores import FILE, Evaluation, Scoring, image_of, load_evaluation, weights_step
from datasets.own import DataError
from figures.maf_figures import write_results
from lab.store import Run
from lab.view import View
from training.defects.experiment import DefectExperiment
from training.defects.flows import DefectFlow
from training.maf import UNTRAINED
from ui.common.cached import kept, painted
from ui.common.trained import trained_experiment


@dataclass(eq=False)
class Job:
    """An evaluation under way.

    It outlives a rerun of the page: whoever comes next goes on where it stopped.
    """

    scoring: Scoring
    step: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    kept: bool = False

    def advance(self) -> bool:
        with self.lock:
            return self.scoring.advance()


def trained(view: View, version: float) -> DefectExperiment | None:
    """Return the experiment of a run with its weights, or say why there is none."""
    try:
        return trained_experiment(view.run, version)
    except DataError as error:
        st.error(f"{error} Without its images this run cannot be looked into.")
        return None


def learned(view: View, version: float) -> DefectFlow | None:
    """Do the same for what only a flow has; say so of a model that nothing trains."""
    if view.run.config.model in UNTRAINED:
        st.info("This model learns no density: there is nothing to draw from and no mask in it.")
        return None
    return trained(view, version)


def evaluation(view: View, version: float) -> Evaluation | None:
    """Return how a run does on its test images.

    Scored already, it comes from the folder of the run. If not, they are scored now, with a bar
    that shows how far it is; while the run still trains, only on request.
    """
    run = view.run
    if (found := _kept(run)) is not None:
        return found
    asked = f"{run.id}.asked"
    if view.status.active and st.session_state.get(asked) != version:
        st.info(
            "The test images are scored when the training has ended. They can be scored with the "
            "weights of this moment, too; that takes time from the training."
        )
        st.button(
            "Score them now",
            icon=":material/fact_check:",
            key=f"{run.id}.score_now",
            on_click=st.session_state.__setitem__,
            args=(asked, version),
        )
        return None
    try:
        job = _job(run.id, version, run)
    except DataError as error:
        st.error(f"{error} Without its images this run cannot be scored.")
        return None
    _finish(job)
    if not job.kept and not view.status.active:
        _keep(run, job)
    return job.scoring.result


def _kept(run: Run) -> Evaluation | None:
    file = run.path / FILE
    if not file.exists():
        return None
    return _loaded(run.id, file.stat().st_mtime_ns, weights_step(run), run)


@st.cache_resource(max_entries=8, show_spinner=False)
def _loaded(run_id: str, written: int, step: int | None, _run: Run) -> Evaluation | None:
    return load_evaluation(_run, step)


@st.cache_resource(max_entries=2, show_spinner=False)
def _job(run_id: str, version: float, _run: Run) -> Job:
    experiment = trained_experiment(_run, version)
    return Job(Scoring(experiment), experiment.step)


def _finish(job: Job) -> None:
    """Work on an evaluation until it is done."""
    scoring = job.scoring
    if scoring.result is not None:
        return
    bar = st.progress(0.0)
    while True:
        words = f"Scoring: {scoring.done} of {scoring.total} images"
        bar.progress(scoring.done / scoring.total, words)
        if not job.advance():
            break
    bar.empty()


def _keep(run: Run, job: Job) -> None:
    """Write an evaluation, its figures and some samples into the folder of the run."""
    job.kept = True
    try:
        with st.spinner("Writing scores and figures into the run"):
            write_results(run, job.scoring.result, job.step)
    except OSError as error:
        st.warning(f"The scores could not be saved with the run: {error.strerror or error}.")


def test_image(run: Run, found: Evaluation, place: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a test image ``(3, S, S)``, uint8, and its mask ``(S, S)``.

    Raises:
        DataError: it is not there any more.
    """
    return painted(_image, (run.id, place), run, found, place)


def _image(run: Run, found: Evaluation, place: int) -> tuple[np.ndarray, np.ndarray]:
    return image_of(run, found, place, kept(Run.own_data, (str(run.path),), run))

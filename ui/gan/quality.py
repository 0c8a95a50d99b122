"""How good samples of a GAN are, by a small classifier of the same images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import streamlit as st
import torch

from analysis.frechet import (
    COMPARED,
    SURE,
    Classifier,
    NoClassifier,
    Quality,
    accuracy,
    classifier_path,
    compare,
    load_classifier,
    some,
    yardsticks,
)
from datasets.images import ImageSet
from figures.gan_charts import class_fractions
from lab.view import View
from paths import ROOT
from ui.common.cached import kept
from ui.common.plain import markdown
from ui.gan.model import WITHOUT, Studio, at_studio, real_images


def checks(view: View, version: float) -> None:
    """Draw the quality of samples, or offer to train the classifier that it takes."""
    studio = at_studio(view, version)
    images = real_images(studio)
    if images is None:
        return
    if len(images.classes) < 2:
        st.info(
            "All images are of one class, so no classifier can be trained on them, and there are "
            "no features to compare samples by. Sort them into a folder per class."
        )
        return
    path = classifier_path(images.name, studio.run)
    try:
        classifier = load_classifier(path, images)
    except NoClassifier as error:
        _offer(studio, images, path, str(error))
        return
    _report(studio, images, classifier)


def _report(studio: Studio, images: ImageSet, classifier: Classifier) -> None:
    found, right = kept(
        _measured,
        (studio.run.id, studio.version),
        studio,
        images,
        classifier,
        words="Comparing samples with real images",
    )
    rows = (
        (
            "Fréchet distance to test images, in a small classifier's features",
            *(f"{each.distance:.1f}" for each in found.values()),
        ),
        (
            f"Fraction of whose class it is sure (above {SURE:.0%})",
            *(f"{each.sure:.1%}" for each in found.values()),
        ),
        (
            f"Classes that they amount to, of {len(images.classes)}",
            *(f"{each.spread:.1f}" for each in found.values()),
        ),
    )
    st.markdown(markdown(("", *found), rows))
    st.caption(
        f"{COMPARED:,} samples, at most as many images of each kind; the classifier was trained on "
        f"the same {len(images.train):,} images and gets {right:.1%} of the test images right. "
        "This is not the FID, whose features come from another network: the two do not compare, "
        "nor do values of different data sets. Real training images are the floor."
    )
    real = found["real training images"].classes
    fractions = {"samples": found["samples"].classes.numpy(), "real images": real.numpy()}
    chart = class_fractions(images.classes, fractions, studio.shade)
    st.vega_lite_chart(*chart, key=studio.key("classes"), alt="Fraction of each class")


def _measured(
    studio: Studio, images: ImageSet, classifier: Classifier
) -> tuple[dict[str, Quality], float]:
    """Return what a classifier finds by whose images they are, and how often it is right."""
    z = studio.model.draw(COMPARED, torch.Generator().manual_seed(8))
    test = some(images.test, COMPARED)

    def of_samples(averaged: bool) -> Quality:
        x = np.ascontiguousarray(studio.paint(z, averaged))
        return compare(classifier, torch.from_numpy(x), test)

    found = {"samples": of_samples(True)}
    if studio.model.average is not None:
        found[WITHOUT] = of_samples(False)
    real, noise = yardsticks(classifier, images, COMPARED)
    found |= {"real training images": real, "noise": noise}
    return found, accuracy(classifier, images)


def _offer(studio: Studio, images: ImageSet, path: Path, why: str) -> None:
    st.info(
        f"{why} It takes about a minute to train one on {images.title}, in a process of its own; "
        "it is kept for later."
    )
    key = f"classifier.{path}"
    process: subprocess.Popen | None = st.session_state.get(key)
    if process is None:
        st.button(
            "Train the classifier",
            icon=":material/school:",
            key=studio.key("classifier"),
            on_click=_start,
            args=(key, str(studio.run.path.absolute())),
        )
        return
    ticking = st.fragment(run_every=1.0)
    ticking(_wait)(key)


def _start(key: str, run: str) -> None:
    command = [sys.executable, "-m", "analysis.frechet", run]
    # S603: no shell, and a program of ours; the path is that of a run of the store.
    st.session_state[key] = subprocess.Popen(  # noqa: S603
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _wait(key: str) -> None:
    process: subprocess.Popen = st.session_state[key]
    if process.poll() is None:
        st.markdown(":material/hourglass_top: The classifier is being trained.")
        return
    if process.returncode:
        st.error("The training of the classifier ended with an error.")
        return
    del st.session_state[key]
    st.rerun()

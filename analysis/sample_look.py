"""What the samples of a snapshot look like beside real examples: cheap enough for a live page."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from analysis.frechet import NoClassifier, classifier_path, read_classifier
from lab.store import Run
from metrics.samples import (
    FEWEST,
    Look,
    Measure,
    classes_amounted,
    compared,
    covered,
    distinct,
    energy_distance,
    near,
    noise_like,
    plain_features,
    spread,
)
from models.classifier import Classifier

POINTS = 1000  # of a snapshot in 2-D
FAR = 1e6  # where points that are no numbers are put
Arrays = Mapping[str, np.ndarray]
PLAIN = "mean and standard deviation of each colour in each of 4 x 4 cells"
LEARNED = "the features of a small classifier of this set"


@torch.no_grad()
def look_at(run: Run, step: int, snapshot: Arrays, target: Arrays) -> Look | None:
    """Compare the samples of a snapshot with real examples and with noise.

    Args:
        run: whose they are.
        step: of the snapshot.
        snapshot: with ``samples``: images, uint8 ``(n, C, H, W)``, or points ``(n, 2)``.
        target: what there is to learn, in the same form: ``images`` or ``samples``.

    Returns:
        What was found, or ``None`` where there is too little to compare.
    """
    images = "images" in target
    samples, real = snapshot.get("samples"), target["images" if images else "samples"]
    if samples is None or samples.shape[1:] != real.shape[1:]:
        return None
    x, real = torch.from_numpy(samples), distinct(torch.from_numpy(real))
    if len(x) < FEWEST or len(real) < FEWEST:
        return None
    return _of_images(run, step, x, real, target) if images else _of_points(step, x, real)


def _of_points(step: int, x: Tensor, real: Tensor) -> Look:
    real = real[:POINTS].float()
    x = x[:POINTS].float().nan_to_num(FAR, FAR, -FAR)
    sets = x, real, noise_like(real)
    measures = {
        "near": compared(near, "Near real", sets),
        "covered": compared(covered, "Real covered", sets),
    }
    return _look(step, sets, "where they lie", measures)


def _of_images(run: Run, step: int, x: Tensor, real: Tensor, target: Arrays) -> Look:
    classifier = _classifier(run, real.shape[1], len(target["classes"]))
    features = classifier.features if classifier else plain_features(real / 255)
    sets = tuple(features(part / 255) for part in (x, real, noise_like(real)))
    measures = {
        "distance": compared(energy_distance, "Distance to real", sets, distance=True),
        "covered": compared(covered, "Real covered", sets),
    }
    if classifier:
        measures["classes"] = _classes(classifier.head, sets)
    return _look(step, sets, LEARNED if classifier else PLAIN, measures)


def _look(step: int, sets: tuple[Tensor, ...], space: str, measures: dict[str, Measure]) -> Look:
    floor = spread(sets[1]).clamp(min=1e-12)
    ours, noise = (float(spread(part) / floor) for part in (sets[0], sets[2]))
    return Look(step, len(sets[0]), space, ours, noise, measures)


def _classes(head: Callable[[Tensor], Tensor], sets: tuple[Tensor, ...]) -> Measure:
    """Return the classes that samples, real images and noise amount to, as fractions of all."""
    amounts = []
    for part in sets:
        logits = head(part)
        fractions = torch.bincount(logits.argmax(1), minlength=logits.shape[1]) / len(part)
        amounts.append(classes_amounted(fractions) / logits.shape[1])
    return Measure("Classes made", *amounts)


def _classifier(run: Run, channels: int, classes: int) -> Classifier | None:
    if classes < 2:
        return None
    try:
        path = classifier_path(run.config.dataset, run)
        return read_classifier(path, channels, classes)
    except NoClassifier:
        return None

"""How far samples are from real images, in the features of a small classifier of the same set.

``python -m analysis.frechet digits`` trains the classifier of a set that comes with the lab;
``python -m analysis.frechet RUN_FOLDER`` that of the images of a run. It takes about half a minute
on one core, and is kept in a file.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from datasets.files import write_atomic
from datasets.images import CACHE, IMAGES, OWN, ImageSet, load_images
from datasets.own import DataError
from lab.runs.safetensors_header import check_fit, read_header
from lab.store import Run
from metrics.samples import classes_amounted
from models.classifier import Classifier
from paths import ASSETS
from training.core.image_flow import CHUNK
from training.core.optimiser import Optimiser, one_cycle

SHIPPED = ASSETS / "classifiers"
STEPS, BATCH, RATE = 800, 128, 3e-3
COMPARED = 1000  # images on either side of a distance
SURE = 0.9  # probability above which the classifier is sure


class NoClassifier(DataError):
    """There is no classifier for these images yet, or there cannot be one; the message says so."""


# -- the classifier ------------------------------------------------------------------------------


def train_classifier(images: ImageSet, *, steps: int = STEPS, seed: int = 0) -> Classifier:
    """Train a classifier on the training part of a set.

    Raises:
        NoClassifier: all images are of one class.
    """
    if len(images.classes) < 2:
        raise NoClassifier("All images are of one class, so there is nothing to tell apart.")
    weights = torch.Generator().manual_seed(seed)
    model = Classifier(images.shape[0], len(images.classes), generator=weights)
    optimiser, generator = Optimiser(model), torch.Generator().manual_seed(seed)
    for step in range(steps):
        x, labels = images.batch(BATCH, generator)
        loss = torch.nn.functional.cross_entropy(model(x / 255), labels)
        optimiser.step(loss, RATE * one_cycle(step / steps))
    return model.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(model: Classifier, images: ImageSet) -> float:
    """Return the fraction of test images that a classifier gets right."""
    found = torch.cat([model(x / 255).argmax(1) for x in images.test.split(CHUNK)])
    return float((found == images.test_labels).double().mean())


def classifier_path(name: str, run: Run) -> Path:
    """Return where the classifier of a set is, or will be, kept."""
    if name == OWN:
        return run.path / "classifier.safetensors"
    shipped = SHIPPED / f"{name}.safetensors"
    return shipped if shipped.exists() else CACHE / "classifiers" / f"{name}.safetensors"


def save_classifier(model: Classifier, path: Path) -> None:
    """Write the weights of a classifier."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blob = safetensors.torch.save({k: v.contiguous() for k, v in model.state_dict().items()})
    write_atomic(path, lambda file: file.write(blob))


def load_classifier(path: Path, images: ImageSet) -> Classifier:
    """Return the classifier of a set from its file; see :func:`read_classifier`."""
    return read_classifier(path, images.shape[0], len(images.classes))


def read_classifier(path: Path, channels: int, classes: int) -> Classifier:
    """Return the classifier of images with so many channels and classes from its file.

    Raises:
        NoClassifier: there is none there, or it is of other images.
    """
    model = Classifier(channels, classes)
    try:
        check_fit(read_header(path), model)
        model.load_state_dict(safetensors.torch.load_file(path))
    except FileNotFoundError:
        raise NoClassifier("There is no classifier of these images yet.") from None
    except (DataError, OSError) as error:
        raise NoClassifier(f"The classifier in {path.name} is not of these images.") from error
    return model.eval().requires_grad_(False)


# -- what it says of samples ---------------------------------------------------------------------


@dataclass(frozen=True)
class Quality:
    """What a classifier finds of images.

    Attributes:
        distance: Frechet distance of its features to those of real test images.
        sure: fraction of the images of whose class it is sure.
        classes: fraction of the images that it takes for each class, shape ``(K,)``.
        spread: how many classes those fractions amount to: from 1 to K.
    """

    distance: float
    sure: float
    classes: Tensor
    spread: float


def compare(model: Classifier, images: Tensor, real: Tensor) -> Quality:
    """Compare images with real ones, both uint8, ``(N, C, H, W)``."""
    features, reference = features_of(model, images), features_of(model, real)
    probabilities = model.head(features).softmax(1)
    classes = torch.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
    classes = classes / len(images)
    return Quality(
        frechet(features, reference),
        float((probabilities.amax(1) > SURE).double().mean()),
        classes,
        classes_amounted(classes),
    )


@torch.no_grad()
def features_of(model: Classifier, images: Tensor) -> Tensor:
    """Return the features of uint8 images, shape ``(N, 64)``."""
    return torch.cat([model.features(x / 255) for x in images.split(CHUNK)])


def frechet(a: Tensor, b: Tensor) -> float:
    """Return the Frechet distance between Gaussians fitted to two sets of features ``(N, D)``.

    In the features of any other network than Inception this is not the FID, and does not compare
    with it.

    References:
        GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel et
        al., 2017), equation 6. https://arxiv.org/abs/1706.08500
    """
    a, b = a.double(), b.double()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    one, two = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(one)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # The trace of the root of a product is the sum of the roots of its eigenvalues.
    shared = torch.linalg.eigvalsh(root @ two @ root).clamp(min=0).sqrt().sum()
    return float(apart + one.trace() + two.trace() - 2 * shared)


def yardsticks(model: Classifier, images: ImageSet, count: int) -> tuple[Quality, Quality]:
    """Return what real training images and what noise come to, beside test images.

    Args:
        model: the classifier.
        images: its images.
        count: of either, as many as there are samples.
    """
    eval_generator = torch.Generator().manual_seed(7)
    real = some(images.test, COMPARED)
    others = some(images.train, count)
    noise = torch.randint(0, 256, others.shape, generator=eval_generator, dtype=torch.uint8)
    return compare(model, others, real), compare(model, noise, real)


def some(images: Tensor, count: int) -> Tensor:
    """Return up to ``count`` images, always the same: sets come sorted as often as not.

    Of shape ``(N, ...)``; the result is ``(n, ...)`` with n at most ``count``.
    """
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(2))[:count]]


def main(name: str) -> int:
    """Train and keep the classifier of a set of the lab, or of the images of a run."""
    if name in IMAGES:
        path, images = SHIPPED / f"{name}.safetensors", load_images(name)
    else:
        run = Run(name)
        images = load_images(run.config.dataset, run.own_data())
        path = classifier_path(run.config.dataset, run)
    torch.set_num_threads(1)
    save_classifier(train_classifier(images), path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

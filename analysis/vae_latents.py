"""What can be done with a trained variational autoencoder: encode, decode, walk, score, corrupt.

Images go in as uint8 ``(B, C, H, W)`` and come out as floats with values in [0, 1]. Everything is
computed without gradients, some hundred images at a time, and draws from private generators.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from metrics.detection import Interval, auroc_interval, threshold_from_good
from metrics.vae import CHUNK, elbo_terms, scaled, to_bytes
from models.vae import VAE, importance_bound

# -- latents -------------------------------------------------------------------------------------


@torch.no_grad()
def decode(model: VAE, latents: Tensor) -> Tensor:
    """Return the mean images of latents ``(B, latent)``, floats ``(B, C, H, W)``."""
    return torch.cat([model.decode(part) for part in latents.split(CHUNK)])


def lattice(reach: float, count: int) -> Tensor:
    """Return points on a square lattice, row by row from the top, shape ``(count * count, 2)``."""
    along = torch.linspace(-reach, reach, count)
    y, x = torch.meshgrid(along.flip(0), along, indexing="ij")
    return torch.stack([x, y], dim=-1).view(-1, 2)


def normal_lattice(count: int) -> Tensor:
    """Return a lattice whose points are equally likely under the prior, ``(count * count, 2)``.

    References:
        Auto-Encoding Variational Bayes (Kingma, Welling, 2013), appendix A: the unit square through
        the inverse of the Gaussian's distribution function.
    """
    fractions = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    along = (math.sqrt(2) * torch.erfinv(2 * fractions - 1)).float()
    y, x = torch.meshgrid(along.flip(0), along, indexing="ij")
    return torch.stack([x, y], dim=-1).view(-1, 2)


def walk(latents: Tensor, unit: int, reach: float, steps: int) -> Tensor:
    """Return latents that differ in one unit, from ``-reach`` to ``reach``, ``(steps, latent)``.

    Args:
        latents: where to start, ``(latent,)``.
        unit: which unit.
        reach: in standard deviations of the prior.
        steps: how many.
    """
    path = latents.repeat(steps, 1)
    path[:, unit] = torch.linspace(-reach, reach, steps).to(latents)
    return path


def class_means(latents: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the mean latents of each class, ``(classes, latent)``; NaN for one without images."""
    rows = [latents[labels == k].mean(0) for k in range(classes)]
    return torch.stack(rows)


# -- scores --------------------------------------------------------------------------------------


@torch.no_grad()
def log_likelihood(model: VAE, images: Tensor, *, draws: int, generator: torch.Generator) -> Tensor:
    """Return the importance-weighted bound on log p(x) in nats, shape ``(B,)``.

    Args:
        model: the model.
        images: uint8, ``(B, C, H, W)``.
        draws: of each image.
        generator: of the draws, on the model's device.
    """
    bounds = []
    for chunk in images.split(max(1, 4 * CHUNK // draws)):
        x = scaled(chunk)
        shape = draws, len(x), model.latent
        noise = torch.randn(shape, generator=generator, device=x.device)
        bounds.append(importance_bound(model.log_weights(x, noise)))
    return torch.cat(bounds)


@dataclass(frozen=True)
class Scores:
    """How strange images are to a model, and what it makes of them.

    Attributes:
        bce: binary cross-entropy of each image with its reconstruction, nats, ``(B,)``.
        elbo: negative ELBO of each image, nats, ``(B,)``.
        reconstructions: uint8, ``(B, C, H, W)``.
    """

    bce: np.ndarray
    elbo: np.ndarray
    reconstructions: np.ndarray


SCORES = {"bce": "cross-entropy", "elbo": "−ELBO"}
ELBO_DRAWS = 4


@torch.no_grad()
def score(model: VAE, images: Tensor) -> Scores:
    """Score uint8 images ``(B, C, H, W)``: the higher, the stranger.

    The cross-entropy is between the image and the mean image of its mean latents, combined over
    pixels, whatever the likelihood that the model was trained with; the ELBO is the model's own.
    """
    generator = torch.Generator().manual_seed(5)
    terms = elbo_terms(model, images, generator=generator, draws=ELBO_DRAWS)
    means = torch.cat([model.reconstruct(scaled(part)) for part in images.split(CHUNK)])
    return Scores(
        cross_entropy(scaled(images), means).numpy(),
        (terms.reconstruction + terms.kl).numpy(),
        to_bytes(means),
    )


def cross_entropy(x: Tensor, means: Tensor) -> Tensor:
    """Return the binary cross-entropy of images with mean images, nats, ``(B,)``.

    Both have values in [0, 1] and shape ``(B, C, H, W)``.
    """
    means = means.clamp(1e-6, 1 - 1e-6)
    return -(x * means.log() + (1 - x) * (-means).log1p()).flatten(1).sum(1)


# -- corruption ----------------------------------------------------------------------------------

CORRUPTIONS = {
    # name: what its strength is, and from a little of it to a lot
    "noise": ("Gaussian noise [grey levels of 255]", (10, 25, 50, 100)),
    "occlusion": ("Side of a grey square [% of the image]", (15, 25, 35, 50)),
    "blur": ("Standard deviation of a Gaussian [% of the image]", (2, 4, 6, 10)),
    "salt and pepper": ("Pixels set to black or white [%]", (2, 5, 10, 20)),
}


def corrupt(images: Tensor, kind: str, strength: float, *, seed: int) -> Tensor:
    """Return uint8 images ``(B, C, H, W)`` damaged in one of the ways of ``CORRUPTIONS``.

    Args:
        images: uint8; they are not changed.
        kind: a key of ``CORRUPTIONS``.
        strength: as said there; 0 leaves the images as they are.
        seed: of what is drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    if not strength:
        return images.clone()
    match kind:
        case "noise":
            added = strength * torch.randn(images.shape, generator=generator)
            return (images + added).round().clamp(0, 255).to(torch.uint8)
        case "occlusion":
            return _occlude(images, strength / 100, generator)
        case "blur":
            width = strength / 100 * images.shape[-1]
            smooth = ndimage.gaussian_filter(images.float().numpy(), (0, 0, width, width))
            return torch.from_numpy(np.rint(smooth).clip(0, 255).astype(np.uint8))
        case "salt and pepper":
            places = torch.rand(images[:, :1].shape, generator=generator) < strength / 100
            values = 255 * torch.randint(0, 2, places.shape, generator=generator, dtype=torch.uint8)
            return torch.where(places, values, images)
    raise ValueError(f"kind must be one of {', '.join(CORRUPTIONS)}; got {kind!r}.")


def _occlude(images: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Lay a grey square on each image, somewhere within its middle three quarters."""
    count, _, height, width = images.shape
    side = max(1, round(fraction * min(height, width)))
    # Where the square begins: the border of most images is empty, and hiding it hides nothing.
    low = torch.tensor([height, width]) // 8
    room = (torch.tensor([height, width]) - 2 * low - side).clamp_min(1)
    start = low + (torch.rand(count, 2, generator=generator) * room).long()
    start = torch.minimum(start, torch.tensor([height, width]) - side)
    rows, columns = torch.arange(height), torch.arange(width)
    down = (rows >= start[:, :1]) & (rows < start[:, :1] + side)  # (B, H)
    across = (columns >= start[:, 1:]) & (columns < start[:, 1:] + side)  # (B, W)
    square = (down[:, :, None] & across[:, None])[:, None]
    return torch.where(square, torch.tensor(128, dtype=torch.uint8), images)


@dataclass(frozen=True)
class Detection:
    """How well one score tells clean images from others.

    Attributes:
        auroc: with its 95 % interval.
        threshold: the score that 5 % of clean validation images exceed.
        found: fraction of the others above it.
        alarms: fraction of clean test images above it.
    """

    auroc: Interval
    threshold: float
    found: float
    alarms: float


def detect(clean: np.ndarray, strange: np.ndarray, validation: np.ndarray) -> Detection:
    """Compare the scores of clean test images, of strange ones, and of clean validation images.

    Each has the shape ``(n,)``, with an n of its own.

    The threshold comes from the validation images alone.
    """
    scores = np.concatenate([clean, strange])
    truth = np.arange(len(scores)) >= len(clean)
    threshold = threshold_from_good(validation)
    return Detection(
        auroc_interval(scores, truth),
        threshold,
        float((strange > threshold).mean()),
        float((clean > threshold).mean()),
    )

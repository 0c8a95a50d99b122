"""What is measured of an autoencoder: latents, active units, terms of the bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metrics.gan_health import Health, Rows
from models.vae import VAE, Terms

CHUNK = 500  # images at a time
ACTIVE = 0.01  # variance of a unit's mean over the data above which it counts as used
AWAKE = 0.2  # fraction of the training before which units may well be asleep
SILENT = 0.5  # nats of an image below which all latents together say nothing
TO_WAKE = (
    "Give each unit some free nats, let beta rise over a warm-up, or lower beta: a unit is given "
    "back when the decoder cannot use it yet, and seldom comes back by itself."
)


def scaled(images: Tensor) -> Tensor:
    """Return uint8 images as floats from 0 to 1.

    Of any shape; the result has the same.
    """
    return images.float() / 255


def binarised(images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw each pixel black or white, its grey value being the probability of white.

    Args:
        images: uint8, of any shape; the result has the same, with 0 and 255.
        generator: of the draws, on their device.

    References:
        On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov, Murray, 2008).
        Importance Weighted Autoencoders (Burda, Grosse, Salakhutdinov, 2015), section 5.
        https://arxiv.org/abs/1509.00519
    """
    drawn = torch.rand(images.shape, generator=generator, device=images.device)
    return (drawn < scaled(images)).to(torch.uint8) * 255


def grey_entropy(x: Tensor) -> Tensor:
    """Return the entropy of grey values taken as probabilities, summed over pixels, ``(B,)``.

    In nats. No decoder's cross-entropy with images ``(B, C, H, W)`` in [0, 1] is lower.
    """
    return -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).flatten(1).sum(1)


def to_bytes(x: Tensor) -> np.ndarray:
    """Return images with values in [0, 1] as uint8, the nearest grey values.

    Of any shape; the result has the same.
    """
    return (x.nan_to_num() * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


@torch.no_grad()
def encode(model: VAE, images: Tensor) -> Tensor:
    """Return the means of the latents of uint8 images, shape ``(B, latent)``."""
    return torch.cat([model.encode(scaled(part))[0] for part in images.split(CHUNK)])


def unit_variances(means: Tensor) -> Tensor:
    """Return how much the mean of each unit varies over the data, shape ``(latent,)``."""
    return means.var(0, correction=0)


def active_units(means: Tensor) -> int:
    """Return how many units are used: those whose mean varies by more than 0.01 over the data.

    Args:
        means: of the latents of many images, ``(N, latent)``.

    References:
        Importance Weighted Autoencoders (Burda, Grosse, Salakhutdinov, 2015), section 5.2.
        https://arxiv.org/abs/1509.00519
    """
    return int((unit_variances(means) > ACTIVE).sum())


def latent_health(rows: Rows, total: int, latent: int) -> Health:
    """Say whether the latents of a training say anything: the light against posterior collapse.

    Args:
        rows: of its ``metrics.csv`` so far: ``step`` and, in some, ``kl`` and ``active_units``.
        total: steps of the whole training.
        latent: number of latent units.
    """
    measured = [row for row in rows if "active_units" in row and row["step"] >= AWAKE * total]
    said = [row["kl"] for row in rows if "kl" in row]
    if not measured or not said:
        return Health("unknown", "Too early to tell: units wake up one after another.")
    active, kl = measured[-1]["active_units"], said[-1]
    counts = f"{active:.0f} of {latent} latent units are active, and say {kl:.1f} nats of an image"
    if kl < SILENT or not active:
        return Health("silent", f"Posterior collapse: {counts}.", TO_WAKE)
    if active < latent / 2:
        return Health(
            "asleep",
            f"Units asleep: {counts}. The others have been given back to the prior.",
            "If there are more units than the images need, nothing is wrong: compare the ELBO with "
            f"that of fewer. Otherwise: {TO_WAKE[0].lower()}{TO_WAKE[1:]}",
        )
    return Health("awake", f"Units awake: {counts}.")


@dataclass(frozen=True)
class LatentPlane:
    """A plane in the latent space, to draw it and to come back from the drawing.

    Attributes:
        centre: the point of the plane that is drawn at the origin, ``(latent,)``.
        axes: its two directions, orthonormal, ``(2, latent)``.
        explained: fraction of the variance of the means along each direction.
    """

    centre: Tensor
    axes: Tensor
    explained: tuple[float, float]

    def project(self, latents: Tensor) -> Tensor:
        """Return the coordinates of latents ``(B, latent)`` in this plane, ``(B, 2)``."""
        return (latents - self.centre) @ self.axes.T

    def lift(self, points: Tensor) -> Tensor:
        """Return the latents of points ``(B, 2)`` of the plane, ``(B, latent)``."""
        return self.centre + points @ self.axes


def plane_of(means: Tensor) -> LatentPlane:
    """Return the plane in which means of latents ``(N, latent)`` vary most.

    Two latent units are a plane already and are taken as they are. Of more, it is that of the first
    two principal components; each points to where the longer tail is, so that images of one
    training do not flip.
    """
    centred = means - means.mean(0)
    variance = centred.var(0, correction=0).sum().clamp_min(1e-12)
    if means.shape[1] == 2:
        fractions = centred.var(0, correction=0) / variance
        return LatentPlane(torch.zeros_like(means[0]), torch.eye(2).to(means), _pair(fractions))
    covariance = centred.T @ centred / len(means)
    values, vectors = torch.linalg.eigh(covariance)
    axes = vectors[:, [-1, -2]].T
    tails = (centred @ axes.T).pow(3).sum(0)
    axes = axes * torch.where(tails < 0, -1.0, 1.0)[:, None]
    return LatentPlane(means.mean(0), axes, _pair(values[[-1, -2]] / variance))


def _pair(fractions: Tensor) -> tuple[float, float]:
    return float(fractions[0]), float(fractions[1])


@torch.no_grad()
def elbo_terms(model: VAE, images: Tensor, *, generator: torch.Generator, draws: int = 1) -> Terms:
    """Return the terms of the negative ELBO of uint8 images in nats, ``(B,)`` each.

    Args:
        model: the model.
        images: uint8, ``(B, C, H, W)``.
        generator: of the draws from q(z | x), on the model's device.
        draws: of each image; their mean is returned.
    """
    parts = []
    for chunk in images.split(CHUNK):
        x = scaled(chunk)
        seen = torch.zeros(len(x), device=x.device)
        for _ in range(draws):
            shape = len(x), model.latent
            terms = model.terms(x, torch.randn(shape, generator=generator, device=x.device))
            seen += terms.reconstruction / draws
        parts.append(Terms(seen, terms.kl))
    return Terms(*(torch.cat(column) for column in zip(*parts, strict=True)))

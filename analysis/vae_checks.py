"""Numbers that prove a trained autoencoder's bound, or that show what it leaves open."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from analysis.plane_checks import Check
from analysis.vae_latents import log_likelihood
from metrics.vae import active_units, elbo_terms, grey_entropy, scaled
from models.vae import (
    VAE,
    Bernoulli,
    ContinuousBernoulli,
    GaussianLikelihood,
    importance_bound,
    kl_to_prior,
    log_normaliser,
)

DRAWS = 2000  # behind a Monte Carlo estimate of the KL
SOME = 64  # images behind it


@torch.no_grad()
def check_vae(model: VAE, images: Tensor) -> list[Check]:
    """Measure a trained model on held-out uint8 images ``(N, C, H, W)``. Takes about a second."""
    some = images[torch.randperm(len(images), generator=_private(2))[:SOME]]
    checks = [_check_kl(model, some), _check_positive(model, images), _check_bounds(model, some)]
    return [*checks, _check_own(model, some), *_check_likelihood(model, some)]


def _check_kl(model: VAE, images: Tensor) -> Check:
    mean, log_variance = model.encode(scaled(images))
    noise = torch.randn(DRAWS, *mean.shape, generator=_private(3))
    z = mean + (0.5 * log_variance).exp() * noise
    # log q - log p: the terms with 2 pi cancel.
    draws = 0.5 * (z.square() - noise.square() - log_variance).sum(-1).mean(1)  # (DRAWS,)
    exact = float(kl_to_prior(mean, log_variance).mean())
    error, spread = float(draws.mean()) - exact, float(draws.std()) / math.sqrt(DRAWS)
    return Check(
        "KL against sampling",
        f"{error:+.4f} nats of {exact:.2f}",
        f"within 4 standard errors, ±{4 * spread:.4f}",
        abs(error) <= 4 * spread + 1e-4,
        f"The closed form beside the mean of log q − log p over {DRAWS:,} draws for each of "
        f"{len(images)} test images.",
    )


def _check_positive(model: VAE, images: Tensor) -> Check:
    least = float(elbo_terms(model, images[:2000], generator=_private(3)).kl.min())
    return Check(
        "Smallest KL of a test image",
        f"{least:.3f} nats",
        "at least 0",
        least >= -1e-4,
        "A KL is never negative. At 0 the latents say nothing about the image.",
    )


def nested(log_weights: Tensor, count: int) -> Tensor:
    """Return bounds by ``count`` draws each from log-weights ``(K, B)``, ``(K / count, B)``."""
    return torch.stack([importance_bound(part) for part in log_weights.split(count)])


def _check_bounds(model: VAE, images: Tensor) -> Check:
    noise = torch.randn(50, len(images), model.latent, generator=_private(4))
    log_weights = model.log_weights(scaled(images), noise)
    # The same draws in groups: with others, chance would have a say.
    bounds = [float(nested(log_weights, k).mean()) for k in (1, 5, 50)]
    return Check(
        "Bounds on log p(x) with 1, 5 and 50 draws",
        ", ".join(f"{bound:.2f}" for bound in bounds),
        "rising",
        bounds[0] <= bounds[1] <= bounds[2],
        f"Importance-weighted, mean of {len(images)} test images, nats. More draws, a tighter "
        "bound.",
    )


def _check_own(model: VAE, images: Tensor) -> Check:
    x = scaled(images)
    output = model.output(model.encode(x)[0])
    own = model.likelihood.log_prob(x, output)
    other = model.likelihood.log_prob(x.roll(1, 0), output)
    fraction = float((own > other).float().mean())
    return Check(
        "Images that fit their own reconstruction best",
        f"{fraction:.0%}",
        "nearly all, once trained",
        None,
        "log p(x | z) at the image's own mean latents, against those of another test image.",
    )


def _check_likelihood(model: VAE, images: Tensor) -> list[Check]:
    x, kind = scaled(images), model.likelihood
    if isinstance(kind, GaussianLikelihood):
        how = "One learned standard deviation for all pixels; their range is 1."
        return [Check("Standard deviation", f"{float(kind.log_scale.exp()):.3f}", "", None, how)]
    if isinstance(kind, ContinuousBernoulli):
        return [_check_normaliser(model.output(model.encode(x)[0]))]
    if not isinstance(kind, Bernoulli):
        raise TypeError(f"There is no check of a {type(kind).__name__} yet.")
    floor = float(grey_entropy(x).mean())
    return [
        Check(
            "Floor of the reconstruction",
            f"{floor:.1f} nats/image",
            "",
            None,
            "Entropy of the grey values taken as probabilities: what a perfect reconstruction "
            "still costs.",
        )
    ]


def _check_normaliser(output: Tensor) -> Check:
    """Integrate the density of some pixels over [0, 1], by Simpson's rule."""
    t = output.flatten()[:: max(1, output.numel() // 500)].double()[:, None]
    grid = torch.linspace(0, 1, 2001, dtype=torch.float64)
    density = (t * grid - torch.nn.functional.softplus(t) + log_normaliser(t)).exp()
    weights = torch.ones(2001, dtype=torch.float64)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    error = float(((density @ weights) / 6000 - 1).abs().max())
    return Check(
        "Integral of a pixel's density",
        f"1 up to {error:.1e}",
        "1 up to 1e-3",
        error < 1e-3,
        f"Continuous Bernoulli, numerically, over [0, 1], for {len(t)} pixels of reconstructions.",
    )


@dataclass(frozen=True)
class Bound:
    """What a model says of test images, in nats per image.

    Attributes:
        reconstruction: mean of the first term.
        kl: mean of the second.
        error: standard error of the mean of their sum.
        units: mean KL of each unit, ``(latent,)``.
        active: units in use.
    """

    reconstruction: float
    kl: float
    error: float
    units: Tensor
    active: int

    @property
    def cost(self) -> float:
        """Minus the ELBO."""
        return self.reconstruction + self.kl


@torch.no_grad()
def bound_of(model: VAE, images: Tensor) -> Bound:
    """Measure the ELBO on uint8 images ``(N, C, H, W)``, by one draw each."""
    terms = elbo_terms(model, images, generator=_private(3))
    cost = terms.reconstruction + terms.kl
    mean, log_variance = (
        torch.cat(column)
        for column in zip(*(model.encode(scaled(part)) for part in images.split(500)), strict=True)
    )
    units = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(0)
    return Bound(
        float(terms.reconstruction.mean()),
        float(terms.kl.mean()),
        float(cost.std()) / math.sqrt(len(cost)),
        units,
        active_units(mean),
    )


class Gain(NamedTuple):
    """How many nats an importance-weighted bound is above the ELBO: mean and standard error."""

    nats: float
    error: float


@torch.no_grad()
def gain_of(model: VAE, images: Tensor, *, draws: int, measured: int) -> Gain:
    """Measure what many draws gain over the ELBO, image by image.

    Minus the ELBO of many images less this is minus a bound on log p(x) of all: images differ far
    more than gains do, so a few of them are enough.

    Args:
        model: the model.
        images: uint8, ``(N, C, H, W)``.
        draws: for each image.
        measured: how many images to take, drawn at random.
    """
    some = images[torch.randperm(len(images), generator=_private(2))[:measured]]
    tighter = log_likelihood(model, some, draws=draws, generator=_private(4))
    terms = elbo_terms(model, some, generator=_private(5), draws=20)
    gain = tighter + terms.reconstruction + terms.kl
    return Gain(float(gain.mean()), float(gain.std()) / math.sqrt(len(gain)))


def _private(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)

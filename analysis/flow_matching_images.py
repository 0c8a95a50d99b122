"""What is asked of flow matching on images: samples, denoising, and the numbers that prove it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.frechet import SURE
from analysis.image_latents import context_of
from analysis.plane_checks import Check
from datasets.images import ImageSet
from models.classifier import Classifier
from models.flow import Flow
from models.flow_matching import ends_of, solved
from training.core.image_flow import bits_per_dim
from training.core.images import crop, dequantise, quantise, scattered

RATED = 100  # test images whose bits/dim are estimated
RATED_STEPS = 16  # of the midpoint method on their trajectories
JUDGED = 200  # samples that the classifier is shown
JUDGED_STEPS = 16  # of Euler's method behind them
GUIDED = 2.0  # guidance of the guided ones
PROBES = 200  # that estimate one divergence, to be compared with the exact one
AT_ONCE = 50  # images that are followed together


@torch.no_grad()
def made_of(flow: Flow, z: Tensor, labels: Tensor) -> Tensor:
    """Return the images ``(B, C, H, W)``, in [0, 1], that a flow makes of noise.

    Args:
        flow: as it is solved.
        z: noise, ``(B, C, H, W)``.
        labels: classes ``(B,)``; without a meaning where the flow knows none.
    """
    centred, transport = flow.chain
    parts = zip(z.split(AT_ONCE), labels.split(AT_ONCE), strict=True)
    made = [transport.follow(part, context_of(flow, some)) for part, some in parts]
    return centred.forward(torch.cat(made))[0]


@dataclass(frozen=True, eq=False)
class Denoised:
    """An image that noise was added to, and what becomes of it; all ``(B, C, H, W)``, in [0, 1].

    Attributes:
        noisy: where it is on the path.
        guess: what is expected of the image, at one glance.
        followed: where the velocity leads to.
        score: the direction in which the density of noisy images grows, times the noise's weight.
    """

    noisy: Tensor
    guess: Tensor
    followed: Tensor
    score: Tensor


@torch.no_grad()
def denoised(flow: Flow, image: Tensor, labels: Tensor, t: float, seed: int = 0) -> Denoised:
    """Add noise to an image several times, and take it away again.

    Args:
        flow: as it is solved.
        image: uint8, ``(1, C, H, W)``.
        labels: the class that the flow is given each time, ``(B,)``.
        t: time on the path: 0 is noise alone, 1 is the image.
        seed: of the noise.
    """
    centred, transport = flow.chain
    z = flow.prior.sample(len(labels), generator=torch.Generator().manual_seed(seed))
    data = (2 * (image.float() + 0.5) / 256 - 1).expand_as(z)
    at = transport.at(torch.full((len(z),), t), z)
    x, context = at.data * data + at.noise * z, context_of(flow, labels)
    noise, guess = ends_of(at, x, transport.velocity(x, t, context))
    ends = transport.follow(x, context, start=t)
    seen = (centred.forward(images)[0] for images in (x, guess, ends))
    return Denoised(*seen, score=-noise)


# -- checks ----------------------------------------------------------------------------------------


def check_image_flow_matching(
    flow: Flow, images: ImageSet, dims: int, classifier: Classifier | None
) -> list[Check]:
    """Measure a trained flow over images. Takes some ten seconds on one core.

    Args:
        flow: the flow.
        images: real images, padded for it.
        dims: pixels times channels that count.
        classifier: of these images, if there is one.
    """
    checks = [_check_probes(flow, images), _check_way_back(flow, images)]
    checks.append(_check_bits(flow, images, dims))
    if classifier is not None and flow.context:
        checks.append(_check_sure(flow, images, dims, classifier))
    return checks


def _some(images: ImageSet, count: int, flow: Flow) -> tuple[Tensor, Tensor | None]:
    x = dequantise(scattered(images.test, count), torch.Generator().manual_seed(3))
    return x, context_of(flow, scattered(images.test_labels, count))


@torch.no_grad()
def _check_probes(flow: Flow, images: ImageSet, t: float = 0.5) -> Check:
    x, context = _some(images, 1, flow)
    transport, x = flow.chain[1], 2 * x - 1
    _, exact = transport.divergence(x, t, context)
    source = torch.Generator().manual_seed(5)
    many = x.expand(PROBES, *x.shape[1:])
    signs = 2 * torch.randint(0, 2, (1, *many.shape), generator=source).float() - 1
    many_contexts = None if context is None else context.expand(PROBES, -1)
    _, found = transport.divergence(many, t, many_contexts, signs)
    error = float(found.std() / math.sqrt(PROBES))
    off = abs(float(found.mean() - exact))
    return Check(
        "Estimate of the divergence",
        f"{float(found.mean()):.1f} ± {error:.1f}",
        f"{float(exact):.1f}, the exact one",
        off < 4 * error,
        f"Mean of {PROBES} probes, with its standard error, at one noisy image; the exact one adds "
        f"up {x[0].numel():,} derivatives.",
    )


@torch.no_grad()
def _check_way_back(flow: Flow, images: ImageSet) -> Check:
    x, context = _some(images, 20, flow)
    transport, x = solved(flow, solver="rk4", steps=24).chain[1], 2 * x - 1
    there = transport.follow(x, context, start=1.0, end=0.0)
    error = float((transport.follow(there, context) - x).square().mean().sqrt())
    return Check(
        "Time-reversal error",
        f"{error:.2g}",
        "below 0.02",
        error < 0.02,
        f"Root mean square of x - f(f⁻¹(x)) over {len(x)} test images in [-1, 1], by 24 steps of "
        "Runge-Kutta 4.",
    )


@torch.no_grad()
def _check_bits(flow: Flow, images: ImageSet, dims: int) -> Check:
    x, context = _some(images, min(RATED, len(images.test)), flow)
    likely = solved(flow, solver="midpoint", steps=RATED_STEPS)
    bits = bits_per_dim(likely.log_prob(x, context), likely, dims)
    error = float(bits.std() / math.sqrt(len(bits)))
    return Check(
        "Test NLL",
        f"{float(bits.mean()):.3f} ± {error:.3f} bits/dim",
        "below 8, uniform noise",
        float(bits.mean()) < 8,
        f"Mean over {len(bits)} test images, a probe of the divergence and {RATED_STEPS} steps of "
        "the midpoint method each; the error is that of the mean, images and probes together.",
    )


def _check_sure(flow: Flow, images: ImageSet, dims: int, classifier: Classifier) -> Check:
    plain, guided = (
        sure_of(flow, images.shape, dims, classifier, steps=JUDGED_STEPS, guidance=guidance)
        for guidance in (1.0, GUIDED)
    )
    return Check(
        "Samples that the classifier is sure of",
        f"{plain:.1%}; guided {guided:.1%}",
        "",
        None,
        f"Of {JUDGED} samples, {JUDGED_STEPS} steps of Euler's method, without guidance and with "
        f"{GUIDED:g}: more than {SURE:.0%} for the class that was asked for.",
    )


@torch.no_grad()
def sure_of(
    flow: Flow,
    shape: tuple[int, int, int],
    dims: int,
    classifier: Classifier,
    *,
    steps: int,
    guidance: float = 1.0,
    solver: str = "euler",
    count: int = JUDGED,
) -> float:
    """Return the fraction of samples that a classifier is sure to be of the class asked for.

    Args:
        flow: the flow; it knows classes.
        shape: of the images that it makes.
        dims: pixels times channels of an image without its frame.
        classifier: of these images.
        steps: of the solver.
        guidance: see :class:`models.flow_matching.Transport`.
        solver: a name in ``models.blocks.ode.SOLVERS``.
        count: samples.
    """
    labels = torch.arange(count) % flow.context
    z = flow.prior.sample(count, generator=torch.Generator().manual_seed(8))
    x = made_of(solved(flow, solver=solver, steps=steps, guidance=guidance), z, labels)
    pixels = torch.from_numpy(quantise(crop(x, math.isqrt(dims // shape[0]), shape[1])))
    found = classifier(pixels / 255).softmax(1)[torch.arange(count), labels]
    return float((found > SURE).double().mean())

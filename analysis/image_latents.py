"""What can be done with a trained flow over images: sample, encode, blend, rate, classify.

Images go in as uint8 ``(B, C, H, W)`` of the flow's own size, and come out as floats with values in
[0, 1]. Everything is computed in the flow's own precision (float32), without gradients, a few
hundred images at a time, and draws from private generators.

A class-conditional flow needs a class for all it does: one-hot vectors ``(B, K)`` here,
called the context. Between two classes there are vectors between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor

from models.flow import Flow
from training.core.image_flow import bits_per_dim
from training.core.images import dequantise, one_hot

CHUNK = 256  # images at a time


def context_of(flow: Flow, labels: Tensor) -> Tensor | None:
    """Return the context of the classes ``(B,)``; ``None`` if the flow takes none."""
    return one_hot(labels, flow.context)


@torch.no_grad()
def encode(
    flow: Flow, images: Tensor, context: Tensor | None = None, *, seed: int | None = None
) -> Tensor:
    """Return the latents of images, shape ``(B, D)``.

    Args:
        flow: the flow.
        images: uint8, ``(B, C, H, W)``.
        context: of each, ``(B, K)``.
        seed: of the dequantisation noise; left out, each pixel is put at the middle of the values
            that its byte stands for, which always gives the same latents.
    """
    x = (images + 0.5) / 256 if seed is None else dequantise(images, _private(seed))
    return torch.cat([flow.inverse(part, given)[0] for part, given in _parts(x, context)])


@torch.no_grad()
def decode(flow: Flow, latents: Tensor, context: Tensor | None = None) -> Tensor:
    """Return the images of latents ``(B, D)``, as floats ``(B, C, H, W)``."""
    return torch.cat([flow.forward(part, given)[0] for part, given in _parts(latents, context)])


@torch.no_grad()
def sample(flow: Flow, labels: Tensor, *, temperature: float, seed: int) -> Tensor:
    """Return one image for each of the classes ``(B,)``, as floats ``(B, C, H, W)``.

    Args:
        flow: the flow; one without classes makes as many images as there are labels.
        labels: the classes wanted.
        temperature: what the latents are multiplied by. The same seed gives the same latents at
            every temperature.
        seed: of the latents.
    """
    z = flow.prior.sample(len(labels), generator=_private(seed), temperature=temperature)
    return decode(flow, z, context_of(flow, labels))


# -- between images ------------------------------------------------------------------------------


def blend(start: Tensor, end: Tensor, fractions: Tensor, *, spherical: bool = False) -> Tensor:
    """Return latents on the way from one to another, shape ``(T, D)``.

    Args:
        start: latents of shape ``(D,)``.
        end: latents of shape ``(D,)``.
        fractions: how far to go, 0 to 1, shape ``(T,)``.
        spherical: go along the arc instead of the straight line. Gaussian latents of many
            dimensions all have about the same length; halfway along the line, that of two
            independent ones is shorter by the square root of two.

    References:
        Sampling Generative Networks (White, 2016), section 2.1. https://arxiv.org/abs/1609.04468
    """
    fractions = fractions[:, None].to(start)
    straight = start + fractions * (end - start)
    if not spherical:
        return straight
    cosine = torch.dot(start, end) / (start.norm() * end.norm()).clamp_min(1e-12)
    angle = cosine.clamp(-1, 1).acos()
    if angle.sin() < 1e-4:  # along the same line there is no arc to choose
        return straight
    return (((1 - fractions) * angle).sin() * start + (fractions * angle).sin() * end) / angle.sin()


@torch.no_grad()
def interpolate(
    flow: Flow, images: Tensor, labels: Tensor, *, steps: int, spherical: bool = False
) -> Tensor:
    """Return images on the way between two, both ends included, shape ``(steps, C, H, W)``.

    The context of a conditional flow goes in a straight line from one class to the other.

    Args:
        flow: the flow.
        images: the two ends, uint8, ``(2, C, H, W)``.
        labels: their classes, shape ``(2,)``.
        steps: number of images, at least 2.
        spherical: see :func:`blend`.
    """
    fractions, context = torch.linspace(0, 1, steps), context_of(flow, labels)
    start, end = encode(flow, images, context)
    path = None if context is None else blend(context[0], context[1], fractions)
    return decode(flow, blend(start, end, fractions, spherical=spherical), path)


# -- attributes ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attributes:
    """Directions in the latent space, from many encoded images.

    Attributes:
        means: mean latents of each class, ``(K, D)``; zero for a class without images.
        thicker: from the third with the least ink to the third with the most, the mean of what it
            is in each class, ``(D,)``; so it does not lead from the slim classes to the wide ones.
        count: images behind it.
    """

    means: Tensor
    thicker: Tensor
    count: int

    def towards(self, start: int, end: int) -> Tensor:
        """Return the way from the mean of one class to that of another, ``(D,)``."""
        return self.means[end] - self.means[start]


@torch.no_grad()
def attributes(
    flow: Flow, images: Tensor, labels: Tensor, classes: int, *, per_class: int = 300
) -> Attributes:
    """Measure directions with up to ``per_class`` images of each class.

    Args:
        flow: the flow; a conditional one is given the class of each image.
        images: uint8, ``(N, C, H, W)``.
        labels: their classes, shape ``(N,)``.
        classes: K.
        per_class: how many images to encode of each class.
    """
    order = torch.randperm(len(labels), generator=_private(0))
    rows = [order[labels[order] == k][:per_class] for k in range(classes)]
    means, ways, count = [], [], 0
    for k, chosen in enumerate(rows):
        if not len(chosen):
            means.append(torch.zeros(flow.features))
            continue
        given = context_of(flow, torch.full((len(chosen),), k))
        z = encode(flow, images[chosen], given)
        means.append(z.mean(0))
        count += len(z)
        if (third := len(z) // 3) > 0:
            by_ink = z[ink(images[chosen]).argsort()]
            ways.append(by_ink[-third:].mean(0) - by_ink[:third].mean(0))
    thicker = torch.stack(ways).mean(0) if ways else torch.zeros(flow.features)
    return Attributes(torch.stack(means), thicker, count)


def ink(images: Tensor) -> Tensor:
    """Return the mean brightness of each image, from 0 to 255: digits are light on black.

    Images are uint8, ``(B, C, H, W)``; the result has the shape ``(B,)``.
    """
    return images.flatten(1).double().mean(1)


# -- levels --------------------------------------------------------------------------------------


@torch.no_grad()
def resample_level(
    flow: Flow, latents: Tensor, level: int, *, temperature: float, seed: int
) -> Tensor:
    """Return the latents with those of one level drawn anew, the others as they were.

    Args:
        flow: the flow.
        latents: shape ``(B, D)``.
        level: which one, 0 is the finest.
        temperature: of what is drawn.
        seed: of what is drawn.
    """
    drawn = flow.prior.sample(len(latents), generator=_private(seed), temperature=temperature)
    changed, place = latents.clone(), flow.latent_slices[level]
    changed[:, place] = drawn[:, place]
    return changed


# -- likelihood ----------------------------------------------------------------------------------


@torch.no_grad()
def log_prob(flow: Flow, x: Tensor, labels: Tensor) -> Tensor:
    """Return log p(x | class) of floats ``(B, C, H, W)`` in nats, shape ``(B,)``."""
    parts = _parts(x, context_of(flow, labels))
    return torch.cat([flow.log_prob(part, given) for part, given in parts])


@torch.no_grad()
def log_prob_by_class(flow: Flow, x: Tensor) -> Tensor:
    """Return log p(x | y) for every class y, in nats, shape ``(B, K)``.

    Of a flow that knows no classes it is log p(x), in a single column.
    """
    columns = []
    for k in range(flow.context or 1):
        columns.append(log_prob(flow, x, torch.full((len(x),), k)))
    return torch.stack(columns, dim=1)


def log_mean_exp(by_class: Tensor) -> Tensor:
    """Return log p(x) from log p(x | y) of shape ``(B, K)``, with all classes equally likely."""
    return by_class.logsumexp(dim=1) - math.log(by_class.shape[1])


def posterior(by_class: Tensor) -> Tensor:
    """Return p(y | x) from log p(x | y) of shape ``(B, K)``, by Bayes' rule."""
    return by_class.softmax(dim=1)


def bits(
    flow: Flow, images: Tensor, dims: int, labels: Tensor | None = None, *, seed: int = 3
) -> Tensor:
    """Return bits/dim of uint8 images ``(B, C, H, W)``, shape ``(B,)``.

    Args:
        flow: the flow.
        images: uint8, padded if the flow needs that.
        dims: pixels times channels that count.
        labels: their classes, for log p(x | class); left out, it is log p(x): the mean over all
            classes, which takes as many times as long as there are classes.
        seed: of the dequantisation noise.
    """
    x = dequantise(images, _private(seed))
    known = labels is not None and flow.context
    nats = log_prob(flow, x, labels) if known else log_mean_exp(log_prob_by_class(flow, x))
    return bits_per_dim(nats, flow, dims)


def _private(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _parts(values: Tensor, context: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    given = repeat(None) if context is None else context.split(CHUNK)
    return zip(values.split(CHUNK), given, strict=False)

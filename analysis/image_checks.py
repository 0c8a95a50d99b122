"""Numbers that prove a trained flow over images, or that warn of what it is not."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from analysis.image_latents import (
    bits,
    context_of,
    log_mean_exp,
    log_prob_by_class,
    posterior,
    sample,
)
from analysis.plane_checks import Check
from datasets.images import ImageSet, is_here, load_images
from datasets.own import DataError
from models.blocks.dequantise import VariationalNoise
from models.blocks.image_layers import ConvNet, Logit
from models.blocks.priors import Gaussian
from models.flow import Flow
from training.core.devices import knows_bfloat16
from training.core.image_flow import bits_per_dim, mixed_precision
from training.core.images import crop, dequantise

JACOBIAN = 1024  # dimensions up to which a whole Jacobian is affordable
GREY = 1 / 256  # one step of 8 bits


@dataclass(frozen=True)
class Measured:
    """A trained flow and the held-out images to measure it with.

    Attributes:
        flow: on the CPU, without gradients.
        images: test images as the flow takes them, uint8, ``(N, C, H, W)``, N at least 2.
        labels: their classes, shape ``(N,)``.
        dims: pixels times channels that count for bits/dim.
    """

    flow: Flow
    images: Tensor
    labels: Tensor
    dims: int

    def few(self, count: int) -> Measured:
        """Return the same with a few of the images, of all classes: sets often come sorted."""
        order = torch.randperm(len(self.images), generator=_private(2))[:count]
        return Measured(self.flow, self.images[order], self.labels[order], self.dims)

    def floats(self) -> Tensor:
        """Return the images dequantised, always with the same noise.

        Shape ``(N, C, H, W)``, values in [0, 1].
        """
        return dequantise(self.images, _private(3))

    def context(self) -> Tensor | None:
        """Return the context of the images for the flow.

        Shape ``(N, classes)``, or ``None`` if it takes none.
        """
        return context_of(self.flow, self.labels)


# -- right or wrong ------------------------------------------------------------------------------


def check_image_flow(measured: Measured) -> list[Check]:
    """Measure a trained flow over images. Takes about ten seconds on one core."""
    return [*quick_checks(measured), *jacobian_checks(measured)]


def quick_checks(measured: Measured) -> list[Check]:
    """Measure all but the Jacobian."""
    some = measured.few(64)
    checks = [_check_inverse(some), *_check_mixed(some), _check_cancel(some), _check_range(some)]
    return [*checks, *_check_latents(some), *_check_bits(measured)]


def jacobian_checks(measured: Measured) -> list[Check]:
    """Compare log_det with autograd's Jacobian, if that is affordable."""
    one = measured.few(1)
    size = one.flow.features
    if size > JACOBIAN:
        return []
    error = log_det_error(one.flow, one.floats(), one.context())
    return [
        Check(
            "Log-determinant against autograd",
            f"{error:.2g} nats",
            "below 1e-6 in float64",
            error < 1e-6,
            f"Difference to log|det J| of the whole Jacobian, {size} x {size}, at one test image.",
        )
    ]


@torch.no_grad()
def inverse_error(flow: Flow, x: Tensor, context: Tensor | None = None) -> float:
    """Return the largest change of a pixel on its way to the latent and back, in grey levels.

    Images ``x`` have values in [0, 1] and the shape ``(B, C, H, W)``.
    """
    z, _ = flow.inverse(x, context)
    return float((flow.forward(z, context)[0] - x).abs().max()) / GREY


@torch.no_grad()
def cancel_error(flow: Flow, x: Tensor, context: Tensor | None = None) -> float:
    """Return the largest sum of both directions' log-determinants, in nats; it should be zero.

    Images ``x`` have values in [0, 1] and the shape ``(B, C, H, W)``.
    """
    z, there = flow.inverse(x, context)
    return float((there + flow.forward(z, context)[1]).abs().max())


def log_det_error(flow: Flow, x: Tensor, context: Tensor | None = None) -> float:
    """Return the difference, in nats, of ``log_det`` to autograd's whole Jacobian in float64.

    Args:
        flow: the flow.
        x: one image, ``(1, C, H, W)``.
        context: its context, ``(1, K)``.
    """
    exact = copy.deepcopy(flow).double()
    context = None if context is None else context.double()
    with torch.enable_grad():
        x = x.double().requires_grad_()
        z, log_det = exact.inverse(x, context)
        rows = []
        # Some rows of the Jacobian at a time: all of them would take gigabytes.
        for units in torch.eye(flow.features, dtype=torch.float64)[:, None].split(64):
            (part,) = torch.autograd.grad(z, x, units, retain_graph=True, is_grads_batched=True)
            rows.append(part.flatten(1))
    return float((torch.linalg.slogdet(torch.cat(rows))[1] - log_det.detach()[0]).abs())


def _check_inverse(some: Measured) -> Check:
    error = inverse_error(some.flow, some.floats(), some.context())
    return Check(
        "Inverse error",
        f"{error:.2g} grey levels",
        "below 0.5, so that no byte changes",
        error < 0.5,
        f"Largest change of a pixel of {len(some.images)} test images, to the latent and back, in "
        "float32.",
    )


def _check_mixed(some: Measured) -> list[Check]:
    """Measure the inverse as training computes it: networks inside the couplings in bfloat16."""
    nets = any(isinstance(module, ConvNet) for module in some.flow.modules())
    if not nets or not knows_bfloat16(torch.device("cpu")):
        return []
    flow = copy.deepcopy(some.flow)  # others may be using this one
    with mixed_precision(flow, True):
        error = inverse_error(flow, some.floats(), some.context())
    return [
        Check(
            "The same in mixed precision",
            f"{error:.2g} grey levels",
            "",
            None,
            "Networks inside the couplings in bfloat16, as in training. A coupling is undone by "
            "the very numbers that did it; but an input that is off in its last digit can round to "
            "another bfloat16, so more is lost. Everything on this page is computed in float32.",
        )
    ]


def _check_cancel(some: Measured) -> Check:
    error = cancel_error(some.flow, some.floats(), some.context())
    return Check(
        "Log-determinants of both ways",
        f"{error:.2g} nats",
        "0 (below 0.1 in float32)",
        error < 0.1,
        "Largest |log|det dz/dx| + log|det dx/dz|| of the same images; 0.1 nats are "
        f"{0.1 / (some.dims * math.log(2)):.4f} bits/dim.",
    )


def _check_range(some: Measured) -> Check:
    labels = torch.arange(100) % max(1, some.flow.context)
    x = sample(some.flow, labels, temperature=1.0, seed=5)
    alphas = [module.alpha for module in some.flow.modules() if isinstance(module, Logit)]
    bounded = bool(alphas)
    # A logit that keeps 0 and 1 away from infinity by alpha reaches as far beyond them.
    margin = GREY + sum(alpha / (1 - 2 * alpha) for alpha in alphas)
    outside = float(((x < -margin) | (x > 1 + margin) | ~x.isfinite()).float().mean())
    return Check(
        "Pixels of samples out of range",
        f"{outside:.2%}",
        "0: the logit's inverse ends at 0 and 1" if bounded else "",
        outside == 0 if bounded else None,
        "Of 100 samples at temperature 1, by more than one grey level."
        + ("" if bounded else " Nothing keeps this flow within 0 and 1; images are clipped."),
    )


@torch.no_grad()
def _check_latents(some: Measured) -> list[Check]:
    if not isinstance(some.flow.prior, Gaussian):
        return []
    z, _ = some.flow.inverse(some.floats(), some.context())
    levels = [f"{float(z[:, place].square().mean()):.2f}" for place in some.flow.latent_slices]
    return [
        Check(
            "Mean square of the latents",
            ", ".join(levels),
            "1, the prior's",
            None,
            f"Of {len(z)} test images, level by level, the finest first. Above 1: the test images "
            "are stranger to the flow than its own samples.",
        )
    ]


def _check_bits(measured: Measured) -> list[Check]:
    """Measure bits/dim on test images; of a conditional flow, with and without the classes."""
    given = measured.few(256)
    values = bits(given.flow, given.images, given.dims, given.labels)
    error = float(values.std()) / math.sqrt(len(values))
    kind = "log p(x | class)" if given.flow.context else "log p(x)"
    noise = "learned" if isinstance(given.flow.chain[0], VariationalNoise) else "uniform"
    checks = [
        Check(
            "Bits/dim on test images",
            f"{float(values.mean()):.4f} ± {error:.4f}",
            "",
            None,
            f"From {kind} of {len(values)} images, 8-bit pixels with {noise} noise, with its "
            "standard error. The number beside the training takes the whole test set at the end.",
        )
    ]
    return checks + (_check_classes(measured.few(100)) if given.flow.context else [])


def _check_classes(some: Measured) -> list[Check]:
    """Measure the flow as a classifier, and what it pays when it does not know the class."""
    by_class = log_prob_by_class(some.flow, some.floats())
    right_class = by_class.gather(1, some.labels[:, None])[:, 0]
    costs = bits_per_dim(log_mean_exp(by_class), some.flow, some.dims)
    costs = float((costs - bits_per_dim(right_class, some.flow, some.dims)).mean())
    limit = math.log2(some.flow.context) / some.dims
    right = float((posterior(by_class).argmax(1) == some.labels).float().mean())
    count = f"{len(some.images)} test images"
    return [
        Check(
            "What not knowing the class costs",
            f"{costs:+.4f} bits/dim",
            f"at most {limit:.4f}: log₂ {some.flow.context} bits per image",
            costs <= limit + 1e-6,
            f"log p(x) is the mean of p(x | class) over all classes. Mean over {count}.",
        ),
        Check(
            "Classes named right",
            f"{right:.1%}",
            f"above {1 / some.flow.context:.1%}, which is guessing",
            None,
            f"The class with the largest p(x | class), by Bayes' rule, of {count}. It was never "
            "trained to tell classes apart.",
        ),
    ]


# -- bits, term by term --------------------------------------------------------------------------

_KINDS = {
    "Logit": "Logit: pixels to the whole line",
    "ActNorm": "ActNorm: scales of channels",
    "InvertibleConv": "Invertible 1x1 convolutions",
    "AffineCoupling": "Affine couplings",
    "SplineCoupling": "Spline couplings",
    "DiagonalScale": "Scales of latents",
    "VariationalNoise": "Dequantisation: learned noise",
    "MarginalSplines": "Splines of single pixels",
    "PatchAutoregressive": "Autoregressive blocks",
    "AdditiveCoupling": "Additive couplings: none, they keep the volume",
}


@dataclass(frozen=True, slots=True)
class Term:
    """One part of the bits/dim.

    Attributes:
        name: what it comes from.
        bits: bits/dim that it adds, or takes off if negative.
    """

    name: str
    bits: float


@torch.no_grad()
def accounting(
    flow: Flow, x: Tensor, context: Tensor | None, dims: int
) -> tuple[list[Term], float]:
    """Spell out bits/dim: the 8 bits of a pixel, the latents of each level, each kind of layer.

    Args:
        flow: the flow.
        x: dequantised images, ``(B, C, H, W)``; the terms are means over them.
        context: of each, ``(B, K)``.
        dims: pixels times channels that count.

    Returns:
        The terms, and bits/dim computed as in training; the terms add up to it.
    """
    nats: dict[str, Tensor] = {}  # what each kind of layer adds to log p(x)
    for before, state in pairwise(flow.inverse_states(x, context)):
        name, change = type(state.layer).__name__, state.log_det.double() - before.log_det.double()
        if name in _KINDS or change.any():
            nats[name] = nats.get(name, 0) + change
    log_density = [flow.prior.log_prob(z) for z in (*state.left, state.value)]
    per_bit = dims * math.log(2)
    terms = [Term("8 bits of each pixel", 8 * flow.features / dims)]
    for i, density in enumerate(log_density):
        where = f"Latents of level {i + 1}" if len(log_density) > 1 else "Latents"
        where += ": -log₂ p(z)"
        terms.append(Term(where, -float(density.double().mean()) / per_bit))
    for name, change in nats.items():
        terms.append(Term(_KINDS.get(name, name), -float(change.mean()) / per_bit))
    whole = bits_per_dim(flow.log_prob(x, context).double(), flow, dims)
    return terms, float(whole.mean())


# -- nearest neighbours --------------------------------------------------------------------------


@dataclass(frozen=True)
class Nearest:
    """For each image, the closest one of another set.

    Attributes:
        index: where it is in that set, shape ``(B,)``.
        distance: root of the combined squared difference, pixels from 0 to 1, shape ``(B,)``.
    """

    index: Tensor
    distance: Tensor


def nearest(images: Tensor, among: Tensor, *, chunk: int = 8192) -> Nearest:
    """Find the closest image by pixels (L2) to each of some.

    Args:
        images: uint8, ``(B, C, H, W)``.
        among: uint8, ``(N, C, H, W)``.
        chunk: how many of ``among`` to compare with at a time.
    """
    wanted = images.flatten(1).float() / 255
    best = torch.full((len(images),), math.inf)
    index = torch.zeros(len(images), dtype=torch.int64)
    for start in range(0, len(among), chunk):
        part = among[start : start + chunk].flatten(1).float() / 255
        # |a|² is the same for all that an image is compared with.
        closeness = part.square().sum(1) - 2 * wanted @ part.T
        values, places = closeness.min(1)
        better = values < best
        best[better], index[better] = values[better], places[better] + start
    apart = wanted - among[index].flatten(1).float() / 255
    return Nearest(index, apart.square().sum(1).sqrt())


# -- surprise ------------------------------------------------------------------------------------


def other_sets(images: ImageSet, inner: int, count: int) -> Mapping[str, Tensor]:
    """Return test images and sets that a flow never saw, by name; uint8, ``(count, C, H, W)``.

    Args:
        images: real images, padded to the size of the flow.
        inner: pixels per side without the padding. What is made here is padded alike.
        count: images of each set.
    """
    eval_generator = _private(6)
    order = torch.randperm(len(images.test), generator=eval_generator)[:count]
    side = images.shape[1]
    test = crop(images.test[order], inner, side)
    pixels = test.shape[2] * test.shape[3]
    sets = {"test images": test, **_another(images.name, test.shape)}
    sets["inverted"] = 255 - test
    sets["half the contrast"] = test // 2
    order = (
        torch.rand(len(test), 1, pixels, generator=eval_generator)
        .argsort(2)
        .expand_as(test.flatten(2))
    )
    sets["pixels shuffled"] = test.flatten(2).gather(2, order).view_as(test)
    greys = torch.randint(256, (len(test), 1, 1, 1), generator=eval_generator, dtype=torch.uint8)
    sets["one grey"] = greys.expand_as(test)
    sets["black"] = torch.zeros_like(test)
    sets["noise"] = torch.randint(256, test.shape, generator=eval_generator, dtype=torch.uint8)
    before = (side - inner) // 2
    frame = (before, side - inner - before) * 2
    return {name: torch.nn.functional.pad(values, frame) for name, values in sets.items()}


def _another(name: str, shape: torch.Size) -> dict[str, Tensor]:
    """Return test images of another set of the same size, if one is on this machine."""
    for other in ("fashion_mnist", "mnist", "digits", "cifar10"):
        related = {name, other} <= {"mnist", "digits"}
        if other == name or related or not is_here(other):
            continue
        try:
            found = load_images(other)
        except DataError:  # its files are damaged: there are other sets
            continue
        if found.test.shape[1:] == shape[1:]:
            order = torch.randperm(len(found.test), generator=_private(7))[: shape[0]]
            return {found.title: found.test[order]}
    return {}


def ood_bits(flow: Flow, sets: Mapping[str, Tensor], dims: int) -> dict[str, Tensor]:
    """Return bits/dim of each image of some sets, by set; of a conditional flow, from log p(x).

    Images are uint8, ``(N, C, H, W)``; bits/dim have the shape ``(N,)``.
    """
    return {name: bits(flow, images, dims) for name, images in sets.items()}


def _private(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)

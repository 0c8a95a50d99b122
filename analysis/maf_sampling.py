"""What can be done with a trained MAF: sample it step by step, and look at its Jacobian."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor

from models.blocks.layers import given
from models.blocks.made import MADE
from models.blocks.priors import Gaussian
from models.flow import Flow
from models.maf import MaskedAutoregressive
from training.defects.flows import DefectFlow

FRAMES = 40  # images of a sampling, about


@dataclass(frozen=True, eq=False)
class Filling:
    """An image on its way from noise to data.

    Attributes:
        frames: shape ``(F, S, S, 3)``, uint8.
        places: of each frame, how many blocks are done and which fraction of the present one.
        seconds: that the sampling alone took.
        forward: seconds of one pass from data to latents over as many images.
    """

    frames: np.ndarray
    places: list[tuple[int, float]]
    seconds: float
    forward: float


@torch.no_grad()
def fill(experiment: DefectFlow, *, seed: int, temperature: float) -> Filling:
    """Draw one image and keep how it comes about, block after block, dimension after dimension.

    Args:
        experiment: with trained weights.
        seed: of the latents.
        temperature: what they are multiplied by.
    """
    model, context = experiment.model, experiment.image_context()
    count = 1 if context is None else len(context)
    z = model.prior.sample(
        count, generator=torch.Generator().manual_seed(seed), temperature=temperature
    ).to(experiment.device)
    x, seconds = _timed(lambda: model.forward(z, context)[0])
    _, forward = _timed(lambda: model.inverse(x, context))
    blocks = sum(isinstance(layer, MaskedAutoregressive) for layer in model.chain)
    frames, places = [experiment.image_of(z)], [(0, 0.0)]
    for block, fraction, state in _states(model, z, context, max(2, FRAMES // blocks)):
        frames.append(experiment.image_of(state))
        places.append((block, fraction))
    return Filling(np.stack(frames), places, seconds, forward)


def _states(
    model: Flow, z: Tensor, context: Tensor | None, per_block: int
) -> Iterator[tuple[int, float, Tensor]]:
    """Yield the image so far: what a block has finished, and before that what it started from."""
    encoded, done = model.encoded(context), 0
    layers = list(reversed(model.chain))
    for i, layer in enumerate(layers):
        if not isinstance(layer, MaskedAutoregressive):
            continue  # it belongs to the block before it
        after = list(takewhile(lambda m: not isinstance(m, MaskedAutoregressive), layers[i + 1 :]))
        before, due = layer._ordered(z), 0.0
        for known, _, size in layer.forward_steps(z, **given(layer, encoded)):
            if size >= due or size == z.shape[1]:
                due = size + z.shape[1] / per_block
                state = layer._ordered(torch.cat([known[:, :size], before[:, size:]], dim=1))
                for scale in after:
                    state, _ = scale.forward(state)
                yield done, size / z.shape[1], state
        z, done = state, done + 1


def _timed(work) -> tuple:
    work()  # the first time takes longer
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


# -- Jacobians ----------------------------------------------------------------------------------


def jacobian(block: MaskedAutoregressive, x: Tensor, rows: int, context: Tensor | None) -> Tensor:
    """Return the first rows of the Jacobian of ``inverse`` by autograd, in the block's own order.

    Args:
        block: the layer.
        x: one point, shape ``(1, D)``.
        rows: how many, all by one pass back over as many copies of the point.
        context: of the point, shape ``(1, K)``.

    Returns:
        ``d z_i / d x_j``, shape ``(rows, D)``.
    """
    many = x.detach().expand(rows, -1).clone().requires_grad_()
    repeated = None if context is None else context.expand(rows, -1)
    z = block._ordered(block.inverse(many, repeated)[0])
    (gradient,) = torch.autograd.grad(z[torch.arange(rows), torch.arange(rows)].sum(), many)
    return block._ordered(gradient)


def small_block(features: int, hidden: int, *, strict: bool, seed: int) -> MaskedAutoregressive:
    """Return a small block with random weights: an untrained one would be the identity."""
    generator = torch.Generator().manual_seed(seed)
    block = MaskedAutoregressive(
        features, hidden, bound=2.0, strict=strict, pieces=1, generator=generator
    )
    made: MADE = block.made
    last = made.layers[-1]
    with torch.no_grad():
        for _, full, edge, weight in last.pieces(last.weights):
            scale = torch.tensor(last.visible).clamp_min(1).rsqrt()[:, None]
            weight.uniform_(-1.5, 1.5, generator=generator).mul_(scale)
            weight[:, full:].mul_(edge)
    return block.requires_grad_(False)


@dataclass(frozen=True, eq=False)
class Look:
    """What autograd and the block itself say of a point.

    Attributes:
        sees: how strongly output i of the network depends on input j, shape ``(D, D)``.
        jacobian: of the block, ``d z_i / d x_j``, shape ``(D, D)``.
        stated: the ``log_det`` that the block gives, nats.
        true: the logarithm of the absolute determinant of ``jacobian``, nats.
        integral: of the block's 2-D density, with two dimensions of the same kind; 1
            if it is one.
    """

    sees: np.ndarray
    jacobian: np.ndarray
    stated: float
    true: float
    integral: float


def look(features: int, hidden: int, *, strict: bool, seed: int) -> Look:
    """Measure a small block at one random point."""
    block = small_block(features, hidden, strict=strict, seed=seed)
    x = torch.randn(1, features, generator=torch.Generator().manual_seed(seed + 1))
    found = jacobian(block, x, features, None).double()
    stated = float(block.inverse(x)[1])
    true = float(torch.linalg.slogdet(found)[1])
    sees = torch.autograd.functional.jacobian(lambda v: block.made(v)[0], x)[:, :, 0]  # (D, 2, D)
    sees = sees.abs().sum(1).numpy()
    return Look(sees, found.numpy(), stated, true, _integral(hidden, strict=strict, seed=seed))


@torch.no_grad()
def _integral(hidden: int, *, strict: bool, seed: int, reach: float = 40.0, cells: int = 401):
    """Return the integral of the density of a small block in 2-D, by the midpoint rule.

    The places are spaced evenly in the inverse hyperbolic sine: dense where the density lies.
    """
    block, prior = small_block(2, hidden, strict=strict, seed=seed).double(), Gaussian(2)
    u = torch.linspace(-np.arcsinh(reach), np.arcsinh(reach), cells, dtype=torch.float64)
    x, width = u.sinh(), u.cosh() * float(u[1] - u[0])
    z, log_det = block.inverse(torch.cartesian_prod(x, x))
    density = (prior.log_prob(z) + log_det).exp().view(cells, cells)
    return float((density * width[:, None] * width).sum())

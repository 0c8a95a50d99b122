"""What a learned velocity does in 2-D: trajectories, arrows, densities, samples by few steps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from analysis.plane_checks import Check, check_density
from datasets.plane import Plane
from metrics.plane import SAMPLES, Truth
from models.flow import Flow
from models.flow_matching import solved
from training.core.plane_flow import grid_points

FRAMES = 17  # times from noise to data, evenly apart
CELLS = 40  # along each side of a density on the way
ARROWS = 15  # along each side of the field
FINE = 8  # steps of Runge-Kutta 4 from one end to the other, for a density on the way
AT_ONCE = 5000  # points that are followed together
MASS = 160  # cells along each side of the grid whose mass is added up
COUNTS = (1, 2, 4, 8, 16, 64)  # steps that are compared


@dataclass(frozen=True, eq=False)
class Field:
    """A learned velocity at some times.

    Attributes:
        times: from 0 to 1, ``(frames,)``.
        box: the window at all of them.
        arrows: places and, a little of, the velocity there, ``(frames, n, 4)``.
        density: of the points at each time, ``(frames, CELLS, CELLS)``.
    """

    times: np.ndarray
    box: tuple[float, ...]
    arrows: np.ndarray
    density: np.ndarray


@torch.no_grad()
def field_of(flow: Flow, box: tuple[float, float, float, float]) -> Field:
    """Return the field and the densities between noise and the data, whose window is ``box``."""
    times = np.linspace(0, 1, FRAMES)
    reach = max(3.2, *map(abs, box))
    window = (-reach, reach, -reach, reach)
    transport = flow.chain[-1]
    places = grid_points(window, ARROWS)
    longest = 0.8 * 2 * reach / ARROWS
    arrows = []
    for t in times:
        velocity = transport.velocity(places, float(t))
        size = velocity.norm(dim=1, keepdim=True)
        arrows.append(torch.cat([places, velocity * longest / size.clamp(min=2.0)], dim=1))
    grid = grid_points(window, CELLS)
    density = [_density(flow, grid, float(t)) for t in times]
    return Field(
        times,
        window,
        torch.stack(arrows).numpy(),
        torch.stack(density).view(FRAMES, CELLS, CELLS).numpy(),
    )


def _density(flow: Flow, x: Tensor, t: float) -> Tensor:
    """Return the density at a time of points ``(n, 2)``, shape ``(n,)``."""
    if t == 0:
        return flow.prior.log_prob(x).exp()
    transport = solved(flow, solver="rk4", steps=max(1, round(FINE * t))).chain[-1]
    *_, (_, z, log_det) = transport.trajectory_with_log_det(x, start=t, end=0.0)
    return (flow.prior.log_prob(z) + log_det).exp()


@torch.no_grad()
def trajectories_of(flow: Flow, z: Tensor, times: np.ndarray) -> np.ndarray:
    """Return where noise ``(n, 2)`` is at some times, on a straight line between two steps.

    Returns:
        ``(frames, n, 2)``.
    """
    knots = list(flow.chain[-1].trajectory(z))
    trajectories = []
    for t in times:
        (before, x), (after, y) = next(pair for pair in pairwise(knots) if pair[1][0] >= t - 1e-9)
        part = (t - before) / (after - before)
        trajectories.append(x + float(part) * (y - x))
    return torch.stack(trajectories).numpy()


def trails_of(trajectories: np.ndarray) -> np.ndarray:
    """Return trajectories ``(frames, n, 2)`` as growing lines, ``(frames, n, frames, 2)``."""
    frames = len(trajectories)
    lines = np.repeat(trajectories.transpose(1, 0, 2)[None], frames, axis=0).astype(np.float32)
    later = np.triu(np.ones((frames, frames), dtype=bool), 1)  # corners that are still to come
    lines[np.broadcast_to(later[:, None], lines.shape[:3])] = np.nan
    return lines


def bend(trajectories: np.ndarray) -> float:
    """Return how much longer trajectories ``(frames, n, 2)`` are than their chords, as a fraction.

    Of the mean length of each. 0 is a straight line.

    References:
        Flow Straight and Fast (Liu, Gong, Liu, 2022), section 2.2: why straightness counts.
    """
    trajectories = trajectories.astype(np.float64)
    length = np.linalg.norm(np.diff(trajectories, axis=0), axis=-1).sum(0)
    chord = np.linalg.norm(trajectories[-1] - trajectories[0], axis=-1)
    return float(length.mean() / chord.mean() - 1)


@torch.no_grad()
def sampled(flow: Flow, count: int, seed: int = 6) -> Tensor:
    """Return samples ``(count, 2)`` of a flow as it is solved."""
    z = flow.prior.sample(count, generator=torch.Generator().manual_seed(seed))
    return torch.cat([flow.chain[-1].follow(part) for part in z.split(AT_ONCE)])


def by_steps(
    flow: Flow, plane: Plane, solver: str = "euler", counts: tuple[int, ...] = COUNTS
) -> dict[int, float]:
    """Return the KL of 20,000 samples to the truth by the number of steps of a solver, nats.

    Of histograms, as ``metrics.plane.Truth`` measures it; the density must be known.
    """
    truth = Truth.of(plane)
    return {
        count: truth.score(sampled(solved(flow, solver=solver, steps=count), SAMPLES))["kl"]
        for count in counts
    }


# -- checks ----------------------------------------------------------------------------------------


def check_flow_matching(flow: Flow, plane: Plane) -> list[Check]:
    """Measure a flow that follows a velocity, beside the density that it was trained on."""
    x = plane.held_out(2000, torch.Generator().manual_seed(4))[:2000]
    return [
        _check_divergence(flow, x[:200]),
        _check_way_back(flow, x),
        *check_density(flow, plane, MASS),
    ]


def _check_divergence(flow: Flow, x: Tensor) -> Check:
    transport = flow.chain[-1]
    worst = 0.0
    for t in (0.1, 0.5, 0.9):
        _, found = transport.divergence(x, t)
        jacobian = torch.autograd.functional.jacobian(
            lambda v, t=t: transport.velocity(v, t).sum(0), x
        )
        exact = jacobian.diagonal(dim1=0, dim2=2).sum(1)
        worst = max(worst, float(((found - exact).abs().max() / exact.abs().max()).detach()))
    return Check(
        "Divergence against autograd",
        f"{worst:.2g}",
        "below 0.0001 in float32",
        worst < 1e-4,
        f"Largest difference to the trace of the full Jacobian at {len(x)} points and three times, "
        "over the largest divergence there.",
    )


@torch.no_grad()
def _check_way_back(flow: Flow, x: Tensor) -> Check:
    errors = {}
    for steps in (16, 64):
        transport = solved(flow, solver="rk4", steps=steps).chain[-1]
        there = transport.follow(x, start=1.0, end=0.0)
        errors[steps] = float((transport.follow(there) - x).abs().quantile(0.999))
    return Check(
        "Time-reversal error",
        f"{errors[64]:.2g}",
        "below 0.01 in float32",
        errors[64] < 0.01,
        f"|x - f(f⁻¹(x))| of all but a thousandth of {len(x):,} held-out points, by 64 steps of "
        f"Runge-Kutta 4; by 16 it is {errors[16]:.2g}.",
    )

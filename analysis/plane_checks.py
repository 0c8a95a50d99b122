"""Numbers that prove a trained flow: it inverts, log-determinant and density are right."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.plane import Plane
from datasets.toy import Box
from models.flow import Flow
from training.core.plane_flow import grid_points, measuring_points


@dataclass(frozen=True, slots=True)
class Check:
    """One number and what it should be.

    Attributes:
        name: what was measured.
        value: the number with its unit, as text.
        expected: what a right model gives, as text.
        passed: whether it does; ``None`` where there is no right or wrong.
        how: how it was measured, in a sentence.
    """

    name: str
    value: str
    expected: str
    passed: bool | None
    how: str


def check_plane_flow(flow: Flow, plane: Plane) -> list[Check]:
    """Measure a flow beside the density that it was trained on. Takes a second or two."""
    eval_generator = torch.Generator().manual_seed(4)
    x = plane.held_out(5000, eval_generator)[:5000]
    checks = [
        _check_inverse(flow, x),
        _check_log_det(flow, x[:64]),
    ]
    return checks + check_density(flow, plane)


def check_density(flow: Flow, plane: Plane, cells: int = 400) -> list[Check]:
    """Measure the density of a flow alone: its mass and its distance to the truth.

    Args:
        flow: the flow.
        plane: what it was trained on.
        cells: along each side of the grid whose mass is added up.
    """
    return [_check_integral(flow, plane.box(), cells), *_check_likelihood(flow, plane)]


@torch.no_grad()
def inverse_error(flow: Flow, x: Tensor) -> float:
    """Return the largest change of ``x``, shape ``(B, D)``, on its way to the latent and back."""
    z, _ = flow.inverse(x)
    return float((flow.forward(z)[0] - x).abs().max())


def log_det_error(flow: Flow, x: Tensor) -> float:
    """Return the largest difference, in nats, of ``log_det`` to autograd's Jacobian in float64.

    ``x`` has the shape ``(B, 2)``.
    """
    exact = copy.deepcopy(flow).double()
    with torch.enable_grad():
        x = x.double().requires_grad_()
        z, log_det = exact.inverse(x)
        # One row of all Jacobians at a time: an example's latent depends on that example alone.
        rows = [torch.autograd.grad(z[:, i].sum(), x, retain_graph=True)[0] for i in range(2)]
    jacobian = torch.stack(rows, dim=1)  # (B, 2, 2)
    return float((torch.linalg.slogdet(jacobian)[1] - log_det.detach()).abs().max())


@torch.no_grad()
def total_mass(flow: Flow, box: Box, *, cells: int = 400, margin: float = 2.0) -> float:
    """Return the sum of the density over a window ``margin`` times as wide as ``box``."""
    x0, x1, y0, y1 = box
    grow_x, grow_y = (x1 - x0) * (margin - 1) / 2, (y1 - y0) * (margin - 1) / 2
    wide = (x0 - grow_x, x1 + grow_x, y0 - grow_y, y1 + grow_y)
    area = (wide[1] - wide[0]) * (wide[3] - wide[2]) / cells**2
    chunks = grid_points(wide, cells).split(60_000)
    return float(sum(flow.log_prob(chunk).double().exp().sum() for chunk in chunks)) * area


def _check_inverse(flow: Flow, x: Tensor) -> Check:
    error = inverse_error(flow, x)
    return Check(
        "Inverse error",
        f"{error:.2g}",
        "below 0.001 in float32",
        error < 1e-3,
        f"Largest |x - f(f⁻¹(x))| over {len(x):,} held-out points, standardised units.",
    )


def _check_log_det(flow: Flow, x: Tensor) -> Check:
    error = log_det_error(flow, x)
    return Check(
        "Log-determinant against autograd",
        f"{error:.2g} nats",
        "below 1e-9 in float64",
        error < 1e-9,
        f"Largest difference to log|det J| of the full Jacobian at {len(x)} points.",
    )


def _check_integral(flow: Flow, box: Box, cells: int) -> Check:
    mass = total_mass(flow, box, cells=cells)
    return Check(
        "Integral of the density",
        f"{mass:.4f}",
        "1 (± 0.02: finite grid and window)",
        abs(mass - 1) < 0.02,
        f"Sum over {cells} x {cells} cells of a window twice as wide as the plot.",
    )


@torch.no_grad()
def _check_likelihood(flow: Flow, plane: Plane) -> list[Check]:
    x, truth = measuring_points(plane)
    log_q = flow.log_prob(x)
    nll = float(-log_q.mean()) + plane.log_volume
    drawn = f"Mean over {len(x):,} held-out points, in the data's own units."
    checks = [Check("Negative log-likelihood", f"{nll:.4f} nats", "", None, drawn)]
    if truth is None:
        return checks
    entropy = plane.entropy()
    floor = float(-truth.mean()) + plane.log_volume
    gap = truth - log_q
    error = float(gap.std()) / math.sqrt(len(gap))
    return [
        *checks,
        Check(
            "The same for the truth itself",
            f"{floor:.4f} nats",
            f"{entropy:.4f} nats, the entropy",
            abs(floor - entropy) < 0.03,
            "The floor: what a perfect model scores on these points; it differs from the entropy "
            "by the luck of the draw alone.",
        ),
        Check(
            "KL to the truth",
            f"{float(gap.mean()):.4f} ± {error:.4f} nats",
            "0 for a perfect model",
            None,
            "Mean of log p - log q over the same points, with its standard error. Sharing the "
            f"points removes the luck of the draw; NLL - entropy gives {nll - entropy:.4f} nats.",
        ),
    ]

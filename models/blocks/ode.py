"""Solvers of ordinary differential equations: Euler, midpoint, Runge-Kutta 4, and an adaptive one.

A velocity is a function ``velocity(t, y)`` of a number and a state ``(B, D)``; it returns dy/dt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Velocity = Callable[[float, Tensor], Tensor]

SAFETY, LEAST, MOST = 0.9, 0.2, 5.0  # of the next adaptive step: never grown or shrunk by more
REFUSED = 20  # adaptive steps in a row that may be too large, before they are taken as they are
ATTEMPTS = 1000  # adaptive steps from one end to the other


@dataclass(frozen=True, slots=True)
class Solver:
    """An explicit Runge-Kutta method, by its tableau.

    Attributes:
        title: its name on pages.
        order: a step of half the size makes an error ``2 ** order`` times as small.
        nodes: where within a step each slope is taken, in [0, 1].
        matrix: which earlier slopes lead there, a row for each node.
        weights: of the slopes in the step.
        embedded: weights of a step of lower order; the difference is the error of an adaptive
            solver. Empty for those with steps of one size.

    References:
        Solving Ordinary Differential Equations I (Hairer, Norsett, Wanner, 1993), section II.1.
    """

    title: str
    order: int
    nodes: Sequence[float]
    matrix: Sequence[Sequence[float]]
    weights: Sequence[float]
    embedded: Sequence[float] = ()

    def step(self, velocity: Velocity, t: float, y: Tensor, size: float) -> tuple[Tensor, Tensor]:
        """Take one step, of a signed size.

        Returns:
            The new state ``(B, D)``, and the estimate of its error, of that shape; zeros where the
            method has none.
        """
        slopes: list[Tensor] = []
        for node, row in zip(self.nodes, self.matrix, strict=True):
            at = _moved(y, size, row, slopes)
            slopes.append(velocity(t + node * size, at))
        end = _moved(y, size, self.weights, slopes)
        if not self.embedded:
            return end, torch.zeros_like(y)
        return end, end - _moved(y, size, self.embedded, slopes)


def _moved(y: Tensor, size: float, weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            y = y + size * weight * slope
    return y


SOLVERS: dict[str, Solver] = {
    "euler": Solver("Euler", 1, [0], [[]], [1]),
    "midpoint": Solver("Midpoint", 2, [0, 1 / 2], [[], [1 / 2]], [0, 1]),
    "rk4": Solver(
        "Runge-Kutta 4",
        4,
        [0, 1 / 2, 1 / 2, 1],
        [[], [1 / 2], [0, 1 / 2], [0, 0, 1]],
        [1 / 6, 1 / 3, 1 / 3, 1 / 6],
    ),
    # A family of embedded Runge-Kutta formulae (Dormand, Prince, 1980), table 2.
    "adaptive": Solver(
        "Adaptive (Dormand-Prince 5)",
        5,
        [0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1],
        [
            [],
            [1 / 5],
            [3 / 40, 9 / 40],
            [44 / 45, -56 / 15, 32 / 9],
            [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
            [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
            [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
        ],
        [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0],
        [
            5179 / 57600,
            0,
            7571 / 16695,
            393 / 640,
            -92097 / 339200,
            187 / 2100,
            1 / 40,
        ],
    ),
}


def states(
    velocity: Velocity,
    y: Tensor,
    *,
    start: float = 0.0,
    end: float = 1.0,
    solver: str = "rk4",
    steps: int = 16,
    tolerance: float = 1e-5,
) -> Iterator[tuple[float, Tensor]]:
    """Yield time and state at the start and after each step; the last is at the end.

    Args:
        velocity: see the module.
        y: the state at the start, ``(B, D)``.
        start: time.
        end: time, before or after the start.
        solver: a name in ``SOLVERS``.
        steps: of equal size; an adaptive solver chooses its own.
        tolerance: largest root mean square of the error of an adaptive step, absolute and relative
            to the state.

    Examples:
        >>> *_, (t, y) = states(lambda t, y: -y, torch.ones(1, 1), steps=8)
        >>> t, round(float(y), 4)  # exp(-1) = 0.3679
        (1.0, 0.3679)
    """
    method = SOLVERS[solver]
    yield start, y
    if method.embedded:
        yield from _adaptive(method, velocity, y, start, end, tolerance)
        return
    size = (end - start) / steps
    for i in range(steps):
        y, _ = method.step(velocity, start + i * size, y, size)
        yield (end if i == steps - 1 else start + (i + 1) * size), y


def _adaptive(
    method: Solver, velocity: Velocity, y: Tensor, start: float, end: float, tolerance: float
) -> Iterator[tuple[float, Tensor]]:
    t, size, refused = start, (end - start) / 16, 0
    for _ in range(ATTEMPTS):
        last = abs(size) >= abs(end - t)
        size = end - t if last else size
        after, error = method.step(velocity, t, y, size)
        allowed = tolerance * (1 + torch.maximum(y.abs(), after.abs()))
        ratio = float((error / allowed).square().mean().sqrt())
        good = ratio <= 1 or refused == REFUSED
        refused = 0 if good else refused + 1
        if good:
            t, y = (end if last else t + size), after
            yield t, y
            if last:
                return
        size *= _grown(ratio, method.order)
    raise RuntimeError(f"The solver has not come to the end in {ATTEMPTS:,} steps.")


def _grown(ratio: float, order: int) -> float:
    """Return by which factor the next step may be larger, from the error over what is allowed."""
    if not math.isfinite(ratio):
        return LEAST
    return min(MOST, max(LEAST, SAFETY * max(ratio, 1e-10) ** (-1 / order)))

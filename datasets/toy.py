r"""2-D toy data sets.

What makes them worth having: with the truth known, a trained model's distance to it is a number,
:math:`KL(p \| q) = -E_p[\log q] - H(p)`, in nats, and not an impression from a scatter plot.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from datasets.densities import Box, CurveDensity, Density, GaussianMixture, Pinwheel
from datasets.pixel_density import PixelDensity

__all__ = [
    "NOISE_MAX",
    "NOISE_MIN",
    "TOY",
    "Box",
    "CurveDensity",
    "Density",
    "GaussianMixture",
    "Pinwheel",
    "PixelDensity",
    "Recipe",
    "make",
]

NOISE_MIN, NOISE_MAX = 0.02, 0.5


def _arc(t: Tensor) -> Tensor:
    return torch.stack([t.cos(), t.sin()], dim=1)


def _spiral(t: Tensor) -> Tensor:
    # The square root makes the speed nearly constant, so that points are spread evenly.
    angle = t.sqrt()
    return angle[:, None] * _arc(angle) * (2 / (3.5 * math.pi))


def _two_moons(noise: float) -> Density:
    # scikit-learn's: the lower moon is the upper one turned by half a turn about (0.5, 0.25).
    return CurveDensity(_arc, (0, math.pi), [1, -1], [[0, 0], [1, 0.5]], noise)


def _ring(noise: float) -> Density:
    angles = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    return GaussianMixture(_arc(angles), noise)


def _square_grid(noise: float) -> Density:
    places = torch.arange(-2.0, 3.0)
    return GaussianMixture(torch.cartesian_prod(places, places), noise)


def _mixture(noise: float) -> Density:
    means = [[-1.7, -0.8], [-0.8, 1.3], [0.2, -0.1], [1.3, 1.2], [1.6, -1.2]]
    factors = torch.tensor([1.2, 1.0, 0.7, 1.4, 1.0])
    return GaussianMixture(means, noise * factors, [0.3, 0.25, 0.15, 0.1, 0.2])


def _spirals(noise: float) -> Density:
    start, stop = 0.5 * math.pi, 3.5 * math.pi
    return CurveDensity(_spiral, (start**2, stop**2), [1, -1], [[0, 0], [0, 0]], noise)


def _checkerboard(noise: float) -> Density:
    row, column = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    return PixelDensity((row + column) % 2, (-2, 2, -2, 2), noise)


def _circles(noise: float) -> Density:
    return CurveDensity(_arc, (0, 2 * math.pi), [1, 0.5], [[0, 0], [0, 0]], noise)


@dataclass(frozen=True)
class Recipe:
    """How a toy set is called, what it shows, and how it is made.

    Attributes:
        label: its name on a page.
        about: one line about it.
        noise: the default noise, in data units.
        build: makes the density for a noise.
    """

    label: str
    about: str
    noise: float
    build: Callable[[float], Density]


TOY: dict[str, Recipe] = {
    "two_moons": Recipe(
        "Two moons", "Two half circles that hook into each other.", 0.1, _two_moons
    ),
    "ring": Recipe("Ring of 8", "Eight Gaussians on a circle: which are missed?", 0.1, _ring),
    "grid": Recipe("Grid of 25", "Twenty-five Gaussians, five by five.", 0.05, _square_grid),
    "mixture": Recipe(
        "Mixture of 5", "Five unequal Gaussians, as 1,000 fixed points.", 0.25, _mixture
    ),
    "pinwheel": Recipe("Pinwheel", "Five blades that bend as they go outwards.", 0.05, Pinwheel),
    "spirals": Recipe("Two spirals", "Two arms that wind around each other.", 0.05, _spirals),
    "checkerboard": Recipe(
        "Checkerboard", "Eight squares with sharp edges and corners.", 0.05, _checkerboard
    ),
    "circles": Recipe("Two circles", "One closed curve inside another.", 0.05, _circles),
}


@lru_cache(maxsize=128)
def make(name: str, noise: float | None = None) -> Density:
    """Return the toy density `name`; the same object, its entropy kept, for the same arguments.

    Args:
        name: a key of `TOY`.
        noise: standard deviation of the set's noise in data units, from 0.02 to 0.5: of each
            Gaussian (ring, grid; times 0.7 to 1.4 in the mixture), across a blade (pinwheel), or
            of the blur (all others). The recipe's default if None.

    Returns:
        The density, on the CPU.

    Raises:
        ValueError: the name is unknown, or the noise is out of its range.

    Examples:
        >>> moons = make("two_moons", 0.05)
        >>> round(moons.entropy(), 3)  # nats: no model has a lower NLL
        0.289
        >>> moons.sample(3, torch.Generator().manual_seed(0)).shape
        torch.Size([3, 2])
    """
    if name not in TOY:
        raise ValueError(f"name must be one of {', '.join(TOY)}; got {name!r}.")
    recipe = TOY[name]
    noise = recipe.noise if noise is None else noise
    if not NOISE_MIN <= noise <= NOISE_MAX:
        raise ValueError(f"noise must be between {NOISE_MIN} and {NOISE_MAX}, got {noise}.")
    return recipe.build(noise)

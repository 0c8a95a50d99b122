"""What a trainer in 2-D needs: standardised points, and the truth where it is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from datasets.densities import in_float64
from datasets.files.errors import DataError
from datasets.own import OWN, OwnData
from datasets.toy import NOISE_MAX, NOISE_MIN, TOY, Box, Density, PixelDensity, make

__all__ = ["OWN", "Plane", "load_plane"]

# The fixed sets must be the same on every page and in every run.
_SPLIT_SEED = 0
_MIXTURE_POINTS = 1000


@dataclass(frozen=True, eq=False)
class Plane:
    """A two-dimensional data set, standardised coordinate by coordinate.

    A model sees z = (x - mean) / std. Its negative log-likelihood in the data's own units is the
    standardised one plus `log_volume`; KL to the truth is the same in both.

    Attributes:
        name: what the set is called.
        density: the true density of x, in data units, or None where nobody knows it.
        mean: what is subtracted, with shape (2,), float32.
        std: what is divided by, with shape (2,), float32.
        train: standardised training points of a finite set, with shape (n, 2), else None.
        test: its standardised held-out points, with shape (m, 2), else None.
    """

    name: str
    density: Density | None
    mean: Tensor
    std: Tensor
    train: Tensor | None = None
    test: Tensor | None = None

    @cached_property
    def log_volume(self) -> float:
        """The log-volume that standardising takes away, sum(log std), in nats."""
        return float(in_float64(self.std).log().sum())

    def standardise(self, x: Tensor) -> Tensor:
        """Map points with shape (n, 2) from data units to mean 0 and standard deviation 1."""
        return (x - self.mean.to(x.device)) / self.std.to(x.device)

    def restore(self, x: Tensor) -> Tensor:
        """Map standardised points with shape (n, 2) back to data units."""
        return x * self.std.to(x.device) + self.mean.to(x.device)

    def batch(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw a training batch on the generator's device.

        Args:
            n: the number of points.
            generator: the only source of randomness.

        Returns:
            Standardised points with shape (n, 2), float32: from `train` with replacement if the
            set is finite, else fresh from the density.
        """
        if self.train is None:
            return self._fresh(n, generator)
        device = generator.device
        index = torch.randint(len(self.train), (n,), generator=generator, device=device)
        return self.train.to(device)[index]

    def held_out(self, n: int, generator: torch.Generator) -> Tensor:
        """Return points that no batch contains, on the generator's device.

        Args:
            n: the number of points to draw.
            generator: the only source of randomness.

        Returns:
            Standardised points with shape (n, 2), float32, fresh from the density. Where it is not
            known, all of `test`, whatever `n`.
        """
        if self.test is not None and self.density is None:
            return self.test.to(generator.device)
        return self._fresh(n, generator)

    def log_prob(self, x: Tensor) -> Tensor:
        """Evaluate the true log-density of standardised points.

        Args:
            x: standardised points, with shape (n, 2).

        Returns:
            Nats per point in standardised units, with shape (n,), of the type of `x` and on its
            device.

        Raises:
            ValueError: the density is not known.
        """
        log_prob = self._known().log_prob(self.restore(in_float64(x))) + self.log_volume
        return log_prob.to(x)

    def entropy(self) -> float | None:
        """Return the entropy of x, in nats and data units, or None where it is not known."""
        return None if self.density is None else self.density.entropy()

    def box(self) -> Box:
        """Return a square window (x0, x1, y0, y1), standardised, around nearly all the mass.

        Of a finite set without density, 1 point in 1,000 may lie outside on each side.
        """
        low, high = self._seen_range() if self.density is None else self._known_range()
        centre, half = (low + high) / 2, float((high - low).max()) / 2 * 1.05
        x, y = centre.tolist()
        return x - half, x + half, y - half, y + half

    def to(self, device: torch.device | str) -> Plane:
        """Return the same set with its points on `device`; its density stays as exact as it is."""
        moved = {"mean": self.mean.to(device), "std": self.std.to(device)}
        for field in ("train", "test"):
            value = getattr(self, field)
            moved[field] = None if value is None else value.to(device)
        plane = replace(self, **moved)
        # Known before the first step, which would have to wait for the device.
        vars(plane)["log_volume"] = self.log_volume
        return plane

    def _known(self) -> Density:
        if self.density is None:
            raise ValueError(f"The true density of {self.name} is not known.")
        return self.density

    def _fresh(self, n: int, generator: torch.Generator) -> Tensor:
        return self.standardise(self._known().sample(n, generator))

    def _known_range(self) -> tuple[Tensor, Tensor]:
        x0, x1, y0, y1 = self._known().extent(3.5)
        corners = torch.tensor([[x0, y0], [x1, y1]], device=self.mean.device)
        low, high = self.standardise(corners).cpu()
        return low, high

    def _seen_range(self) -> tuple[Tensor, Tensor]:
        points = torch.cat([p.cpu() for p in (self.train, self.test) if p is not None])
        low, high = torch.quantile(points, torch.tensor([0.001, 0.999]), dim=0)
        return low, high


def load_plane(name: str, noise: float | None = None, own: OwnData | None = None) -> Plane:
    """Load a data set of the plane.

    Args:
        name: a key of `toy.TOY`, or "own" for the user's data.
        noise: the noise of a toy set, or the blur of a user's image, in data units from 0.02 to
            0.5. None takes the set's default, for an image half a pixel. An image's longer side
            measures 4 units. Points are left as they are.
        own: the user's data; used only if `name` is "own".

    Returns:
        The set, on the CPU. "mixture" and a user's points are finite, split 80 to 20 and
        standardised by their training part; the others are endless and standardised exactly.

    Raises:
        ValueError: the name is unknown or the noise out of range.
        DataError: the user's data is asked for, and there is none.
    """
    if name == OWN:
        return own_plane(own, noise)
    if name not in TOY:
        raise ValueError(f"name must be one of {', '.join([*TOY, OWN])}; got {name!r}.")
    density = make(name, noise)
    if name == "mixture":
        points = density.sample(_MIXTURE_POINTS, _split_generator())
        return _finite_plane(name, points, density)
    return Plane(name, density, density.mean, density.std)


def own_plane(own: OwnData | None, noise: float | None) -> Plane:
    """Return the user's points, or the density that their image is.

    Raises:
        DataError: there are none.
    """
    if own is None:
        raise DataError("There is no data of your own yet: upload a table or an image first.")
    array = torch.from_numpy(own.array.copy())
    if own.kind == "points":
        return _finite_plane(own.name, array, None)
    density = _image_density(array, noise)
    return Plane(own.name, density, density.mean, density.std)


def _image_density(weights: Tensor, noise: float | None) -> PixelDensity:
    if noise is not None and not NOISE_MIN <= noise <= NOISE_MAX:
        raise ValueError(f"noise must be between {NOISE_MIN} and {NOISE_MAX}, got {noise}.")
    h, w = weights.shape
    pixel = 4 / max(h, w)
    x, y = w * pixel / 2, h * pixel / 2
    return PixelDensity(weights, (-x, x, -y, y), pixel / 2 if noise is None else noise)


def _finite_plane(name: str, points: Tensor, density: Density | None) -> Plane:
    points = points[torch.randperm(len(points), generator=_split_generator())]
    train, test = points.tensor_split([len(points) * 4 // 5])
    # float64, or the squares of a user's large numbers overflow.
    mean, std = train.double().mean(0).float(), train.double().std(0, correction=0).float()
    plane = Plane(name, density, mean, std)
    return replace(plane, train=plane.standardise(train), test=plane.standardise(test))


def _split_generator() -> torch.Generator:
    return torch.Generator().manual_seed(_SPLIT_SEED)

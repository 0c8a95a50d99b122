"""How near samples are to real examples, and how varied: each number between two yardsticks.

The yardsticks are measured on the very set, on as many real examples, and on noise. A number
is bad where it is nearer to that of noise. All sets of features have the shape ``(n, d)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

FEWEST = 12  # real examples below which samples are not judged
MARGIN = 1.1  # times as good as noise real examples must be for a number to tell them apart
NEIGHBOURS = 5  # of a real example, that make its neighbourhood
CELLS = 4  # along each side of an image, for the plain features
FLAT = 0.02  # least unit of such a feature, in fractions of the range of grey levels
NOISE_SEED = 7


@dataclass(frozen=True)
class Measure:
    """A number of samples, beside what real examples and what noise come to.

    Attributes:
        label: what it is, for people.
        value: of the samples.
        real: of other real examples.
        noise: of noise.
        distance: whether it is a distance, of which less is better, or a fraction.
        limit: where bad begins.
    """

    label: str
    value: float
    real: float
    noise: float
    distance: bool = False

    @property
    def limit(self) -> float:
        """The middle between real examples and noise; of distances on a logarithmic scale."""
        if self.distance:
            return math.sqrt(max(self.real, 0) * max(self.noise, 0))
        return (self.real + self.noise) / 2

    @property
    def tells(self) -> bool:
        """Whether it tells real examples from noise at all."""
        better, worse = (self.noise, self.real) if self.distance else (self.real, self.noise)
        return better > MARGIN * worse

    @property
    def bad(self) -> bool:
        """Whether samples are nearer to noise than to real examples; also if not a number."""
        good = self.value <= self.limit if self.distance else self.value >= self.limit
        return self.tells and not good

    def say(self, value: float) -> str:
        """Return one of the three numbers, as it is written."""
        return f"{value:.3g}" if self.distance else f"{value:.0%}"


@dataclass(frozen=True)
class Look:
    """What was found of the samples of one step.

    Attributes:
        step: of the training.
        count: samples that were looked at.
        space: what they were compared by, for people.
        spread: mean distance between samples over that between real examples.
        spread_of_noise: the same of noise.
        measures: by name: ``"distance"``, ``"near"``, ``"covered"``, ``"classes"``.
    """

    step: int
    count: int
    space: str
    spread: float
    spread_of_noise: float
    measures: Mapping[str, Measure] = field(default_factory=dict)

    def bad(self, *names: str) -> Measure | None:
        """Return the first of some measures that is bad, or ``None``."""
        found = (self.measures[name] for name in names if name in self.measures)
        return next((measure for measure in found if measure.bad), None)


def mean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean distance between the members of two sets ``(n, d)`` and ``(m, d)``."""
    return torch.cdist(a, b).mean()


def energy_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the energy distance between two sets: 0 if they are the same, whatever their shape.

    Of two finite sets, ``(n, d)`` and ``(m, d)``, it is never 0, even of the same distribution:
    compare it with that of real examples, of as many.

    References:
        Energy statistics: A class of statistics based on distances (Szekely, Rizzo, 2013), (6).
    """
    return 2 * mean_distance(a, b) - mean_distance(a, a) - mean_distance(b, b)


def spread(x: Tensor) -> Tensor:
    """Return the mean distance between two different members of a set ``(n, d)``."""
    return mean_distance(x, x) * len(x) / max(len(x) - 1, 1)


def _reach(real: Tensor) -> Tensor:
    neighbours = max(1, min(NEIGHBOURS, len(real) // 6))
    return torch.cdist(real, real).kthvalue(neighbours + 1, dim=1).values


def near(x: Tensor, real: Tensor) -> Tensor:
    """Return the fraction of samples ``(n, d)`` in the neighbourhood of a real example ``(m, d)``.

    A neighbourhood reaches as far as the fifth other real example, in small sets less.

    References:
        Improved Precision and Recall Metric for Assessing Generative Models (Kynkaanniemi et al.,
        2019), equation 2. https://arxiv.org/abs/1904.06991
    """
    return (torch.cdist(x, real) <= _reach(real)).any(1).double().mean()


def covered(x: Tensor, real: Tensor) -> Tensor:
    """Return the fraction of real examples ``(m, d)`` that have a sample ``(n, d)`` near.

    References:
        Reliable Fidelity and Diversity Metrics for Generative Models (Naeem et al., 2020),
        equation 7. https://arxiv.org/abs/2002.09797
    """
    return (torch.cdist(real, x).amin(1) <= _reach(real)).double().mean()


def by_halves(measure: Callable[[Tensor, Tensor], Tensor], x: Tensor, real: Tensor) -> float:
    """Return the mean of a measure of one half of a set beside the other half of the real one.

    So real examples can be compared with themselves, and all else on the same terms. Sets have the
    shapes ``(n, d)`` and ``(m, d)``.
    """
    one, two = (slice(start, None, 2) for start in (0, 1))
    count = min(len(x), len(real)) // 2
    pairs = ((x[one], real[two]), (x[two], real[one]))
    return float(sum(measure(a[:count], b[:count]) for a, b in pairs) / 2)


def compared(
    measure: Callable[[Tensor, Tensor], Tensor],
    label: str,
    sets: tuple[Tensor, Tensor, Tensor],
    *,
    distance: bool = False,
) -> Measure:
    """Return a measure of samples, of real examples and of noise, beside real examples.

    The three sets have the shapes ``(n, d)``, ``(m, d)`` and ``(m, d)``.
    """
    real = sets[1]
    return Measure(label, *(by_halves(measure, x, real) for x in sets), distance=distance)


def distinct(real: Tensor) -> Tensor:
    """Return examples ``(n, ...)`` without repetition: a small set is shown again and again."""
    same = (real[1:] == real[0]).flatten(1).all(1).nonzero()
    return real[: int(same[0]) + 1] if len(same) else real


# -- what examples are compared by ---------------------------------------------------------------


def noise_like(real: Tensor) -> Tensor:
    """Return noise for examples to be compared with, always the same.

    Of images ``(n, C, H, W)``, uint8, it is even in each pixel; of points ``(n, 2)`` a Gaussian
    with their means and standard deviations.
    """
    generator = torch.Generator().manual_seed(NOISE_SEED)
    if real.dtype == torch.uint8:
        return torch.randint(0, 256, real.shape, generator=generator, dtype=torch.uint8)
    return real.mean(0) + real.std(0) * torch.randn(real.shape, generator=generator)


def cells(images: Tensor) -> Tensor:
    """Return mean and standard deviation of each colour in each of 4 x 4 cells.

    ``(n, C, H, W)`` with values from 0 to 1 becomes ``(n, 32 C)``.
    """
    pool = torch.nn.functional.adaptive_avg_pool2d
    mean = pool(images, CELLS)
    deviation = (pool(images.square(), CELLS) - mean.square()).clamp(min=0).sqrt()
    return torch.cat([mean, deviation], 1).flatten(1)


def plain_features(real: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what makes features of images where no classifier does: see :func:`cells`.

    Each is in units of its standard deviation among real images ``(n, C, H, W)``.
    """
    unit = cells(real).std(0).clamp(min=FLAT)
    return lambda images: cells(images) / unit


def classes_amounted(fractions: Tensor) -> float:
    """Return how many classes some fractions ``(K,)`` amount to: from 1 to K."""
    return float(torch.special.entr(fractions).sum().exp())

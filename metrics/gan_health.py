"""The health of a duel, read off its samples and off the numbers that its training logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from metrics.samples import Look, Measure

Rows = Sequence[Mapping[str, float]]

WINDOW = 0.1  # of the steps so far, whose rows are looked at
FEWEST = 8  # rows below which nothing is said
EARLY = 0.02  # fraction of the training before which nothing is said: all duels start uneven
SETTLED = 0.2  # fraction of the training before which samples are not called good or bad
WON_REAL, WON_FAKE = 0.9, 0.1  # a discriminator that is that sure of both sides has won
SAME = 0.4  # diversity below which samples count as all alike
ONE = 0.1  # spread below which they are one image, more or less
ALIKE = 0.5  # spread below which samples are nearer to one that is repeated than to real examples
MISSED = 0.75  # fraction of the modes below which the others count as lost
SWING = 0.12  # standard deviation of what fakes are taken for, above which a duel swings
FROM_COLLAPSE = (
    "Lower the generator's learning rate or k_G, raise the batch size or k_D, or change the loss "
    "to Wasserstein. A collapsed generator seldom recovers: training again with another seed is "
    "often quicker."
)


@dataclass(frozen=True)
class Health:
    """What the light shows.

    Attributes:
        state: ``"unknown"``, ``"balanced"``, ``"far"``, ``"won"``, ``"collapse"`` or
            ``"oscillation"``.
        words: what is the case, with the numbers that say so.
        advice: what to try, or an empty string.
    """

    state: str
    words: str
    advice: str = ""


def health(rows: Rows, total: int, modes: int = 0, look: Look | None = None) -> Health:
    """Assess a duel: its samples first, for a discriminator can be fooled by anything.

    Args:
        rows: rows of its ``metrics.csv`` so far: ``step``, ``d_real``, ``d_fake`` and, in some,
            ``diversity`` and ``modes``.
        total: steps of the whole training.
        modes: how many modes the data have; 0 if that is not known.
        look: what its newest samples look like; without it, nothing is called balanced.
    """
    recent = _recent(rows, total)
    if not recent:
        return Health("unknown", "Too early to tell.")
    real = fmean(row["d_real"] for row in recent)
    fake = fmean(row["d_fake"] for row in recent)
    return (
        (look and _beyond_noise(look, total))
        or _collapse(rows, total, modes)
        or (look and _of_samples(look, total))
        or _won(real, fake)
        or _oscillation(recent)
        or _calm(real, fake, look, total)
    )


def _recent(rows: Rows, total: int) -> Rows:
    """Return the rows of the last tenth; none if it is too early to say anything."""
    logged = [row for row in rows if "d_real" in row and "d_fake" in row]
    if len(logged) < FEWEST or logged[-1]["step"] < EARLY * total:
        return []
    start = (1 - WINDOW) * logged[-1]["step"]
    recent = [row for row in logged if row["step"] >= start]
    return recent if len(recent) >= FEWEST else logged[-FEWEST:]


def _calm(real: float, fake: float, look: Look | None, total: int) -> Health:
    believed = (
        f"the discriminator takes real examples for real at {real:.2f} and fakes at {fake:.2f}; "
        "0.5 and 0.5 is where it cannot tell them apart"
    )
    if look is None:
        return Health(
            "unknown",
            f"Not known: {believed}. But there are too few samples or real examples to compare, "
            "and a discriminator alone proves nothing.",
        )
    if look.step < SETTLED * total:
        return Health(
            "unknown", f"Too early to tell what samples will be like. So far, {believed}."
        )
    return Health(
        "balanced",
        f"Balanced: samples are nearer to real examples than to noise, and {believed}.",
    )


def _beyond_noise(look: Look, total: int) -> Health | None:
    """Return that samples are no nearer to real examples than noise is: alike or not, no matter."""
    found = look.bad("distance", "near")
    if found is None or look.step < SETTLED * total:
        return None
    worse = found.value >= found.noise if found.distance else found.value <= found.noise
    return _far(look) if worse else None


def _of_samples(look: Look, total: int) -> Health | None:
    """Return what is wrong with samples, once it is not too early to ask."""
    if look.step < SETTLED * total:
        return None
    return _alike(look, ONE) or _far(look) or _alike(look, ALIKE) or _missing(look)


def _alike(look: Look, least: float) -> Health | None:
    if not look.spread < least:
        return None
    return Health(
        "collapse",
        f"Mode collapse: samples differ from each other only {look.spread:.0%} as much as real "
        f"examples do; noise {look.spread_of_noise:.0%}.",
        FROM_COLLAPSE,
    )


def _far(look: Look) -> Health | None:
    found = look.bad("distance", "near")
    if found is None:
        return None
    return Health(
        "far",
        f"Far from real: samples are nearer to noise than to real examples, however calm the duel "
        f"is. {_numbers(found)}",
        "Early on, wait. Later, look at the curves: a discriminator that has won teaches nothing, "
        "and one that is fooled by noise is too weak. Raise its width or k_D in the second case, "
        "lower its learning rate in the first, or train longer.",
    )


def _missing(look: Look) -> Health | None:
    found = look.bad("covered", "classes")
    if found is None:
        return None
    return Health(
        "collapse",
        f"Mode collapse: a part of what is real is never made. {_numbers(found)}",
        FROM_COLLAPSE,
    )


def _numbers(found: Measure) -> str:
    ours, real, noise = map(found.say, (found.value, found.real, found.noise))
    return f"{found.label}: {ours}; of real examples {real}, of noise {noise}."


def _collapse(rows: Rows, total: int, modes: int) -> Health | None:
    measured = [row for row in rows if "diversity" in row]
    # The samples of a generator that has hardly begun are all alike, and not collapsed.
    if not measured or measured[-1]["step"] < SETTLED * total:
        return None
    last = measured[-1]
    if last["diversity"] < SAME:
        return Health(
            "collapse",
            f"Mode collapse: samples differ from each other only {last['diversity']:.0%} as much "
            "as real examples do.",
            FROM_COLLAPSE,
        )
    if modes and last.get("modes", modes) < MISSED * modes:
        return Health(
            "collapse",
            f"Mode collapse: {last['modes']:.0f} of {modes} modes are covered.",
            "Lower both learning rates, raise the batch size, or change the loss: relativistic, "
            "or Wasserstein with k_D = 5.",
        )
    return None


def _won(real: float, fake: float) -> Health | None:
    if real < WON_REAL or fake > WON_FAKE:
        return None
    return Health(
        "won",
        f"The discriminator has won: it takes real examples for real at {real:.2f} and fakes at "
        f"{fake:.2f}, so there is little left that the generator could learn from.",
        "Lower the discriminator's learning rate or k_D, raise k_G, smooth the labels, or leave "
        "the original loss for the non-saturating one.",
    )


def _oscillation(recent: Rows) -> Health | None:
    fakes = [row["d_fake"] for row in recent]
    mean = fmean(fakes)
    spread = fmean((fake - mean) ** 2 for fake in fakes) ** 0.5
    signs = [fake > mean for fake in fakes]
    turns = sum(a != b for a, b in pairwise(signs))
    if spread < SWING or turns < 2:
        return None
    return Health(
        "oscillation",
        f"Oscillation: what fakes are taken for swings between {min(fakes):.2f} and "
        f"{max(fakes):.2f}. The two chase each other in circles.",
        "Lower the momentum to 0 and both learning rates, or raise k_D; the falling learning "
        "rates calm it towards the end by themselves.",
    )

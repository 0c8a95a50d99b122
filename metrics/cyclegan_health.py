"""The health of a translation, read off what its training logs: of its images, and of losses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean

from metrics.gan_health import EARLY, FEWEST, SAME, WINDOW, Health, Rows
from metrics.two_sets import APART

WON = 0.02  # loss of a discriminator below which it has nothing left to learn, and little to teach
INVERTED = -0.2  # likeness below which light and dark count as exchanged
SETTLED = 0.1  # fraction of the training before which translations are still blurs, all alike
REACHED = 0.2  # fraction of the training before which nothing can be said of where they lead
BY_HUE = (0.0, 1.0)  # what the rule of hues says of fruits as they are, and of real others
WAYS = {"ab": ("A to B", "b"), "ba": ("B to A", "a")}


Yardsticks = Mapping[str, tuple[float, float]]


def translation_health(rows: Rows, total: int, taken: Yardsticks | None = None) -> Health:
    """Assess a CycleGAN.

    Args:
        rows: rows of its ``metrics.csv`` so far: ``step``, the losses, and in some ``likeness_ab``,
            ``variety_ab``, ``taken_ab`` and those of the other direction.
        total: steps of the whole training.
        taken: for either direction, what ``taken_ab`` is of images that are left as they are, and
            of real images of the other set; runs of old have neither.

    Returns:
        One whose state is ``"unknown"``, ``"balanced"``, ``"far"``, ``"won"``, ``"collapse"`` or
        ``"inversion"``.
    """
    logged = [row for row in rows if "discriminator_b" in row]
    if len(logged) < FEWEST or logged[-1]["step"] < EARLY * total:
        return Health("unknown", "Too early to tell.")
    start = (1 - WINDOW) * logged[-1]["step"]
    recent = [row for row in logged if row["step"] >= start]
    if len(recent) < FEWEST:
        recent = logged[-FEWEST:]
    settled = [row for row in rows if "likeness_ab" in row and row["step"] >= SETTLED * total]
    # Twice in a row: one snapshot of a training that moves is no state.
    last = settled[-2:] if len(settled) > 1 else []
    found = _collapse(last) or _inversion(last)
    if found or logged[-1]["step"] < REACHED * total:
        return found or _won(recent) or Health("unknown", TOO_EARLY)
    return _not_there(last, taken or {}) or _won(recent) or _balanced(recent, last, taken or {})


TOO_EARLY = "Too early to tell whether translations reach the other set."


def _reached(last: Rows, taken: Yardsticks, way: str) -> tuple[float, float, float] | None:
    """Return the best of the last values, that of doing nothing and that of real images."""
    values = [row[f"taken_{way}"] for row in last if f"taken_{way}" in row]
    if values and way in taken:
        return max(values), *taken[way]
    hues = [row[f"hue_{way}"] for row in last if f"hue_{way}" in row]
    return (max(hues), *BY_HUE) if hues else None


def _said(last: Rows, taken: Yardsticks) -> str:
    """Return in words how many translations are taken for the other set, both ways."""
    parts = []
    for way, (words, side) in WAYS.items():
        found = _reached(last, taken, way)
        if found is not None:
            ours, nothing, real = found
            parts.append(
                f"from {words} {ours:.0%} are taken for {side.upper()} (left as they are "
                f"{nothing:.0%}, real ones {real:.0%})"
            )
    by = "a small classifier" if taken else "the rule of hues"
    return f"of translations of test images {' and '.join(parts)}, by {by}"


def _not_there(last: Rows, taken: Yardsticks) -> Health | None:
    for way, (words, side) in WAYS.items():
        found = _reached(last, taken, way)
        if found is None:
            continue
        ours, nothing, real = found
        if real - nothing >= APART and ours < (nothing + real) / 2:
            return Health(
                "far",
                f"Not translated from {words}: {side.upper()} is not reached; "
                f"{_said(last, taken)}.",
                "Early on, wait. Later, lower the weights of the cycle and identity losses, which "
                "reward leaving images as they are, or train longer.",
            )
    return None


def _collapse(last: Rows) -> Health | None:
    for way, (words, _) in WAYS.items():
        variety = max((row.get(f"variety_{way}", 1.0) for row in last), default=1.0)
        if variety < SAME:
            return Health(
                "collapse",
                f"Collapse from {words}: translations differ from each other only {variety:.0%} as "
                "much as real images do.",
                "Raise the weight of the cycle loss: from one image for all there is no way back. "
                "Or lower the learning rate.",
            )
    return None


def _inversion(last: Rows) -> Health | None:
    for way, (words, _) in WAYS.items():
        likeness = max((row.get(f"likeness_{way}", 1.0) for row in last), default=1.0)
        if likeness < INVERTED:
            return Health(
                "inversion",
                f"Inverted from {words}: where an image is light its translation is dark "
                f"(correlation {likeness:.2f}). The way back turns it again, so the cycle loss "
                "does not mind.",
                "Raise the weight of the identity loss, or start again with another seed: this "
                "seldom turns by itself.",
            )
    return None


def _won(recent: Rows) -> Health | None:
    for words, side in WAYS.values():
        losses = [row[f"discriminator_{side}"] for row in recent if f"discriminator_{side}" in row]
        loss = fmean(losses) if losses else math.inf
        if loss < WON:
            return Health(
                "won",
                f"The discriminator of {side.upper()} has won: its loss has stayed at {loss:.3f}, "
                f"so the generator from {words} learns little from it.",
                "Lower the learning rate or the width of the discriminators, or lower the weight "
                "of the cycle loss, which holds the generators back.",
            )
    return None


def _balanced(recent: Rows, last: Rows, taken: Yardsticks) -> Health:
    sides = [side for side in "ab" if f"discriminator_{side}" in recent[-1]]
    means = (fmean(row[f"discriminator_{side}"] for row in recent) for side in sides)
    words_of = " and ".join(
        f"{mean:.2f} ({side.upper()})" for mean, side in zip(means, sides, strict=True)
    )
    losses = "the discriminators' losses are" if len(sides) > 1 else "the discriminator's loss is"
    losses += f" {words_of}; at 0.25 real cannot be told from translated, near 0 it always can"
    found = [_reached(last, taken, way) for way, (_, side) in WAYS.items() if side in sides]
    if None in found:
        why = "nobody measured whether translations reach the other set; *Check* does"
        return Health("unknown", f"Not known: {losses}. But {why}.")
    if any(real - nothing < APART for _, nothing, real in found):
        why = "a small classifier cannot tell A from B, so that their likeness has no number"
        return Health("unknown", f"Not known: {losses}. But {why}.")
    return Health("balanced", f"Balanced: {_said(last, taken)}; {losses}.")

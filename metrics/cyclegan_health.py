"""The health of a translation, read off the numbers that its training logs."""

from __future__ import annotations

from statistics import fmean

from metrics.gan_health import EARLY, FEWEST, SAME, WINDOW, Health, Rows

WON = 0.02  # loss of a discriminator below which it has nothing left to learn, and little to teach
INVERTED = -0.2  # likeness below which light and dark count as exchanged
SETTLED = 0.1  # fraction of the training before which translations are still blurs, all alike
WAYS = {"ab": ("A to B", "b"), "ba": ("B to A", "a")}


def translation_health(rows: Rows, total: int) -> Health:
    """Assess a CycleGAN.

    Args:
        rows: rows of its ``metrics.csv`` so far: ``step``, the losses, and in some ``likeness_ab``,
            ``variety_ab`` and those of the other direction.
        total: steps of the whole training.

    Returns:
        One whose state is ``"unknown"``, ``"balanced"``, ``"won"``, ``"collapse"`` or
        ``"inversion"``.
    """
    logged = [row for row in rows if "discriminator_a" in row and "discriminator_b" in row]
    if len(logged) < FEWEST or logged[-1]["step"] < EARLY * total:
        return Health("unknown", "Too early to tell.")
    start = (1 - WINDOW) * logged[-1]["step"]
    recent = [row for row in logged if row["step"] >= start]
    if len(recent) < FEWEST:
        recent = logged[-FEWEST:]
    settled = [row for row in rows if "likeness_ab" in row and row["step"] >= SETTLED * total]
    # Twice in a row: one snapshot of a training that moves is no state.
    last = settled[-2:] if len(settled) > 1 else []
    return _collapse(last) or _inversion(last) or _won(recent) or _balanced(recent)


def _collapse(last: Rows) -> Health | None:
    for way, (words, _) in WAYS.items():
        variety = max((row[f"variety_{way}"] for row in last), default=1.0)
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
        likeness = max((row[f"likeness_{way}"] for row in last), default=1.0)
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
        loss = fmean(row[f"discriminator_{side}"] for row in recent)
        if loss < WON:
            return Health(
                "won",
                f"The discriminator of {side.upper()} has won: its loss has stayed at {loss:.3f}, "
                f"so the generator from {words} learns little from it.",
                "Lower the learning rate or the width of the discriminators, or lower the weight "
                "of the cycle loss, which holds the generators back.",
            )
    return None


def _balanced(recent: Rows) -> Health:
    a, b = (fmean(row[f"discriminator_{side}"] for row in recent) for side in "ab")
    return Health(
        "balanced",
        f"Balanced: the discriminators' losses are {a:.2f} (A) and {b:.2f} (B); at 0.25 they "
        "cannot tell real from translated, near 0 they always can.",
    )

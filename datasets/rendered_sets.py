"""Whole sets of rendered parts, good ones and defective ones, in MVTec AD's layout.

Everything follows from a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets import capsules
from datasets.defects import GOOD, DefectSet, save_layout
from datasets.rendered import bottle, capsule_defects, textile

TRAIN, TEST_GOOD, TEST_EACH = 200, 30, 20  # images in a whole set


@dataclass(frozen=True, slots=True)
class Part:
    """A part that the lab draws.

    Attributes:
        title: for people, in the plural.
        kinds: the names of its defects.
        render: draws one: ``render(kind, size, rng)`` returns image and mask.
    """

    title: str
    kinds: tuple[str, ...]
    render: Callable[..., tuple[np.ndarray, np.ndarray]]


PARTS = {
    "rendered": Part("rendered capsules", capsule_defects.KINDS, capsules.render),
    "rendered_bottle": Part("rendered bottles", bottle.KINDS, bottle.render),
    "rendered_textile": Part("rendered textile", textile.KINDS, textile.render),
}


def rendered_set(
    name: str,
    size: int = 128,
    *,
    train: int = TRAIN,
    good: int = TEST_GOOD,
    each: int = TEST_EACH,
    seed: int = 0,
) -> DefectSet:
    """Draw a whole set.

    Args:
        name: of the part, see ``PARTS``.
        size: pixels on each side.
        train: good images to learn from.
        good: good images in the test part.
        each: images of each kind of defect.
        seed: same seed, same images.
    """
    part = PARTS[name]
    kinds = [GOOD] * (train + good) + [kind for kind in part.kinds for _ in range(each)]
    counts: dict[str, int] = {}
    images, masks = [], []
    for kind in kinds:
        number = counts[kind] = counts.get(kind, 0) + 1
        image, mask = _numbered(part, kind, number, size, seed)
        images.append(image)
        masks.append(mask)
    stack = np.stack(images).transpose(0, 3, 1, 2).copy()
    return DefectSet(
        name=part.title,
        train=stack[:train],
        test=stack[train:],
        kinds=tuple(kinds[train:]),
        masks=np.stack(masks[train:]),
    )


def rendered_test_image(name: str, place: int, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Draw one test image of :func:`rendered_set` as it is by default, without the others.

    Returns:
        The image, shape ``(3, size, size)``, uint8, and its mask, ``(size, size)``, booleans.
    """
    part = PARTS[name]
    if place < TEST_GOOD:
        image, mask = _numbered(part, GOOD, TRAIN + place + 1, size, 0)
    else:
        kind, number = divmod(place - TEST_GOOD, TEST_EACH)
        image, mask = _numbered(part, part.kinds[kind], number + 1, size, 0)
    return image.transpose(2, 0, 1), mask


def _numbered(
    part: Part, kind: str, number: int, size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    # A generator per image: more of one kind leave the others as they are.
    rng = np.random.default_rng((seed, (GOOD, *part.kinds).index(kind), number))
    return part.render(kind, size, rng)


def rendered_capsules(size: int = 128, **counts: int) -> DefectSet:
    """Draw a set of capsules; see :func:`rendered_set`."""
    return rendered_set("rendered", size, **counts)


def write_capsules(folder: Path | str, size: int = 256, **counts: int) -> Path:
    """Write a set of capsules as a folder in MVTec's layout; return the folder.

    Raises:
        OSError: it cannot be written.
    """
    return save_layout(rendered_capsules(size, **counts), folder)

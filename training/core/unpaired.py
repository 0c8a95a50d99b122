"""What a CycleGAN training is made of beside its losses: data, pool, order, measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module

from datasets.own_pairs import OwnPairs, read_pairs_folder, read_pairs_zip, read_two_folders
from datasets.pairs import PAIRS, PairSet, download, is_here
from datasets.rendered.fruits import found_masks, is_kind, overlap
from metrics.plane import diversity
from metrics.two_sets import TwoSets, two_sets
from training.core.config import RunConfig
from training.core.family import DataKind, Flag
from training.core.images import bytes_of_signed, signed

CHUNK = 8  # images at a time where no gradient is needed


def read(
    config: RunConfig, path: Path, other: Path | None = None, *, name_a: str, name_b: str
) -> OwnPairs:
    """Read a person's own two sets.

    Args:
        config: has the side of the images.
        path: a folder or a zip with both, or that of A.
        other: that of B.
        name_a: what A shows; as its folder is called, if empty.
        name_b: the same of B.

    Raises:
        DataError: they cannot be used.
    """
    size = config.image_size
    if other is not None:
        own = read_two_folders(path, other, size)
    elif path.is_dir():
        own = read_pairs_folder(path, size)
    else:
        own = read_pairs_zip(path.read_bytes(), path.name, size)
    return own.called(name_a, name_b)


PAIR_DATA = DataKind(
    "a folder or zip with two folders of images in it, or two folders or zips",
    read,
    OwnPairs.load,
    flags=(
        Flag("name-a", "", "What A shows; as its folder is called, if left out."),
        Flag("name-b", "", "What B shows; as its folder is called, if left out."),
    ),
    paths=2,
    titles={name: source.title for name, source in PAIRS.items()},
    fetched=frozenset(name for name, source in PAIRS.items() if not source.built_in),
    is_here=is_here,
    download=download,
)


class ImagePool:
    """Translations of earlier steps, so that a discriminator does not forget what it has seen.

    Until it is full it keeps every image and gives it back. After that, one time in two it gives
    back an image that it has held, drawn at random, and keeps the new one in its place. What is not
    finite is not kept: it would spoil steps long after the one that made it.

    Args:
        size: images that it holds.
        device: where they are.

    References:
        Learning from Simulated and Unsupervised Images through Adversarial Training (Shrivastava et
        al., 2016), section 2.3. https://arxiv.org/abs/1612.07828
    """

    def __init__(self, size: int, device: torch.device | str) -> None:
        self.size = size
        self.device = torch.device(device)
        self.images = torch.empty(0, device=self.device)
        self.held = 0

    def exchange(self, fresh: Tensor, generator: torch.Generator) -> Tensor:
        """Return as many images as come in, ``(B, ...)``, some of them from earlier."""
        if not self.images.numel():
            self.images = fresh.new_zeros(self.size, *fresh.shape[1:])
        given = []
        for image, usable in zip(fresh, fresh.nan_to_num(posinf=0.0, neginf=0.0), strict=True):
            if self.held < self.size:
                self.images[self.held] = usable
                self.held += 1
                given.append(image)
                continue
            # Decided on the device: to ask it would mean to wait for it.
            swap = torch.rand((), generator=generator, device=self.device) < 0.5
            place = torch.randint(self.size, (1,), generator=generator, device=self.device)
            kept = self.images[place][0]
            given.append(torch.where(swap, kept, image))
            self.images[place] = torch.where(swap, usable, kept)[None]
        return torch.stack(given)

    def state_dict(self) -> dict:
        """Return what a resume needs: the images and how many there are."""
        return {"images": self.images, "held": self.held}

    def load_state_dict(self, state: Mapping) -> None:
        """Take over what :meth:`state_dict` returned."""
        self.images = state["images"].to(self.device).clone()
        self.held = int(state["held"])


class Epochs:
    """The order in which the images of one set are seen: each as often as any other.

    Args:
        count: images of the set.
        length: images seen in an epoch; more than ``count`` if the other set is larger.
        device: where the images are.
    """

    def __init__(self, count: int, length: int, device: torch.device | str) -> None:
        self.count, self.length = count, length
        self.order = torch.empty(0, dtype=torch.int64, device=device)

    def next(self, step: int, batch: int, generator: torch.Generator) -> Tensor:
        """Return the places of the images of a step, ``(batch,)``."""
        place = step % (self.length // batch)
        if place == 0:
            rounds = -(-self.length // self.count)
            device = generator.device
            orders = [
                torch.randperm(self.count, generator=generator, device=device)
                for _ in range(rounds)
            ]
            self.order = torch.cat(orders)[: self.length]
        return self.order[place * batch : (place + 1) * batch]


def jittered(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of some images and shift each, ``(B, C, S, S)``, by up to a tenth of its side.

    What a shift uncovers is filled with a mirror image.
    """
    count, _, side, _ = images.shape
    device, reach = images.device, side // 10
    drawn = torch.rand(3, count, generator=generator, device=device)
    shifts = ((2 * reach + 1) * drawn[:2]).long() - reach
    # Rows and columns to read, (2, B, S).
    read = (torch.arange(side, device=device) + shifts[..., None]).abs()
    read = (side - 1) - ((side - 1) - read).abs()
    columns = torch.where(drawn[2, :, None] < 0.5, (side - 1) - read[1], read[1])
    rows = torch.arange(count, device=device)[:, None, None]
    # Places of the batch and of the pixels come first when they are indexed, channels last.
    picked = images.permute(0, 2, 3, 1)[rows, read[0][:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def squared(scores: Tensor, wanted: float) -> Tensor:
    """Return the mean squared distance of scores from what they should be.

    A scalar; scores may have any shape.
    """
    return (exact(scores) - wanted).square().mean()


def distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean absolute difference of two batches of images.

    A scalar; both have the shape ``(B, 3, S, S)``.
    """
    return (exact(x) - exact(y)).abs().mean()


def exact(x: Tensor) -> Tensor:
    """Return numbers in float32 if they were computed in less.

    Of any shape; the result has the same.
    """
    return x.float() if x.dtype == torch.bfloat16 else x


def discriminator_loss(discriminator: Module, real: Tensor, fake: Tensor) -> Tensor:
    """Return the loss of a discriminator on real and fake images, in one pass.

    A scalar; both have the shape ``(B, 3, S, S)``.
    """
    scores = discriminator(torch.cat([real, fake]))
    return 0.5 * (squared(scores[: len(real)], 1.0) + squared(scores[len(real) :], 0.0))


Carry = Callable[[Tensor, bool], Tensor]


def compared(pairs: PairSet, count: int, carry: Carry) -> dict[str, float]:
    """Measure translations of test images.

    For any images: ``cycle_error_a`` and ``_b``, the mean absolute difference between an image and
    what comes back from there, in fractions of the range of grey levels; ``likeness_ab`` and
    ``_ba``, the mean correlation between the brightness of an image and of its translation;
    ``variety_ab`` and ``_ba``, how much translations differ from each other, compared with real
    images; ``taken_ab`` and ``_ba``, the fraction of translations that a small classifier takes for
    the other set.

    For rendered fruits also ``hue_ab`` and ``_ba``, the fraction of translations with the hue of
    the other fruit inside the input's mask; ``iou_ab`` and ``_ba``, the mean overlap of that mask
    and of where the translation shows fruit.

    Args:
        pairs: the two sets.
        count: test images of either, at most; the first ones.
        carry: translates images: to B if its second argument is true, else to A.
    """
    found: dict[str, dict[str, float]] = {}
    kinds = pairs.domains if pairs.masks_a is not None else (None, None)
    sides = (
        ("a", "ab", pairs.test_a, pairs.test_b, pairs.masks_a, kinds[1]),
        ("b", "ba", pairs.test_b, pairs.test_a, pairs.masks_b, kinds[0]),
    )
    for side, way, images, others, masks, kind in sides:
        x = images[:count]
        there = torch.cat([carry(part, way == "ab") for part in x.split(CHUNK)])
        back = torch.cat([carry(part, way == "ba") for part in there.split(CHUNK)])
        numbers = {
            f"cycle_error_{side}": float((back.float() - signed(x)).abs().mean() / 2),
            f"likeness_{way}": likeness(signed(x), there),
            f"variety_{way}": diversity(there, signed(others[:count])),
            f"taken_{way}": classifier_of(pairs).taken_for(bytes_of_signed(there), way == "ab"),
        }
        if kind is not None:
            painted = bytes_of_signed(there).cpu().numpy()
            inside = masks[:count].numpy()
            numbers[f"hue_{way}"] = float(is_kind(kind, painted, inside).mean())
            numbers[f"iou_{way}"] = float(overlap(inside, found_masks(painted)).mean())
        found[way] = numbers
    # One number of either direction after the other.
    pairs_of_numbers = zip(found["ab"].items(), found["ba"].items(), strict=True)
    return dict(number for pair in pairs_of_numbers for number in pair)


@lru_cache(maxsize=1)
def classifier_of(pairs: PairSet) -> TwoSets:
    """Return the small classifier of the training images of two sets."""
    return two_sets(pairs.train_a, pairs.train_b)


def yardsticks(pairs: PairSet, count: int) -> dict[str, tuple[float, float]]:
    """Return what ``taken_ab`` and ``taken_ba`` are of test images as they are, and of real ones.

    Args:
        pairs: the two sets.
        count: test images of either, at most; the first ones. None of them was trained on.
    """
    a, b, classifier = pairs.test_a[:count], pairs.test_b[:count], classifier_of(pairs)
    return {
        "ab": (classifier.taken_for(a, True), classifier.taken_for(b, True)),
        "ba": (classifier.taken_for(b, False), classifier.taken_for(a, False)),
    }


def likeness(x: Tensor, y: Tensor) -> float:
    """Return the mean correlation between the brightness of images and of others, from -1 to 1.

    Both have the shape ``(B, 3, S, S)``.
    """
    x, y = (z.float().mean(1).flatten(1) for z in (x, y))
    x, y = (z - z.mean(1, keepdim=True) for z in (x, y))
    both = (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1)).clamp(min=1e-6)
    return float(both.mean())

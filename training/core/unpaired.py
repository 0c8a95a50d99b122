"""What a training without pairs is made of beside its losses: data, pool, order, measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from datasets.own_pairs import OwnPairs, read_pairs_folder, read_pairs_zip, read_two_folders
from datasets.pairs import PAIRS, PairSet, download, is_here, load_pairs
from datasets.rendered.fruits import found_masks, is_kind, overlap
from metrics.plane import diversity
from metrics.two_sets import TwoSets, two_sets
from training.core.config import RunConfig
from training.core.devices import Lanes, knows_bfloat16
from training.core.experiment import Experiment, Snapshot
from training.core.family import DataKind, Flag
from training.core.images import bytes_of_signed, signed
from training.core.optimiser import Optimiser

CHUNK = 8  # images at a time where no gradient is needed
POOL = 50  # images in a pool
SHOWN = 4  # test images of either set in a snapshot
MEASURED = 16  # test images of either set behind each measurement but the last, which takes more
FINAL = 100
CHANNELS_LAST = {"cpu": False}  # whether images are laid out so, by device, as measured
WIDE = 32  # width of the generators from which bfloat16 pays on a CPU
BETAS = (0.5, 0.999)


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


def compared(
    pairs: PairSet, count: int, carry: Carry, ways: Sequence[str] = ("ab", "ba")
) -> dict[str, float]:
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
        ways: ``"ab"``, ``"ba"`` or both; of one alone nothing comes back, so it has no cycle error.
    """
    found: dict[str, dict[str, float]] = {}
    kinds = pairs.domains if pairs.masks_a is not None else (None, None)
    sides = {
        "ab": (pairs.test_a, pairs.test_b, pairs.masks_a, kinds[1]),
        "ba": (pairs.test_b, pairs.test_a, pairs.masks_b, kinds[0]),
    }
    for way in ways:
        images, others, masks, kind = sides[way]
        x = images[:count]
        there = torch.cat([carry(part, way == "ab") for part in x.split(CHUNK)])
        numbers = {}
        if len(ways) == 2:
            back = torch.cat([carry(part, way == "ba") for part in there.split(CHUNK)])
            error = float((back.float() - signed(x)).abs().mean() / 2)
            numbers[f"cycle_error_{way[0]}"] = error
        numbers |= {
            f"likeness_{way}": likeness(signed(x), there),
            f"variety_{way}": diversity(there, signed(others[:count])),
            f"taken_{way}": classifier_of(pairs).taken_for(bytes_of_signed(there), way == "ab"),
        }
        if kind is not None:
            numbers |= _of_fruits(there, masks[:count].numpy(), kind, way)
        found[way] = numbers
    # One number of either direction after the other.
    numbers_of_ways = zip(*(found[way].items() for way in ways), strict=True)
    return dict(number for either in numbers_of_ways for number in either)


def _of_fruits(there: Tensor, inside: np.ndarray, kind: str, way: str) -> dict[str, float]:
    """Return the hue of translations ``(n, 3, S, S)`` inside masks, and the overlap with these."""
    painted = bytes_of_signed(there).cpu().numpy()
    return {
        f"hue_{way}": float(is_kind(kind, painted, inside).mean()),
        f"iou_{way}": float(overlap(inside, found_masks(painted)).mean()),
    }


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


# -- what both trainings have in common ----------------------------------------------------------


class Translation(Experiment):
    """A training on two sets without pairs. What is lost on the way is up to its subclasses.

    Args:
        config: its settings, those of CycleGAN.
        model: its networks, with ``a_to_b``, ``generators`` and ``discriminators``.
        device: where it trains.
        own: the user's two sets, if ``config.dataset`` is ``"own"``.
    """

    WAYS: tuple[str, ...] = ("ab", "ba")  # that it learns to translate
    SNAPSHOT_PATIENCE = 6.0

    def __init__(
        self,
        config: RunConfig,
        model: Module,
        *,
        device: torch.device | str = "cpu",
        own: OwnPairs | None = None,
    ) -> None:
        pairs: PairSet = load_pairs(config.dataset, config.image_size, own)
        counts = len(pairs.train_a), len(pairs.train_b)
        per_epoch = -(-max(counts) // config.batch)
        super().__init__(config, device, config.epochs * per_epoch)
        self.landmarks = (per_epoch,)
        self.pairs = pairs.to(self.device)
        self.METRICS = tuple(compared(self.pairs, 1, lambda x, _: signed(x), self.WAYS))
        self.model = model.to(self.device)
        self.optimisers = self.new_optimisers()
        self.lanes = Lanes(self.device, 2)
        self.epochs = [Epochs(n, per_epoch * config.batch, self.device) for n in counts]
        self.pools = [ImagePool(POOL, self.device) for _ in range(2)]
        self.mixed = config.precision == "mixed" and gains_by_bfloat16(config, self.device)
        last = CHANNELS_LAST.get(self.device.type, False)
        self.layout = torch.channels_last if last else torch.contiguous_format

    def new_optimisers(self) -> dict[str, Optimiser]:
        """Return what moves the generators, and what moves the discriminators."""
        # Without a limit on the gradient: as in the paper.
        return {
            name: Optimiser(nets, clip=float("inf"), betas=BETAS)
            for name, nets in (
                ("generators", self.model.generators),
                ("discriminators", self.model.discriminators),
            )
        }

    def rate_factor(self) -> float:
        """Return the factor on the learning rate: 1, and at the end a line down to 0."""
        left = (self.total - self.step) / self.total
        return min(1.0, left / self.config.decay) if self.config.decay else 1.0

    def batch(self) -> list[Tensor]:
        """Return the next images of A and of B with values in [-1, 1].

        Shape ``(batch, 3, S, S)`` each.
        """
        images = (self.pairs.train_a, self.pairs.train_b)
        drawn = []
        for part, epoch in zip(images, self.epochs, strict=True):
            x = part[epoch.next(self.step, self.config.batch, self.generator)]
            if self.config.jitter:
                x = jittered(x, self.generator)
            drawn.append(signed(x).contiguous(memory_format=self.layout))
        return drawn

    def precision(self) -> AbstractContextManager:
        """Return the context in which the networks compute."""
        if not self.mixed:
            return nullcontext()
        # Torch would keep converted weights for all threads; here none is used twice.
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)

    def carry(self, images: Tensor, to_b: bool) -> Tensor:
        """Return uint8 images, or floats in [-1, 1], as the generator to B or to A paints them.

        Shape ``(B, 3, S, S)``, values in [-1, 1].
        """
        net = self.model.a_to_b if to_b else self.model.b_to_a
        x = signed(images) if images.dtype == torch.uint8 else images
        return net(x.contiguous(memory_format=self.layout))

    @torch.no_grad()
    def snapshot(self) -> Snapshot:
        """Return translations of the same test images, and what comes back from there."""
        made = {"ab": self.carry(self.pairs.test_a[:SHOWN], True)}
        if "ba" in self.WAYS:
            made["aba"] = self.carry(made["ab"], False)
            made["ba"] = self.carry(self.pairs.test_b[:SHOWN], False)
            made["bab"] = self.carry(made["ba"], True)
        return {name: bytes_of_signed(x).cpu().numpy() for name, x in made.items()}

    def target(self) -> Snapshot:
        return {
            "a": self.pairs.test_a[:SHOWN].cpu().numpy(),
            "b": self.pairs.test_b[:SHOWN].cpu().numpy(),
            "shape": np.array((3, self.pairs.size, self.pairs.size)),
            "classes": np.array(self.pairs.domains),
            **{f"taken_{way}": np.array(two) for way, two in yardsticks(self.pairs, FINAL).items()},
        }

    @torch.no_grad()
    def measure(self) -> Mapping[str, float]:
        """Measure on the first test images of either set: on a few, at the end on up to 100."""
        count = FINAL if self.step == self.total else MEASURED
        return compared(self.pairs, count, self.carry, self.WAYS)

    def state_dict(self) -> dict:
        return {
            **super().state_dict(),
            "orders": [epoch.order for epoch in self.epochs],
            "pools": [pool.state_dict() for pool in self.pools],
        }

    def load_state_dict(self, state: Mapping) -> None:
        super().load_state_dict(state)
        for epoch, order in zip(self.epochs, state["orders"], strict=True):
            epoch.order = order.to(self.device)
        for pool, kept in zip(self.pools, state["pools"], strict=True):
            pool.load_state_dict(kept)


def gains_by_bfloat16(config: RunConfig, device: torch.device) -> bool:
    """Return whether a device is faster in bfloat16: measured on a CPU, from some width on."""
    return knows_bfloat16(device) and (device.type != "cpu" or config.width >= WIDE)

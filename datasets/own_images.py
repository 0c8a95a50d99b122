"""The user's own images: a folder, zip files or a handful of files, checked before use.

As in :mod:`datasets.own`, whatever is wrong ends in a `DataError`. A single image that cannot be
read does not spoil the set: it is left out and named.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np

from datasets.files.archives import ZipInput
from datasets.files.errors import DataError
from datasets.files.images import MIN_SIDE, shown
from datasets.files.saved import read_saved, read_texts, save_arrays
from datasets.files.sources import (
    MAX_FILES,
    PROJECT,
    Place,
    Source,
    bare_name,
    data_roots,
    folder_sources,
    is_image,
    is_junk,
    is_zip,
    listed,
    upload_source,
    zip_sources,
)
from datasets.files.stacks import read_stack

__all__ = [
    "Item",
    "OwnImages",
    "arrange",
    "decode",
    "fixed_fifth",
    "holds_images",
    "image_folders",
    "read_image_files",
    "read_image_folder",
    "read_image_zip",
    "read_uploads",
]

MIN_IMAGES = 20
MAX_TOTAL = 64 * 2**20  # bytes of all images at the size they are used in
MAX_SIZE = 256
MAX_CLASSES = 1000
ALL = "all"  # the class of images without class folders

_TEST_FOLDERS = ("test", "val", "valid", "validation")
_SPLIT_SEED = 0
_ARRAYS = ("images", "labels", "held_out")


@dataclass(frozen=True, eq=False)
class OwnImages:
    """Checked images of a user, with a fixed split.

    Attributes:
        images: square images with shape (n, c, size, size), uint8; c is 1 (grey) or 3 (RGB).
        labels: their classes with shape (n,), int64.
        held_out: True for test images, with shape (n,), bool.
        classes: the names of the classes.
        name: where they came from, for titles.
        skipped: what was left out, as "file: reason".

    Raises:
        DataError: the arrays are not that.
    """

    images: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    classes: tuple[str, ...]
    name: str
    skipped: tuple[str, ...] = ()
    kind: ClassVar[str] = "images"

    def __post_init__(self) -> None:
        _check_images(self.images)
        n = len(self.images)
        for array, kind in ((self.labels, np.int64), (self.held_out, np.bool_)):
            if array.dtype != kind or array.shape != (n,):
                raise DataError("The images' labels are damaged.")
        if not 1 <= len(self.classes) <= MAX_CLASSES:
            raise DataError(f"1 to {MAX_CLASSES:,} classes are taken, not {len(self.classes):,}.")
        if self.labels.min() < 0 or self.labels.max() >= len(self.classes):
            raise DataError("An image belongs to a class that is not there.")
        least = MIN_IMAGES * 4 // 5
        if (~self.held_out).sum() < least or not self.held_out.any():
            raise DataError(f"At least {least} images to train and 1 to test are needed.")

    def save(self, path: str | Path, *, packed: bool = False) -> None:
        """Write an .npz file, whole or not at all.

        Args:
            path: the file.
            packed: whether to compress it: as it is it can be mapped.

        Raises:
            OSError: the file cannot be written.
        """
        arrays = {name: getattr(self, name) for name in (*_ARRAYS, "kind", "name")}
        save_arrays(path, arrays, {"classes": self.classes, "skipped": self.skipped}, packed=packed)

    @classmethod
    def load(cls, path: str | Path, *, mapped: bool = False) -> OwnImages:
        """Read what `save` wrote, and check it again: the file may have changed.

        Args:
            path: the file.
            mapped: whether the images stay in the file until they are used.

        Raises:
            DataError: the file is missing, damaged or holds something else.
        """
        fields = ("kind", *_ARRAYS, "classes", "name", "skipped")
        saved = read_saved(path, MAX_TOTAL + 8 * 2**20, fields, mapped=mapped)
        if str(saved["kind"]) != cls.kind:
            raise DataError("The saved data is not a set of images.")
        classes, skipped = read_texts(saved["classes"]), read_texts(saved["skipped"])
        name = bare_name(str(saved["name"]))
        return cls(*(saved[field] for field in _ARRAYS), classes, name, skipped)


def _check_images(images: np.ndarray) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError("The data is not a stack of grey or RGB images of 8 bits.")
    if images.shape[2] != images.shape[3] or not MIN_SIDE <= images.shape[2] <= MAX_SIZE:
        raise DataError(f"Images are square here, with {MIN_SIDE} to {MAX_SIZE} pixels a side.")
    if not MIN_IMAGES <= len(images) <= MAX_FILES:
        raise DataError(f"{MIN_IMAGES} to {MAX_FILES:,} images are taken, not {len(images):,}.")
    if images.nbytes > MAX_TOTAL:
        raise DataError(f"The images need more than {MAX_TOTAL // 2**20} MB.")
    if all((image == images[0]).all() for image in images):
        raise DataError("All images are the same: there is nothing to learn.")


# Names of files, and their bytes or where those are kept.
Files = Sequence[tuple[str, bytes | Path]]


def fixed_fifth(labels: np.ndarray) -> np.ndarray:
    """Choose a fifth of a set to test on: always the same, and a fifth of each class.

    Args:
        labels: classes with shape (n,).

    Returns:
        True for the n // 5 test items, with shape (n,), bool.
    """
    order = _shuffled(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    held_out = np.zeros(len(labels), bool)
    held_out[order[4::5]] = True
    return held_out


def _shuffled(count: int) -> np.ndarray:
    """Return the numbers below ``count`` in a fixed order: that of ``torch.randperm``, seed 0.

    Runs that have ended know their test images by it. Files are read where there is no torch.
    """
    draws = np.random.RandomState(_SPLIT_SEED).randint(0, 2**32, count, np.uint32)
    order = np.arange(count)
    for place, draw in enumerate(draws[:-1].tolist()):
        other = place + draw % (count - place)
        order[[place, other]] = order[[other, place]]
    return order


def read_image_folder(path: str | Path, size: int, channels: int) -> OwnImages:
    """Read a folder of images.

    The folder holds one sub-folder per class, or just images (one class, "all"). Two layouts
    bring their own split: `train` and `test` (or `val`) with classes or images inside, and
    CycleGAN's `trainA`, `trainB`, `testA`, `testB`. Otherwise a fixed fifth is held out. A class
    may occur on one side of a given split only. Links that lead out of the folder are not followed.

    Args:
        path: the folder.
        size: pixels per side; each image is cropped to its central square and resized.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        DataError: the folder cannot be read, or holds fewer than 20 images that can be used, more
            than 20,000 files or more than 64 MB at that size.
    """
    root = Path(path)
    skipped: list[str] = []
    sources = folder_sources(root, skipped)
    return _gather(sources, root.resolve().name, size, channels, skipped)


def read_image_zip(file: ZipInput, name: str, size: int, channels: int) -> OwnImages:
    """Read the images in a zip file; nothing is written to disk.

    Folders in the archive mean what they mean to :func:`read_image_folder`; one folder around
    everything is ignored.

    Args:
        file: the archive, at most 200 MB, and 400 MB unpacked.
        name: the archive's name, for titles.
        size: pixels per side; each image is cropped to its central square and resized.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        DataError: it is no such archive; see also :func:`read_image_folder`.
    """
    skipped: list[str] = []
    return _gather(zip_sources(file, skipped), bare_name(name), size, channels, skipped)


def read_image_files(files: Files, size: int, channels: int) -> OwnImages:
    """Read images that were uploaded one by one: one class, "all", of which a fifth is held out.

    Args:
        files: the name and the content of each.
        size: pixels per side; each image is cropped to its central square and resized.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        DataError: see :func:`read_image_folder`.
    """
    sources = [upload_source(name, data) for name, data in files]
    return _gather(sources, f"{len(sources):,} files", size, channels, [])


def read_uploads(files: Files, size: int, channels: int) -> OwnImages:
    """Read what was uploaded: one zip, several, or images.

    Several zips are read as one set. Those without class folders are a class each, called like the
    zip.

    Args:
        files: the name and the content of each.
        size: pixels per side; each image is cropped to its central square and resized.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        DataError: there are zips and images; see also :func:`read_image_folder`.
    """
    zips = [file for file in files if is_zip(file[0])]
    if not zips:
        return read_image_files(files, size, channels)
    if len(zips) < len(files):
        raise DataError("Upload either zips or images, not both: pack the images into a zip too.")
    if len(zips) == 1:
        return read_image_zip(zips[0][1], zips[0][0], size, channels)
    skipped: list[str] = []
    sources: list[Source] = []
    for name, data in zips:
        inside, stem = zip_sources(data, skipped), bare_name(name)[: -len(".zip")] or "zip"
        if all(len(place) == 1 for place, _ in inside if is_image(place[-1])):
            inside = [((stem, *place), read) for place, read in inside]
        sources += inside
    return _gather(sources, f"{len(zips)} zips", size, channels, skipped)


@dataclass(frozen=True)
class Item:
    """An image with its class and, if its place says so, whether it is held out."""

    place: Place
    read: Callable[[], bytes]
    label: str
    held_out: bool | None  # None: the layout does not say


def _gather(
    sources: list[Source], name: str, size: int, channels: int, skipped: list[str]
) -> OwnImages:
    images, used = decode(sources, size, channels, skipped)
    if len(used) < MIN_IMAGES:
        why = f" Left out: {skipped[0]}" if skipped else ""
        raise DataError(f"At least {MIN_IMAGES} images are needed, there are {len(used)}.{why}")
    return _finished(images, used, name, skipped)


def decode(
    sources: list[Source], size: int, channels: int, skipped: list[str], most: int = MAX_TOTAL
) -> tuple[np.ndarray, list[Item]]:
    """Decode images into one array, and name those that cannot be decoded.

    Args:
        sources: files by their place.
        size: pixels per side; each image is cropped to its central square and resized.
        channels: 1 (grey) or 3 (RGB).
        skipped: gets a line for each file that is left out.
        most: the most bytes that the array may take.

    Returns:
        Images with shape (n, channels, size, size), uint8, and what each of them is.

    Raises:
        DataError: there are too many files, or they are too large together.
    """
    if not MIN_SIDE <= size <= MAX_SIZE or channels not in (1, 3):
        raise ValueError(f"size must be {MIN_SIDE} to {MAX_SIZE}, channels 1 or 3.")
    items = arrange(sources, skipped)
    if (total := len(items) * channels * size * size) > most:
        raise DataError(
            f"{len(items):,} images of {size} × {size} pixels need {total / 2**20:.0f} MB, at "
            f"most {most // 2**20} MB are taken: choose a smaller size or fewer images."
        )
    images, found = read_stack([(i.place, i.read) for i in items], size, channels, skipped)
    return images, [items[read.index] for read in found]


def arrange(sources: list[Source], skipped: list[str]) -> list[Item]:
    """Give each image the class and the part of the split that its place stands for.

    What stands for none is named in ``skipped``.
    """
    images = [(place, read) for place, read in sources if is_image(place[-1])]
    others = (place for place, _ in sources if not is_image(place[-1]))
    skipped += [f"{shown(*place)}: Its name is not that of an image." for place in others]
    split = _split_folders({place[0] for place, _ in images if len(place) > 1})
    flat = not any(len(place) > 1 + bool(split) for place, _ in images if _counts(place, split))
    items: list[Item] = []
    strays: dict[str, None] = {}  # each once, in their order
    for place, read in images:
        if not _counts(place, split):
            strays[f"{shown(place[0])}: Not a part of the split."] = None
            continue
        held_out, label = split.get(place[0], (None, None))
        inner = place[1:] if split else place
        if label is None and len(inner) == (1 if flat else 2):
            label, inner = (ALL if flat else inner[0]), inner[-1:]
        if label is None or len(inner) != 1:
            strays[f"{shown(*place)}: Not in a class folder."] = None
        else:
            items.append(Item(place, read, shown(label), held_out))
    skipped += strays
    return items


def _counts(place: Place, split: dict[str, tuple[bool, str | None]]) -> bool:
    return not split or (len(place) > 1 and place[0] in split)


def _split_folders(tops: set[str]) -> dict[str, tuple[bool, str | None]]:
    """Folders that make up a split: whether each is held out, and its class if it is one."""
    by_name = {top.lower(): top for top in tops}
    if {"traina", "trainb"} <= by_name.keys():
        names = [name for name in ("traina", "trainb", "testa", "testb") if name in by_name]
        return {by_name[name]: (name.startswith("test"), name[-1].upper()) for name in names}
    test = next((by_name[name] for name in _TEST_FOLDERS if name in by_name), None)
    if "train" in by_name and test is not None:
        return {by_name["train"]: (False, None), test: (True, None)}
    return {}


def _finished(images: np.ndarray, items: list[Item], name: str, skipped: list[str]) -> OwnImages:
    classes = sorted({item.label for item in items})
    number = {label: index for index, label in enumerate(classes)}
    labels = np.array([number[item.label] for item in items], np.int64)
    given = [item.held_out for item in items]
    held_out = np.array(given, bool) if any(given) else fixed_fifth(labels)
    return OwnImages(images, labels, held_out, tuple(classes), name, listed(skipped))


def image_folders() -> list[Path]:
    """Folders of the data roots that look like images to read with `read_image_folder`.

    Only looks at a few entries of each, so a folder may still turn out to hold nothing of use.
    """
    found: list[Path] = []
    for root in data_roots():
        try:
            inside = sorted(path for path in root.iterdir() if not path.name.startswith("_"))
        except OSError:
            continue
        here = [] if root == PROJECT else [root]
        inside = [path for path in inside if not is_junk(path.name)]
        images = [folder for folder in [*here, *inside[:200]] if _holds_images(folder)]
        # A root is one set of images, or it holds some: never both.
        found += [root] if images[:1] == [root] else images
    return found


def _holds_images(folder: Path) -> bool:
    """Whether a folder looks as if :func:`read_image_folder` could read it.

    Of the folder and of each sub-folder only a few entries are looked at: there must be images in
    the folder, or in all of its sub-folders, or in all of those of `train`.
    """
    try:
        return any(
            holds_images(f) or _hold_images(f) for f in (folder, folder / "train") if f.is_dir()
        )
    except OSError:
        return False


def _first(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(islice((entry for entry in entries if not is_junk(entry.name)), 20))


def holds_images(folder: Path) -> bool:
    """Whether there are images in a folder, among a few entries."""
    try:
        return any(is_image(entry.name) and entry.is_file() for entry in _first(folder))
    except OSError:
        return False


def _hold_images(folder: Path) -> bool:
    below = [Path(entry) for entry in _first(folder) if entry.is_dir(follow_symlinks=False)]
    return bool(below) and all(map(holds_images, below))

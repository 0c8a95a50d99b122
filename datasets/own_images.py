"""The user's own pictures: a folder, a zip file or a handful of files, checked before use.

As in :mod:`datasets.own`, whatever is wrong ends in a `DataError`. A single picture that cannot be
read does not spoil the set: it is left out and named.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image

from datasets.archives import open_zip
from datasets.defects import MAX_UNPACKED as MAX_DEFECTS
from datasets.defects import DefectSet
from datasets.files import write_atomic
from datasets.own import (
    MAX_BYTES,
    DataError,
    OwnData,
    bare_name,
    check_size,
    flatten,
    open_picture,
    read_saved,
    read_texts,
)
from datasets.own_pairs import OwnPairs

__all__ = [
    "Item",
    "Own",
    "OwnImages",
    "Source",
    "decode",
    "fixed_fifth",
    "folder_sources",
    "holds_pictures",
    "load_own",
    "read_image",
    "read_image_files",
    "read_image_folder",
    "read_image_zip",
    "zip_sources",
]

MIN_IMAGES, MAX_IMAGES = 20, 20_000
MAX_TOTAL = 64 * 2**20  # bytes of all pictures at the size they are used in
MAX_UPLOAD = 200 * 2**20  # bytes of a zip file, packed; what Streamlit takes by default
MAX_UNPACKED = 400 * 2**20
MIN_SIDE, MAX_SIZE = 4, 256
MAX_CLASSES = 1000
MAX_DEPTH = 12  # folders in folders of an archive
MAX_NAMED = 200  # how many of the files that were left out are named
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
ALL = "all"  # the class of pictures without class folders

_JUNK = {"__macosx", "thumbs.db", "desktop.ini"}
_HELD_OUT = ("test", "val", "valid", "validation")
_SPLIT_SEED = 0

# A file's place below the folder, and how to get its bytes.
Place = tuple[str, ...]
Source = tuple[Place, Callable[[], bytes]]


@dataclass(frozen=True, eq=False)
class OwnImages:
    """Checked pictures of a user, with a fixed split.

    Attributes:
        images: Square pictures with shape (n, c, size, size), uint8; c is 1 (grey) or 3 (RGB).
        labels: Their classes with shape (n,), int64.
        held_out: True for test pictures, with shape (n,), bool.
        classes: The names of the classes.
        name: Where they came from, for titles.
        skipped: What was left out, as "file: reason".

    Raises:
        DataError: The arrays are not that.
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
                raise DataError("The pictures' labels are damaged.")
        if not 1 <= len(self.classes) <= MAX_CLASSES:
            raise DataError(f"1 to {MAX_CLASSES:,} classes are taken, not {len(self.classes):,}.")
        if self.labels.min() < 0 or self.labels.max() >= len(self.classes):
            raise DataError("A picture belongs to a class that is not there.")
        least = MIN_IMAGES * 4 // 5
        if (~self.held_out).sum() < least or not self.held_out.any():
            raise DataError(f"At least {least} pictures to train and 1 to test are needed.")

    def save(self, path: str | Path) -> None:
        """Write an .npz file, whole or not at all.

        Raises:
            OSError: The file cannot be written.
        """
        arrays = {name: getattr(self, name) for name in ("images", "labels", "held_out")}
        for name in ("kind", "name"):
            arrays[name] = np.array(getattr(self, name))
        for name in ("classes", "skipped"):
            arrays[name] = np.array(json.dumps(getattr(self, name)))
        write_atomic(Path(path), lambda file: np.savez(file, **arrays))

    @classmethod
    def load(cls, path: str | Path) -> OwnImages:
        """Read what `save` wrote, and check it again: the file may have changed.

        Raises:
            DataError: The file is missing, damaged or holds something else.
        """
        fields = ("kind", "images", "labels", "held_out", "classes", "name", "skipped")
        saved = read_saved(path, MAX_TOTAL + 8 * 2**20, fields)
        if str(saved["kind"]) != cls.kind:
            raise DataError("The saved data is not a set of pictures.")
        classes, skipped = read_texts(saved["classes"]), read_texts(saved["skipped"])
        name = bare_name(str(saved["name"]))
        arrays = (saved[field] for field in ("images", "labels", "held_out"))
        return cls(*arrays, classes, name, skipped)


def _check_images(images: np.ndarray) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError("The data is not a stack of grey or RGB pictures of 8 bits.")
    if images.shape[2] != images.shape[3] or not MIN_SIDE <= images.shape[2] <= MAX_SIZE:
        raise DataError(f"Pictures are square here, with {MIN_SIDE} to {MAX_SIZE} pixels a side.")
    if not MIN_IMAGES <= len(images) <= MAX_IMAGES:
        raise DataError(f"{MIN_IMAGES} to {MAX_IMAGES:,} pictures are taken, not {len(images):,}.")
    if images.nbytes > MAX_TOTAL:
        raise DataError(f"The pictures need more than {MAX_TOTAL // 2**20} MB.")
    if (images == images[:1]).all():
        raise DataError("All pictures are the same: there is nothing to learn.")


Own = OwnData | OwnImages | DefectSet | OwnPairs


def load_own(path: str | Path) -> Own:
    """Read a user's saved data of any kind.

    Raises:
        DataError: The file is missing, damaged or holds something else.
    """
    # Each kind has a limit of its own, and checks it again.
    kind = str(read_saved(path, MAX_DEFECTS, ("kind",))["kind"])
    kinds = {known.kind: known for known in (OwnImages, DefectSet, OwnPairs)}
    return kinds.get(kind, OwnData).load(path)


def fixed_fifth(labels: np.ndarray) -> np.ndarray:
    """Choose a fifth of a set to test on: always the same, and of each class its share.

    Args:
        labels: Classes with shape (n,).

    Returns:
        True for the n // 5 test items, with shape (n,), bool.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(_SPLIT_SEED))
    order = order.numpy()
    order = order[np.argsort(labels[order], kind="stable")]
    held_out = np.zeros(len(labels), bool)
    held_out[order[4::5]] = True
    return held_out


def read_image(data: bytes, name: str, at_least: int | None = None) -> Image.Image:
    """Read one picture: upright, on white paper where it is transparent, 16 bits scaled to 8.

    Args:
        data: The file's content, PNG, JPEG or WebP, at most 20 MB and 16 megapixels. Of an
            animation the first frame is taken.
        name: The file's name, for messages.
        at_least: A large JPEG may come out smaller, but with this many pixels a side: far faster.

    Returns:
        A picture of mode L (grey) or RGB.

    Raises:
        DataError: The file is no such picture, damaged, too large or less than 4 pixels wide.
    """
    try:
        check_size(data)
        with open_picture(data) as image:
            if min(image.size) < MIN_SIDE:
                raise DataError(f"The picture has only {image.width} × {image.height} pixels.")
            if at_least is not None:
                image.draft(None, (at_least, at_least))
            return flatten(image)
    except DataError as error:
        raise DataError(f"{_shown((name,))}: {error}") from error
    # Pillow's decoders raise whatever they trip over: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise DataError(f"{_shown((name,))}: The file is damaged.") from error


def _shown(place: Place) -> str:
    """A file's place as a message may show it: printable and short."""
    path = "".join(c for c in "/".join(place) if c.isprintable())
    return path if len(path) <= 80 else f"…{path[-79:]}"


def read_image_folder(path: str | Path, size: int, channels: int) -> OwnImages:
    """Read a folder of pictures.

    The folder holds one sub-folder per class, or just pictures (one class, "all"). Two layouts
    bring their own split: `train` and `test` (or `val`) with classes or pictures inside, and
    CycleGAN's `trainA`, `trainB`, `testA`, `testB`. Otherwise a fixed fifth is held out. A class
    may occur on one side of a given split only. Links that lead out of the folder are not followed.

    Args:
        path: The folder.
        size: Pixels per side; each picture is cropped to its central square and resized.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        DataError: The folder cannot be read, or holds fewer than 20 pictures that can be used, more
            than 20,000 files or more than 64 MB at that size.
    """
    root = Path(path)
    skipped: list[str] = []
    sources = folder_sources(root, skipped)
    return _gather(sources, root.resolve().name, size, channels, skipped)


def folder_sources(root: Path, skipped: list[str]) -> list[Source]:
    """Return the files of a folder, unread; names what is left out in ``skipped``.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        found = islice(_walk(root.resolve(), (), skipped), MAX_IMAGES + 1)
        return [(place, _file_reader(file)) for place, file in found]
    except (OSError, RuntimeError) as error:
        raise DataError(f"The folder {root} cannot be read.") from error


def _walk(folder: Path, above: Place, skipped: list[str]) -> Iterator[tuple[Place, Path]]:
    root = folder.parents[len(above) - 1] if above else folder
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        place = (*above, entry.name)
        if _is_junk(place):
            continue
        if entry.is_symlink() and not _stays_inside(Path(entry.path), root):
            skipped.append(f"{_shown(place)}: A link that leads out of the folder.")
        elif entry.is_dir():
            if len(place) < 3:
                yield from _walk(folder / entry.name, place, skipped)
            else:
                skipped.append(f"{_shown(place)}: A folder inside a class folder.")
        elif entry.is_file():  # and not a device or a pipe, which may never end
            yield place, folder / entry.name


def _stays_inside(link: Path, root: Path) -> bool:
    """Whether a link leads to a file below the root; links to folders may go in circles."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return target.is_relative_to(root) and target.is_file()


def _file_reader(path: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)

    return read


def read_image_zip(data: bytes, name: str, size: int, channels: int) -> OwnImages:
    """Read the pictures in a zip file; nothing is written to disk.

    Folders in the archive mean what they mean to :func:`read_image_folder`; one folder around
    everything is ignored.

    Args:
        data: The archive's content, at most 200 MB, and 400 MB unpacked.
        name: The archive's name, for titles.
        size: Pixels per side; each picture is cropped to its central square and resized.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        DataError: It is no such archive; see also :func:`read_image_folder`.
    """
    skipped: list[str] = []
    return _gather(zip_sources(data, skipped), bare_name(name), size, channels, skipped)


def zip_sources(data: bytes, skipped: list[str]) -> list[Source]:
    """Return the files of a zip archive, unread; names what is left out in ``skipped``.

    Raises:
        DataError: It is no archive, damaged, locked or too large.
    """
    if len(data) > MAX_UPLOAD:
        raise DataError(f"At most {MAX_UPLOAD // 2**20} MB are taken, the file is larger.")
    return _zip_sources(open_zip(data, 2 * MAX_IMAGES), skipped)


def _zip_sources(archive: zipfile.ZipFile, skipped: list[str]) -> list[Source]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if sum(member.file_size for member in members) > MAX_UNPACKED:
        raise DataError(f"Unpacked, the archive is larger than {MAX_UNPACKED // 2**20} MB.")
    sources: list[Source] = []
    for member in sorted(members, key=lambda member: member.filename):
        place = tuple(part for part in member.filename.replace("\\", "/").split("/") if part != ".")
        if not place or ".." in place or "" in place or ":" in place[0]:
            skipped.append(f"{_shown(place)}: A path that leads out of the archive.")
        elif len(place) > MAX_DEPTH:
            skipped.append(f"{_shown(place)}: More than {MAX_DEPTH} folders deep.")
        elif not _is_junk(place):
            sources.append((place, _member_reader(archive, member)))
    pictures = [place for place, _ in sources if _is_picture(place)]
    while pictures and len({place[0] for place in pictures}) == 1 and min(map(len, pictures)) > 2:
        pictures = [place[1:] for place in pictures]
        sources = [(place[1:] or place, read) for place, read in sources]
    return sources


def _member_reader(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with archive.open(member) as file:
                return file.read(MAX_BYTES + 1)  # whatever size the header claims
        except Exception as error:  # zipfile, zlib, bz2, lzma: each has its own
            raise OSError("damaged in the archive") from error

    return read


def read_image_files(files: Iterable[tuple[str, bytes]], size: int, channels: int) -> OwnImages:
    """Read pictures that were uploaded one by one: one class, "all", of which a fifth is held out.

    Args:
        files: The name and the content of each.
        size: Pixels per side; each picture is cropped to its central square and resized.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        DataError: See :func:`read_image_folder`.
    """
    sources: list[Source] = [((bare_name(name),), lambda data=data: data) for name, data in files]
    return _gather(sources, f"{len(sources):,} files", size, channels, [])


def _is_picture(place: Place) -> bool:
    return place[-1].lower().endswith(SUFFIXES)


def _is_junk(place: Place) -> bool:
    return any(part.startswith(".") or part.lower() in _JUNK for part in place)


@dataclass(frozen=True)
class Item:
    """A picture with its class and, if its place says so, whether it is held out."""

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
        raise DataError(f"At least {MIN_IMAGES} pictures are needed, there are {len(used)}.{why}")
    return _finished(images, used, name, skipped)


def decode(
    sources: list[Source], size: int, channels: int, skipped: list[str], most: int = MAX_TOTAL
) -> tuple[np.ndarray, list[Item]]:
    """Decode pictures into one array, and name those that cannot be decoded.

    Args:
        sources: Files by their place.
        size: Pixels per side; each picture is cropped to its central square and resized.
        channels: 1 (grey) or 3 (RGB).
        skipped: Gets a line for each file that is left out.
        most: The most bytes that the array may take.

    Returns:
        Pictures with shape (n, channels, size, size), uint8, and what each of them is.

    Raises:
        DataError: There are too many files, or they are too large together.
    """
    if not MIN_SIDE <= size <= MAX_SIZE or channels not in (1, 3):
        raise ValueError(f"size must be {MIN_SIDE} to {MAX_SIZE}, channels 1 or 3.")
    if len(sources) > MAX_IMAGES:
        raise DataError(f"At most {MAX_IMAGES:,} files are taken, there are more.")
    items = _arrange(sources, skipped)
    if (total := len(items) * channels * size * size) > most:
        raise DataError(
            f"{len(items):,} pictures of {size} × {size} pixels need {total / 2**20:.0f} MB, at "
            f"most {most // 2**20} MB are taken: choose a smaller size or fewer pictures."
        )
    images = np.empty((len(items), channels, size, size), np.uint8)
    used: list[Item] = []
    for item in items:
        try:
            images[len(used)] = _square(item, size, channels)
        except DataError as error:
            skipped.append(str(error))
        else:
            used.append(item)
    return images[: len(used)], used


def _arrange(sources: list[Source], skipped: list[str]) -> list[Item]:
    """Give each picture the class and the part of the split that its place stands for."""
    pictures = [(place, read) for place, read in sources if _is_picture(place)]
    others = (place for place, _ in sources if not _is_picture(place))
    skipped += [f"{_shown(place)}: Not a PNG, JPEG or WebP picture." for place in others]
    split = _split_folders({place[0] for place, _ in pictures if len(place) > 1})
    flat = not any(len(place) > 1 + bool(split) for place, _ in pictures if _counts(place, split))
    items: list[Item] = []
    strays: dict[str, None] = {}  # each once, in their order
    for place, read in pictures:
        if not _counts(place, split):
            strays[f"{_shown(place[:1])}: Not a part of the split."] = None
            continue
        held_out, label = split.get(place[0], (None, None))
        inner = place[1:] if split else place
        if label is None and len(inner) == (1 if flat else 2):
            label, inner = (ALL if flat else inner[0]), inner[-1:]
        if label is None or len(inner) != 1:
            strays[f"{_shown(place)}: Not in a class folder."] = None
        else:
            items.append(Item(place, read, _shown((label,)), held_out))
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
    test = next((by_name[name] for name in _HELD_OUT if name in by_name), None)
    if "train" in by_name and test is not None:
        return {by_name["train"]: (False, None), test: (True, None)}
    return {}


def _square(item: Item, size: int, channels: int) -> np.ndarray:
    """Read a picture, cropped and resized, with shape (channels, size, size), uint8."""
    try:
        data = item.read()
    except OSError as error:
        raise DataError(f"{_shown(item.place)}: The file cannot be read.") from error
    image = read_image(data, "/".join(item.place), at_least=2 * size)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropped first: a resize of a box mixes in what lies around it.
    image = image.crop((left, top, left + side, top + side))
    image = image.resize((size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)


def _finished(images: np.ndarray, items: list[Item], name: str, skipped: list[str]) -> OwnImages:
    classes = sorted({item.label for item in items})
    number = {label: index for index, label in enumerate(classes)}
    labels = np.array([number[item.label] for item in items], np.int64)
    given = [item.held_out for item in items]
    held_out = np.array(given, bool) if any(given) else fixed_fifth(labels)
    if len(skipped) > MAX_NAMED:
        skipped = [*skipped[:MAX_NAMED], f"{len(skipped) - MAX_NAMED:,} more files."]
    return OwnImages(images, labels, held_out, tuple(classes), name, tuple(skipped))


def holds_pictures(folder: Path) -> bool:
    """Whether a folder looks as if :func:`read_image_folder` could read it.

    Of the folder and of each sub-folder only a few entries are looked at: there must be pictures
    in the folder, or in all of its sub-folders, or in all of those of `train`.
    """
    try:
        return any(_peek(f) or _peek_below(f) for f in (folder, folder / "train") if f.is_dir())
    except OSError:
        return False


def _first(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in islice(entries, 20) if not _is_junk((entry.name,))]


def _peek(folder: Path) -> bool:
    return any(_is_picture((entry.name,)) and entry.is_file() for entry in _first(folder))


def _peek_below(folder: Path) -> bool:
    below = [Path(entry) for entry in _first(folder) if entry.is_dir(follow_symlinks=False)]
    return bool(below) and all(map(_peek, below))

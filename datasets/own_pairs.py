"""The user's own two sets of images, to be translated into each other, checked before use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from datasets.files.errors import DataError
from datasets.files.saved import read_saved, read_texts, save_arrays
from datasets.files.sources import (
    PROJECT,
    Source,
    bare_name,
    data_roots,
    folder_sources,
    is_junk,
    is_zip,
    listed,
    upload_source,
    zip_sources,
)
from datasets.files.stacks import parted
from datasets.own_images import ALL, Files, arrange, decode, fixed_fifth, holds_images

__all__ = [
    "MAX_NAME",
    "OwnPairs",
    "is_layout",
    "pair_folders",
    "read_pairs_folder",
    "read_pairs_zip",
    "read_parts",
    "read_two_folders",
    "read_two_sets",
    "set_folders",
]

MIN_EACH = 5  # images that each set needs to learn from
MAX_PAIRS = 256 * 2**20  # bytes of all images at the size they are used in
MIN_SIDE, MAX_SIDE = 16, 256
MAX_NAME = 40  # characters of what A or B is called
MOST_FOLDERS = 200  # in a folder that are looked at

_PARTS = ("train_a", "train_b", "test_a", "test_b")


@dataclass(frozen=True, eq=False)
class OwnPairs:
    """Two sets of images; nothing says which of the one belongs to which of the other.

    Attributes:
        train_a: images of A to learn from, shape (n, 3, size, size), uint8, RGB.
        train_b: the same of B; their number may differ.
        test_a: images of A that are held out.
        test_b: the same of B.
        domains: what A and B show.
        name: where they came from, for titles.
        skipped: what was left out, as "file: reason".

    Raises:
        DataError: the arrays are not that.
    """

    train_a: np.ndarray
    train_b: np.ndarray
    test_a: np.ndarray
    test_b: np.ndarray
    domains: tuple[str, str]
    name: str
    skipped: tuple[str, ...] = ()
    kind: ClassVar[str] = "pairs"

    def __post_init__(self) -> None:
        parts = [getattr(self, name) for name in _PARTS]
        for part in parts:
            if part.dtype != np.uint8 or part.ndim != 4 or part.shape[1] != 3:
                raise DataError("The data is not two stacks of RGB images of 8 bits.")
            if part.shape[2:] != parts[0].shape[2:] or part.shape[2] != part.shape[3]:
                raise DataError("All images have the same size and are square here.")
        if not MIN_SIDE <= self.size <= MAX_SIDE:
            raise DataError(f"Images have {MIN_SIDE} to {MAX_SIDE} pixels a side here.")
        if sum(part.nbytes for part in parts) > MAX_PAIRS:
            raise DataError(f"The images need more than {MAX_PAIRS // 2**20} MB.")
        if len(self.domains) != 2:
            raise DataError("There are two sets here, A and B.")
        for name, train, test in zip("AB", parts[:2], parts[2:], strict=True):
            if len(train) < MIN_EACH or not len(test):
                raise DataError(
                    f"Set {name} has {len(train) + len(test)} images that can be used; at least "
                    f"{MIN_EACH} to learn from and 1 to test on are needed."
                )

    @property
    def size(self) -> int:
        """Pixels per side."""
        return self.train_a.shape[2]

    def called(self, a: str, b: str) -> OwnPairs:
        """Return the same with other names for what A and B show; an empty one changes nothing."""
        names = [given.strip() or own for given, own in zip((a, b), self.domains, strict=True)]
        return replace(self, domains=_apart((names[0], names[1])))

    def save(self, path: str | Path, *, packed: bool = False) -> None:
        """Write an .npz file, whole or not at all.

        Args:
            path: the file.
            packed: whether to compress it: as it is it can be mapped.

        Raises:
            OSError: the file cannot be written.
        """
        arrays = {name: getattr(self, name) for name in (*_PARTS, "kind", "name")}
        save_arrays(path, arrays, {"domains": self.domains, "skipped": self.skipped}, packed=packed)

    @classmethod
    def load(cls, path: str | Path, *, mapped: bool = False) -> OwnPairs:
        """Read what `save` wrote, and check it again: the file may have changed.

        Args:
            path: the file.
            mapped: whether the images stay in the file until they are used.

        Raises:
            DataError: the file is missing, damaged or holds something else.
        """
        fields = ("kind", *_PARTS, "domains", "name", "skipped")
        saved = read_saved(path, MAX_PAIRS + 8 * 2**20, fields, mapped=mapped)
        if str(saved["kind"]) != cls.kind:
            raise DataError("The saved data is not two sets of images.")
        domains, skipped = read_texts(saved["domains"]), read_texts(saved["skipped"])
        name = bare_name(str(saved["name"]))
        return cls(*(saved[part] for part in _PARTS), domains, name, skipped)


# -- where they may be -----------------------------------------------------------------------------


def pair_folders() -> list[Path]:
    """Return folders of the data roots that hold two sets, as :func:`read_pairs_folder` reads them.

    Only looks at a few entries of each.
    """
    return [folder for folder in _folders(1) if is_layout(folder) or _holds_two(folder)]


def set_folders() -> list[Path]:
    """Return folders of the data roots that hold images, of which any two can be A and B."""
    return [folder for folder in _folders(2) if holds_images(folder)]


def is_layout(folder: Path) -> bool:
    """Return whether a folder is in the layout of the paper."""
    return (folder / "trainA").is_dir() and (folder / "trainB").is_dir()


def _folders(depth: int) -> list[Path]:
    """Return the data roots and the folders in them, so many levels below."""
    found: list[Path] = []
    for root in data_roots():
        level = [] if root == PROJECT else [root]
        found += level
        for _ in range(depth):
            level = [inner for folder in level or [root] for inner in _below(folder)]
            found += level
    return found


def _below(folder: Path) -> list[Path]:
    try:
        inside = (path for path in folder.iterdir() if path.is_dir() and not is_junk(path.name))
        return sorted(path for path in inside if not path.name.startswith("_"))[:MOST_FOLDERS]
    except OSError:
        return []


def _holds_two(folder: Path) -> bool:
    split = folder / "train"
    inside = _below(split if split.is_dir() else folder)
    return len(inside) == 2 and all(map(holds_images, inside))


# -- reading them ----------------------------------------------------------------------------------


def read_pairs_folder(path: str | Path, size: int) -> OwnPairs:
    """Read a folder with two folders of images in it: A is the first by name.

    Of the layouts that :func:`~datasets.own_images.read_image_folder` knows, all that have two
    classes are taken: ``trainA`` and ``trainB``, with ``testA`` and ``testB`` or without; two
    folders of any name; two such in ``train`` and in ``test``. A set of which the layout holds
    nothing out loses a fixed fifth.

    Args:
        path: the folder.
        size: pixels per side; each image is cropped to its central square and resized.

    Raises:
        DataError: it cannot be read, or does not hold two sets of at least five usable images.
    """
    skipped: list[str] = []
    root = Path(path).resolve()
    return _in_folders(folder_sources(root, skipped), root.name, size, skipped)


def read_pairs_zip(data: bytes, name: str, size: int) -> OwnPairs:
    """Read a zip file with the folders of :func:`read_pairs_folder`; nothing is written to disk.

    Raises:
        DataError: see :func:`read_pairs_folder`.
    """
    skipped: list[str] = []
    return _in_folders(zip_sources(data, skipped), bare_name(name), size, skipped)


def read_two_folders(a: Path, b: Path, size: int) -> OwnPairs:
    """Read two folders, or zips, of images; a fixed fifth of each is held out.

    Whatever folders there are inside, all images in the first are A. They are called like their
    folders.

    Raises:
        DataError: see :func:`read_two_sets`.
    """
    skipped: list[str] = []
    sets = [
        folder_sources(path, skipped) if path.is_dir() else zip_sources(path, skipped)
        for path in (a, b)
    ]
    names = [bare_name(path.resolve().name if path.is_dir() else path.stem) for path in (a, b)]
    return _as_two(sets[0], sets[1], size, (names[0], names[1]), skipped)


def read_two_sets(a: Files, b: Files, size: int) -> OwnPairs:
    """Read two sets of images that were uploaded; a fixed fifth of each is held out.

    A set that came as one zip is called like it.

    Args:
        a: names and contents of the images of A, or of zips of them.
        b: the same of B.
        size: pixels per side; each image is cropped to its central square and resized.

    Raises:
        DataError: a set has fewer than six usable images, or they are too large together.
    """
    skipped: list[str] = []
    one, two = (
        bare_name(files[0][0])[: -len(".zip")] if len(files) == 1 else letter
        for letter, files in zip("AB", (a, b), strict=True)
    )
    return _as_two(_uploaded(a, skipped), _uploaded(b, skipped), size, (one, two), skipped)


def _uploaded(files: Files, skipped: list[str]) -> list[Source]:
    sources: list[Source] = []
    for name, data in files:
        sources += zip_sources(data, skipped) if is_zip(name) else [upload_source(name, data)]
    return sources


def _as_two(
    a: list[Source], b: list[Source], size: int, domains: tuple[str, str], skipped: list[str]
) -> OwnPairs:
    """Decode two sets of images, each of one class, whatever folders they lie in."""
    halves = []
    for name, sources in (("A", a), ("B", b)):
        left: list[str] = []
        flat = [(place[-1:], read) for place, read in sources]
        images, _ = decode(flat, size, 3, left, MAX_PAIRS // 2)
        if len(images) <= MIN_EACH:
            why = f" Left out: {left[0]}" if left else ""
            raise DataError(
                f"Set {name} has {len(images)} images that can be used; at least "
                f"{MIN_EACH + 1} are needed.{why}"
            )
        held_out = fixed_fifth(np.zeros(len(images), np.int64))
        halves.append(parted(images, held_out.astype(int), 2))
        skipped += left
    parts = [half[part] for part in (0, 1) for half in halves]
    domains = _apart(domains)
    return OwnPairs(*parts, domains, " and ".join(domains), listed(skipped))


def _in_folders(sources: list[Source], name: str, size: int, skipped: list[str]) -> OwnPairs:
    parts, domains = read_parts(sources, size, skipped)
    return OwnPairs(*parts, _apart(domains), name, listed(skipped))


def read_parts(
    sources: list[Source], size: int, skipped: list[str], most: int = MAX_PAIRS
) -> tuple[list[np.ndarray], tuple[str, str]]:
    """Decode images that lie in two folders.

    Returns:
        Those of A and of B to learn from, then those to test on, each with shape
        (n, 3, size, size), uint8; and what the two folders are called.

    Raises:
        DataError: there are no two sets, or too much is in them.
    """
    names = sorted({item.label for item in arrange(sources, [])})
    if len(names) != 2:
        found = ", ".join(name for name in names[:5] if name != ALL) or "none"
        raise DataError(
            "There must be two folders with images in them, called trainA and trainB or as you "
            f"like; found: {found}{', and others' if len(names) > 5 else ''}."
        )
    images, items = decode(sources, size, 3, skipped, most)
    of_b = np.array([item.label == names[1] for item in items], bool)
    held_out = np.array([bool(item.held_out) for item in items], bool)
    for side in (False, True):
        here = of_b == side
        if not held_out[here].any():
            held_out[here] = fixed_fifth(np.zeros(here.sum(), np.int64))
    return parted(images, of_b + 2 * held_out, len(_PARTS)), (names[0], names[1])


def _apart(names: tuple[str, str]) -> tuple[str, str]:
    """Return names for A and B that are short, and not the same."""
    a, b = (" ".join(name.split())[:MAX_NAME] or "?" for name in names)
    return (a, b) if a != b else (f"{a} (A)", f"{b} (B)")

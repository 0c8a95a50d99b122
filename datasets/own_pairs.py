"""The user's own two sets of images, to be translated into each other, checked before use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from datasets.files.errors import DataError
from datasets.files.saved import read_saved, read_texts, save_arrays
from datasets.files.sources import (
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
from datasets.own_images import Files, decode, fixed_fifth

__all__ = [
    "OwnPairs",
    "is_layout",
    "pair_folders",
    "read_pairs_folder",
    "read_pairs_zip",
    "read_parts",
    "read_two_sets",
]

MIN_EACH = 5  # images that each set needs to learn from
MAX_PAIRS = 256 * 2**20  # bytes of all images at the size they are used in
MIN_SIDE, MAX_SIDE = 16, 256

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

    def save(self, path: str | Path) -> None:
        """Write an .npz file, whole or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        arrays = {name: getattr(self, name) for name in (*_PARTS, "kind", "name")}
        save_arrays(path, arrays, {"domains": self.domains, "skipped": self.skipped})

    @classmethod
    def load(cls, path: str | Path) -> OwnPairs:
        """Read what `save` wrote, and check it again: the file may have changed.

        Raises:
            DataError: the file is missing, damaged or holds something else.
        """
        fields = ("kind", *_PARTS, "domains", "name", "skipped")
        saved = read_saved(path, MAX_PAIRS + 8 * 2**20, fields)
        if str(saved["kind"]) != cls.kind:
            raise DataError("The saved data is not two sets of images.")
        domains, skipped = read_texts(saved["domains"]), read_texts(saved["skipped"])
        name = bare_name(str(saved["name"]))
        return cls(*(saved[part] for part in _PARTS), domains, name, skipped)


def pair_folders() -> list[Path]:
    """Return folders of the data roots that hold ``trainA`` and ``trainB``."""
    found = []
    for root in data_roots():
        try:
            inside = [root, *sorted(root.iterdir())]
            found += [path for path in inside if is_layout(path) and not is_junk(path.name)]
        except OSError:
            continue
    return found


def is_layout(folder: Path) -> bool:
    """Return whether a folder is in the layout of the paper."""
    return (folder / "trainA").is_dir() and (folder / "trainB").is_dir()


def read_pairs_folder(path: str | Path, size: int) -> OwnPairs:
    """Read a folder with ``trainA`` and ``trainB``, and ``testA`` and ``testB`` if there are any.

    Without them a fixed fifth of each set is held out.

    Args:
        path: the folder.
        size: pixels per side; each image is cropped to its central square and resized.

    Raises:
        DataError: it cannot be read, or does not hold two sets of at least five usable images.
    """
    skipped: list[str] = []
    root = Path(path).resolve()
    return _finished(read_parts(folder_sources(root, skipped), size, skipped), root.name, skipped)


def read_pairs_zip(data: bytes, name: str, size: int) -> OwnPairs:
    """Read a zip file with the folders of :func:`read_pairs_folder`; nothing is written to disk.

    Raises:
        DataError: see :func:`read_pairs_folder`.
    """
    skipped: list[str] = []
    parts = read_parts(zip_sources(data, skipped), size, skipped)
    return _finished(parts, bare_name(name), skipped)


def read_two_sets(a: Files, b: Files, size: int, domains: tuple[str, str]) -> OwnPairs:
    """Read two sets of images that were uploaded; a fixed fifth of each is held out.

    Args:
        a: names and contents of the images of A, or of zips of them.
        b: the same of B.
        size: pixels per side; each image is cropped to its central square and resized.
        domains: what A and B show.

    Raises:
        DataError: a set has fewer than six usable images, or they are too large together.
    """
    skipped: list[str] = []
    halves = []
    for name, files in (("A", a), ("B", b)):
        left: list[str] = []
        images, _ = decode(_uploaded(files, left), size, 3, left, MAX_PAIRS // 2)
        if len(images) <= MIN_EACH:
            why = f" Left out: {left[0]}" if left else ""
            raise DataError(
                f"Set {name} has {len(images)} images that can be used; at least "
                f"{MIN_EACH + 1} are needed.{why}"
            )
        held_out = fixed_fifth(np.zeros(len(images), np.int64))
        halves.append((images[~held_out], images[held_out]))
        skipped += left
    parts = [half[part] for part in (0, 1) for half in halves]
    return _finished(parts, " and ".join(domains), skipped, domains)


def _uploaded(files: Files, skipped: list[str]) -> list[Source]:
    """Return uploaded files as images of one class, whatever folders zips have them in."""
    sources: list[Source] = []
    for name, data in files:
        inside = zip_sources(data, skipped) if is_zip(name) else [upload_source(name, data)]
        sources += [(place[-1:], read) for place, read in inside]
    return sources


def _finished(
    parts: Sequence[np.ndarray],
    name: str,
    skipped: list[str],
    domains: tuple[str, str] = ("A", "B"),
) -> OwnPairs:
    return OwnPairs(*parts, domains, name, listed(skipped))


def read_parts(
    sources: list[Source], size: int, skipped: list[str], most: int = MAX_PAIRS
) -> list[np.ndarray]:
    """Decode images in the paper's layout; return those of each of ``PARTS``.

    Raises:
        DataError: there are no two training sets, or too much is in them.
    """
    folders = {place[-2].lower() for place, _ in sources if len(place) > 1}
    if not {"traina", "trainb"} <= folders:
        raise DataError("There must be folders trainA and trainB with images in them.")
    images, items = decode(sources, size, 3, skipped, most)
    labels = np.array([item.label == "B" for item in items], bool)
    held_out = np.array([bool(item.held_out) for item in items], bool)
    for side in (False, True):
        here = labels == side
        if not held_out[here].any():
            held_out[here] = fixed_fifth(np.zeros(here.sum(), np.int64))
    wanted = [(False, False), (True, False), (False, True), (True, True)]
    return [images[(labels == side) & (held_out == held)] for side, held in wanted]

"""The user's own two sets of images, to be translated into each other, checked before use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from datasets.files.errors import DataError
from datasets.files.saved import read_saved, read_texts, save_arrays
from datasets.files.sources import bare_name

__all__ = ["MAX_PAIRS", "MIN_EACH", "OwnPairs"]

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

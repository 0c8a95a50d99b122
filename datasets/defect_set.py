"""Good and defective images as arrays, with masks of what is defective."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from datasets.files.errors import DataError
from datasets.files.saved import read_saved, save_arrays

__all__ = ["GOOD", "MAX_UNPACKED", "SETS", "DefectSet", "fitted_mask"]

GOOD = "good"
# What the sets that every lab knows are called.
SETS = {
    "rendered": "Rendered capsules",
    "rendered_bottle": "Rendered bottles",
    "rendered_textile": "Rendered textile",
    "mvtec_capsule": "MVTec AD, capsule",
}
MAX_UNPACKED = 2 * 2**30
MIN_TRAIN = 4


@dataclass(frozen=True, eq=False)
class DefectSet:
    """Good images to learn from, and good and defective ones to be told apart.

    Attributes:
        name: where it came from, for titles.
        train: good images, shape ``(N, 3, S, S)``, uint8.
        test: images of all kinds, shape ``(M, 3, S, S)``, uint8.
        kinds: the kind of each test image, ``"good"`` or the name of a defect.
        masks: where the defects are, shape ``(M, S, S)``, booleans; none on good images.
        files: names of the test images, or empty.
        known: whether the mask of each test image is known, booleans, shape ``(M,)``: a defective
            one without a mask has an empty one here. All of them if it is left out.
        skipped: files left out, each with the reason.

    Raises:
        DataError: the arrays do not fit together.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    kinds: tuple[str, ...]
    masks: np.ndarray
    files: tuple[str, ...] = ()
    known: np.ndarray | None = None
    skipped: tuple[str, ...] = ()
    kind: ClassVar[str] = "defects"

    def __post_init__(self) -> None:
        for images in (self.train, self.test):
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3:
                raise DataError("Images are 8-bit RGB here.")
        side = self.train.shape[2:]
        count = len(self.test)
        if side[0] != side[1] or (count and self.test.shape[2:] != side):
            raise DataError("All images have the same size and are square here.")
        if self.masks.shape != (count, *side) or self.masks.dtype != bool:
            raise DataError("There is one mask of the same size for each test image.")
        if len(self.kinds) != count or (self.files and len(self.files) != count):
            raise DataError("There is one kind and one name for each test image.")
        known = np.ones(count, bool) if self.known is None else self.known
        if known.shape != (count,) or known.dtype != bool:
            raise DataError("Of each test image it is said whether its mask is known.")
        object.__setattr__(self, "known", known)
        if len(self.train) < MIN_TRAIN:
            raise DataError(
                f"train/good holds {len(self.train)} images that can be read; "
                f"at least {MIN_TRAIN} are needed."
            )

    @property
    def size(self) -> int:
        """Pixels on each side."""
        return self.train.shape[-1]

    @property
    def defective(self) -> np.ndarray:
        """Which test images show a defect, booleans, shape ``(M,)``."""
        return np.array([kind != GOOD for kind in self.kinds], dtype=bool)

    @property
    def masked(self) -> bool:
        """Whether the mask of any defective image is known."""
        return bool((self.known & self.defective).any())

    @property
    def defects(self) -> tuple[str, ...]:
        """The names of the defects, sorted."""
        return tuple(sorted({kind for kind in self.kinds if kind != GOOD}))

    def names(self) -> tuple[str, ...]:
        """Return a name for each test image."""
        return self.files or tuple(f"{kind}/{i:03d}" for i, kind in enumerate(self.kinds))

    def resized(self, size: int) -> DefectSet:
        """Return the same at another size; itself where it has that size already."""
        if size == self.size:
            return self
        masks = [fitted_mask(mask, size) for mask in self.masks]
        return replace(
            self,
            train=_resized(self.train, size),
            test=_resized(self.test, size),
            masks=np.stack(masks) if masks else np.zeros((0, size, size), dtype=bool),
        )

    def save(self, path: Path | str, *, packed: bool = True) -> None:
        """Write an .npz file, whole or not at all.

        Args:
            path: the file.
            packed: whether to compress it: as it is it can be mapped.

        Raises:
            OSError: it cannot be written.
        """
        arrays = {
            "kind": self.kind,
            "train": self.train,
            "test": self.test,
            "masks": np.packbits(self.masks) if packed else self.masks,
            "known": self.known,
            "words": np.array([self.name, *self.kinds]),
            "files": np.array(self.files, dtype=str),
            "skipped": np.array(self.skipped, dtype=str),
        }
        save_arrays(path, arrays, {}, packed=packed)

    @classmethod
    def load(cls, path: Path | str, *, mapped: bool = False) -> DefectSet:
        """Read what `save` wrote.

        Args:
            path: the file.
            mapped: whether images that were not packed stay in the file until they are used.

        Raises:
            DataError: the file is missing, damaged or holds something else.
        """
        fields = ("train", "test", "masks", "words", "files", "skipped")
        later = ("known", "masked")
        saved = read_saved(path, MAX_UNPACKED, fields, later, mapped=mapped)
        try:
            name, *kinds = saved["words"].tolist()
            test = saved["test"]
            masks = saved["masks"]
            if masks.dtype != bool:
                shape = (len(test), *test.shape[2:])
                masks = np.unpackbits(masks, count=int(np.prod(shape))).reshape(shape).astype(bool)
            known = saved.get("known")
            if known is None:  # before masks were known one by one
                known = np.array([kind == GOOD for kind in kinds]) | bool(saved["masked"])
            return cls(
                name=name,
                train=saved["train"],
                test=test,
                kinds=tuple(kinds),
                masks=masks,
                files=tuple(saved["files"].tolist()),
                known=known,
                skipped=tuple(saved["skipped"].tolist()),
            )
        except (DataError, MemoryError):
            raise
        # Arrays of other shapes and types break in as many ways.
        except Exception as error:
            raise DataError("The saved data cannot be read: the file is damaged.") from error


def fitted_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Squeeze a mask ``(H, W)`` into a square ``(size, size)``, booleans.

    A cell is marked if about a quarter of it is; a defect of a single pixel never vanishes.
    """
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    small = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS)) > 64
    if mask.any() and not small.any():
        rows, columns = np.nonzero(mask)
        small[rows * size // mask.shape[0], columns * size // mask.shape[1]] = True
    return small


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    """Resize images ``(N, 3, H, W)``, uint8, each by itself."""
    resized = np.empty((len(images), 3, size, size), np.uint8)
    for place, image in enumerate(images):
        whole = Image.fromarray(image.transpose(1, 2, 0))
        small = whole.resize((size, size), Image.Resampling.LANCZOS)
        resized[place] = np.asarray(small).transpose(2, 0, 1)
    return resized

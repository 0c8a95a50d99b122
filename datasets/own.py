"""The user's own data: a table of points or an image, checked before anything uses it.

Everything here comes from outside and may be anything. Whatever is wrong with it ends in a
`DataError` whose message is a sentence for the person who uploaded it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from datasets.files.errors import DataError
from datasets.files.images import MAX_BYTES, check_size, read_image
from datasets.files.saved import read_saved, read_texts, save_arrays
from datasets.files.sources import bare_name, is_image
from datasets.files.tables import MAX_MAGNITUDE, MAX_POINTS, read_table

__all__ = ["OWN", "OwnData", "read_density", "read_own", "read_points"]

OWN = "own"  # the name under which a user's own data is loaded
MIN_POINTS = 20
MAX_SIDE = 128


@dataclass(frozen=True, eq=False)
class OwnData:
    """Checked data of a user.

    Attributes:
        kind: what `array` holds.
        array: for "points" their coordinates, with shape (n, 2), in the user's units. For
            "picture" the mass of each pixel, from 0 (paper) to 1 (ink), with shape (h, w) and the
            top row first. Always float32.
        name: where it came from, for titles.
        columns: what the columns of points are called.

    Raises:
        DataError: the array is not what the kind promises.
    """

    kind: Literal["points", "picture"]
    array: np.ndarray
    name: str
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check = {"points": _check_points, "picture": _check_density}.get(self.kind)
        if check is None:
            raise DataError("The data is neither points nor an image.")
        if self.array.dtype != np.float32 or self.array.ndim != 2:
            raise DataError("The data is not a table of 32-bit numbers.")
        check(self.array)
        if len(self.columns) not in (0, 2):
            raise DataError("Points have two columns, with a name each.")

    def save(self, path: str | Path, *, packed: bool = False) -> None:
        """Write an .npz file, whole or not at all.

        Args:
            path: the file.
            packed: whether to compress it: as it is it can be mapped.

        Raises:
            OSError: the file cannot be written.
        """
        arrays = {"kind": self.kind, "array": self.array, "name": self.name}
        save_arrays(path, arrays, {"columns": self.columns}, packed=packed)

    @classmethod
    def load(cls, path: str | Path, *, mapped: bool = False) -> OwnData:
        """Read what `save` wrote, and check it again: the file may have changed.

        Args:
            path: the file.
            mapped: whether the points stay in the file until they are used.

        Raises:
            DataError: the file is missing, damaged or holds something else.
        """
        fields = ("kind", "name", "array")
        saved = read_saved(path, MAX_BYTES, fields, later=("columns",), mapped=mapped)
        kind, name = str(saved["kind"]), bare_name(str(saved["name"]))
        columns = read_texts(saved["columns"]) if "columns" in saved else ()
        return cls(kind, saved["array"], name, columns)  # type: ignore[arg-type]


def _check_points(points: np.ndarray) -> None:
    n = len(points)
    if points.shape[1] != 2:
        raise DataError(f"Points need two columns, the data has {points.shape[1]}.")
    if n < MIN_POINTS:
        raise DataError(f"At least {MIN_POINTS} points are needed, the data has {n}.")
    if n > MAX_POINTS:
        raise DataError(f"At most {MAX_POINTS:,} points are taken, the data has {n:,}.")
    if not np.abs(points).max() <= MAX_MAGNITUDE:  # also false for NaN
        raise DataError("The data holds values that are missing, infinite or beyond 1e30.")
    for number, column in enumerate(points.astype(np.float64).T, start=1):
        _check_spread(column, number)


def _check_spread(column: np.ndarray, number: int) -> None:
    if column.min() == column.max():
        raise DataError(
            f"Column {number} has the same value everywhere: there is nothing to learn."
        )
    if column.std() < 1 / MAX_MAGNITUDE:
        raise DataError(f"Column {number} varies by less than 1e-30: use another unit.")
    # More than a quarter differs, so a training part of four fifths cannot be constant.
    if np.unique(column, return_counts=True)[1].max() >= 0.75 * len(column):
        raise DataError(
            f"Column {number} has the same value in three quarters of the rows: "
            "that leaves no density to learn."
        )
    # float32 has 7 digits: time stamps, say, would lose all that separates one from the other.
    if column.std() < 1e-4 * abs(column.mean()):
        raise DataError(
            f"Column {number} varies by less than a ten-thousandth of its size: "
            "subtract its mean first."
        )


def _check_density(weights: np.ndarray) -> None:
    if max(weights.shape) > MAX_SIDE or min(weights.shape) < 1:
        raise DataError(f"An image has 1 to {MAX_SIDE} pixels on each side here.")
    if not (weights.min() >= 0 and weights.max() <= 1):  # also false for NaN
        raise DataError("An image's pixels lie between 0 and 1 here.")
    if not weights.max() > 0:
        raise DataError("The image is white all over: dark places are where the points go.")


def read_points(data: bytes, name: str) -> OwnData:
    """Read a table of points from a CSV file; see :func:`~datasets.files.tables.read_table`.

    Args:
        data: the file's content, at most 20 MB.
        name: the file's name, for titles.

    Returns:
        20 to 200,000 points, in the order of the file, with the names of the two columns.

    Raises:
        DataError: the table cannot be read as points; names the line where it can.
    """
    check_size(data)
    points, columns = read_table(data)
    _check_points(points)  # before float32 can round differences away
    return OwnData("points", points.astype(np.float32), bare_name(name), columns)


def read_density(data: bytes, name: str) -> OwnData:
    """Read an image whose dark places become probability mass.

    It is read as :func:`~datasets.files.images.read_image` does, made grey and shrunk to at most
    128 pixels on its longer side. A pixel's mass is its darkness, 1 minus luminance; below 2 % (the
    speckle that JPEG leaves on white) it is 0.

    Args:
        data: the file's content, at most 20 MB and 16 megapixels.
        name: the file's name, for titles.

    Returns:
        Masses with shape (h, w), the top row first.

    Raises:
        DataError: the file is no such image, too large, damaged or white.
    """
    grey = read_image(data, least=1).convert("L")
    grey.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BOX)
    mass = 1 - np.asarray(grey, dtype=np.float32) / 255
    mass[mass < 0.02] = 0
    return OwnData("picture", mass, bare_name(name))


def read_own(data: bytes, name: str) -> OwnData:
    """Read a user's file: an image if its name ends like one, else a table of points.

    Raises:
        DataError: see :func:`read_density` and :func:`read_points`.
    """
    return read_density(data, name) if is_image(name) else read_points(data, name)

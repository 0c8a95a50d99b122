"""The user's own data: a table of points or a picture, checked before anything uses it.

Everything here comes from outside and may be anything. Whatever is wrong with it ends in a
`DataError` whose message is a sentence for the person who uploaded it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from datasets.archives import open_zip
from datasets.errors import DataError
from datasets.files import write_atomic

__all__ = ["OwnData", "read_picture", "read_points"]

MAX_BYTES = 20 * 2**20
MIN_POINTS, MAX_POINTS = 20, 200_000
MAX_LINES = 1_000_000  # those without points among them
HEAD = 1000  # rows from which the columns are known
MAX_LINE = 10_000
MAX_PIXELS = 16_000_000
MAX_SIDE = 128
MAX_ARRAYS = 64  # in one .npz file
FORMATS = ("PNG", "JPEG", "WEBP")
_MAX_MAGNITUDE = 1e30

# A row of a table with the number of its line in the file.
Row = tuple[int, list[str]]


@dataclass(frozen=True, eq=False)
class OwnData:
    """Checked data of a user.

    Attributes:
        kind: What `array` holds.
        array: For "points" their coordinates, with shape (n, 2), in the user's units. For
            "picture" the mass of each pixel, from 0 (paper) to 1 (ink), with shape (h, w) and the
            top row first. Always float32.
        name: Where it came from, for titles.

    Raises:
        DataError: The array is not what the kind promises.
    """

    kind: Literal["points", "picture"]
    array: np.ndarray
    name: str

    def __post_init__(self) -> None:
        check = {"points": _check_points, "picture": _check_picture}.get(self.kind)
        if check is None:
            raise DataError("The data is neither points nor a picture.")
        if self.array.dtype != np.float32 or self.array.ndim != 2:
            raise DataError("The data is not a table of 32-bit numbers.")
        check(self.array)

    def save(self, path: str | Path) -> None:
        """Write an .npz file, whole or not at all.

        Raises:
            OSError: The file cannot be written.
        """
        arrays = {"kind": np.array(self.kind), "array": self.array, "name": np.array(self.name)}
        write_atomic(Path(path), lambda file: np.savez(file, **arrays))

    @classmethod
    def load(cls, path: str | Path) -> OwnData:
        """Read what `save` wrote, and check it again: the file may have changed.

        Raises:
            DataError: The file is missing, damaged or holds something else.
        """
        saved = read_saved(path, MAX_BYTES, ("kind", "name", "array"))
        kind, name = str(saved["kind"]), bare_name(str(saved["name"]))
        return cls(kind, saved["array"], name)  # type: ignore[arg-type]


def read_saved(path: str | Path, limit: int, fields: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read arrays from an .npz file that may have been damaged or swapped.

    Args:
        path: The file.
        limit: The most bytes that its content may take.
        fields: The names of the arrays.

    Raises:
        DataError: The file is missing, damaged, too large or holds other things.
    """
    try:
        check_saved(path, limit)
        with np.load(path, allow_pickle=False) as saved:
            return {field: saved[field] for field in fields}
    except DataError:
        raise
    # numpy, zipfile and zlib each have their own ways to stumble over a damaged file.
    except Exception as error:
        raise DataError("The saved data cannot be read: the file is damaged.") from error


def check_saved(path: str | Path, limit: int) -> None:
    """Refuse an .npz file whose content takes more than ``limit`` bytes, with a `DataError`."""
    with open_zip(path, MAX_ARRAYS) as archive:
        if sum(member.file_size for member in archive.infolist()) > limit:
            raise DataError(f"The saved data is larger than {limit // 2**20} MB.")


def read_texts(saved: np.ndarray) -> tuple[str, ...]:
    """Return the texts of a list that was saved as JSON.

    Raises:
        DataError: It is something else.
    """
    try:
        texts = json.loads(str(saved))
    except (ValueError, RecursionError) as error:
        raise DataError("The saved data cannot be read: the file is damaged.") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError("The saved data cannot be read: the file is damaged.")
    return tuple(texts)


def _check_points(points: np.ndarray) -> None:
    n = len(points)
    if points.shape[1] != 2:
        raise DataError(f"Points need two columns, the data has {points.shape[1]}.")
    if n < MIN_POINTS:
        raise DataError(f"At least {MIN_POINTS} points are needed, the data has {n}.")
    if n > MAX_POINTS:
        raise DataError(f"At most {MAX_POINTS:,} points are taken, the data has {n:,}.")
    if not np.abs(points).max() <= _MAX_MAGNITUDE:  # also false for NaN
        raise DataError("The data holds values that are missing, infinite or beyond 1e30.")
    for number, column in enumerate(points.astype(np.float64).T, start=1):
        _check_spread(column, number)


def _check_spread(column: np.ndarray, number: int) -> None:
    if column.min() == column.max():
        raise DataError(
            f"Column {number} has the same value everywhere: there is nothing to learn."
        )
    if column.std() < 1 / _MAX_MAGNITUDE:
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


def _check_picture(weights: np.ndarray) -> None:
    if max(weights.shape) > MAX_SIDE or min(weights.shape) < 1:
        raise DataError(f"A picture has 1 to {MAX_SIDE} pixels on each side here.")
    if not (weights.min() >= 0 and weights.max() <= 1):  # also false for NaN
        raise DataError("A picture's pixels lie between 0 and 1 here.")
    if not weights.max() > 0:
        raise DataError("The picture is white all over: dark places are where the points go.")


def check_size(data: bytes) -> None:
    """Refuse the bytes of a file that is empty or larger than 20 MB, with a `DataError`."""
    if len(data) > MAX_BYTES:
        raise DataError(f"The file has {len(data) / 2**20:.0f} MB, at most 20 MB are taken.")
    if not data:
        raise DataError("The file is empty.")


def bare_name(name: str) -> str:
    """The bare file name, printable and short, from whatever a browser sent."""
    bare = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in bare if c.isprintable())[:80] or "own data"


def read_points(data: bytes, name: str) -> OwnData:
    """Read a table of points from the bytes of a CSV file.

    Cells are separated by commas, spaces, or (then with decimal commas, too) semicolons or tabs.
    One header line, empty lines and lines that start with ``#`` are skipped. Of the columns with
    numbers (in most rows) the first two are x and y; others are ignored, and so is one that the
    header leaves without a name, such as the index that pandas writes.

    Args:
        data: The file's content, UTF-8, at most 20 MB.
        name: The file's name, for titles.

    Returns:
        20 to 200,000 points, in the order of the file.

    Raises:
        DataError: The table cannot be read as points; names the line where it can.
    """
    check_size(data)
    rows = _rows(_decode(data))
    head = list(islice(rows, HEAD))  # the others are not kept: cells take twenty times their bytes
    if not head:
        raise DataError("The file holds no rows.")
    head, x, y = _number_columns(head)
    points = np.array([(_cell(row, x), _cell(row, y)) for row in chain(head, rows)]).reshape(-1, 2)
    _check_points(points)  # before float32 can round differences away
    return OwnData("points", points.astype(np.float32), bare_name(name))


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("The file is not UTF-8 text: save the table as CSV in UTF-8.") from error
    if "\0" in text:
        raise DataError("The file is not a text file: save the table as CSV in UTF-8.")
    return text


def _rows(text: str) -> Iterator[Row]:
    """Split text into rows of cells; at most one more than may be points."""
    if text.count("\n") + text.count("\r") > 2 * MAX_LINES:  # a line may end in both
        raise DataError(f"The table has more than {MAX_LINES:,} lines: thin it out first.")
    lines = text.splitlines()
    if max(map(len, lines), default=0) > MAX_LINE:
        raise DataError(f"The table has a line of more than {MAX_LINE:,} characters.")
    content = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    separator = _separator(content[:20])
    count = 0
    try:
        for number, cells in _split(lines, separator):
            if any(cells) and not cells[0].startswith("#"):
                count += 1
                yield number, cells
            if count > MAX_POINTS + 1:  # one of them may be a header
                raise DataError(f"The table has more than {MAX_POINTS:,} rows: thin it out first.")
    except csv.Error as error:
        raise DataError(f"The file is not a table that can be read: {error}.") from error


def _separator(lines: list[str]) -> str | None:
    """The first separator that all lines have; None stands for runs of spaces and for none."""
    for separator in ";\t,":
        if lines and all(separator in line for line in lines):
            return separator
    return None


def _split(lines: list[str], separator: str | None) -> Iterator[Row]:
    if separator is None:
        yield from ((number, line.split()) for number, line in enumerate(lines, start=1))
        return
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    for cells in reader:
        if separator in ";\t":
            cells = [cell.replace(",", ".") for cell in cells]
        yield reader.line_num, [cell.strip() for cell in cells]


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)  # Python reads 1_0 as ten
    except ValueError:
        return None


def _number_columns(rows: list[Row]) -> tuple[list[Row], int, int]:
    """Rows without a header, and the first two columns that hold a number in most of them."""
    first = rows[0][1]
    some = [cells for _, cells in rows[1:]] or [first]
    width = max(len(cells) for cells in some)
    if width < 2:
        raise DataError("The table has one column, two are needed: x and y.")
    counts = [sum(_is_number(cells, column) for cells in some) for column in range(width)]
    columns = [column for column, count in enumerate(counts) if 2 * count > len(some)]

    if not any(_is_number(first, column) for column in columns):
        rows = rows[1:]
        named = [column for column in columns if column < len(first) and first[column]]
        columns = named if len(named) >= 2 else columns
    if len(columns) < 2:
        raise DataError(
            f"Two columns of numbers are needed, x and y; the table has {len(columns)}."
        )
    return rows, columns[0], columns[1]


def _is_number(cells: list[str], column: int) -> bool:
    return column < len(cells) and _number(cells[column]) is not None


def _cell(row: Row, column: int) -> float:
    line, cells = row
    if column >= len(cells) or not cells[column]:
        raise DataError(f"Line {line} has no value in column {column + 1}.")
    value = _number(cells[column])
    if value is None:
        raise DataError(
            f"Line {line}, column {column + 1} is not a number: {cells[column][:40]!r}."
        )
    if not math.isfinite(value):
        raise DataError(f"Line {line}, column {column + 1} is missing or infinite ({value}).")
    if abs(value) > _MAX_MAGNITUDE:
        raise DataError(f"Line {line}, column {column + 1} is beyond 1e30: use another unit.")
    return value


def read_picture(data: bytes, name: str) -> OwnData:
    """Read a picture whose dark places become probability mass.

    The picture is turned as its EXIF data says, laid on white paper where it is transparent, made
    grey and shrunk to at most 128 pixels on its longer side. A pixel's mass is its darkness, 1
    minus luminance; below 2 % (the speckle that JPEG leaves on white) it is 0. Of an animation the
    first frame is taken.

    Args:
        data: The file's content, PNG, JPEG or WebP, at most 20 MB and 16 megapixels.
        name: The file's name, for titles.

    Returns:
        Masses with shape (h, w), the top row first.

    Raises:
        DataError: The file is no such picture, too large, damaged or white.
    """
    check_size(data)
    try:
        with open_picture(data) as image:
            grey = flatten(image).convert("L")
    except DataError:
        raise
    # Pillow's decoders raise whatever they trip over: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise DataError("The picture cannot be read: the file is damaged.") from error

    grey.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BOX)
    mass = 1 - np.asarray(grey, dtype=np.float32) / 255
    mass[mass < 0.02] = 0
    return OwnData("picture", mass, bare_name(name))


def open_picture(
    data: bytes | Path, formats: tuple[str, ...] = FORMATS, most: int = MAX_PIXELS
) -> Image.Image:
    """Read a picture's header; its pixels stay undecoded until its size is known to be harmless.

    Args:
        data: The file's content, or its path.
        formats: Pillow's names of those that are tried: others start programs or read other files.
        most: Pixels that it may have.

    Raises:
        DataError: It is no such picture, or one of too many pixels.
    """
    too_large = DataError(f"The picture has more than {most // 1_000_000} megapixels.")
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        image = Image.open(file, formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_large from error
    except Image.UnidentifiedImageError as error:
        raise DataError("The file is not a PNG, JPEG or WebP picture.") from error
    if image.width * image.height > most:
        raise too_large
    return image


def flatten(image: Image.Image) -> Image.Image:
    """Decode a picture to 8 bits, upright, on white paper: mode L if it is grey, else RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit PNG, which Pillow clips instead of scaling
        levels = np.asarray(image)  # 16 bits without a sign, or 32 with one
        return Image.fromarray((levels >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def read_own(data: bytes, name: str) -> OwnData:
    """Read a user's file: a picture if its name ends like one, else a table of points.

    Raises:
        DataError: See :func:`read_picture` and :func:`read_points`.
    """
    is_picture = name.lower().endswith((".png", ".jpg", ".jpeg", ".webp"))
    return read_picture(data, name) if is_picture else read_points(data, name)

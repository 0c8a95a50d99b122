"""Tables of points as people and programs write them: two columns are found and named, or none.

A guess is never taken further than it holds. What can be read in two ways, and what would have to
be cut to fit, is refused in a sentence.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np

from datasets.files.errors import DataError

__all__ = ["MAX_MAGNITUDE", "MAX_POINTS", "read_table"]

MAX_POINTS = 200_000
MAX_LINES = 1_000_000  # those without points among them
MAX_LINE = 10_000
MAX_MAGNITUDE = 1e30
MAX_COLUMNS = 256
HEAD = 1000  # rows from which the columns are known

_SEPARATORS = (";", "\t", "|", ",")
_AT_ONCE = re.compile(r"[;|,\s]+")
# Minus signs and dashes that stand for the minus of the keyboard.
_MINUS = str.maketrans(dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d", "-"))
_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+")
_DECLARED = re.compile(r'"?sep=(.)"?', re.IGNORECASE)

# A row of a table with the number of its line in the file.
Row = tuple[int, list[str]]


@dataclass(frozen=True)
class _Reading:
    """One way to read a table.

    Attributes:
        separator: between cells; None stands for runs of spaces.
        comma: whether numbers have decimal commas.
        width: cells of a row.
        numeric: the columns that hold a number in most rows.
        texts: how many other columns there are that are not empty.
        whole: whether no cell of the other columns is made of several numbers.
        values: the numbers of the first rows.
    """

    separator: str | None
    comma: bool
    width: int
    numeric: tuple[int, ...] = ()
    texts: int = 0
    whole: bool = True
    values: tuple[float, ...] = ()

    def number(self, cell: str) -> float | None:
        """Return the number in a cell, None if it holds none."""
        cell = cell.translate(_MINUS)
        if "_" in cell or (self.comma and "." in cell):  # Python reads 1_0 as ten
            return None
        try:
            return float(cell.replace(",", ".") if self.comma else cell)
        except ValueError:
            return None


def read_table(data: bytes) -> tuple[np.ndarray, tuple[str, str]]:
    """Read the points of a CSV file.

    Cells are separated by semicolons, tabs, bars, commas or spaces; a first line ``sep=;`` says by
    which. Numbers have decimal points or, all of them, decimal commas. One header line, empty lines
    and lines that start with ``#`` are skipped. Of the columns with numbers (in most rows) x and y
    are those that the header calls so; else there must be two, not counting one that the header
    leaves without a name, such as the index that pandas writes.

    Args:
        data: the file's content: UTF-8, or code page 1252 of Windows.

    Returns:
        Points with shape (n, 2), float64, in the order of the file, and what the two columns are
        called.

    Raises:
        DataError: the table cannot be read as points; names the line where it can.
    """
    lines = _lines(_decode(data))
    lines, declared = _without_declaration(lines)
    reading = _reading(lines, declared)
    rows = _rows(lines, reading.separator)
    head = list(islice(rows, HEAD))  # the others are not kept: cells take twenty times their bytes
    head, columns, names = _columns(head, reading)
    points = [_point(row, columns, reading) for row in chain(head, rows)]
    return np.array(points).reshape(-1, 2), names


# -- text --------------------------------------------------------------------------------------


def _decode(data: bytes) -> str:
    if b"\0" in data:
        raise DataError("The file is not a text file: save the table as CSV in UTF-8.")
    for encoding in ("utf-8-sig", "cp1252"):  # Windows writes headers in the latter
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError("The file is not UTF-8 text: save the table as CSV in UTF-8.")


def _lines(text: str) -> list[str]:
    if text.count("\n") + text.count("\r") > 2 * MAX_LINES:  # a line may end in both
        raise DataError(f"The table has more than {MAX_LINES:,} lines: thin it out first.")
    lines = text.splitlines()
    if max(map(len, lines), default=0) > MAX_LINE:
        raise DataError(f"The table has a line of more than {MAX_LINE:,} characters.")
    return lines


def _without_declaration(lines: list[str]) -> tuple[list[str], str | None]:
    """Empty the line in which Excel says what separates cells, and return the separator."""
    found = _DECLARED.fullmatch(lines[0].rstrip("\r\n ")) if lines else None
    return (["", *lines[1:]], found[1]) if found else (lines, None)


def _rows(lines: list[str], separator: str | None) -> Iterator[Row]:
    """Split lines into rows of cells; at most one more than may be points."""
    count = 0
    try:
        for number, cells in _split(lines, separator):
            if any(cells) and not cells[0].startswith("#"):
                count += 1
                if len(cells) > MAX_COLUMNS:
                    raise DataError(f"The table has more than {MAX_COLUMNS} columns.")
                yield number, cells
            if count > MAX_POINTS + 1:  # one of them may be a header
                raise DataError(f"The table has more than {MAX_POINTS:,} rows: thin it out first.")
    except csv.Error as error:
        raise DataError(f"The file is not a table that can be read: {error}.") from error


def _split(lines: list[str], separator: str | None) -> Iterator[Row]:
    if separator is None:
        yield from ((number, line.split()) for number, line in enumerate(lines, start=1))
        return
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    for cells in reader:
        yield reader.line_num, [cell.strip() for cell in cells]


# -- how to read it ----------------------------------------------------------------------------


def _reading(lines: list[str], declared: str | None) -> _Reading:
    """Choose how to read a table: two columns of numbers, and the least of other things.

    Raises:
        DataError: there is no way, or more than one.
    """
    content = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not content:
        raise DataError("The file holds no rows.")
    some = content[1:20] or content  # the first may be a header
    likely = [s for s in _SEPARATORS if 2 * sum(s in line for line in some) > len(some)]
    candidates = [declared] if declared else [*likely, None]
    found = [_read_by(lines, separator) for separator in candidates]
    usable = [reading for reading in found if reading.whole and len(reading.numeric) >= 2]
    if not usable:
        raise DataError(_why_none(found))
    usable.sort(key=lambda reading: reading.texts)
    best = [reading for reading in usable if reading.texts == usable[0].texts]
    if any(reading.values != best[0].values for reading in best):
        raise DataError("The table can be read in two ways: separate its columns by semicolons.")
    return best[0]


def _why_none(found: list[_Reading]) -> str:
    if not all(reading.whole for reading in found):
        return "It is not clear what separates the columns: separate them by semicolons."
    if found[0].width < 2:
        return "The table has one column, two are needed: x and y."
    count = max(len(reading.numeric) for reading in found)
    return f"Two columns of numbers are needed, x and y; the table has {count}."


def _read_by(lines: list[str], separator: str | None) -> _Reading:
    head = [cells for _, cells in islice(_rows(lines, separator), HEAD)]
    some = head[1:] or head
    width = Counter(map(len, some)).most_common(1)[0][0] if some else 0
    reading = _Reading(separator, _has_commas(some, separator), width)
    numbers = [[reading.number(cell) for cell in row] for row in some]
    counts, filled = [0] * width, [0] * width
    for row, values in zip(some, numbers, strict=True):
        for column in range(min(width, len(row))):
            counts[column] += values[column] is not None
            filled[column] += bool(row[column])
    numeric = tuple(column for column in range(width) if 2 * counts[column] > len(some))
    others = [column for column in range(width) if column not in numeric]
    return replace(
        reading,
        numeric=numeric,
        texts=sum(filled[column] > 0 for column in others),
        whole=not any(_is_several(row[c], reading) for row in some for c in others if c < len(row)),
        values=tuple(v for values in numbers[:20] for v in values if v is not None),
    )


def _has_commas(rows: list[list[str]], separator: str | None) -> bool:
    """Whether the commas in cells are decimal commas.

    Between commas such cells stand in quotes, as programs write 1,234 for a thousand and more.
    """
    cells = (cell for row in rows for cell in row if "," in cell)
    found = [cell for cell in cells if _COMMA.fullmatch(cell.translate(_MINUS))]
    return any(separator != "," or not _THOUSANDS.fullmatch(cell) for cell in found)


def _is_several(cell: str, reading: _Reading) -> bool:
    """Whether a cell is made of numbers that another separator would tell apart."""
    parts = [part for part in _AT_ONCE.split(cell) if part]
    if len(parts) < 2 or reading.number(cell) is not None or _THOUSANDS.fullmatch(cell):
        return False
    return all(reading.number(part) is not None for part in parts)


# -- columns -----------------------------------------------------------------------------------


def _columns(
    head: list[Row], reading: _Reading
) -> tuple[list[Row], tuple[int, int], tuple[str, str]]:
    """Return the rows without a header, the columns of x and y, and what they are called."""
    first, columns, names = head[0][1], list(reading.numeric), [""] * reading.width
    if not any(column < len(first) and reading.number(first[column]) is not None
               for column in columns):  # fmt: skip
        head, names = head[1:], _names(first, reading.width)
        named = [column for column in columns if names[column]]
        columns = named if len(named) >= 2 else columns
    chosen = [_called(letter, names) for letter in "xy"]
    if None not in chosen:
        columns = chosen
    if len(columns) > 2:
        raise DataError(
            f"The table has {len(columns)} columns of numbers: call two of them x and y in the "
            "first line, or leave the others out."
        )
    x, y = (names[column] or f"column {column + 1}" for column in columns)
    return head, (columns[0], columns[1]), (x[:40], y[:40])


def _names(first: list[str], width: int) -> list[str]:
    """The names in a header; R writes none for the names of its rows, which come first."""
    if len(first) == width - 1:
        first = ["", *first]
    first = [cell.strip('"') for cell in first]
    return first[:width] if len(first) >= width and not any(first[width:]) else [""] * width


def _called(letter: str, names: list[str]) -> int | None:
    """The one column with this name, a unit in brackets aside."""
    plain = [re.sub(r"\s*[\[(/].*", "", name).strip().casefold() for name in names]
    return plain.index(letter) if plain.count(letter) == 1 else None


def _point(row: Row, columns: tuple[int, int], reading: _Reading) -> tuple[float, float]:
    line, cells = row
    if any(cells[reading.width :]):
        raise DataError(f"Line {line} has {len(cells)} cells, the others have {reading.width}.")
    x, y = columns
    return _cell(line, cells, x, reading), _cell(line, cells, y, reading)


def _cell(line: int, cells: list[str], column: int, reading: _Reading) -> float:
    if column >= len(cells) or not cells[column]:
        raise DataError(f"Line {line} has no value in column {column + 1}.")
    value = reading.number(cells[column])
    if value is None:
        hint = " (others have decimal commas)" if reading.comma and "." in cells[column] else ""
        raise DataError(
            f"Line {line}, column {column + 1} is not a number: {cells[column][:40]!r}{hint}."
        )
    if not math.isfinite(value):
        raise DataError(f"Line {line}, column {column + 1} is missing or infinite ({value}).")
    if abs(value) > MAX_MAGNITUDE:
        raise DataError(f"Line {line}, column {column + 1} is beyond 1e30: use another unit.")
    return value

"""Plain-text tables, and the few statistics that go into them."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

WIDTH = 100  # characters of a printed line, at most
GAP = "  "


@dataclass
class Table:
    """A table to print: the first column is text, the others are numbers.

    Attributes:
        title: what was measured.
        columns: headings.
        rows: cells, already formatted, one tuple per row.
        notes: protocol and headline, printed below.
    """

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        cells = [self.columns, *self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        lines = [self._line(row, widths) for row in cells]
        lines.insert(1, "-" * (sum(widths) + len(GAP) * (len(widths) - 1)))
        notes = [textwrap.fill(n, WIDTH, subsequent_indent=GAP) for n in self.notes]
        return "\n".join([self.title, "", *lines, *([""] if notes else []), *notes])

    def _line(self, row: Sequence[str], widths: Sequence[int]) -> str:
        first, *rest = (
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return GAP.join([first, *rest]).rstrip()


def spread(values: Sequence[float], digits: int = 2) -> tuple[str, str]:
    """Return median and range of some values as two cells, ``("1.93", "1.88-2.01")``."""
    low, high = (f"{v:.{digits}f}" for v in (min(values), max(values)))
    # A minus sign beside the dash of a range would be hard to read.
    dash = " to " if min(values) < 0 else "-"
    return f"{statistics.median(values):.{digits}f}", f"{low}{dash}{high}"


def reached(value: float, goal: float, *, at_least: bool = False) -> str:
    """Return ``"yes"`` or ``"no"``: whether a value is on the right side of its goal."""
    return "yes" if (value >= goal if at_least else value <= goal) else "no"

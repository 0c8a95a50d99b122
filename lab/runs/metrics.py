"""The numbers of a run: ``metrics.csv`` while it trains, ``summary.json`` at its end."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from datasets.files import write_atomic
from lab.runs.files import append_whole, read_json, write_json
from lab.runs.status import MAX_COUNT
from training.core.config import RENAMED


class Metrics:
    """The numbers of the run in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._table, self._summary = folder / "metrics.csv", folder / "summary.json"

    def start(self, columns: list[str], step: int) -> None:
        """Begin the table, or on a resume drop the rows after ``step``."""
        rows = [row for row in self.rows() if row["step"] <= step] if step else []
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)
        write_atomic(self._table, lambda file: file.write(text.getvalue().encode()))

    def append(self, columns: list[str], row: Mapping[str, float]) -> None:
        """Append a row to the table, whole or not at all.

        Raises:
            OSError: the disk is full, say.
        """
        line = ",".join(_cell(row.get(name)) for name in columns) + "\n"
        append_whole(self._table, line.encode())

    def rows(self) -> list[dict[str, float]]:
        """Return the rows of the table.

        Cells that were not measured are left out, a torn last line too.
        """
        try:
            text = self._table.read_text(encoding="utf-8", errors="replace")
            lines = text.split("\n")[:-1]  # what follows the last line end is torn, or nothing
            rows = [_row(row) for row in csv.DictReader(lines)]
        except (OSError, csv.Error):
            return []
        return [row for row in rows if row is not None]

    def save_summary(self, numbers: Mapping[str, float]) -> None:
        """Write what was measured at the end.

        Raises:
            OSError: it cannot be written.
        """
        # JSON has no NaN; what is not finite was not measured.
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        write_json(self._summary, finite)

    def summary(self) -> dict[str, float]:
        """Return what was measured at the end; nothing if it has not come to that."""
        try:
            values = read_json(self._summary)
            return {str(name): float(value) for name, value in values.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.7g}"


def _row(cells: Mapping[str, str | None]) -> dict[str, float] | None:
    try:
        row = {RENAMED.get(name, name): float(cell) for name, cell in cells.items() if cell}
    except (ValueError, TypeError):
        return None
    if "step" not in row or not abs(row["step"]) <= MAX_COUNT:  # also false for NaN
        return None
    return {**row, "step": int(row["step"])}

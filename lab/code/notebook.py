"""A script as a file: Python with cells, or a notebook.

Cells of the ``.py`` begin with ``# %%``, as VS Code, Spyder and Jupytext read them; its first lines
name its packages (PEP 723, https://peps.python.org/pep-0723), for ``uv run`` and the like. The
``.ipynb`` is of the format 4.5 (https://nbformat.readthedocs.io). No name is set in two cells, so
marimo takes either.
"""

from __future__ import annotations

import json

from lab.code.script import Cell, cells_of
from lab.code.words import packages
from lab.store import Run

HEADER = """# /// script
# requires-python = ">=3.11"
# dependencies = [
{packages}# ]
# ///
"""


def python_of(run: Run) -> str:
    """Return a run as a Python file.

    Raises:
        RunError: its settings cannot be read.
    """
    cells = cells_of(run)
    needed = "".join(
        f'#     "{name}",\n' for name in packages(cell.text for cell in cells if cell.code)
    )
    return HEADER.format(packages=needed) + "".join(_percent(cell) for cell in cells)


def notebook_of(run: Run) -> str:
    """Return a run as a notebook.

    Raises:
        RunError: its settings cannot be read.
    """
    cells = [_json_cell(i, cell) for i, cell in enumerate(cells_of(run))]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    book = {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"


def _percent(cell: Cell) -> str:
    if cell.code:
        return f"\n# %%\n{cell.text}\n"
    lines = (f"# {line}".rstrip() for line in cell.text.splitlines())
    return "\n# %% [markdown]\n" + "\n".join(lines) + "\n"


def _json_cell(place: int, cell: Cell) -> dict:
    lines = cell.text.splitlines(keepends=True)
    made = {"id": f"cell-{place}", "metadata": {}, "source": lines}
    if cell.code:
        return {"cell_type": "code", "execution_count": None, "outputs": [], **made}
    return {"cell_type": "markdown", **made}

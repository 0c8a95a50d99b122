"""Tables in Markdown: a row that Streamlit's own would cut off wraps."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.plane_checks import Check

WORDS = {True: ":green-badge[right]", False: ":red-badge[not right]", None: ""}


def markdown(
    head: Sequence[str], lines: Sequence[Sequence[object]], right: Sequence[int] | None = None
) -> str:
    """Return a table whose columns ``right`` are of numbers: left out, all but the first."""
    columns = range(1, len(head)) if right is None else right
    marks = ["---:" if i in columns else "---" for i in range(len(head))]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in (head, marks, *lines))


def table_of(results: Sequence[Check]) -> str:
    """Return the table of what was measured beside what it should be."""
    lines = [(c.name, c.value, c.expected, WORDS[c.passed], c.how) for c in results]
    return markdown(("What", "Measured", "Should be", "", "How"), lines, right=[1])


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|")

"""What people who have signed in predicted and passed of the exercises, beside the runs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from lab.runs.access import Person
from lab.runs.files import read_json, write_json, writing

FOLDER = ".answers"  # a name that no run has


class Answers:
    """The answers of one person.

    Args:
        root: the folder of runs.
        who: the person; only theirs are read and written.
    """

    def __init__(self, root: Path, who: Person) -> None:
        name = hashlib.sha256(who.id.encode()).hexdigest()  # an id may hold any character
        self._path = root / FOLDER / f"{name}.json"

    def load(self) -> dict[str, Any]:
        """Return them by the name of the exercise; none if they cannot be read."""
        try:
            values = read_json(self._path)
        except (OSError, ValueError):
            return {}
        named = values.items() if isinstance(values, dict) else ()
        return {name: value for name, value in named if isinstance(value, dict)}

    def save(self, answers: dict[str, Any]) -> None:
        """Write them.

        Raises:
            RunError: the folder cannot be written.
        """
        with writing(self._path):
            self._path.parent.mkdir(exist_ok=True)
            write_json(self._path, answers)

"""What people who have signed in predicted and passed of the exercises, beside the runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.runs.access import Person
from lab.runs.files import read_json, write_json, writing

FOLDER = ".answers"  # a name that no run has
WHO = ".who"  # and one that no exercise has

Answer = dict[str, Any]


class Answers:
    """The answers of one person.

    Args:
        root: the folder of runs.
        who: the person; only theirs are read and written.
    """

    def __init__(self, root: Path, who: Person) -> None:
        self._who = who
        name = hashlib.sha256(who.id.encode()).hexdigest()  # an id may hold any character
        self._path = root / FOLDER / f"{name}.json"

    def load(self) -> dict[str, Answer]:
        """Return them by the name of the exercise; none if they cannot be read."""
        return {name: answer for name, answer in _read(self._path).items() if name != WHO}

    def save(self, answers: dict[str, Answer]) -> None:
        """Write them, with whose they are.

        Raises:
            RunError: the folder cannot be written.
        """
        who = {WHO: {"id": self._who.id, "name": self._who.name}}
        with writing(self._path):
            self._path.parent.mkdir(exist_ok=True)
            write_json(self._path, who | answers)


def answers_of_all(root: Path) -> Iterator[tuple[Person, dict[str, Answer]]]:
    """Yield whose answers there are in a folder of runs, and the answers."""
    for path in sorted((root / FOLDER).glob("*.json")):
        found = _read(path)
        who = found.pop(WHO, {})
        # Those of an earlier version do not say whose they are.
        person = Person(str(who.get("id", path.stem)), str(who.get("name", "")))
        yield person, found


def _read(path: Path) -> dict[str, Answer]:
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return {}
    named = values.items() if isinstance(values, dict) else ()
    return {name: value for name, value in named if isinstance(value, dict)}

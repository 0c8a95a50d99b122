"""How far the people of a class are with the exercises, as tables for who teaches."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from analysis.exercises.files import Exercise
from lab.answers import Answer
from lab.runs.access import Person

MARKS = {"done": "●", "predicted": "○", "": ""}
COLUMNS = ("student", "key", "exercise", "state", "prediction", "own_number", "run", "when")
People = Iterable[tuple[Person, Mapping[str, Answer]]]


def state_of(one: Exercise, answer: Mapping[str, object]) -> str:
    """Return ``"done"``, ``"predicted"`` or nothing."""
    if one.done(answer):
        return "done"
    return "predicted" if "guess" in answer else ""


def table(people: People, exercises: Mapping[str, Exercise]) -> list[dict[str, object]]:
    """Return a row per person: who, how many are done, and a mark for each exercise."""
    rows = []
    for who, answers in people:
        states = {n: state_of(one, answers.get(n, {})) for n, one in exercises.items()}
        done = sum(state == "done" for state in states.values())
        marks = {name: MARKS[state] for name, state in states.items()}
        rows.append({"Student": who.name or who.id, "Done": done, **marks})
    return sorted(rows, key=lambda row: str(row["Student"]).casefold())


def as_csv(people: People, exercises: Mapping[str, Exercise]) -> str:
    """Return a line per person and exercise that was begun, with ``COLUMNS``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for who, answers in people:
        for name, one in exercises.items():
            if answer := answers.get(name):
                writer.writerow([_cell(value) for value in _line(who, one, answer)])
    return text.getvalue()


def _line(who: Person, one: Exercise, answer: Answer) -> list[object]:
    guess = "sketch" if isinstance(answer.get("guess"), list) else answer.get("guess", "")
    when = answer.get("when")
    time = datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds") if when else ""
    seen = answer.get("mine", ""), answer.get("run", ""), time
    return [who.name, who.id, one.name, state_of(one, answer), guess, *seen]


def _cell(value: object) -> object:
    """Return a value that a spreadsheet does not take for a formula: people choose their names."""
    risky = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if risky else value

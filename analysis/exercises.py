"""Exercises as data: one Markdown file each, with a small header that says how it is checked.

A header of lines ``name: value`` between two lines ``---``, then the task, and under the headings
``## Hint`` and ``## Answer`` what is hidden at first. ``assets/exercises/`` has those of the lab.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.runs.files import read_json
from paths import ASSETS
from registry import FAMILIES, Family
from training.core.config import ConfigError, RunConfig

FOLDER = ASSETS / "exercises"
MEASURED = FOLDER / "measured.json"
MAX_BYTES = 64 * 2**10  # of a file

# What can be asked of a run besides its settings: what it is called, and its unit.
NUMBERS = {
    "kl_to_truth": ("KL to the truth", "nats"),
    "js_to_truth": ("Jensen-Shannon divergence to the truth", "nats"),
    "nll_test": ("held-out NLL", "nats"),
    "bits_per_dim_test": ("NLL of test images", "bits/dim"),
    "modes": ("modes covered", ""),
    "good": ("fraction of samples near a mode", ""),
    "diversity": ("diversity of the samples", "real = 1"),
    "elbo_test": ("ELBO of test images", "nats per image"),
    "active_units": ("active units", ""),
    "bound_test": ("held-out negative ELBO", "nats"),
    "nll_held_out": ("held-out NLL", "nats"),
    "auroc_validation": ("validation AUROC", ""),
    "cycle_error_a": ("error of the round trip from A", ""),
    "cycle_error_b": ("error of the round trip from B", ""),
    "steps": ("optimiser steps", ""),
    "steps_alone": ("steps of one network alone", ""),
}
NEEDED = ("family", "title", "question")
KNOWN = {*NEEDED, "settings", "number", "guess", "choices", "right", "passes", "solution"}
COMPARED = re.compile(r"\s*(\w+)\s*(<=|>=|!=|=|<|>)\s*(\S+)\s*")


class ExerciseError(ValueError):
    """A file is no exercise; the message says which line of its header is wrong, and why."""


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison of a predicate, ``kl_to_truth < 0.5`` say."""

    name: str
    sign: str
    value: str

    def holds(self, found: object) -> bool:
        """Return whether a value of a run satisfies it."""
        if isinstance(found, bool | str):
            same = str(found).lower() == self.value.lower()
            return same == (self.sign == "=")
        number, limit = float(found), float(self.value)
        return {
            "<": number < limit,
            "<=": number <= limit,
            ">": number > limit,
            ">=": number >= limit,
            "=": number == limit,
            "!=": number != limit,
        }[self.sign]

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.value}"


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes:
        name: of its file, without the ending.
        family: on whose page it takes place.
        title: in a few words.
        question: what one is to predict.
        settings: what its link sets in the form; the rest keeps its default.
        number: what the question asks for, one of ``NUMBERS``; empty if it asks for a choice.
        guess: ends of the slider for a prediction of it.
        choices: possible answers, where it asks for no number.
        right: which of them is right.
        passes: what a run has to satisfy; empty if there is nothing that a run could show.
        solution: settings that pass, beside ``settings``.
        do: the task, Markdown.
        hint: Markdown.
        answer: Markdown.
    """

    name: str
    family: Family
    title: str
    question: str
    settings: Mapping[str, object]
    number: str
    guess: tuple[float, float]
    choices: tuple[str, ...]
    right: str
    passes: tuple[Term, ...]
    solution: Mapping[str, object]
    do: str
    hint: str
    answer: str

    def config(self, *, solved: bool = False, **values: object) -> RunConfig:
        """Return the settings of its link, or those that pass, with some changed."""
        chosen = {**self.settings, **(self.solution if solved else {}), **values}
        return self.family.training.config.parse(chosen)


@functools.cache
def exercises() -> dict[str, Exercise]:
    """Return those that come with the lab by name, easy ones of a family first."""
    found = [load(path) for path in sorted(FOLDER.glob("*.md"))]
    pages = list(FAMILIES)
    found.sort(key=lambda one: (pages.index(one.family.page), one.name))
    return {one.name: one for one in found}


def load(path: Path) -> Exercise:
    """Return the exercise in a file.

    Raises:
        ExerciseError: it cannot be read, or is no exercise.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ExerciseError(f"{path.name} is larger than {MAX_BYTES // 2**10} kB.")
        return parse(path.stem, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExerciseError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise ExerciseError(f"{path.name} is not a text in UTF-8.") from None


def parse(name: str, text: str) -> Exercise:
    """Return the exercise in a text.

    Args:
        name: what it is called.
        text: as in the file.

    Raises:
        ExerciseError: naming what is wrong.
    """
    try:
        return _parsed(name, text)
    except (ExerciseError, ConfigError) as error:
        raise ExerciseError(f"{name}: {error}") from None


def _parsed(name: str, text: str) -> Exercise:
    head, body = _split(text)
    family = _family(head)
    settings, solution = (_settings(family, head, which) for which in ("settings", "solution"))
    number, guess = _number(head)
    choices = tuple(part.strip() for part in head.get("choices", "").split("|") if part.strip())
    right = head.get("right", "")
    if bool(number) == bool(choices):
        raise ExerciseError("it needs either number and guess, or choices and right.")
    if choices and right not in choices:
        raise ExerciseError(f"right must be one of its choices; {right!r} is not.")
    passes = _predicate(head.get("passes", ""), family)
    do, hint, answer = _sections(body)
    values = settings, number, guess, choices, right, passes, solution, do, hint, answer
    return Exercise(name, family, head["title"], head["question"], *values)


def _split(text: str) -> tuple[dict[str, str], str]:
    parts = re.split(r"^---[ \t]*$", text.strip(), maxsplit=2, flags=re.MULTILINE)
    if len(parts) < 3 or parts[0].strip():
        raise ExerciseError("it does not begin with a header between two lines `---`.")
    head: dict[str, str] = {}
    for line in parts[1].strip().splitlines():
        key, colon, value = line.partition(":")
        if not colon or key.strip() not in KNOWN:
            known = ", ".join(sorted(KNOWN))
            raise ExerciseError(f"the header has no place for {line[:60]!r}; it knows {known}.")
        head[key.strip()] = value.strip()
    missing = [key for key in NEEDED if not head.get(key)]
    if missing:
        raise ExerciseError(f"the header lacks {', '.join(missing)}.")
    return head, parts[2].strip()


def _family(head: Mapping[str, str]) -> Family:
    if head["family"] not in FAMILIES:
        raise ExerciseError(f"family must be one of {', '.join(FAMILIES)}.")
    return FAMILIES[head["family"]]


def _settings(family: Family, head: Mapping[str, str], which: str) -> dict[str, object]:
    values = {}
    for word in head.get(which, "").split():
        name, equal, value = word.partition("=")
        if not equal:
            raise ExerciseError(f"{which} are written name=value; {word[:40]!r} is not.")
        values[name] = value
    config = family.training.config.parse(values)
    return {name: getattr(config, name) for name in values}


def _number(head: Mapping[str, str]) -> tuple[str, tuple[float, float]]:
    number = head.get("number", "")
    if number and number not in NUMBERS:
        raise ExerciseError(f"number must be one of {', '.join(NUMBERS)}.")
    if not number:
        return "", (0.0, 0.0)
    try:
        low, high = (float(end) for end in head.get("guess", "").split(" to "))
    except ValueError:
        raise ExerciseError("guess must be two numbers, as in `guess: 0 to 3`.") from None
    if not -math.inf < low < high < math.inf:
        raise ExerciseError("guess must begin with the smaller number, and neither be infinite.")
    return number, (low, high)


def _predicate(text: str, family: Family) -> tuple[Term, ...]:
    terms = []
    knobs = {knob.name: knob for knob in family.training.config.knobs()}
    for part in re.split(r"\band\b", text) if text else ():
        if not (match := COMPARED.fullmatch(part)):
            raise ExerciseError(
                f"passes is made of comparisons joined by `and`; {part.strip()[:40]!r} is none."
            )
        name, sign, value = match.groups()
        if name not in knobs and name not in NUMBERS:
            raise ExerciseError(
                f"passes asks for {name!r}, which is no setting of {family.title} and none of "
                f"{', '.join(NUMBERS)}."
            )
        _check_value(knobs.get(name), name, sign, value)
        terms.append(Term(name, sign, value))
    return tuple(terms)


def _check_value(knob, name: str, sign: str, value: str) -> None:
    """Refuse a comparison that makes no sense."""
    if knob is not None and knob.kind in ("choice", "bool"):
        allowed = knob.choices or ("true", "false")
        if sign not in ("=", "!=") or value not in allowed:
            raise ExerciseError(f"passes can only compare {name} by = or != with {knob.range}.")
        return
    try:
        float(value)
    except ValueError:
        raise ExerciseError(f"passes compares {name} with {value[:40]!r}, no number.") from None


def _sections(body: str) -> tuple[str, str, str]:
    do, *rest = re.split(r"^## ", body, flags=re.MULTILINE)
    named = {part.partition("\n")[0].strip(): part.partition("\n")[2].strip() for part in rest}
    unknown = set(named) - {"Hint", "Answer"}
    if unknown:
        raise ExerciseError(f"it has a section {min(unknown)!r}; known are Hint and Answer.")
    if not do.strip() or not named.get("Answer"):
        raise ExerciseError("it needs a task below the header, and a section `## Answer`.")
    return do.strip(), named.get("Hint", ""), named["Answer"]


# -- what was measured -----------------------------------------------------------------------------


def measured_values(exercise: Exercise, *, solved: bool = False) -> list[float]:
    """Return what seeds came to, as ``python -m benchmarks exercises`` found it.

    Empty if nothing was measured with the settings that the exercise has now.
    """
    try:
        entry = read_json(MEASURED)[key_of(exercise, solved=solved)]
        config = exercise.config(solved=solved)
        same = config.of_run({**entry["config"], "seed": config.seed}) == config
        return [float(value) for value in entry["values"]] if same else []
    except (OSError, ValueError, TypeError, KeyError):
        return []


def key_of(exercise: Exercise, *, solved: bool) -> str:
    """Return under which name the measured file keeps the values of an exercise."""
    return f"{exercise.name} solved" if solved else exercise.name

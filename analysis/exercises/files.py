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
from typing import Any

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
# Losses that a prediction can be drawn of: what the curve measures, and its unit.
CURVES = {
    "nll": ("NLL of the training batch", "nats"),
    "d_loss": ("loss of the discriminator", ""),
    "g_loss": ("loss of the generator", ""),
    "bound": ("negative ELBO of the training batch", "nats"),
}
COLUMNS = 17  # heights of a sketched curve, from the first step to the last
THEORY = "theory"  # the page that is of no family
NEEDED = ("family", "title", "question")
ASKED = ("number", "curve", "guess", "choices", "right")
KNOWN = {*NEEDED, *ASKED, "settings", "passes", "solution", "look", "page"}
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
        curve: in place of a number the loss whose curve is to be sketched, one of ``CURVES``.
        guess: ends of the slider for a prediction of it, or of the vertical axis of the sketch.
        choices: possible answers, where it asks for neither.
        right: which of them is right.
        passes: what a run has to satisfy; empty if there is nothing that a run could show.
        solution: settings that pass, beside ``settings``.
        own: whether it is somebody's own, and none that comes with the lab.
        look: where on the page to look: a section, and a part of it if it has parts.
        page: stem of the page on which it takes place.
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
    curve: str
    guess: tuple[float, float]
    choices: tuple[str, ...]
    right: str
    passes: tuple[Term, ...]
    solution: Mapping[str, object]
    look: tuple[str, ...]
    page: str
    own: bool
    do: str
    hint: str
    answer: str

    def config(self, *, solved: bool = False, **values: object) -> RunConfig:
        """Return the settings of its link, or those that pass, with some changed."""
        chosen = {**self.settings, **(self.solution if solved else {}), **values}
        return self.family.training.config.parse(chosen)

    def done(self, answer: Mapping[str, object]) -> bool:
        """Return whether it is done: passed, or predicted and, where one trains, seen."""
        if self.passes:
            return bool(answer.get("passed"))
        return "guess" in answer and (not self.curve or "mine" in answer)


@functools.cache
def exercises(own: str = "") -> dict[str, Exercise]:
    """Return the exercises by name, easy ones of a family first.

    Args:
        own: a folder of exercises beside those that come with the lab.

    Raises:
        ExerciseError: there is no such folder, or one of its files is none.
    """
    shipped, more = sorted(FOLDER.glob("*.md")), []
    if own:
        more = sorted(Path(own).glob("*.md"))
        if not more:
            raise ExerciseError(f"there is no Markdown file (.md) in the folder {own}.")
    if twice := {path.stem for path in more} & {path.stem for path in shipped}:
        raise ExerciseError(f"{min(twice)}: an exercise of the lab is called so already.")
    found = [load(path) for path in (*shipped, *more)]
    pages = list(FAMILIES)
    found.sort(key=lambda one: (pages.index(one.family.page), one.own, one.name))
    return {one.name: one for one in found}


def load(path: Path) -> Exercise:
    """Return the exercise in a file.

    Raises:
        ExerciseError: it cannot be read, or is no exercise.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ExerciseError(f"{path.name} is larger than {MAX_BYTES // 2**10} kB.")
        text = path.read_text(encoding="utf-8")
        return parse(path.stem, text, own=path.parent != FOLDER)
    except OSError as error:
        raise ExerciseError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise ExerciseError(f"{path.name} is not a text in UTF-8.") from None


def parse(name: str, text: str, *, own: bool = True) -> Exercise:
    """Return the exercise in a text.

    Args:
        name: what it is called.
        text: as in the file.
        own: whether it is somebody's own.

    Raises:
        ExerciseError: naming what is wrong.
    """
    try:
        return _parsed(name, text, own)
    except (ExerciseError, ConfigError) as error:
        raise ExerciseError(f"{name}: {error}") from None


def _parsed(name: str, text: str, own: bool) -> Exercise:
    head, body = _split(text)
    family = _family(head)
    do, hint, answer = _sections(body)
    if head.get("curve") and "iterations" not in family.training.config.model_fields:
        raise ExerciseError(f"a curve needs iterations, which {family.stem} does not have.")
    return Exercise(
        name=name,
        family=family,
        title=head["title"],
        question=head["question"],
        settings=_settings(family, head, "settings"),
        solution=_settings(family, head, "solution"),
        **_asked(head),
        passes=_predicate(head.get("passes", ""), family),
        look=_listed(head, "look"),
        page=_page(family, head),
        own=own,
        do=do,
        hint=hint,
        answer=answer,
    )


def _asked(head: Mapping[str, str]) -> dict[str, Any]:
    """Return what is to be predicted: a number, a curve or one of some choices."""
    choices, right = _listed(head, "choices"), head.get("right", "")
    if sum(name in head for name in ("number", "curve", "choices")) != 1:
        raise ExerciseError("it needs either number or curve, with guess, or choices and right.")
    if "choices" in head and right not in choices:
        raise ExerciseError(f"right must be one of its choices; {right!r} is not.")
    asked = {"number": _known(head, "number", NUMBERS), "curve": _known(head, "curve", CURVES)}
    ends = (0.0, 0.0) if choices else _guess(head)
    return {**asked, "guess": ends, "choices": choices, "right": right}


def _listed(head: Mapping[str, str], which: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in head.get(which, "").split("|") if part.strip())


def _known(head: Mapping[str, str], which: str, known: Mapping[str, object]) -> str:
    if (name := head.get(which, "")) and name not in known:
        raise ExerciseError(f"{which} must be one of {', '.join(known)}.")
    return name


def _page(family: Family, head: Mapping[str, str]) -> str:
    page = head.get("page", family.page)
    if page not in (family.page, THEORY):
        raise ExerciseError(f"page must be {family.page} or {THEORY}.")
    return page


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


def _guess(head: Mapping[str, str]) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in head.get("guess", "").split(" to "))
    except ValueError:
        raise ExerciseError("guess must be two numbers, as in `guess: 0 to 3`.") from None
    if not -math.inf < low < high < math.inf:
        raise ExerciseError("guess must begin with the smaller number, and neither be infinite.")
    return low, high


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
        return [float(value) for value in _measured(exercise, solved)["values"]]
    except (TypeError, ValueError, KeyError):
        return []


def measured_curves(exercise: Exercise) -> list[list[tuple[float, float]]]:
    """Return the curves of seeds, each as steps and values; empty as ``measured_values`` is."""
    try:
        found = _measured(exercise, False)
        steps = [float(step) for step in found["steps"]]
        return [list(zip(steps, map(float, curve), strict=True)) for curve in found["curves"]]
    except (TypeError, ValueError, KeyError):
        return []


def _measured(exercise: Exercise, solved: bool) -> Mapping[str, Any]:
    try:
        entry = read_json(MEASURED)[key_of(exercise, solved=solved)]
        config = exercise.config(solved=solved)
        same = config.of_run({**entry["config"], "seed": config.seed}) == config
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return entry if same else {}


def key_of(exercise: Exercise, *, solved: bool) -> str:
    """Return under which name the measured file keeps the values of an exercise."""
    return f"{exercise.name} solved" if solved else exercise.name

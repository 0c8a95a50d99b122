"""The word ``check`` of the command line: whether a run does what an exercise asks."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch

from analysis.exercises.checks import Verdict, check
from analysis.exercises.files import Exercise, ExerciseError, exercises, load
from lab.store import Run

ABOUT = """Tell whether a run does what an exercise asks. What its files say is not believed:
numbers are computed from its weights again. Exit status 0: it does; 1: it does not; 2: the run or
the exercise cannot be used, or the run's files contradict each other."""


def add_to(words) -> None:
    """Add the word to the words of the command line."""
    parser = words.add_parser(
        "check", help="Tell whether a run does what an exercise asks.", description=ABOUT
    )
    known = ", ".join(one.name for one in exercises().values() if one.passes)
    parser.add_argument(
        "exercise", metavar="EXERCISE", help=f"A file of your own (Markdown), or one of {known}."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="The folder of the run.")


def carry_out(options: argparse.Namespace) -> tuple[Verdict, str]:
    """Check a run; return what was found, and a line of JSON that says it.

    Raises:
        ExerciseError: there is no such exercise, or it is damaged.
        RunError: the run cannot be used.
    """
    torch.set_num_threads(1)  # as in training: other sums are other numbers
    exercise = _found(options.exercise)
    verdict = check(exercise, Run(options.run))
    found = {"exercise": exercise.name, "run": str(options.run), "passed": verdict.passed}
    # JSON has no NaN.
    numbers = {k: value if math.isfinite(value) else None for k, value in verdict.numbers.items()}
    return verdict, json.dumps({**found, "reason": verdict.reason, **numbers})


def _found(name: str) -> Exercise:
    if name.endswith(".md"):
        return load(Path(name))
    if name not in exercises():
        raise ExerciseError(f"no exercise is called {name!r}; there are {', '.join(exercises())}.")
    return exercises()[name]

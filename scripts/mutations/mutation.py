"""What a mutation of ``scripts/mutate.py`` is.

Each names a text that stands once in the definition ``within`` (``Class.method``, a function, a
class; empty: the whole file), in whichever file. Golden losses notice most of what moves a
training; they are left out here, so that they hide no test that is missing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One change that makes the lab wrong.

    Attributes:
        name: what is wrong then.
        within: the definition that is changed.
        old: the text that is changed; any blanks stand for any others.
        new: what takes its place.
        tests: files of tests, or single ones, below ``tests/``.
    """

    name: str
    within: str
    old: str
    new: str
    tests: tuple[str, ...]


def m(name: str, within: str, old: str, new: str, *tests: str) -> Mutation:
    """Return a mutation in few words."""
    return Mutation(name, within, old, new, tests)

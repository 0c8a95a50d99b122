"""Which exercises there are here: those that come with the lab, and the teacher's own."""

from __future__ import annotations

from analysis.exercises.files import Exercise, exercises
from ui.common.lab import rules


def known() -> dict[str, Exercise]:
    """Return the exercises of this lab by name."""
    return exercises(rules().exercises)


def address(one: Exercise) -> dict[str, str]:
    """Return the parameters of the link that opens an exercise on its page, set up."""
    asked = {"exercise": one.name}
    if one.page != one.family.page:
        return asked
    on = {"on": one.family.stem} if one.family.page != one.family.stem else {}
    return asked | on | {name: str(value) for name, value in one.settings.items()}

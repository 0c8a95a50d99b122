"""What a person did to a training while it ran, and what a command line wants done to one.

Two files of the same form, a JSON object a line: ``interventions.jsonl`` says what was done,
``schedule.jsonl`` what is to be done. Both name the optimiser step after which it happens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from datasets.files import write_atomic
from lab.runs.status import MAX_COUNT, Status

MOST = 10_000  # that are kept of a run
# A run may be a stranger's, and its command line is pasted into a shell: nothing that is an option,
# ends a paste or moves the cursor.
_NAME, _TEXT = re.compile(r"[a-z]\w{0,39}", re.ASCII), re.compile(r"[\w.+-]{0,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Intervention:
    """One thing that was done between two steps.

    Attributes:
        step: optimiser steps done before it.
        what: ``"set"`` a live knob, take a step of one ``"part"`` alone, ``"pause"`` or ``"stop"``.
        name: of the knob or the part; empty otherwise.
        value: of the knob.
    """

    step: int
    what: str
    name: str = ""
    value: float | int | bool | str | None = None

    @property
    def matters(self) -> bool:
        """Whether it changes what is learned, which a pause does not."""
        return self.what != "pause"

    def flag(self) -> str:
        """Return what ``--at STEP`` is followed by to have it done again."""
        return {"set": f"{self.name}={self.value}", "part": f"part={self.name}"}.get(
            self.what, self.what
        )

    def words(self) -> str:
        """Return what happened, in words."""
        return {
            "set": f"{self.name} set to {self.value}",
            "part": f"a step of the {self.name} alone",
            "pause": "paused",
        }.get(self.what, "stopped")


class Interventions:
    """A file of them.

    Args:
        path: of the file; there need not be one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> list[Intervention]:
        """Return them in order; lines that make no sense are left out."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        found = (_read(line) for line in lines[:MOST])
        return [one for one in found if one is not None]

    def save(self, interventions: Iterable[Intervention]) -> None:
        """Write all of them.

        Raises:
            OSError: the disk is full, say; the file is as it was.
        """
        text = "".join(json.dumps(_given(one)) + "\n" for one in interventions)
        write_atomic(self._path, lambda file: file.write(text.encode()))

    def since(self, step: int, known: Sequence[Intervention]) -> list[Intervention]:
        """Return those of a checkpoint, and what it need not know: that it was paused or stopped.

        Args:
            step: of the checkpoint.
            known: what is written in it.
        """
        later = [one for one in self.load() if not one.name and one.step <= step]
        together = [*known, *(one for one in later if one not in known)]
        return sorted(together, key=lambda one: one.step)


def note(past: list[Intervention], new: Intervention) -> bool:
    """Add one to those of the past; return whether there was anything to add.

    A slider that is dragged sets a knob many times between two steps: the last one counts.
    """
    if new.what == "set":
        same = [one for one in past if (one.step, one.name) == (new.step, new.name)]
        for one in same:
            past.remove(one)
    elif new.what != "part" and past and past[-1] == new:
        return False
    if len(past) >= MOST:
        return False
    past.append(new)
    return True


def flags(past: Sequence[Intervention], status: Status) -> list[str]:
    """Return the words of the command line that have all that mattered done again.

    A run that was stopped and went on is not stopped again.
    """
    ended = status.state == "stopped"
    done = [
        one
        for one in past
        if one.matters and (one.what != "stop" or (ended and one.step == status.step))
    ]
    return [word for one in done for word in ("--at", str(one.step), one.flag())]


def _given(one: Intervention) -> dict:
    return {name: value for name, value in asdict(one).items() if value not in ("", None)}


def _read(line: str) -> Intervention | None:
    try:
        values = json.loads(line)
        one = Intervention(
            values["step"], values["what"], values.get("name", ""), values.get("value")
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    named = one.what in ("set", "part")
    if type(one.step) is not int or not 0 <= one.step <= MAX_COUNT:
        return None
    if one.what not in ("set", "part", "pause", "stop") or named != bool(one.name):
        return None
    known = isinstance(one.name, str) and (not named or _NAME.fullmatch(one.name))
    return one if known and _is_plain(one.value) else None


def _is_plain(value: object) -> bool:
    """Return whether a value is one that a knob can have."""
    if isinstance(value, str):
        return _TEXT.fullmatch(value) is not None
    if isinstance(value, int | float):
        return abs(value) <= MAX_COUNT  # also false for NaN
    return value is None

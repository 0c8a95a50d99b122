"""What people and the lab have noted about a run: its name, whose it is, how long it may stay."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from datasets.files import write_atomic
from lab.runs.access import Access
from lab.runs.files import read_json, write_json, writing

MAX_NAME = 60  # characters that a person may call a run
# What belongs to the lab that a run is in, and not to the run.
LOCAL = ("access.json", "leaving.json")


class Notes:
    """The notes in ``folder``, the run's.

    What is written may raise a :class:`~lab.runs.files.RunError`: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name, self._foreign = folder / "name.txt", folder / "foreign.txt"
        self._access, self._leaving = (folder / name for name in LOCAL)

    def name(self) -> str:
        """Return what a person has called it, or an empty string."""
        try:
            return clean_name(self._name.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            return ""

    def rename(self, name: str) -> None:
        """Call it something; an empty name takes that back."""
        with writing(self._folder):
            write_atomic(self._name, lambda file: file.write(clean_name(name).encode()))

    def access(self) -> Access:
        """Return to whom it belongs: to nobody, if that was not written or cannot be read."""
        try:
            values = read_json(self._access)
            owner, name = str(values["owner"]), str(values["name"])
            return Access(owner, clean_name(name), values["shared"] is True)
        except (OSError, ValueError, TypeError, KeyError):
            return Access()

    def set_access(self, access: Access) -> None:
        """Write to whom it belongs."""
        with writing(self._folder):
            write_json(self._access, asdict(access))

    def leaves(self) -> float | None:
        """Return the Unix time at which it may be deleted to make room, if that was announced."""
        try:
            return float(read_json(self._leaving)["at"])
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            return None

    def announce_leaving(self, at: float | None) -> None:
        """Note that it may be deleted from a time on (Unix time), or take that back."""
        if at is not None:
            with writing(self._folder):
                write_json(self._leaving, {"at": at})
            return
        with suppress(OSError):
            self._leaving.unlink(missing_ok=True)

    @property
    def foreign(self) -> bool:
        """Whether it came from a file. What it holds was checked, but may still make no sense."""
        return self._foreign.exists()

    def mark_foreign(self) -> None:
        """Note that it came from a file."""
        with writing(self._folder):
            write_atomic(self._foreign, lambda file: file.write(b"It came from a file.\n"))


def clean_name(text: str) -> str:
    """Return a name on one line: no control characters, at most ``MAX_NAME`` characters."""
    words = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_NAME]).split()
    return " ".join(words)[:MAX_NAME].strip()

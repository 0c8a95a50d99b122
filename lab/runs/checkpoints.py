"""From where a run goes on: ``checkpoint.pt`` and the one before it."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch

from datasets.files import write_atomic
from lab.runs.files import RunError

CHECKPOINTS = ("checkpoint.pt", "checkpoint.before.pt")
DAMAGED = "Its last checkpoint was damaged: it goes on from the one before."


class Checkpoints:
    """The last two checkpoints of the run in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths = [folder / name for name in CHECKPOINTS]

    def save(self, state: Mapping) -> None:
        """Write one of tensors and plain values.

        Raises:
            OSError: the disk is full, say; the one before is still there.
        """
        # In memory first: torch turns a full disk into errors of its own.
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        last, before = self._paths
        with suppress(OSError):  # a file system without links, or nothing to keep yet
            before.unlink(missing_ok=True)
            os.link(last, before)
        write_atomic(last, lambda file: file.write(buffer.getbuffer()))

    def last(self) -> dict | None:
        """Return the last one, or the one before if that is damaged; ``None`` before the first.

        Raises:
            RunError: there are some, but all of them are damaged.
        """
        return self.last_with_note()[0]

    def last_with_note(self) -> tuple[dict | None, str]:
        """Return what :meth:`last` does, and what a person should know about it."""
        damage: Exception | None = None
        for path in self._paths:
            if path.exists():
                try:
                    state = torch.load(path, map_location="cpu", weights_only=True)
                except Exception as error:
                    damage = error
                else:
                    return state, DAMAGED if damage else ""
        if damage is None:
            return None, ""
        message = f"The checkpoint of {self._folder} is damaged. Start it again from its settings."
        raise RunError(message) from damage

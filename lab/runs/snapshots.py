"""The states of a training that pages draw: ``snapshots/``, and beside them ``target.npz``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from datasets.files import write_atomic
from datasets.files.saved import MAX_DRAWN, check_saved
from training.core.config import current_names

FRAMES = 96  # snapshots kept of a run, those of the tenths left out


class Snapshots:
    """The snapshots of the run in ``folder``, and what there is to learn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "snapshots"
        self._target = folder / "target.npz"

    def save(self, step: int, arrays: Mapping[str, np.ndarray], keep: set[int]) -> None:
        """Save a snapshot; beyond ``FRAMES`` of them the one with the closest neighbours goes.

        So they stay spread over the whole training. Those in ``keep`` never go.
        """
        _write(self._path(step), arrays)
        steps = self.steps()
        spans = {b: c - a for a, b, c in zip(steps, steps[1:], steps[2:]) if b not in keep}
        if len(spans) > FRAMES:
            self._path(min(spans, key=spans.__getitem__)).unlink(missing_ok=True)

    def drop(self, after: int) -> None:
        """Delete the snapshots of steps after ``after``."""
        for step in self.steps():
            if step > after:
                self._path(step).unlink(missing_ok=True)

    def steps(self) -> list[int]:
        """Return the steps of which there is a snapshot, in order."""
        names = (path.stem for path in self.folder.glob("*.npz"))
        return sorted(int(name) for name in names if name.isdigit())

    def paths(self) -> list[Path]:
        """Return where they are, and what there is to learn."""
        target = [self._target] if self._target.exists() else []
        return [*target, *map(self._path, self.steps())]

    def load(self, step: int) -> dict[str, np.ndarray]:
        """Return the arrays of one snapshot.

        Raises:
            OSError: it is not there.
            ValueError: it is damaged, or larger than that of any run.
        """
        return _read(self._path(step))

    def save_target(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write what there is to learn, as arrays by name."""
        _write(self._target, arrays)

    def target(self) -> dict[str, np.ndarray] | None:
        """Return what there is to learn, as arrays, or ``None`` before the first snapshot."""
        return _read(self._target) if self._target.exists() else None

    def _path(self, step: int) -> Path:
        return self.folder / f"{step:08d}.npz"


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    write_atomic(path, lambda file: np.savez_compressed(file, **arrays))


def _read(path: Path) -> dict[str, np.ndarray]:
    check_saved(path, MAX_DRAWN)  # before there is memory for a stranger's
    with np.load(path, allow_pickle=False) as arrays:
        return current_names(arrays)

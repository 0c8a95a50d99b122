"""The command lines that make a run once more, as a shell in the folder of the lab takes them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from datasets.files.sources import PROJECT, data_roots
from datasets.plane import OWN
from paths import ASSETS, ROOT
from registry import Family
from training.core.config import RunConfig

PROGRAM = ("python", "-m", "training")


def command_of(
    folder: Path, family: Family, config: RunConfig, done: Sequence[str], *, here: bool
) -> str:
    """Return the command line that repeats a run.

    Args:
        folder: of the run.
        family: what it trains.
        config: its settings.
        done: the flags for what was done while it trained.
        here: whether the shell is on this machine. Elsewhere the whole run has been unpacked into
            the folder of the lab, and known sets are wherever that machine has them.
    """
    kind, own = family.training.data, config.dataset == OWN
    words = [*PROGRAM, family.stem, *flags_of(config, without=("dataset",) if own else ())]
    if own:
        place = _from_lab(folder) if here else Path(folder.name)
        words += ["--data", str(place / "data.npz")]
    words += done
    line = shlex.join([*words, "--out", str(_free(folder, f"{family.stem}-again", here=here))])
    return _with_roots(line) if here and config.dataset in kind.fetched else line


def flags_of(config: RunConfig, without: Collection[str] = ()) -> list[str]:
    """Return the flags for the settings that are not the defaults, but for some."""
    words = []
    for name, value in config.model_dump().items():
        if name not in without and value != type(config).model_fields[name].default:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    return words


def _from_lab(path: Path) -> Path:
    """Return a path as seen from the folder of the lab: relative if it lies in there."""
    path = path.absolute()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def _free(folder: Path, name: str, *, here: bool) -> Path:
    """Return a folder for the new run: beside the old one, where no other is in the way."""
    if not here or folder.absolute().is_relative_to(ASSETS):
        return Path("runs", name)
    beside = _from_lab(folder).parent
    names = (name if i == 1 else f"{name}-{i}" for i in range(1, 1000))
    return next((beside / n for n in names if not (ROOT / beside / n).exists()), beside / name)


def _with_roots(line: str) -> str:
    """Put before a command the folders in which this lab has found its data sets, if it has."""
    roots = [str(root.absolute()) for root in data_roots() if root != PROJECT]
    return f"GENLAB_DATA={shlex.quote(os.pathsep.join(roots))} {line}" if roots else line

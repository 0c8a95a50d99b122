"""The word ``code`` of the command line: a run as one file of Python, or as a notebook."""

from __future__ import annotations

import argparse
from pathlib import Path

from datasets.files import write_atomic
from lab.code.notebook import notebook_of, python_of
from lab.runs.files import writing
from lab.store import Run, RunError

ABOUT = """Write a run as one file of Python that needs no lab: its settings, data, model and
training, cut down to what the run uses, and a loop. It takes the same steps as the run did."""


def add_to(words) -> None:
    """Add the word to the words of the command line."""
    parser = words.add_parser(
        "code", help="Write a run as a Python file or a notebook.", description=ABOUT
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="The folder of the run.")
    parser.add_argument(
        "--out", type=Path, help="A file that ends in .py or .ipynb; RUN.py, if left out."
    )


def carry_out(options: argparse.Namespace) -> Path:
    """Write the file; return which.

    Raises:
        RunError: the run cannot be read, or the file not be written.
    """
    run = Run(options.run)
    out = options.out or Path(f"{run.path.resolve().name}.py")
    written = {".py": python_of, ".ipynb": notebook_of}.get(out.suffix)
    if written is None:
        raise RunError(f"--out must end in .py or .ipynb; {out.name} does not.")
    if out.exists():
        raise RunError(f"{out} exists already.")
    text = written(run)
    with writing(out):
        write_atomic(out, lambda file: file.write(text.encode()))
    return out

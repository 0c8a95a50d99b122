"""The word ``compare`` of the command line: train a comparison, then write figures and tables."""

from __future__ import annotations

import argparse
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

from analysis.comparison_results import as_json, rows_of, table_markdown, verdicts
from lab.comparison import (
    CLASSIC,
    ENTRANTS,
    CompareConfig,
    Comparison,
    Entry,
    Terms,
    compare,
    entries_for,
    prepare,
    steps_for,
    steps_of_epochs,
)
from lab.driver import Command, Report
from lab.runs.files import writing
from training.core.config import Knob

ABOUT = """Train several models on one data set on equal terms, and write figures (PDF, SVG) and
tables (CSV). Without any flag it is the classic comparison: RealNVP against Glow on 1,000 samples
of a mixture of Gaussians, split 80 to 20 and standardised, for 1,000 epochs and five seeds. Ctrl-C
keeps what is done, and the same command goes on from there."""


def about(knob: Knob) -> str:
    """Return the help of a setting as argparse takes it, without the Markdown that pages draw."""
    return re.sub(r"[`*]+", "", f"{knob.help} Must be {knob.range}.").replace("%", "%%")


def add_to(words, **options) -> argparse.ArgumentParser:
    """Add the word to the words of the command line; return its parser."""
    parser = words.add_parser(
        "compare",
        help="Train several models on one data set, on equal terms; write figures and tables.",
        description=ABOUT,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        **options,
    )
    names = {k.name: k for k in CompareConfig.knobs()}
    known = ", ".join(f"{e.key} ({e.title})" for e in ENTRANTS.values())
    parser.add_argument(
        "--families",
        nargs="+",
        default=list(CLASSIC.entrants),
        metavar="NAME",
        help=f"Some of {known}.",
    )
    length = parser.add_mutually_exclusive_group()
    for name, knob in names.items():
        group = length if name in ("steps", "seconds") else parser
        kind, words = knob.kind.upper(), about(knob)
        group.add_argument(f"--{name}", default=knob.default, metavar=kind, help=words)
    words = "Instead of steps: how often each training point is seen. For finite sets (mixture)."
    length.add_argument("--epochs", type=float, help=words)
    parser.add_argument(
        "--out", type=Path, default=Path("comparison"), help="The folder to write to."
    )
    parser.add_argument(
        "--plan", action="store_true", help="Print the steps of each model as JSON, train nothing."
    )
    return parser


def terms_of(options: argparse.Namespace) -> Terms:
    """Return what the flags ask for.

    Raises:
        ConfigError: naming what is wrong.
    """
    values = {name: getattr(options, name) for name in CompareConfig.model_fields}
    config = CompareConfig.parse(values)
    if options.epochs is not None:
        config = config.replace(steps=steps_of_epochs(config, options.epochs))
    return Terms(tuple(options.families), config)


def planned(options: argparse.Namespace, device: str) -> dict[str, int]:
    """Return the optimiser steps of each model; nothing is trained to the end."""
    torch.set_num_threads(1)
    return steps_for(terms_of(options), device)


def carry_out(options: argparse.Namespace, device: str) -> tuple[Comparison, bool]:
    """Train what is not yet trained and write the files; return whether it was interrupted.

    Raises:
        ConfigError: a flag is wrong.
        RunError: the folder cannot be used.
    """
    torch.set_num_threads(1)  # as in the lab: other sums are other numbers
    terms = terms_of(options)
    entries_for(terms)  # refuses what a family cannot do, before anything is written
    comparison = prepare(options.out, terms, device)
    interrupted, receive = ending("Interrupted. The same command goes on.")
    entries = comparison.entries
    runs = {entry.run: comparison.run_of(entry) for entry in entries}
    total = sum(run.config.iterations for run in runs.values() if run is not None)
    done = {name: run.status().step for name, run in runs.items() if run is not None}
    with tqdm(total=total, unit="step", disable=options.quiet, dynamic_ncols=True) as bar:

        def send(entry: Entry, report: Report) -> None:
            done[entry.run] = report.status.step
            bar.set_description(f"{entry.entrant.title}, seed {entry.seed}")
            bar.update(sum(done.values()) - bar.n)

        for _ in compare(comparison, device=device, send=send, receive=receive):
            if interrupted.is_set():
                break
    return comparison, interrupted.is_set()


def ending(words: str) -> tuple[threading.Event, Callable[[float | None], Command | None]]:
    """Have Ctrl-C and SIGTERM end a training in order.

    Args:
        words: what the run says then.

    Returns:
        What is set by them, and the receiver of commands that a driver asks.
    """
    interrupted = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: interrupted.set())

    def receive(_timeout: float | None) -> Command | None:
        return ("interrupt", words) if interrupted.is_set() else None

    return interrupted, receive


def write_files(comparison: Comparison, folder: Path) -> list[Path]:
    """Write figures and tables.

    Raises:
        RunError: the folder cannot be written.
    """
    from figures.arena.figures import write_all  # here, because matplotlib takes a while

    with writing(folder):
        return write_all(comparison, folder)


def failures(comparison: Comparison) -> list[str]:
    """Return a sentence for each training that failed: the tables are without its end."""
    runs = [(e, run.status()) for e in comparison.entries if (run := comparison.run_of(e))]
    return [
        f"{entry.entrant.title}, seed {entry.seed} failed: {status.message}"
        for entry, status in runs
        if status.state not in ("finished", "diverged")
    ]


def report(comparison: Comparison, files: list[Path]) -> tuple[str, str]:
    """Return what the command prints at its end: words for a person, one line of JSON."""
    rows = rows_of(comparison)
    sentences = [verdict.words() for verdict in verdicts(rows)]
    written = "Written: " + ", ".join(str(path) for path in files)
    return "\n\n".join([table_markdown(rows), *sentences, written]), as_json(rows)

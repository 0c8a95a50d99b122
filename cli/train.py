"""The command line: ``python -m training nice --dataset two_moons --out runs/demo``.

A progress bar goes to standard error, one JSON line of final metrics to standard output. A run made
here opens in the lab, and a run made in the lab goes on here. ``python -m training compare`` trains
several on equal terms.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import filelock
import torch
from tqdm import tqdm

from cli import compare, torchrun
from datasets.defects import read_folder, read_zip
from datasets.images import IMAGES, download, is_here, load_images
from datasets.own import DataError, read_own
from datasets.own_images import Own, load_own, read_image_folder, read_image_zip
from datasets.pairs import PAIRS, read_pairs_folder, read_pairs_zip
from datasets.pairs import download as download_pairs
from datasets.pairs import is_here as pairs_are_here
from datasets.plane import OWN
from lab.driver import Command, Report, drive
from lab.store import Run, RunError
from registry import FAMILIES, Family
from training.core import collectives
from training.core.config import RENAMED, ConfigError, RunConfig
from training.core.devices import best_device
from training.core.images import ImageDataConfig
from training.cyclegan import CycleGANConfig
from training.maf import MAFConfig

EXIT_CODES = {"finished": 0, "stopped": 0, "interrupted": 130, "diverged": 1, "failed": 1}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.word == "compare":
            return _compare(options, _device(options.device))
        device = torchrun.join(options.device) if torchrun.launched() else _device(options.device)
        if not collectives.leads():
            return torchrun.follow(device)
        if options.word != "resume":
            torchrun.check(FAMILIES[options.word])
        run = Run(options.run) if options.word == "resume" else _create(options)
        status = run.status()
        if options.word == "resume":
            run.config  # noqa: B018 - raises if the folder is no run
            if status.state == "finished":
                raise RunError(f"{run.path} is finished: there is nothing to resume.")
        torchrun.check(run.family)
        torch.set_num_threads(torchrun.threads(run.family.training))
        torchrun.announce(run)
        final = _train(run, device, quiet=options.quiet)
    except (ConfigError, DataError, RunError) as error:
        print(f"training {options.word}: {error}", file=sys.stderr)
        return 2
    except filelock.Timeout:
        print(
            f"training {options.word}: {run.path} is being trained by another process.",
            file=sys.stderr,
        )
        return 2
    finally:
        torchrun.leave()
    print(json.dumps(final))
    return EXIT_CODES[final["state"]]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("python -m training", description="Train a family of generative models.")
    words = parser.add_subparsers(
        dest="word", required=True, metavar="family", parser_class=_Parser
    )
    for family in FAMILIES.values():
        sub = words.add_parser(
            family.stem,
            help=family.promise,
            description=f"{family.title}: {family.promise} {family.paper}",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        for knob in family.training.CONFIG.knobs():
            sub.add_argument(
                *_flags(knob.name),
                default=knob.default,
                metavar=knob.kind.upper(),
                help=f"{knob.help} Must be {knob.range}.".replace("%", "%%"),
            )
        what = _OWN[_learns(family)]
        help = f"{what[0].upper()}{what[1:]}, of your own (sets the dataset to own)."
        sub.add_argument("--data", type=Path, help=help)
        if _learns(family) == "images":
            sub.add_argument("--size", type=int, default=32, help="Pixels per side of own images.")
            sub.add_argument("--grey", action="store_true", help="Read own images as grey.")
        sub.add_argument(
            "--out", type=Path, required=True, help="The folder of the run; must not exist yet."
        )
        _common(sub)
    sub = words.add_parser("resume", help="Go on with a run from its last checkpoint.")
    sub.add_argument("run", type=Path, help="The folder of the run.")
    _common(sub)
    _common(compare.add_to(words))
    return parser


def _flags(name: str) -> list[str]:
    """Return the flag of a setting, and those that it had in earlier versions."""
    names = [name, *(old for old, new in RENAMED.items() if new == name)]
    return [f"--{name.replace('_', '-')}" for name in names]


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1, mps; the best one there is if left out."
    )
    parser.add_argument("--quiet", action="store_true", help="No progress bar.")


def _device(name: str | None) -> str:
    if name is None:
        return best_device()
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        message = f"--device {name} cannot be used on this machine; leave it out for the best one."
        raise ConfigError(message) from error
    return name


def _create(options: argparse.Namespace) -> Run:
    family = FAMILIES[options.word]
    values = {knob.name: getattr(options, knob.name) for knob in family.training.CONFIG.knobs()}
    if options.data is not None:
        values["dataset"] = OWN
    config = family.training.CONFIG.parse(values)
    if _learns(family) == "pairs":
        family.training.check(config)
    own = _own_data(family, options, config)
    if getattr(config, "dataset", None) == OWN and own is None:
        raise ConfigError(f"--dataset own needs --data with {_OWN[_learns(family)]}.")
    if _learns(family) == "defects":
        family.training.find(config)  # or refuse it
    if _learns(family) == "images":
        if not is_here(config.dataset):
            _download(IMAGES[config.dataset].title, config.dataset, download, options.quiet)
        family.training.padded(config, load_images(config.dataset, own).shape)  # or refuse it
    if _learns(family) == "pairs" and not pairs_are_here(config.dataset):
        _download(PAIRS[config.dataset].title, config.dataset, download_pairs, options.quiet)
    return Run.create(options.out, family, config, own)


# What the families learn, and what a person brings of it.
_OWN = {
    "points": "a CSV of points or an image",
    "images": "a folder or zip of images, one folder per class",
    "defects": "a folder or zip in MVTec's layout",
    "pairs": "a folder or zip with trainA and trainB in it",
}


def _learns(family: Family) -> str:
    config = family.training.CONFIG
    if issubclass(config, ImageDataConfig):
        return "images"
    if issubclass(config, CycleGANConfig):
        return "pairs"
    return "defects" if issubclass(config, MAFConfig) else "points"


def _own_data(family: Family, options: argparse.Namespace, config: RunConfig) -> Own | None:
    path = options.data
    if path is None:
        return None
    if path.suffix == ".npz":
        return load_own(path)
    try:
        if _learns(family) == "points":
            return read_own(path.read_bytes(), path.name)
        if _learns(family) == "defects":
            if path.is_dir():
                return read_folder(path, config.side)
            with path.open("rb") as file:
                return read_zip(file, config.side, name=path.name)
        if _learns(family) == "pairs":
            if path.is_dir():
                return read_pairs_folder(path, config.image_size)
            return read_pairs_zip(path.read_bytes(), path.name, config.image_size)
        if not 8 <= options.size <= 64:
            raise ConfigError(f"--size must be from 8 to 64; {options.size} is not.")
        channels = 1 if options.grey else 3
        if path.is_dir():
            return read_image_folder(path, options.size, channels)
        if path.suffix.lower() != ".zip":
            raise DataError(f"{path} is neither a folder of images nor a zip of one.")
        return read_image_zip(path.read_bytes(), path.name, options.size, channels)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _compare(options: argparse.Namespace, device: str) -> int:
    if options.plan:
        print(json.dumps(compare.planned(options, device)))
        return 0
    comparison, interrupted = compare.carry_out(options, device)
    files = compare.write_files(comparison, options.out)
    words, line = compare.report(comparison, files)
    print(words, file=sys.stderr)
    print(line)
    return EXIT_CODES["interrupted"] if interrupted else 0


def _download(title: str, name: str, download: Callable, quiet: bool) -> None:
    with tqdm(unit="B", unit_scale=True, disable=quiet, desc=title) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        download(name, progress)


def _train(run: Run, device: str, *, quiet: bool) -> dict:
    interrupted = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: interrupted.set())
    path = shlex.quote(str(run.path))
    last: dict[str, float] = {}
    for row in run.metrics():  # a resumed run that has nothing left to do still has its numbers
        last.update(row)
    with tqdm(unit="step", disable=quiet, dynamic_ncols=True, desc=run.family.title) as bar:

        def send(report: Report) -> None:
            for row in report.rows:
                last.update(row)
            bar.total = report.status.total
            bar.update(report.status.step - bar.n)
            shown = {
                k: f"{v:.3f}"
                for k, v in last.items()
                if k not in ("step", "seconds", "learning_rate")
            }
            bar.set_postfix(shown)

        def receive(_timeout: float | None) -> Command | None:
            return (
                ("interrupt", f"Interrupted. `python -m training resume {path}` goes on.")
                if interrupted.is_set()
                else None
            )

        status = drive(run, device=device, send=send, receive=receive)
    if status.message:
        print(f"training: {status.message}", file=sys.stderr)
    # JSON has no NaN.
    numbers = {name: value if math.isfinite(value) else None for name, value in last.items()}
    return {
        "run": str(run.path),
        "family": run.family.stem,
        "state": status.state,
        "skipped": status.skipped,
        "device": device,
        **numbers,
        "step": status.step,
        "seconds": round(status.seconds, 2),
    }

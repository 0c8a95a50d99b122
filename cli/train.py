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
import sys
from pathlib import Path
from typing import NoReturn

import filelock
import torch
from tqdm import tqdm

from analysis.exercises.files import ExerciseError
from cli import check, code, compare, detect, torchrun
from cli.schedule import HELP, schedule_of
from datasets.files.errors import DataError
from datasets.plane import OWN
from lab.driver import Report, drive
from lab.runs.files import writing
from lab.store import Run, RunError
from registry import FAMILIES
from training.core import collectives
from training.core.config import RENAMED, ConfigError, RunConfig
from training.core.devices import best_device
from training.core.family import DataKind, Own, Training
from training.core.plane_flow import POINT_DATA

EXIT_CODES = {"finished": 0, "stopped": 0, "interrupted": 130, "diverged": 1, "failed": 1}

UNSHOWN = {"step", "seconds", "learning_rate", "learning_rate_d"}  # by the progress bar


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    options = parser().parse_args(arguments)
    try:
        if options.word == "check":
            return _check(options)
        if options.word == "code":
            print(code.carry_out(options))
            return 0
        if options.word == "compare":
            return _compare(options, _device(options.device, POINT_DATA))
        if options.word in ("score", "export"):
            return _detect(options)
        device = torchrun.join(options.device) if torchrun.launched() else _device_for(options)
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
        torch.set_num_threads(torchrun.threads(run.family))
        torchrun.announce(run)
        final = _train(run, device, quiet=options.quiet)
        if run.family.stem == "maf" and final["state"] == "finished":
            final |= detect.at_the_end(run, device, quiet=options.quiet)
    except (ConfigError, DataError, ExerciseError, RunError) as error:
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


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _Parser("python -m training", description="Train a family of generative models.")
    words = parser.add_subparsers(
        dest="word", required=True, metavar="family", parser_class=_Parser
    )
    for family in FAMILIES.values():
        sub = words.add_parser(
            family.stem,
            help=family.promise,
            description=f"{family.title}: {family.promise} {family.paper}",
        )
        for knob in family.training.config.knobs():
            sub.add_argument(
                *_flags(knob.name),
                metavar=knob.kind.upper(),
                help=f"{compare.about(knob)} (default: {knob.default})".replace("%", "%%"),
            )
        kind = family.training.data
        help = f"{kind.own[0].upper()}{kind.own[1:]}, of your own (sets the dataset to own)."
        sub.add_argument("--data", type=Path, nargs="+", metavar="PATH", help=help)
        for flag in kind.flags:
            taken = {"type": type(flag.default), "default": flag.default}
            if flag.default is False:
                taken = {"action": "store_true"}
            sub.add_argument(f"--{flag.name}", help=flag.help, **taken)
        at = {"nargs": "+", "action": "append", "default": [], "metavar": ("STEP", "WHAT")}
        sub.add_argument("--at", help=HELP.replace("`", ""), **at)
        sub.add_argument(
            "--out", type=Path, required=True, help="The folder of the run; must not exist yet."
        )
        _common(sub)
    sub = words.add_parser("resume", help="Go on with a run from its last checkpoint.")
    sub.add_argument("run", type=Path, help="The folder of the run.")
    _common(sub)
    _common(compare.add_to(words))
    check.add_to(words)
    code.add_to(words)
    _common(detect.add_to(words))
    return parser


def _flags(name: str) -> list[str]:
    """Return the flag of a setting, and those that it had in earlier versions."""
    names = [name, *(old for old, new in RENAMED.items() if new == name)]
    return [f"--{name.replace('_', '-')}" for name in names]


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        help="cpu, cuda, cuda:1, mps, xpu; if left out, the one on which the family is faster.",
    )
    parser.add_argument("--quiet", action="store_true", help="No progress bar.")


def _device_for(options: argparse.Namespace) -> str:
    opened = options.word in ("resume", "score")
    family = Run(options.run).family if opened else FAMILIES[options.word]
    return _device(options.device, family.training.data)


def _device(name: str | None, kind: DataKind) -> str:
    if name is None:
        return best_device(kind.faster_on)
    try:
        float(torch.zeros(1, device=name))  # some devices hold no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        message = f"--device {name} cannot be used on this machine; leave it out for the best one."
        raise ConfigError(message) from error
    return name


def _create(options: argparse.Namespace) -> Run:
    family, training = FAMILIES[options.word], FAMILIES[options.word].training
    values = _values(training, options)
    if options.data is not None:
        values["dataset"] = OWN
    kind = training.data
    try:
        config = training.config.parse(values)
    except ConfigError as error:
        known = [knob for knob in training.config.knobs() if knob.name == "dataset"]
        if any(values["dataset"] not in knob.choices for knob in known):
            raise ConfigError(f"{error} Data of your own: --data with {kind.own}.") from error
        raise
    training.check(config)
    schedule = schedule_of(options.at, training, config)
    if schedule and torchrun.launched():
        raise ConfigError("--at is not for trainings that torchrun shares out.")
    own = _own_data(kind, options, config) if options.data is not None else None
    if config.dataset == OWN and own is None:
        raise ConfigError(f"--dataset own needs --data with {kind.own}.")
    if not kind.is_here(config.dataset):
        _download(kind, config.dataset, options.quiet)
    kind.fits(config, own)
    run = Run.create(options.out, family, config, own)
    if schedule:
        with writing(run.path):
            run.schedule.save(schedule)
    return run


def _values(training: Training, options: argparse.Namespace) -> dict[str, object]:
    """Return the settings that were given, and defaults: those of the chosen model, if it has some.

    The page starts a model from the same ones.
    """
    given = {
        knob.name: value
        for knob in training.config.knobs()
        if (value := getattr(options, knob.name)) is not None
    }
    preset = training.presets.get(given.get("model"), {})
    defaults = {knob.name: knob.default for knob in training.config.knobs()}
    return {**defaults, **preset, **given}


def _own_data(kind: DataKind, options: argparse.Namespace, config: RunConfig) -> Own:
    paths: list[Path] = options.data
    flags = {f.name.replace("-", "_"): f.default for f in kind.flags}
    flags, usual = {name: getattr(options, name) for name in flags}, flags
    if len(paths) > kind.paths:
        raise ConfigError(f"--data takes {kind.own} here; {len(paths)} paths are too many.")
    for path in paths:
        if not path.exists():
            raise DataError(f"There is no file or folder {path}.")
    if len(paths) == 1 and paths[0].suffix == ".npz":
        if given := [name.replace("_", "-") for name in flags if flags[name] != usual[name]]:
            raise ConfigError(f"--{given[0]} is of no use: {paths[0]} was read by an earlier run.")
        return kind.load(paths[0])
    try:
        return kind.read(config, *paths, **flags)
    except OSError as error:
        raise DataError(
            f"{error.filename or paths[0]} cannot be read: {error.strerror}."
        ) from error


def _check(options: argparse.Namespace) -> int:
    verdict, line = check.carry_out(options)
    print(verdict.reason, file=sys.stderr)
    print(line)
    return 0 if verdict.passed else 1


def _detect(options: argparse.Namespace) -> int:
    if options.word == "export":
        print(json.dumps(detect.export(options)))
        return 0
    found = detect.score(options, _device_for(options))
    for sentence in found["unreadable"]:
        print(f"training score: {sentence}", file=sys.stderr)
    print(json.dumps({**found, "unreadable": len(found["unreadable"])}))
    return 0


def _compare(options: argparse.Namespace, device: str) -> int:
    if options.plan:
        print(json.dumps(compare.planned(options, device)))
        return 0
    comparison, interrupted = compare.carry_out(options, device)
    files = compare.write_files(comparison, options.out)
    words, line = compare.report(comparison, files)
    print(words, file=sys.stderr)
    print(line)
    if interrupted:
        return EXIT_CODES["interrupted"]
    failed = compare.failures(comparison)
    for sentence in failed:
        print(f"training compare: {sentence}", file=sys.stderr)
    return EXIT_CODES["failed"] if failed else 0


def _download(kind: DataKind, name: str, quiet: bool) -> None:
    with tqdm(unit="B", unit_scale=True, disable=quiet, desc=kind.titles[name]) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        kind.download(name, progress)


def _train(run: Run, device: str, *, quiet: bool) -> dict:
    path = shlex.quote(str(run.path))
    _, receive = compare.ending(f"Interrupted. `python -m training resume {path}` goes on.")
    last: dict[str, float] = {}
    for row in run.metrics.rows():  # a resumed run with nothing left to do still has its numbers
        last.update(row)
    with tqdm(unit="step", disable=quiet, dynamic_ncols=True, desc=run.family.title) as bar:

        def send(report: Report) -> None:
            for row in report.rows:
                last.update(row)
            bar.total = report.status.total
            bar.update(report.status.step - bar.n)
            bar.set_postfix({k: f"{v:.3f}" for k, v in last.items() if k not in UNSHOWN})

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

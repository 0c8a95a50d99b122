"""The words ``score`` and ``export`` of the command line: a trained detector put to use."""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from analysis.maf_decisions import Decision, promise
from analysis.maf_scores import Evaluation, Scoring, load_evaluation, weights_step, without_nan
from datasets.defects import read_one
from datasets.files import write_atomic
from datasets.files.errors import DataError
from datasets.files.sources import image_files
from figures.maf_images import heated
from lab.runs.files import writing
from lab.store import Run, RunError
from training.core.config import ConfigError
from training.defects.experiment import CHUNK, DefectExperiment

SCORE = """Score new images with a finished run of MAF: one row per image, from the first to the
last, in memory that does not grow with their number."""
EXPORT = """Write a finished run of MAF as one file that scores without this lab: torch.export.load
opens it. Pixel scale, model, calibration and threshold are in it."""


def add_to(words) -> argparse.ArgumentParser:
    """Add both words to the words of the command line; return the parser of the first."""
    score = words.add_parser("score", help="Score new images with a run of MAF.", description=SCORE)
    score.add_argument("run", type=Path, metavar="RUN", help="The folder of the run.")
    score.add_argument("images", type=Path, metavar="FOLDER", help="Images, in folders or not.")
    score.add_argument("--out", type=Path, required=True, help="The table (CSV) that it writes.")
    score.add_argument("--maps", type=Path, help="A folder for anomaly maps, as PNG.")
    bundle = words.add_parser(
        "export",
        help="Write a run of MAF as one file that scores without the lab.",
        description=EXPORT,
    )
    bundle.add_argument("run", type=Path, metavar="RUN", help="The folder of the run.")
    bundle.add_argument("--out", type=Path, help="The file; detector.pt2 in the run otherwise.")
    for parser in (score, bundle):
        limit = parser.add_mutually_exclusive_group()
        limit.add_argument(
            "--false-alarms",
            type=float,
            metavar="RATE",
            help="Of good images, from 0 to 1; otherwise what was decided on the page, or 0.05.",
        )
        limit.add_argument("--threshold", type=float, help="A score, instead of a rate.")
    bundle.add_argument("--quiet", action="store_true", help="No progress bar.")
    return score


def score(options: argparse.Namespace, device: str) -> dict:
    """Score a folder of images; return what is to be said of it.

    Raises:
        ConfigError: a rate that cannot be promised.
        DataError: no image in the folder, or the run's own are gone.
        RunError: the run is none, or cannot be written to.
    """
    experiment, found = detector(Run(options.run), device, quiet=options.quiet)
    found = decided(found, options)
    files = image_files(options.images)
    start, broken = time.monotonic(), []
    with writing(options.out.parent), tqdm(files, unit="image", disable=options.quiet) as bar:
        rows = _rows(experiment, found, bar, options, broken)
        called, count = _write(options.out, rows, found.threshold)
    return {
        "run": str(options.run),
        "images": count,
        "called_defective": called,
        "unreadable": broken,
        **_promised(found),
        "seconds": round(time.monotonic() - start, 2),
    }


def export(options: argparse.Namespace) -> dict:
    """Write a detector as one file; return what is to be said of it.

    Raises:
        ConfigError: a rate that cannot be promised.
        RunError: the run is none, or the file cannot be written.
    """
    from analysis.maf_bundle import export as write  # here, because the compiler takes a while

    run = Run(options.run)
    experiment, found = detector(run, "cpu", quiet=options.quiet)
    found = decided(found, options)
    path = options.out or run.path / "detector.pt2"
    with writing(path.parent):
        apart = write(experiment, found, path)
    size = round(path.stat().st_size / 1e6, 1)
    numbers = {"largest_difference": apart, "megabytes": size, **_promised(found)}
    return {"run": str(options.run), "file": str(path), **numbers}


def at_the_end(run: Run, device: str, *, quiet: bool) -> dict:
    """Score the test images of a finished training; return the numbers for its line of JSON."""
    _, found = detector(run, device, quiet=quiet)
    quality = found.quality
    return without_nan(
        {
            "auroc": quality.auroc.value,
            "auroc_low": quality.auroc.low,
            "auroc_high": quality.auroc.high,
            "average_precision": quality.average_precision,
            "pixel_auroc": quality.pixel_auroc,
            "aupro": quality.aupro,
            "baselines": {name: one.auroc.value for name, one in found.baselines.items()},
            **_promised(found),
        }
    )


def detector(run: Run, device: str, *, quiet: bool) -> tuple[DefectExperiment, Evaluation]:
    """Return the trained experiment of a run, and its evaluation, made now if there is none.

    Raises:
        DataError: its images are gone.
        RunError: it is no run of MAF, or has no weights.
    """
    if run.family.stem != "maf":
        raise RunError(f"{run.path} is a run of {run.family.title}; only MAF scores images.")
    experiment = run.experiment(device)
    experiment.step = run.weights.load_into(experiment.model)
    experiment.model.eval().requires_grad_(False)
    step = weights_step(run)
    if (found := load_evaluation(run, step)) is None:
        found = _evaluated(experiment, quiet=quiet)
        from figures.maf_figures import write_results  # here, because matplotlib takes a while

        with writing(run.path):
            write_results(run, found, step)
    return experiment, found


def _evaluated(experiment: DefectExperiment, *, quiet: bool) -> Evaluation:
    scoring = Scoring(experiment)
    with tqdm(total=scoring.total, unit="image", disable=quiet, desc="Scoring") as bar:
        while scoring.advance():
            bar.update(scoring.done - bar.n)
    return scoring.result


def decided(found: Evaluation, options: argparse.Namespace) -> Evaluation:
    """Return an evaluation with the threshold that the command line asks for, if it does.

    Raises:
        ConfigError: the rate cannot be promised.
    """
    if options.threshold is not None:
        return found.decided(Decision(typed=options.threshold))
    if options.false_alarms is None:
        return found
    decision = Decision(options.false_alarms)
    try:
        decision.threshold(found.held_out)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return found.decided(decision)


def _promised(found: Evaluation) -> dict:
    worth = promise(found.held_out, found.threshold)
    asked = found.decision.rate if found.decision.typed is None else None
    return {
        "threshold": found.threshold,
        "false_alarms_asked": asked,
        "false_alarms_low": worth.low,
        "false_alarms_high": worth.high,
        "held_out": len(found.held_out),
    }


def _rows(
    experiment: DefectExperiment,
    found: Evaluation,
    files: tqdm,
    options: argparse.Namespace,
    broken: list[str],
) -> Iterator[tuple[str, float]]:
    """Yield names and scores; write maps, and name in ``broken`` what cannot be read."""
    names: list[str] = []
    images: list[np.ndarray] = []
    for file in files:
        name = str(file.relative_to(options.images)) if file != options.images else file.name
        try:
            images.append(read_one(file.read_bytes(), found.config.side, name))
            names.append(name)
        except (DataError, OSError) as error:
            broken.append(str(error))
        if len(images) == CHUNK:
            yield from _scored(experiment, found, names, images, options.maps)
            names, images = [], []
    if images:
        yield from _scored(experiment, found, names, images, options.maps)


def _scored(experiment, found, names, images, maps: Path | None) -> Iterator[tuple[str, float]]:
    scores = experiment.score(np.stack(images), found.calibration)
    for name, image, score, heat in zip(names, images, scores.score, scores.maps, strict=True):
        if maps is not None:
            _save_map(maps / f"{name}.png", image, heat, found)
        yield name, float(score)


def _save_map(path: Path, image: np.ndarray, heat: np.ndarray, found: Evaluation) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    low, high = found.heat_span
    Image.fromarray(heated(image, heat, low, high)).save(path)


def _write(path: Path, rows: Iterator[tuple[str, float]], threshold: float) -> tuple[int, int]:
    """Write the table row by row; return how many are called defective, and how many there are."""
    called = count = 0

    def write(file) -> None:
        nonlocal called, count
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["image", "score", "called_defective"])
        for name, score in rows:
            count, called = count + 1, called + (score > threshold)
            table.writerow([name, f"{score:.6g}", int(score > threshold)])
        text.detach()

    write_atomic(path, write)
    return called, count

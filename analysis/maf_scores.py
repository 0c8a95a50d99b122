"""Anomaly scores of a trained MAF on the test images: in pieces, and kept with the run."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import safetensors
import torch

from analysis.maf_decisions import Decision, load_decision, promise, save_decision, usual
from datasets import defects
from datasets.defects import DefectSet, read_test_image
from datasets.files import write_atomic
from datasets.rendered_sets import rendered_test_image
from lab.runs.files import write_json
from lab.store import Run
from metrics import detection
from metrics.anomaly_map import Calibration, Reference, half, stretched
from training.defects.experiment import CHUNK, DefectExperiment, Scores
from training.maf import MAFConfig, baseline_names, baselines_of, find

FILE = "scores.npz"
FORMAT = 2  # of that file; 1 had no number, and maps in nats
PARTS = ("patches", "nearest")  # what the parts of a sum are called, in their order


@dataclass(frozen=True, slots=True)
class Quality:
    """How well scores and maps tell defective from good; NaN where that cannot be told.

    Attributes:
        auroc: of the images, with its 95 % interval.
        average_precision: of the images.
        pixel_auroc: over the images whose masks are known.
        aupro: area under the per-region overlap of those, up to 30 % of false alarms.
    """

    auroc: detection.Interval
    average_precision: float
    pixel_auroc: float
    aupro: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a trained model does on the test images.

    Attributes:
        names: of the test images.
        kinds: what each of them shows.
        score: of each test image, higher is more anomalous.
        cells: the anomaly maps, as coarse as the model, shape ``(N, m, m)``.
        config: of the model.
        calibration: what the good training images decided.
        quality: in numbers.
        baselines: the same of models that need no training, and of the parts of this one.
        window: pixels on each side of what a cell is of.
        decision: what was asked of the threshold.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    score: np.ndarray
    cells: np.ndarray
    config: MAFConfig
    calibration: Calibration
    quality: Quality
    baselines: Mapping[str, Quality]
    window: int
    decision: Decision

    @property
    def auroc(self) -> detection.Interval:
        """Of the images, with its 95 % interval."""
        return self.quality.auroc

    @property
    def pixel_auroc(self) -> float:
        """NaN where there are no masks."""
        return self.quality.pixel_auroc

    @cached_property
    def per_kind(self) -> dict[str, detection.Interval]:
        """AUROC of each kind of defect against all good ones."""
        return detection.per_kind(self.score, self.kinds)

    @property
    def held_out(self) -> np.ndarray:
        """Scores of held-out good training images.

        Shape ``(n,)``.
        """
        return self.calibration.held_out

    @cached_property
    def threshold(self) -> float:
        """The score above which an image is called defective."""
        return self.decision.threshold(self.held_out)

    @property
    def heat_span(self) -> tuple[float, float]:
        """Where heat begins to show on a map, and where it gets the last colour.

        What is called defective is so by its map, which shows where; only whole images are not.
        """
        whole = self.config.model == "image"
        low = self.calibration.map_threshold if whole else self.threshold
        return low, 3 * max(low, 1e-6)

    @property
    def defective(self) -> np.ndarray:
        """Whether each test image is defective, shape ``(N,)``, bool."""
        return np.array([kind != defects.GOOD for kind in self.kinds], dtype=bool)

    @property
    def maps(self) -> np.ndarray:
        """The anomaly maps at the size of the images, shape ``(N, S, S)``."""
        return self.heat(range(len(self.cells)))

    def heat(self, which) -> np.ndarray:
        """Return some anomaly maps at the size of the images.

        Shape ``(k, S, S)``.
        """
        cells = torch.from_numpy(self.cells[list(which)]).float()
        return stretched(cells, self.config.side, self.window).numpy()

    def decided(self, decision: Decision) -> Evaluation:
        """Return the same with another threshold."""
        return replace(self, decision=decision)


class Scoring:
    """The evaluation in pieces: :meth:`advance` as often as there is time, until it is done.

    First the good training images calibrate, then the test images are scored with that; then the
    baselines do the same.

    Attributes:
        done: images scored so far.
        total: images in all.
        result: the evaluation, once it is done.
    """

    def __init__(self, experiment: DefectExperiment) -> None:
        self.experiment = experiment
        self.done = 0
        data = experiment.data
        self.total = (1 + len(baseline_names(experiment))) * (len(data.train) + len(data.test))
        self.result: Evaluation | None = None
        self._pieces = self._work()

    def advance(self) -> bool:
        """Score a few more images; return whether there is more to do."""
        scored = next(self._pieces, 0)
        self.done += scored
        return scored > 0

    def _work(self) -> Iterator[int]:
        """Yield how many images each piece has scored."""
        experiment, data = self.experiment, self.experiment.data
        calibration, (own, *parts) = yield from self._scored(experiment)
        windows = [rule.window for rule in experiment.rules]
        baselines = {
            name: _quality(data, part, window)
            for name, part, window in zip(PARTS, parts, windows, strict=False)
        }
        for other in baselines_of(experiment):
            _, (scores, *_) = yield from self._scored(other)
            baselines[other.config.model] = _quality(data, scores, other.rules[-1].window)
        self.result = Evaluation(
            data.names(),
            data.kinds,
            own.score,
            own.maps,
            experiment.config,
            calibration,
            _quality(data, own, windows[-1]),
            baselines,
            windows[-1],
            usual(calibration.held_out),
        )

    @staticmethod
    def _scored(experiment: DefectExperiment) -> Generator[int, None, tuple]:
        """Return the calibration, and scores of the test images: all, and if several, by part."""
        calibration = yield from experiment.calibrating()
        data, found = experiment.data, []
        for first in range(0, len(data.test), CHUNK):
            some = data.test[first : first + CHUNK]
            found.append(experiment.score_all(some, calibration))
            yield len(some)
        if not found:  # good images to learn from, and none to test on
            cells = np.zeros((0, 1, 1), np.float32)
            none = [Scores(np.zeros(0, np.float32), cells, cells)]
            return calibration, none * (1 + len(calibration.references))
        columns = zip(*found, strict=True)
        return calibration, [_joined(column) for column in columns]


def _joined(parts: Sequence[Scores]) -> Scores:
    return Scores(
        *(np.concatenate([getattr(p, n) for p in parts]) for n in ("score", "maps", "fine"))
    )


def _quality(data: DefectSet, found: Scores, window: int) -> Quality:
    """Return how well scores and coarse maps tell the defects of a set."""
    pixel = overlap = math.nan
    if data.masked:
        wide = stretched(torch.from_numpy(found.fine), data.size, window).numpy()[data.known]
        pixel = detection.pixel_auroc(wide, data.masks[data.known])
        overlap = detection.aupro(wide, data.masks[data.known])
    area = detection.auroc_interval(found.score, data.defective)
    precision = detection.average_precision(found.score, data.defective)
    return Quality(area, precision, pixel, overlap)


def evaluate(experiment: DefectExperiment) -> Evaluation:
    """Score the test images with everything that the training images decided."""
    scoring = Scoring(experiment)
    while scoring.advance():
        pass
    return scoring.result


# -- in the folder of a run ---------------------------------------------------------------------


def weights_step(run: Run) -> int | None:
    """Return the optimiser step that a run's weights are from, ``None`` if there are none."""
    try:
        with safetensors.safe_open(run.path / "model.safetensors", framework="pt") as file:
            return int((file.metadata() or {}).get("step", 0))
    except (OSError, ValueError, safetensors.SafetensorError):
        return None


def save_evaluation(run: Run, found: Evaluation, step: int) -> None:
    """Keep an evaluation of the weights of ``step`` in the folder of a run.

    Raises:
        OSError: it cannot be written.
    """
    said = {
        "format": FORMAT,
        "names": found.names,
        "kinds": found.kinds,
        "quality": asdict(found.quality),
        "baselines": {name: asdict(one) for name, one in found.baselines.items()},
        "map_threshold": found.calibration.map_threshold,
        "window": found.window,
    }
    arrays = {
        "step": np.array(step),
        "said": np.array(json.dumps(said)),
        "score": found.score,
        "cells": half(found.cells),
        "held_out": found.held_out,
    }
    for number, reference in enumerate(found.calibration.references):
        arrays |= {f"{name}_{number}": a for name, a in reference.arrays().items()}
    write_atomic(run.path / FILE, lambda file: np.savez_compressed(file, **arrays))
    write_scores(found, run.path)


def load_evaluation(run: Run, step: int | None) -> Evaluation | None:
    """Return the evaluation kept for the weights of ``step``, ``None`` if there is none."""
    try:
        with np.load(run.path / FILE, allow_pickle=False) as file:
            said = json.loads(str(file["said"]))
            if int(file["step"]) != step or said["format"] != FORMAT:
                return None
            return _evaluation(run, {name: file[name] for name in file.files}, said)
    # A damaged file is as good as none, and so is one of an earlier version: it is computed again.
    except Exception:
        return None


def _evaluation(run: Run, arrays: Mapping[str, np.ndarray], said: Mapping) -> Evaluation:
    """Return the evaluation that arrays and plain values speak of."""
    count = sum(name.startswith("mean_") for name in arrays)
    references = tuple(
        Reference.from_arrays({n: arrays[f"{n}_{k}"] for n in Reference.NAMES})
        for k in range(count)
    )
    held_out = arrays["held_out"]
    return Evaluation(
        tuple(said["names"]),
        tuple(said["kinds"]),
        arrays["score"],
        arrays["cells"].astype(np.float32),
        run.config,
        Calibration(references, held_out, float(said["map_threshold"])),
        _quality_of(said["quality"]),
        {name: _quality_of(one) for name, one in said["baselines"].items()},
        int(said["window"]),
        load_decision(run, held_out),
    )


def _quality_of(values: Mapping) -> Quality:
    return Quality(**{**values, "auroc": detection.Interval(**values["auroc"])})


def keep_decision(run: Run, found: Evaluation, decision: Decision) -> Evaluation:
    """Keep another threshold with a run; what was written with the last one is written anew.

    Raises:
        OSError: it cannot be written.
        ValueError: there are too few held-out images for its rate.
    """
    found = found.decided(decision)
    write_scores(found, run.path)
    save_decision(run, decision)
    return found


def write_scores(found: Evaluation, folder: Path) -> None:
    """Write ``scores.csv`` (one row per test image) and ``detection.json`` into a folder.

    Raises:
        OSError: it cannot be written.
    """
    text = scores_csv(found.names, found.score, found.threshold, found.kinds)
    write_atomic(folder / "scores.csv", lambda file: file.write(text.encode()))
    write_json(folder / "detection.json", without_nan(detection_numbers(found)))


def detection_numbers(found: Evaluation) -> dict:
    """Return all that an evaluation found, as plain values by name; some may be NaN."""
    decisions = detection.decide(found.score, found.defective, found.threshold)
    good = decisions.alarms + decisions.passes
    return {
        **asdict(found.quality),
        "auroc_per_kind": {kind: asdict(area) for kind, area in found.per_kind.items()},
        "baselines": {name: asdict(one) for name, one in found.baselines.items()},
        "threshold": found.threshold,
        "threshold_set_by_hand": found.decision.typed is not None,
        "false_alarms_asked": None if found.decision.typed is not None else found.decision.rate,
        "false_alarms_promised": asdict(promise(found.held_out, found.threshold)),
        "held_out": len(found.held_out),
        "false_alarms_on_test": decisions.alarms / good if good else math.nan,
        **asdict(decisions),
        "balanced_accuracy": decisions.balanced_accuracy,
        "accuracy": decisions.accuracy,
        "accuracy_all_defective": detection.all_defective(found.defective).accuracy,
    }


def scores_csv(
    names: Sequence[str], scores: np.ndarray, threshold: float, kinds: Sequence[str] = ()
) -> str:
    """Return a table with one row per image; with its kind, where that is known."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    known = [list(kinds)] if len(kinds) else []
    rows.writerow(["image", *(["kind"] if known else []), "score", "called_defective"])
    for name, *kind, score in zip(names, *known, scores, strict=True):
        rows.writerow([name, *kind, f"{score:.6g}", int(score > threshold)])
    return text.getvalue()


def without_nan(value):
    """Return plain values with ``None`` for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


# -- one image at a time ----------------------------------------------------------------------


def image_of(run: Run, found: Evaluation, place: int, own: DefectSet | None = None):
    """Return one test image ``(3, S, S)``, uint8, and its mask ``(S, S)``, without the others.

    Args:
        run: whose test set.
        found: its evaluation.
        place: of the image among the test images.
        own: the run's own data, if it has some.

    Raises:
        DataError: it is not there any more.
    """
    side = run.config.side
    if own is not None:
        own = own.resized(side)
        return own.test[place], own.masks[place]
    folder = find(run.config)
    if folder is None:
        return rendered_test_image(run.config.dataset, place, side)
    return read_test_image(folder, found.names[place], side)

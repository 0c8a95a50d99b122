"""Anomaly scores of a trained MAF on the test images: in pieces, and kept with the run."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors
import torch

from datasets import defects
from datasets.defects import DefectSet, read_test_image
from datasets.files import write_atomic
from datasets.rendered_sets import rendered_test_image
from lab.runs.files import write_json
from lab.store import Run
from metrics import detection
from metrics.anomaly_map import Calibration, half, stretched
from training.core.config import current_names
from training.defects.experiment import CHUNK, DefectFlow
from training.maf import MAFConfig, find

FILE = "scores.npz"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a trained model does on the test images.

    Attributes:
        names: of the test images.
        kinds: what each of them shows.
        score: of each test image, higher is more anomalous.
        cells: the anomaly maps, as coarse as the model, shape ``(N, m, m)``, nats per dimension
            away from the good ones at that place.
        config: of the model.
        calibration: what the good training images decided.
        auroc: with its 95 % interval.
        per_kind: AUROC of each kind of defect against all good ones.
        pixel_auroc: NaN where there are no masks.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    score: np.ndarray
    cells: np.ndarray
    config: MAFConfig
    calibration: Calibration
    auroc: detection.Interval
    per_kind: dict[str, detection.Interval]
    pixel_auroc: float

    @property
    def held_out(self) -> np.ndarray:
        """Scores of held-out good training images.

        Shape ``(n,)``.
        """
        return self.calibration.held_out

    @property
    def threshold(self) -> float:
        """The score above which an image is called defective."""
        return self.calibration.threshold

    @property
    def defective(self) -> np.ndarray:
        """Whether each test image is defective, shape ``(N,)``, bool."""
        return np.array([kind != defects.GOOD for kind in self.kinds])

    @property
    def maps(self) -> np.ndarray:
        """The anomaly maps at the size of the images, shape ``(N, S, S)``."""
        return self.heat(range(len(self.cells)))

    def heat(self, which) -> np.ndarray:
        """Return some anomaly maps at the size of the images.

        Shape ``(k, S, S)``, nats per dimension.
        """
        cells = torch.from_numpy(self.cells[list(which)]).float()
        return stretched(cells, self.config.side, self.config.window).numpy()


class Scoring:
    """The evaluation in pieces: :meth:`advance` as often as there is time, until it is done.

    First the good training images calibrate, then the test images are scored with that.

    Attributes:
        done: images scored so far.
        total: images in all.
        result: the evaluation, once it is done.
    """

    def __init__(self, experiment: DefectFlow) -> None:
        self.experiment = experiment
        self.done = 0
        self.total = len(experiment.fit) + len(experiment.held_out) + len(experiment.data.test)
        self.result: Evaluation | None = None
        self._pieces = self._work()

    def advance(self) -> bool:
        """Score a few more images; return whether there is more to do."""
        scored = next(self._pieces, 0)
        self.done += scored
        return scored > 0

    def _work(self) -> Iterator[int]:
        """Yield how many images each piece has scored."""
        calibration = yield from self.experiment.calibrating()
        data, scores, cells = self.experiment.data, [], []
        for some in np.split(data.test, range(CHUNK, len(data.test), CHUNK)):
            score, where = self.experiment.score_cells(some, calibration)
            scores.append(score.cpu())
            cells.append(where.cpu())
            yield len(some)
        score, where = torch.cat(scores).numpy(), torch.cat(cells)
        pixel = math.nan
        if data.masked:
            config = self.experiment.config
            wide = stretched(where, config.side, config.window).numpy()
            pixel = detection.pixel_auroc(wide[data.known], data.masks[data.known])
        self.result = _evaluation(
            self.experiment.config,
            data.names(),
            data.kinds,
            score,
            where.numpy(),
            calibration,
            pixel,
        )


def evaluate(experiment: DefectFlow) -> Evaluation:
    """Score the test images with everything that the training images decided."""
    scoring = Scoring(experiment)
    while scoring.advance():
        pass
    return scoring.result


def _evaluation(
    config: MAFConfig,
    names: tuple[str, ...],
    kinds: tuple[str, ...],
    score: np.ndarray,
    cells: np.ndarray,
    calibration: Calibration,
    pixel_auroc: float,
) -> Evaluation:
    defective = np.array([kind != defects.GOOD for kind in kinds])
    return Evaluation(
        names=names,
        kinds=kinds,
        score=score,
        cells=cells,
        config=config,
        calibration=calibration,
        auroc=detection.auroc_interval(score, defective),
        per_kind=detection.per_kind(score, kinds),
        pixel_auroc=pixel_auroc,
    )


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
    calibration = found.calibration
    arrays = {
        "step": np.array(step),
        "names": np.array(found.names),
        "kinds": np.array(found.kinds),
        "score": found.score,
        "cells": half(found.cells),
        "mean": calibration.mean.cpu().numpy(),
        "spread": calibration.spread.cpu().numpy(),
        "held_out": calibration.held_out,
        "threshold": np.array(calibration.threshold),
        "map_threshold": np.array(calibration.map_threshold),
        "pixel_auroc": np.array(found.pixel_auroc),
    }
    write_atomic(run.path / FILE, lambda file: np.savez_compressed(file, **arrays))
    write_scores(found, run.path)


def load_evaluation(run: Run, step: int | None) -> Evaluation | None:
    """Return the evaluation kept for the weights of ``step``, ``None`` if there is none."""
    try:
        with np.load(run.path / FILE, allow_pickle=False) as file:
            if int(file["step"]) != step:
                return None
            kept = current_names(file)
            mean, spread = (torch.from_numpy(kept[name]) for name in ("mean", "spread"))
            thresholds = (float(kept[name]) for name in ("threshold", "map_threshold"))
            calibration = Calibration(mean, spread, kept["held_out"], *thresholds)
            names, kinds = (tuple(kept[name].tolist()) for name in ("names", "kinds"))
            cells = kept["cells"].astype(np.float32)
            pixel = float(kept["pixel_auroc"])
            score = kept["score"]
    # A damaged file is as good as none: it is computed again.
    except Exception:
        return None
    return _evaluation(run.config, names, kinds, score, cells, calibration, pixel)


def write_scores(found: Evaluation, folder: Path) -> None:
    """Write ``scores.csv`` (one row per test image) and ``detection.json`` into a folder.

    Raises:
        OSError: it cannot be written.
    """
    text = scores_csv(found)
    write_atomic(folder / "scores.csv", lambda file: file.write(text.encode()))
    decisions = detection.decide(found.score, found.defective, found.threshold)
    numbers = {
        "auroc": asdict(found.auroc),
        "auroc_per_kind": {kind: asdict(area) for kind, area in found.per_kind.items()},
        "pixel_auroc": found.pixel_auroc,
        "threshold": found.threshold,
        "balanced_accuracy": decisions.balanced_accuracy,
        "accuracy": decisions.accuracy,
        "accuracy_all_defective": detection.all_defective(found.defective).accuracy,
    }
    write_json(folder / "detection.json", _without_nan(numbers))


def scores_csv(found: Evaluation) -> str:
    """Return a table with one row per test image."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["image", "kind", "score", "called_defective"])
    for name, kind, score in zip(found.names, found.kinds, found.score, strict=True):
        rows.writerow([name, kind, f"{score:.6g}", int(score > found.threshold)])
    return text.getvalue()


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
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

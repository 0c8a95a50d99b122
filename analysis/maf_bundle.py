"""A trained detector that scores without the lab: one file for ``torch.export.load``.

It holds the whole way from grey levels to the decision: pixel scale, model, the good images where
they are part of the model, calibration and threshold.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from analysis.maf_decisions import promise
from analysis.maf_scores import Evaluation
from datasets.files import write_atomic
from metrics.anomaly_map import combined, stretched
from training.defects.experiment import DefectExperiment

SAID = "detector.json"  # the name of what the file says of itself
AGREES = 1e-4  # largest difference to the lab's own scores, relative


class Detector(nn.Module):
    """From an image to its score, its anomaly map and the decision.

    Args:
        experiment: with a trained model.
        found: its evaluation, with the calibration and the threshold.
    """

    def __init__(self, experiment: DefectExperiment, found: Evaluation) -> None:
        super().__init__()
        self._experiment, self._references = experiment, found.calibration.references
        self._side, self._window = experiment.config.side, found.window
        self.model = experiment.model
        # What the experiment has beside its model; as buffers it goes into the file.
        for name, value in vars(experiment).items():
            if isinstance(value, Tensor) and value.is_floating_point():
                self.register_buffer(f"_{name}", value)
        self.near = getattr(experiment, "near", None)
        self.register_buffer("threshold", torch.tensor(found.threshold))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score one image.

        Args:
            image: shape ``(1, 3, S, S)``, uint8.

        Returns:
            Its score, shape ``(1,)``; its anomaly map, shape ``(1, S, S)``; whether it is called
            defective, shape ``(1,)``.
        """
        raws = self._experiment.raws(image.permute(0, 2, 3, 1))
        maps = combined(self._references, raws, self._side)
        score = self._experiment._scored(raws, maps)
        return score, stretched(maps, self._side, self._window), score > self.threshold


def export(experiment: DefectExperiment, found: Evaluation, path: Path | str) -> float:
    """Write a detector as one file, and read it again; return the largest difference found.

    Between its scores and the lab's own of some held-out good images and of the same with synthetic
    defects, relative to the score.

    Args:
        experiment: with a trained model.
        found: its evaluation.
        path: of the file, by custom with the ending ``.pt2``.

    Raises:
        OSError: it cannot be written.
        RuntimeError: its scores are not those of the lab.
    """
    detector = Detector(experiment, found).eval().requires_grad_(False)
    path = Path(path)
    images = torch.cat([experiment.held_out[:2], experiment.damaged[:2]]).permute(0, 3, 1, 2)
    with torch.no_grad():
        program = torch.export.export(detector, (images[:1].contiguous(),))
    extra = {SAID: json.dumps(about(found))}
    write_atomic(path, lambda file: torch.export.save(program, file, extra_files=extra))
    again = torch.export.load(path).module()
    with torch.no_grad():
        scores = torch.cat([again(one[None].contiguous())[0] for one in images]).numpy()
    expected = experiment.score(images.numpy(), found.calibration).score
    apart = float(np.max(np.abs(scores - expected) / np.maximum(np.abs(expected), 1)))
    if not apart <= AGREES:
        raise RuntimeError(f"The exported detector scores otherwise: by {apart:.2g}, relative.")
    return apart


def about(found: Evaluation) -> dict:
    """Return what a detector says of itself, as plain values by name."""
    worth = promise(found.held_out, found.threshold)
    return {
        "model": found.config.model,
        "side": found.config.side,
        "input": "one image as (1, 3, side, side), uint8, RGB, fitted to the square",
        "output": "score (1,), anomaly map (1, side, side), called defective (1,)",
        "threshold": found.threshold,
        "false_alarms": found.decision.rate if found.decision.typed is None else None,
        "false_alarms_low": worth.low,
        "false_alarms_high": worth.high,
        "held_out": len(found.held_out),
        "config": found.config.model_dump(),
    }

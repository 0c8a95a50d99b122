"""Detectors that nothing has to train: baselines for those that are trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from datasets.defects import DefectSet
from metrics import anomaly_map
from metrics.anomaly_map import Rule
from models.good_images import FOLDS, NearestGood, PixelGaussian
from training.core.config import RunConfig
from training.core.experiment import Snapshot
from training.defects.experiment import (
    FALSE_ALARMS,
    MEASURED,
    DefectExperiment,
    validation_auroc,
)

CELL = 4  # pixels on each side of a cell in which the nearest good image is looked for
POOLED = 2  # pixels on each side of a cell of the Gaussian's maps


class Untrained(DefectExperiment):
    """A model that is made of good images in one go; it is at its end where it begins.

    Args:
        config: see :class:`~training.defects.experiment.DefectExperiment`.
        data: the images.
        model: with ``fit(levels)``; called with images and their folds, it returns maps.
        device: where it is computed.
    """

    LOSSES = ()

    def __init__(
        self,
        config: RunConfig,
        data: DefectSet,
        model: PixelGaussian | NearestGood,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(config, data, model, total=0, device=device)
        self.fit_model()

    @torch.no_grad()
    def fit_model(self) -> None:
        """Make the model of the good images."""
        self.model.fit(levels_of(self.fit))

    def load_state_dict(self, state: Mapping) -> None:
        super().load_state_dict(state)
        self.fit_model()  # what no file keeps

    def raws(self, images: Tensor, folds: Tensor | None = None) -> list[Tensor]:
        return [nearest_raw(self.model, images, folds)]

    @torch.no_grad()
    def _maps_of_step(self) -> tuple[Tensor, Tensor]:
        """Return anomaly maps of some held-out and of the damaged images."""
        (rule,), first = self.rules, torch.arange(min(MEASURED, len(self.fit)))
        (raw,) = self.raws(self.fit[: len(first)], first.to(self.device))
        reference = rule.reference(raw)
        sets = self.held_out[:MEASURED], self.damaged
        return tuple(reference.maps(self.raws(some)[0]) for some in sets)

    def measure(self) -> Mapping[str, float]:
        """Return the AUROC of synthetic against no defects on held-out good images."""
        held, damaged = map(anomaly_map.highest, self._maps_of_step())
        return {"auroc_validation": validation_auroc(held, damaged)}

    def snapshot(self) -> Snapshot:
        held, damaged = self._maps_of_step()
        beyond = anomaly_map.highest(held).quantile(1 - FALSE_ALARMS)
        heat = anomaly_map.half(damaged[:4].cpu().numpy())
        return {"heat": heat, "map_threshold": np.array(float(beyond))}


class PixelExperiment(Untrained):
    """A Gaussian per pixel; maps are of the distance in standard deviations."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        return (Rule(sigma=1.0, window=POOLED, both_ways=False, spread="deviation"),)

    def raws(self, images: Tensor, folds: Tensor | None = None) -> list[Tensor]:
        (raw,) = super().raws(images, folds)
        return [torch.nn.functional.avg_pool2d(raw, POOLED)]


class NearestExperiment(Untrained):
    """The distance to the nearest good image, place by place."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        return (NEAREST_RULE,)


NEAREST_RULE = Rule(sigma=0.5, window=CELL, both_ways=False, spread="deviation")


def levels_of(images: Tensor) -> Tensor:
    """Return images ``(N, S, S, 3)``, uint8, as levels ``(N, 3, S, S)``."""
    return images.permute(0, 3, 1, 2).float()


def nearest_raw(model: PixelGaussian | NearestGood, images: Tensor, folds: Tensor | None) -> Tensor:
    """Return the raw maps ``(N, 1, m, m)`` of images ``(N, S, S, 3)``, uint8.

    Args:
        model: of good images.
        images: to be compared with them.
        folds: places of the images among the good ones, shape ``(N,)``, if they are of them.
    """
    return model(levels_of(images), None if folds is None else folds % FOLDS)[:, None]

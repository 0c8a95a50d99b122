"""Learn what good images look like, calibrate on them, and score others against them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from datasets.defects import DefectSet
from datasets.rendered.synthetic import synthetic_defects
from metrics import anomaly_map, detection
from metrics.anomaly_map import Calibration, Rule
from training.core.config import RunConfig
from training.core.experiment import Experiment, Snapshot

HELD_OUT_FRACTION = 0.2  # of the good training images: it calibrates and validates
MEASURED = 24  # images of each sort behind the live numbers
CHUNK = 4  # images scored between two reports of progress
FALSE_ALARMS = 0.05  # of held-out good training images: where the heat of live maps begins


@dataclass(frozen=True, eq=False)
class Scores:
    """How anomalous some images are.

    Attributes:
        score: one number per image, higher is more anomalous; nats for whole images, spreads of
            the good ones at the most anomalous place for all others. Shape ``(N,)``.
        maps: where, see :mod:`metrics.anomaly_map`, shape ``(N, S, S)``.
        fine: what tells pixels apart, of the same shape.
    """

    score: np.ndarray
    maps: np.ndarray
    fine: np.ndarray


class DefectExperiment(Experiment):
    """A model of good images, and what becomes of it: maps, scores, a threshold.

    Of the good training images a fifth is held out: it gives the threshold, and, once more with
    synthetic defects, the live AUROC. The test images are not touched before
    :func:`~analysis.maf_scores.evaluate`.

    Args:
        config: with ``seed`` and ``side`` (see :class:`~training.maf.MAFConfig`).
        data: the images, ``config.side`` pixels on each side.
        model: what learns, not yet trained.
        total: optimiser steps in all.
        device: where it trains.
    """

    METRICS: tuple[str, ...] = ("auroc_validation",)
    SNAPSHOT_PATIENCE = 10.0  # a snapshot takes as long as some ten steps

    def __init__(
        self,
        config: RunConfig,
        data: DefectSet,
        model: nn.Module,
        *,
        total: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.data = data
        self.order = np.random.default_rng(config.seed).permutation(len(data.train))
        super().__init__(config, device, total)
        held = held_out_count(len(self.order))
        self.fit = self._images(data.train[self.order[held:]])  # (N, S, S, 3), uint8
        self.held_out = self._images(data.train[self.order[:held]])
        self.model = model.to(self.device)

    @cached_property
    def _damage(self) -> tuple[np.ndarray, np.ndarray]:
        # Drawn once: measuring, however often, always sees the same.
        held = self.data.train[self.order[: held_out_count(len(self.order))]]
        return synthetic_defects(held[:MEASURED], seed=1)

    @property
    def damaged(self) -> Tensor:
        """Held-out good images with synthetic defects, ``(N, S, S, 3)``, uint8."""
        return self._images(self._damage[0])

    def _images(self, images: np.ndarray) -> Tensor:
        """Move images ``(N, 3, S, S)`` to the device, channels last."""
        if not images.flags.writeable:
            images = images.copy()
        return torch.from_numpy(images).permute(0, 2, 3, 1).contiguous().to(self.device)

    # -- what the models differ in --------------------------------------------------------------

    @property
    def rules(self) -> tuple[Rule, ...]:
        """How the raw maps of each part become anomaly maps."""
        raise NotImplementedError

    def raws(self, images: Tensor, folds: Tensor | None = None) -> list[Tensor]:
        """Return the raw maps of images by part of the model, each ``(N, P, m, m)``.

        Args:
            images: shape ``(N, S, S, 3)``, uint8.
            folds: of images that the model was made from, shape ``(N,)``: whatever is in the same
                fold does not speak for them.
        """
        raise NotImplementedError

    def _scored(self, raws: Sequence[Tensor], maps: Tensor) -> Tensor:
        """Return the scores ``(N,)`` of images from their raw maps and anomaly maps."""
        return anomaly_map.highest(maps)

    # -- evaluation -----------------------------------------------------------------------------

    def target(self) -> Snapshot:
        return {
            "good": self.held_out[:4].cpu().numpy(),
            "damaged": self.damaged[:4].cpu().numpy(),
            "masks": self._damage[1][:4],
        }

    # -- scoring --------------------------------------------------------------------------------

    @torch.no_grad()
    def calibrating(self) -> Generator[int, None, Calibration]:
        """Learn in pieces what good training images look like.

        Yields how many images each piece has scored. What maps should look like is of the images
        that the model is fitted to; scores that give a threshold are of held-out ones.
        """
        fit = yield from self._raws(self.fit, known=True)
        references = tuple(rule.reference(raw) for rule, raw in zip(self.rules, fit, strict=False))
        held_out = yield from self._raws(self.held_out)
        if len(references) > 1:
            pairs = zip(references, held_out, strict=False)
            references = tuple(one.in_units_of(raw) for one, raw in pairs)
        maps = anomaly_map.combined(references, held_out, self.config.side)
        scores = self._scored(held_out, maps).cpu().numpy()
        beyond = anomaly_map.highest(maps).quantile(1 - FALSE_ALARMS)
        return Calibration(references, scores, float(beyond))

    def _raws(self, images: Tensor, *, known: bool = False) -> Generator[int, None, list[Tensor]]:
        found = []
        for some in torch.arange(len(images), device=images.device).split(CHUNK):
            found.append(self.raws(images[some], some if known else None))
            yield len(some)
        return [torch.cat(parts) for parts in zip(*found, strict=True)]

    @torch.no_grad()
    def score(self, images: np.ndarray, calibration: Calibration) -> Scores:
        """Score images ``(N, 3, S, S)``, uint8, of the side that the config names."""
        found, *_ = self.score_all(images, calibration)
        side, window = self.config.side, self.rules[-1].window
        wide = (
            anomaly_map.stretched(torch.from_numpy(cells), side, window).numpy()
            for cells in (found.maps, found.fine)
        )
        return Scores(found.score, *wide)

    @torch.no_grad()
    def score_all(self, images: np.ndarray, calibration: Calibration) -> list[Scores]:
        """Score images by the model, and if it has several parts by each of them alone.

        All maps stay coarse, ``(N, m, m)``.
        """
        raws = self.raws(self._images(images))
        references, side = calibration.references, self.config.side
        maps = anomaly_map.combined(references, raws, side)
        parts = [
            (one.maps(raw), one.fine_maps(raw)) for one, raw in zip(references, raws, strict=False)
        ]
        if len(parts) == 1:
            found = [(self._scored(raws, maps), maps, parts[0][1])]
        else:
            found = [(self._scored(raws, maps), maps, maps)]
            found += [(anomaly_map.highest(part), part, fine) for part, fine in parts]
        return [Scores(*(values.cpu().numpy() for values in one)) for one in found]


def held_out_count(count: int) -> int:
    """Return how many of so many good training images are held out."""
    return min(max(round(HELD_OUT_FRACTION * count), 2), count - 2)


def validation_auroc(good: Tensor, damaged: Tensor) -> float:
    """Return the AUROC of synthetic defects against good images, from the scores of both."""
    score = torch.cat([good, damaged]).cpu().numpy()
    return detection.auroc(score, np.arange(len(score)) >= len(good))

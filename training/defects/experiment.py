"""Learn good images by maximum likelihood, calibrate on them, and score others against them."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from datasets.defects import DefectSet
from datasets.densities import in_float64
from datasets.rendered.synthetic import synthetic_defects
from metrics import anomaly_map, detection
from metrics.anomaly_map import Calibration
from models.flow import Flow
from training.core.config import RunConfig
from training.core.experiment import Experiment, Snapshot
from training.core.optimiser import Optimiser, one_cycle

HELD_OUT_FRACTION = 0.2  # of the good training images: it calibrates and validates
MEASURED = 24  # images of each sort behind the live numbers
CHUNK = 4  # images scored between two reports of progress
FALSE_ALARMS = 0.05  # of the default threshold, on held-out good training images
# Standard deviations of the smoothing of maps, in half patches (pixels for whole images). What is
# shown may be fine; one number for an image is steadier from a wider one.
SHOWN, SCORED = 1.0, 2.0


@dataclass(frozen=True, eq=False)
class Scores:
    """How anomalous some images are.

    Attributes:
        score: one number per image, higher is more anomalous; nats for whole images, spreads of
            the good ones at the most anomalous place for patches. Shape ``(N,)``.
        maps: where, in nats per dimension away from the good ones at that place (see
            :func:`~metrics.anomaly_map.anomaly_maps`), shape ``(N, S, S)``.
    """

    score: np.ndarray
    maps: np.ndarray


class DefectFlow(Experiment):
    """Maximum likelihood on good images, whole or in patches.

    Of the good training images a fifth is held out: it gives the threshold, and, once more with
    synthetic defects, the live AUROC. The test images are not touched before
    :func:`~analysis.maf_scores.evaluate`.

    Args:
        config: with ``epochs``, ``batch``, ``learning_rate``, ``weight_decay``, ``seed``, and
            ``side``, ``window`` and ``features`` (see :class:`~training.maf.MAFConfig`).
        data: the images, ``config.side`` pixels on each side.
        model: the flow, not yet trained.
        device: where it trains.
    """

    LOSSES = ("nll",)
    METRICS = ("nll_held_out", "bits_per_dim", "auroc_validation")
    SNAPSHOT_PATIENCE = 10.0  # a snapshot takes as long as some ten steps

    def __init__(
        self,
        config: RunConfig,
        data: DefectSet,
        model: Flow,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        order = np.random.default_rng(config.seed).permutation(len(data.train))
        held = min(max(round(HELD_OUT_FRACTION * len(order)), 2), len(order) - 2)
        self.data = data
        self.steps_per_epoch = math.ceil((len(order) - held) / config.batch)
        super().__init__(config, device, config.epochs * self.steps_per_epoch)
        self.fit = self._images(data.train[order[held:]])  # (N, S, S, 3), uint8
        self.held_out = self._images(data.train[order[:held]])
        # Drawn once: measuring, however often, always sees the same.
        damaged, masks = synthetic_defects(data.train[order[:held]][:MEASURED], seed=1)
        self.damaged, self.damaged_masks = self._images(damaged), masks
        levels = in_float64(self.fit.flatten(0, 2))
        self.mean = levels.mean(0).float().to(self.device) + 0.5
        scale = levels.std(0).float().clamp_min(1.0)
        self.scale = scale.to(self.device)
        # From nats in standardised units to nats where a level of 8 bits is the unit.
        self.log_volume = float(in_float64(scale).log().mean()) * config.features
        self.model = model.to(self.device)
        self.initialise()
        # From the latent on: the order of weights in the vectors of all checkpoints.
        parts = nn.ModuleList([*reversed(self.model.chain), self.model.encoder])
        self.optimisers = {"adam": Optimiser(parts, weight_decay=config.weight_decay)}
        self._epoch: tuple[int, Tensor] | None = None
        self._seen: tuple[int, tuple] | None = None

    def load_state_dict(self, state: Mapping) -> None:
        super().load_state_dict(state)
        self._seen = None

    def _images(self, images: np.ndarray) -> Tensor:
        """Move images ``(N, 3, S, S)`` to the device, channels last."""
        if not images.flags.writeable:
            images = images.copy()
        return torch.from_numpy(images).permute(0, 2, 3, 1).contiguous().to(self.device)

    # -- what the two models differ in ----------------------------------------------------------

    def initialise(self) -> None:
        """Start what starts from data."""

    def loss(self, images: Tensor) -> Tensor:
        """Return the mean NLL of a batch, standardised units.

        A scalar; images are uint8, ``(B, S, S, 3)``.
        """
        raise NotImplementedError

    def raw_maps(
        self,
        images: Tensor,
        stride: int | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the NLL of each image, nats, and its raw maps, nats per dimension.

        Shapes ``(N,)`` and ``(N, P, m, m)``, not smoothed. Of whole images there is one map, the
        NLL. Patches have a second one, how far their latents are from the middle of the prior: NLL
        is high wherever there is much detail, latents do not know of it.

        Args:
            images: shape ``(N, S, S, 3)``, uint8.
            stride: pixels between two patches.
            generator: of the dequantisation noise. Without one each level stands for its middle:
                a score must not depend on luck.
        """
        raise NotImplementedError

    def image_context(self) -> Tensor | None:
        """Return the context to draw one image, a row per point that it draws.

        Shape ``(n, context)``, or ``None`` without any.
        """
        return None

    def one_point(self) -> tuple[Tensor, Tensor | None]:
        """Return a held-out good image as the model sees it, ``(1, D)``, and its context."""
        return self.standardised(self.held_out[:1], None).flatten(1), None

    def image_of(self, x: Tensor) -> np.ndarray:
        """Return the image that points in standardised units make, ``(S, S, 3)``, uint8."""
        raise NotImplementedError

    def images(self) -> dict[str, np.ndarray]:
        """Return images drawn from the model.

        By name, each ``(n, S, S, 3)``, uint8.
        """
        raise NotImplementedError

    # -- training -------------------------------------------------------------------------------

    def update(self) -> Mapping[str, Tensor]:
        loss = self.loss(self.fit[self._batch()])
        rate = self.live["learning_rate"] * one_cycle(self.step / self.total)
        self.optimisers["adam"].step(loss, rate)
        return {"nll": loss.detach() + self.log_volume}

    def _batch(self) -> Tensor:
        """Return which images this step takes; the order of an epoch follows from its number."""
        epoch, place = divmod(self.step, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            own = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
            order = torch.randperm(len(self.fit), generator=own).to(self.device)
            self._epoch = epoch, order
        return self._epoch[1][place * self.config.batch : (place + 1) * self.config.batch]

    def standardised(self, levels: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return levels ``(..., 3)`` dequantised (uniform noise; its mean without a generator)."""
        if generator is None:
            return (levels.float() + 0.5 - self.mean) / self.scale
        noise = torch.rand(levels.shape, generator=generator, device=levels.device)
        return (levels.float() + noise - self.mean) / self.scale

    # -- evaluation -----------------------------------------------------------------------------

    @torch.no_grad()
    def measure(self) -> Mapping[str, float]:
        """Return held-out NLL, bits/dim, and the AUROC of synthetic against no defects.

        Both are drawn on the same held-out good training images; the maps are calibrated on
        good training images.
        """
        good, held, damaged = self._raw_maps_of_step()
        known = self._good_maps(good[1])
        nll = float(held[0].mean())
        score = torch.cat([self._score(*some, *known) for some in (held, damaged)])
        truth = np.arange(len(score)) >= len(held[0])
        return {
            "nll_held_out": nll,
            "bits_per_dim": nll / (self.config.features * math.log(2)),
            "auroc_validation": detection.auroc(score.cpu().numpy(), truth),
        }

    def _raw_maps_of_step(self) -> tuple:
        """Return NLL and raw maps of some good, held-out and damaged images, with fixed noise.

        Of each step once: the numbers and the snapshot of a step show the same.
        """
        if self._seen is None or self._seen[0] != self.step:
            sets = self.fit[:MEASURED], self.held_out[:MEASURED], self.damaged
            eval_generator = torch.Generator(self.device).manual_seed(3)
            seen = tuple(self.raw_maps(some, self.coarse, eval_generator) for some in sets)
            self._seen = self.step, seen
        return self._seen[1]

    @torch.no_grad()
    def snapshot(self) -> Snapshot:
        good, held, damaged = self._raw_maps_of_step()
        mean = good[1].mean(0)
        return {
            **self.images(),
            # coarse: see `anomaly_map.stretched`
            "heat": anomaly_map.half(self.anomaly_maps(damaged[1][:4], mean).cpu().numpy()),
            "map_threshold": np.array(self._map_threshold(held[1], mean)),
            "nll_good": good[0].cpu().numpy(),
            "nll_held_out": held[0].cpu().numpy(),
            "nll_damaged": damaged[0].cpu().numpy(),
        }

    def target(self) -> Snapshot:
        return {
            "good": self.held_out[:4].cpu().numpy(),
            "damaged": self.damaged[:4].cpu().numpy(),
            "masks": self.damaged_masks[:4],
        }

    # -- scoring --------------------------------------------------------------------------------

    coarse: int | None = None  # stride of the maps of the live numbers

    @torch.no_grad()
    def calibrating(self) -> Generator[int, None, Calibration]:
        """Learn in pieces what good training images look like, and the thresholds.

        Yields how many images each piece has scored. What maps should look like is of the images
        that the model is fitted to; the thresholds are of held-out ones: fitted ones score lower,
        so a threshold of theirs would be exceeded by more than 5 % of good images.
        """
        fit = yield from self._raw(self.fit)
        held_out = yield from self._raw(self.held_out)
        mean, spread = self._good_maps(fit[1])
        scores = self._score(*held_out, mean, spread).cpu().numpy()
        threshold = detection.threshold_from_good(scores, false_alarms=FALSE_ALARMS)
        return Calibration(mean, spread, scores, threshold, self._map_threshold(held_out[1], mean))

    def _raw(self, images: Tensor) -> Generator[int, None, tuple[Tensor, Tensor]]:
        found = []
        for some in images.split(CHUNK):
            found.append(self.raw_maps(some))
            yield len(some)
        nll, maps = zip(*found, strict=True)
        return torch.cat(nll), torch.cat(maps)

    @torch.no_grad()
    def score(self, images: np.ndarray, calibration: Calibration) -> Scores:
        """Score images ``(N, 3, S, S)``, uint8, of the side that the config names."""
        score, cells = self.score_cells(images, calibration)
        wide = anomaly_map.stretched(cells, self.config.side, self.config.window)
        return Scores(score.cpu().numpy(), wide.cpu().numpy())

    @torch.no_grad()
    def score_cells(self, images: np.ndarray, calibration: Calibration) -> tuple[Tensor, Tensor]:
        """Do the same; the maps stay as coarse as they are computed, ``(N, m, m)``."""
        nll, raw = self.raw_maps(self._images(images))
        mean, spread = calibration.mean, calibration.spread
        return self._score(nll, raw, mean, spread), self.anomaly_maps(raw, mean)

    def anomaly_maps(self, raw: Tensor, mean: Tensor, width: float = SHOWN) -> Tensor:
        """Return the anomaly maps ``(N, m, m)`` of raw maps ``(N, P, m, m)``.

        Args:
            raw: see :meth:`raw_maps`.
            mean: of good images, shape ``(P, m, m)``.
            width: standard deviation of the smoothing, in half patches.
        """
        return anomaly_map.anomaly_maps(raw, mean, width * self._half_patch(raw.shape[-1]))

    def _half_patch(self, cells: int) -> float:
        """Return half a patch in cells of maps that have so many on a side."""
        return 1.0

    def _good_maps(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of raw maps of good images, and their spread."""
        mean = raw.mean(0)
        return mean, anomaly_map.spread(self.anomaly_maps(raw, mean, SCORED))

    def _map_threshold(self, held_out: Tensor, mean: Tensor) -> float:
        """Return what 5 % of the anomaly maps of held-out good images exceed somewhere."""
        highest = anomaly_map.highest(self.anomaly_maps(held_out, mean))
        return float(highest.quantile(1 - FALSE_ALARMS))

    def _score(self, nll: Tensor, raw: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        raise NotImplementedError

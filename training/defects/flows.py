"""Flows of good images, whole or in patches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from datasets.defects import DefectSet
from datasets.densities import in_float64
from metrics import anomaly_map
from metrics.anomaly_map import Reference, Rule
from models.flow import Flow
from models.good_images import NearestGood
from models.maf import log_prob_terms, position_features
from training.core.config import RunConfig
from training.core.experiment import Snapshot
from training.core.optimiser import Optimiser, one_cycle
from training.defects.experiment import (
    FALSE_ALARMS,
    MEASURED,
    DefectExperiment,
    held_out_count,
    validation_auroc,
)
from training.defects.untrained import CELL, NEAREST_RULE, levels_of, nearest_raw

PATCHES = 64  # patches of each image in a step
FREQUENCIES = 7  # octaves that say where a patch is
NOISE = math.log(256)  # nats per dimension of uniform noise: anomalous enough for any map
# Standard deviations of the smoothing of maps, in half patches (pixels for whole images). What is
# shown live may be fine; one number for an image is steadier from a wider one.
SHOWN, SCORED = 1.0, 2.0


class DefectFlow(DefectExperiment):
    """Maximum likelihood on good images, whole or in patches.

    Args:
        config: with ``epochs``, ``batch``, ``learning_rate``, ``weight_decay``, ``seed``, and
            ``side``, ``window`` and ``features`` (see :class:`~training.maf.MAFConfig`).
        data: the images, ``config.side`` pixels on each side.
        model: the flow, not yet trained.
        device: where it trains.
    """

    LOSSES = ("nll",)
    METRICS = ("nll_held_out", "bits_per_dim", "auroc_validation")

    def __init__(
        self,
        config: RunConfig,
        data: DefectSet,
        model: Flow,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        fitted = len(data.train) - held_out_count(len(data.train))
        self.steps_per_epoch = math.ceil(fitted / config.batch)
        total = config.epochs * self.steps_per_epoch
        super().__init__(config, data, model, total=total, device=device)
        levels = in_float64(self.fit.flatten(0, 2))
        self.mean = levels.mean(0).float().to(self.device) + 0.5
        scale = levels.std(0).float().clamp_min(1.0)
        self.scale = scale.to(self.device)
        # From nats in standardised units to nats where a level of 8 bits is the unit.
        self.log_volume = float(in_float64(scale).log().mean()) * config.features
        self.initialise()
        # From the latent on: the order of weights in the vectors of all checkpoints.
        parts = nn.ModuleList([*reversed(self.model.chain), self.model.encoder])
        self.optimisers = {"adam": Optimiser(parts, weight_decay=config.weight_decay)}
        self._epoch: tuple[int, Tensor] | None = None
        self._seen: tuple[int, tuple] | None = None

    def load_state_dict(self, state: Mapping) -> None:
        super().load_state_dict(state)
        self._seen = None

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
        reference = self._rule(good[1].shape[-1]).reference(good[1])
        nll = float(held[0].mean())
        scores = (self._quick_scores(*some, reference) for some in (held, damaged))
        return {
            "nll_held_out": nll,
            "bits_per_dim": nll / (self.config.features * math.log(2)),
            "auroc_validation": validation_auroc(*scores),
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

    coarse: int | None = None  # stride of the maps of the live numbers

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

    def _rule(self, cells: int) -> Rule:
        """Return how raw maps with so many cells on a side become anomaly maps."""
        return self.rules[0]

    def _quick_scores(self, nll: Tensor, raw: Tensor, reference: Reference) -> Tensor:
        """Return the scores behind the live numbers, shape ``(N,)``."""
        raise NotImplementedError

    def _map_threshold(self, held_out: Tensor, mean: Tensor) -> float:
        """Return what 5 % of the anomaly maps of held-out good images exceed somewhere."""
        highest = anomaly_map.highest(self.anomaly_maps(held_out, mean))
        return float(highest.quantile(1 - FALSE_ALARMS))


class WholeImageFlow(DefectFlow):
    """One density of the whole image; its score is the plain NLL."""

    def initialise(self) -> None:
        x = self.standardised(self.fit, self.generator).flatten(1)
        # The outermost layer sees the data themselves; all others start from the identity.
        self.model.chain[0].initialise(x)

    def loss(self, images: Tensor) -> Tensor:
        return -self.model.log_prob(self.standardised(images, self.generator).flatten(1)).mean()

    def raw_maps(
        self,
        images: Tensor,
        stride: int | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        nll, maps = [], []
        for some in images.split(64):
            x = self.standardised(some, generator).flatten(1)
            terms = -log_prob_terms(self.model, x)  # (B, D)
            nll.append(terms.sum(1) + self.log_volume)
            places = terms.view(some.shape).mean(-1) + self.log_volume / self.config.features
            maps.append(places.clamp(max=NOISE)[:, None])
        return torch.cat(nll), torch.cat(maps)

    @property
    def rules(self) -> tuple[Rule, ...]:
        return (Rule(SHOWN, self.config.window, True, "none"),)

    def raws(self, images: Tensor, folds: Tensor | None = None) -> list[Tensor]:
        nll, places = self.raw_maps(images)
        return [places, nll]

    def _scored(self, raws: Sequence[Tensor], maps: Tensor) -> Tensor:
        return raws[1]

    def _quick_scores(self, nll: Tensor, raw: Tensor, reference: Reference) -> Tensor:
        return nll

    @torch.no_grad()
    def images(self) -> dict[str, np.ndarray]:
        eval_generator = torch.Generator().manual_seed(1)
        x = self.model.sample(4, generator=eval_generator)
        return {"samples": np.stack([self.image_of(one[None]) for one in x])}

    def image_of(self, x: Tensor) -> np.ndarray:
        side = self.config.side
        return _levels(x.view(side, side, 3) * self.scale + self.mean)


class PatchFlow(DefectFlow):
    """One density of patches given their place; its score is that of the most anomalous one."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        side, patch = self.config.side, self.config.patch
        cells = (side - patch) // (patch // 2) + 1
        return (self._rule(cells),)

    def _rule(self, cells: int) -> Rule:
        half = self._half_patch(cells)
        return Rule(SCORED * half, self.config.patch, True, "power", fine=SHOWN * half)

    def raws(self, images: Tensor, folds: Tensor | None = None) -> list[Tensor]:
        return [self.raw_maps(images)[1]]

    def _quick_scores(self, nll: Tensor, raw: Tensor, reference: Reference) -> Tensor:
        return anomaly_map.highest(reference.maps(raw))

    @property
    def coarse(self) -> int:
        """Stride, in pixels, of the maps of the live numbers."""
        return self.config.patch

    def loss(self, images: Tensor) -> Tensor:
        count, room = len(images) * PATCHES, self.config.side - self.config.patch + 1
        which = torch.arange(len(images), device=self.device).repeat_interleave(PATCHES)
        draw = {"generator": self.generator, "device": self.device}
        corners = torch.randint(room, (count, 2), **draw)
        x = self.standardised(self._cut(images, which, corners), self.generator)
        return -self.model.log_prob(x.flatten(1), self._context(corners)).mean()

    def _cut(self, images: Tensor, which: Tensor, corners: Tensor) -> Tensor:
        """Return patches ``(B, P, P, 3)`` of images ``which`` at ``(row, column)`` corners."""
        steps = torch.arange(self.config.patch, device=images.device)
        rows = corners[:, 0, None, None] + steps[:, None]
        columns = corners[:, 1, None, None] + steps
        return images[which[:, None, None], rows, columns]

    def one_point(self) -> tuple[Tensor, Tensor]:
        """Return the patch in the middle of a held-out good image, and its context.

        Shapes ``(1, D)`` and ``(1, context)``.
        """
        corner = torch.full((1, 2), (self.config.side - self.config.patch) // 2)
        corner, which = corner.to(self.device), torch.zeros(1, dtype=torch.long)
        x = self.standardised(self._cut(self.held_out[:1], which, corner), None)
        return x.flatten(1), self._context(corner)

    def _context(self, corners: Tensor) -> Tensor:
        centres = (corners + self.config.patch / 2) / self.config.side
        return position_features(centres.float(), FREQUENCIES)

    def raw_maps(
        self,
        images: Tensor,
        stride: int | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        stride = stride or self.config.patch // 2
        starts = torch.arange(0, self.config.side - self.config.patch + 1, stride)
        corners = torch.cartesian_prod(starts, starts).to(self.device)  # (m * m, 2)
        context = self._context(corners)
        nll, latent = [], []
        for image in images:
            which = torch.zeros(len(corners), dtype=torch.long, device=self.device)
            x = self.standardised(self._cut(image[None], which, corners), generator)
            z, log_det = self.model.inverse(x.flatten(1), context)
            nll.append(self.log_volume - self.model.prior.log_prob(z) - log_det)
            latent.append(z.square().sum(1) / 2)
        maps = torch.stack([torch.stack(nll), torch.stack(latent)], 1)  # (N, 2, m * m)
        places = (maps / self.config.features).clamp(max=NOISE)
        return maps[:, 0].mean(1), places.unflatten(2, (len(starts), len(starts)))

    def _half_patch(self, cells: int) -> float:
        side, patch = self.config.side, self.config.patch
        return patch / 2 / anomaly_map.stride_of(side, patch, cells)

    @torch.no_grad()
    def images(self) -> dict[str, np.ndarray]:
        """Return two images tiled of patches drawn apart, each given only its place.

        By name, each ``(n, S, S, 3)``, uint8.
        """
        context = self.image_context()
        x = self.model.sample(
            2 * len(context),
            context=context.repeat(2, 1),
            generator=torch.Generator().manual_seed(1),
            temperature=0.7,
        )
        return {"samples": np.stack([self.image_of(one) for one in x.chunk(2)])}

    def image_context(self) -> Tensor:
        side, patch = self.config.side, self.config.patch
        starts = torch.arange(0, side - patch + 1, patch)
        return self._context(torch.cartesian_prod(starts, starts).to(self.device))

    def image_of(self, x: Tensor) -> np.ndarray:
        patch, n = self.config.patch, math.isqrt(len(x))
        tiles = x.view(n, n, patch, patch, 3).transpose(1, 2)
        return _levels(tiles.reshape(n * patch, n * patch, 3) * self.scale + self.mean)


class BothFlow(PatchFlow):
    """The maps of a patch flow and of the nearest good image, brought together.

    Each is in units of what held-out good images have at their highest place. Only the flow learns;
    what it shows while it does is its own.
    """

    @cached_property
    def near(self) -> NearestGood:
        """The good images that the flow is fitted to, to be looked for the nearest in."""
        model = NearestGood(self.config.side // CELL).to(self.device)
        with torch.no_grad():
            model.fit(levels_of(self.fit))
        return model

    @property
    def rules(self) -> tuple[Rule, ...]:
        return (*super().rules, NEAREST_RULE)

    def raws(self, images: Tensor, folds: Tensor | None = None) -> list[Tensor]:
        return [*super().raws(images, folds), nearest_raw(self.near, images, folds)]


def _levels(x: Tensor) -> np.ndarray:
    """Return 8-bit levels; what is not finite, or far out, ends at black or white."""
    return x.nan_to_num(0, 255, 0).floor().clamp(0, 255).byte().cpu().numpy()

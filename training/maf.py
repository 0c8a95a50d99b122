"""Train a MAF on good images, whole or in patches, and score how unlike them others are."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from datasets import capsules, defects
from datasets.defects import DefectSet
from datasets.own import DataError
from datasets.synthetic import synthetic_defects
from metrics import detection
from models.flow import Flow
from models.maf import log_prob_terms, maf, position_features
from training.core.config import RunConfig, knob, rate_knob, seed_knob
from training.core.experiment import Experiment, Snapshot
from training.core.family import DataKind, Training
from training.core.optimiser import Optimiser, one_cycle

HELD_OUT = 0.2  # share of the good training images that calibrate and validate
LOOKED_AT = 24  # images of each sort behind the live numbers
PATCHES = 64  # patches of each image in a step
CHUNK = 4  # images scored between two looks at how far it is
FALSE_ALARMS = 0.05  # of the default threshold, on held-out good training images
SOFT = 0.05  # nats per dimension: keeps the calibration from dividing by almost nothing
FREQUENCIES = 7  # octaves that tell a patch its place
NOISE = math.log(256)  # nats per dimension of uniform noise: unlike enough for any map
# Widths of the Gaussians that smooth maps, in half patches (pixels for whole images). What is shown
# may be fine; one number for an image is steadier from a wider one.
SHOWN, SCORED = 1.0, 2.0
POWER = 8  # of the mean that makes a spread: close to the largest, which a speck of dust decides

# Where the two models start in the form: one knob has one default.
PRESETS: dict[str, dict[str, object]] = {
    "patches": {"model": "patches", "blocks": 5, "hidden": 256, "learning_rate": 2e-3},
    "image": {"model": "image", "blocks": 7, "hidden": 512, "learning_rate": 1e-4},
}


class MAFConfig(RunConfig):
    """What can be set on a MAF training."""

    dataset: Literal["rendered", "mvtec_capsule", "own"] = knob(
        "rendered",
        label="Dataset",
        help="Good images to learn from. `rendered` draws capsules here and now; "
        "`mvtec_capsule` is the real set, from a data folder; `own` is a folder or zip of yours.",
        group="Data",
    )
    model: Literal["patches", "image"] = knob(
        "patches",
        label="Model",
        help="One density of small patches given their place, slid over the image, or one "
        "density of the whole small image.",
        group="Model",
    )
    resolution: int = knob(
        128,
        bounds=(32, 256, 32),
        label="Resolution (pixels)",
        help="Side of the images that patches are cut from. Scratches and pokes that are thin "
        "need 256. The whole-image model ignores it.",
        group="Data",
    )
    patch: int = knob(
        8,
        bounds=(4, 16, 2),
        label="Patch (pixels)",
        help="Side of a patch. The whole-image model ignores it.",
        group="Model",
    )
    image_size: int = knob(
        64,
        bounds=(8, 64, 8),
        label="Image size (pixels)",
        help="Side of the whole image: 64 means 12,288 dimensions. The patch model ignores it.",
        group="Data",
    )
    blocks: int = knob(
        5,
        bounds=(1, 10, 1),
        label="Blocks",
        help="Masked autoregressive layers; they take turns in their order.",
        group="Model",
    )
    hidden: int = knob(
        256,
        bounds=(32, 1024, 32),
        label="Hidden units",
        help="Width of the two hidden layers of each MADE.",
        group="Model",
    )
    epochs: int = knob(
        100,
        bounds=(1, 1000, 1),
        label="Epochs",
        help="Times that each good training image is seen. The learning rate follows one cycle "
        "over all of them: up in the first tenth, then down to zero.",
    )
    batch: int = knob(
        8,
        bounds=(2, 128, 1),
        label="Batch size (images)",
        help=f"Images per step. The patch model takes {PATCHES} patches of each.",
    )
    learning_rate: float = rate_knob(2e-3, bounds=(1e-5, 1e-2))
    weight_decay: float = knob(
        0.0,
        bounds=(0.0, 0.1, 0.005),
        label="Weight decay",
        help="Pulls the weights towards zero (decoupled from the gradient, as in AdamW).",
    )
    seed: int = seed_knob()

    @property
    def side(self) -> int:
        """Pixels on each side of the images that it reads."""
        return self.image_size if self.model == "image" else self.resolution


def load(config: MAFConfig, own: DefectSet | None = None) -> DefectSet:
    """Return the images that ``config`` names, at the size that it needs.

    Raises:
        DataError: they are not there or cannot be used.
    """
    folder = find(config)
    if folder is not None:
        return defects.read_folder(folder, config.side)
    if config.dataset == "rendered":
        return capsules.rendered_capsules(config.side)
    if own is None:
        raise DataError("The data set own needs a folder or a zip in MVTec's layout.")
    return own.resized(config.side)


def find(config: MAFConfig) -> Path | None:
    """Return the folder that ``config`` names, or ``None`` if its images need none.

    Raises:
        DataError: it is not there.
    """
    if config.dataset in ("rendered", "own"):
        return None
    folder = defects.find_sets().get(config.dataset)
    if folder is None:
        raise DataError(
            f"There is no folder {config.dataset} under the data roots: download it, or set "
            "GENLAB_DATA to where it is."
        )
    return folder


def features(config: MAFConfig) -> int:
    """Return the dimensions of the density that ``config`` describes."""
    return 3 * (config.side if config.model == "image" else config.patch) ** 2


def model(config: MAFConfig, *, generator: torch.Generator | None = None) -> Flow:
    """Return the flow that ``config`` describes, not yet trained."""
    image = config.model == "image"
    return maf(
        features=features(config),
        blocks=config.blocks,
        hidden=config.hidden,
        # Whole images come standardised per channel alone; where a pixel lies says much of it.
        actnorm=image,
        context=0 if image else 4 * FREQUENCIES,
        generator=generator,
    )


@dataclass(frozen=True, eq=False)
class Scores:
    """How unlike the good ones some images are.

    Attributes:
        score: one number per image, higher is more unlike; nats for whole images, spreads of
            the good ones at the most unlike place for patches. Shape ``(N,)``.
        maps: where, in nats per dimension away from the good ones at that place (see
            :meth:`DefectFlow.unlike`), shape ``(N, S, S)``.
    """

    score: np.ndarray
    maps: np.ndarray


@dataclass(frozen=True, eq=False)
class Calibration:
    """What good images look like to the model.

    Attributes:
        mean: of the maps of good training images, shape ``(P, m, m)``, nats per dimension.
        spread: how far those are from it, shape ``(m, m)``: the mean over the images of the
            eighth powers, its eighth root. A place where one of them has a speck of dust has seen
            specks; a standard deviation would hardly know of it.
        held_out: scores of the held-out good training images.
        threshold: the score that 5 % of those exceed.
        usual: what the maps of 5 % of those exceed somewhere, nats per dimension.
    """

    mean: Tensor
    spread: Tensor
    held_out: np.ndarray
    threshold: float
    usual: float


class DefectFlow(Experiment):
    """Maximum likelihood on good images; what both models share.

    Of the good training images a fifth is held out: it gives the threshold, and, once more with
    synthetic defects, the live AUROC. The test images are not touched before
    :func:`~analysis.maf_scores.evaluate`.
    """

    LOSSES = ("nll",)
    METRICS = ("nll_held_out", "bits_per_dim", "auroc_validation")
    SNAPSHOT_PATIENCE = 10.0  # a snapshot takes as long as some ten steps

    def __init__(
        self, config: MAFConfig, data: DefectSet, *, device: torch.device | str = "cpu"
    ) -> None:
        order = np.random.default_rng(config.seed).permutation(len(data.train))
        held = min(max(round(HELD_OUT * len(order)), 2), len(order) - 2)
        self.data = data
        self.steps_per_epoch = math.ceil((len(order) - held) / config.batch)
        super().__init__(config, device, config.epochs * self.steps_per_epoch)
        self.fit = self._images(data.train[order[held:]])  # (N, S, S, 3), uint8
        self.held_out = self._images(data.train[order[:held]])
        # The measured images stay the same whoever looks and however often.
        damaged, masks = synthetic_defects(data.train[order[:held]][:LOOKED_AT], seed=1)
        self.damaged, self.damaged_masks = self._images(damaged), masks
        levels = self.fit.flatten(0, 2).double()
        self.mean = levels.mean(0).float() + 0.5
        self.scale = levels.std(0).float().clamp_min(1.0)
        self.model = self.flow(self.seeded())
        self.model.to(self.device)
        self.initialise()
        # From the latent on: the order of weights in the vectors of all checkpoints.
        parts = nn.ModuleList([*reversed(self.model.chain), self.model.encoder])
        self.optimisers = {"adam": Optimiser(parts, weight_decay=config.weight_decay)}
        self._epoch: tuple[int, Tensor] | None = None
        self._looked: tuple[int, tuple] | None = None

    def load_state_dict(self, state: Mapping) -> None:
        super().load_state_dict(state)
        self._looked = None

    def _images(self, images: np.ndarray) -> Tensor:
        """Move images ``(N, 3, S, S)`` to the device, channels last."""
        if not images.flags.writeable:
            images = images.copy()
        return torch.from_numpy(images).permute(0, 2, 3, 1).contiguous().to(self.device)

    # -- what the two models differ in ----------------------------------------------------------

    def flow(self, generator: torch.Generator) -> Flow:
        """Return the model, not yet trained."""
        return model(self.config, generator=generator)

    @property
    def features(self) -> int:
        """The dimensions of the density."""
        return features(self.config)

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
        """Return the NLL of each image, nats, and maps of how unusual it is where.

        Shapes ``(N,)`` and ``(N, P, m, m)``, nats per dimension, not smoothed. Of whole images
        there is one map, the NLL. Patches have a second one, how far their latents are from the
        middle of the prior: NLL is high wherever there is much detail, latents do not know of it.

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

    @cached_property
    def log_volume(self) -> float:
        """From nats in standardised units to nats where a level of 8 bits is the unit."""
        return float(self.scale.double().log().mean()) * self.features

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
        good, held, damaged = self._seen()
        known = self._expected(good[1])
        nll = float(held[0].mean())
        score = torch.cat([self._score(*some, *known) for some in (held, damaged)])
        truth = np.arange(len(score)) >= len(held[0])
        return {
            "nll_held_out": nll,
            "bits_per_dim": nll / (self.features * math.log(2)),
            "auroc_validation": detection.auroc(score.cpu().numpy(), truth),
        }

    def _seen(self) -> tuple:
        """Return NLL and maps of some good, held-out and damaged images, always the same noise.

        Of each step once: the numbers and the snapshot of a step show the same.
        """
        if self._looked is None or self._looked[0] != self.step:
            sets = self.fit[:LOOKED_AT], self.held_out[:LOOKED_AT], self.damaged
            eval_generator = torch.Generator(self.device).manual_seed(3)
            seen = tuple(self.raw_maps(some, self.coarse, eval_generator) for some in sets)
            self._looked = self.step, seen
        return self._looked[1]

    @torch.no_grad()
    def snapshot(self) -> Snapshot:
        good, held, damaged = self._seen()
        mean = good[1].mean(0)
        return {
            **self.images(),
            # coarse: see `stretched`
            "heat": half(self.unlike(damaged[1][:4], mean).cpu().numpy()),
            "heat_usual": np.array(self._usual(held[1], mean)),
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

    coarse: int | None = None  # stride of the maps that are only looked at

    @torch.no_grad()
    def calibrating(self) -> Generator[int, None, Calibration]:
        """Learn in pieces what good training images look like, and the threshold.

        Yields how many images each piece has looked at. What maps should look like is of the
        images that the model is fitted to; the threshold is of held-out ones: fitted ones score
        lower, so a threshold of theirs would be exceeded by more than 5 % of good images.
        """
        fit = yield from self._raw(self.fit)
        held_out = yield from self._raw(self.held_out)
        mean, spread = self._expected(fit[1])
        scores = self._score(*held_out, mean, spread).cpu().numpy()
        threshold = detection.threshold_from_good(scores, false_alarms=FALSE_ALARMS)
        return Calibration(mean, spread, scores, threshold, self._usual(held_out[1], mean))

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
        return Scores(score.cpu().numpy(), self._stretched(cells).cpu().numpy())

    @torch.no_grad()
    def score_cells(self, images: np.ndarray, calibration: Calibration) -> tuple[Tensor, Tensor]:
        """Do the same; the maps stay as coarse as they are computed, ``(N, m, m)``."""
        nll, maps = self.raw_maps(self._images(images))
        mean, spread = calibration.mean, calibration.spread
        return self._score(nll, maps, mean, spread), self.unlike(maps, mean)

    def unlike(self, maps: Tensor, mean: Tensor, width: float = SHOWN) -> Tensor:
        """Return how far maps are from those of good images, nats per dimension.

        Both ways: bare shell where the print belongs is likelier than the print. What several
        maps of an image say is added up.

        Args:
            maps: shape ``(N, P, m, m)``, see :meth:`raw_maps`.
            mean: of good images, shape ``(P, m, m)``.
            width: of the smoothing, in half patches.

        Returns:
            Shape ``(N, m, m)``.
        """
        return _smooth(maps - mean, width * self._cells(maps.shape[-1])).abs().sum(1)

    def _cells(self, count: int) -> float:
        """Return the width of half a patch in cells of maps that have so many on a side."""
        return 1.0

    def _expected(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        mean = maps.mean(0)
        far = self.unlike(maps, mean, SCORED)
        return mean, far.pow(POWER).mean(0).pow(1 / POWER)

    def _usual(self, held_out: Tensor, mean: Tensor) -> float:
        """Return what 5 % of the maps of held-out good images exceed somewhere."""
        highest = self.unlike(held_out, mean).flatten(1).amax(1)
        return float(highest.quantile(1 - FALSE_ALARMS))

    def _score(self, nll: Tensor, maps: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        raise NotImplementedError

    def _stretched(self, maps: Tensor) -> Tensor:
        return stretched(maps, self.config)


class ImageFlow(DefectFlow):
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
            places = terms.view(some.shape).mean(-1) + self.log_volume / self.features
            maps.append(places.clamp(max=NOISE)[:, None])
        return torch.cat(nll), torch.cat(maps)

    def _score(self, nll: Tensor, maps: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
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
    """One density of patches given their place; its score is that of the most unlike place."""

    @property
    def coarse(self) -> int:
        """Stride, in pixels, of the maps that are only looked at."""
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
        nll, far = [], []
        for image in images:
            which = torch.zeros(len(corners), dtype=torch.long, device=self.device)
            x = self.standardised(self._cut(image[None], which, corners), generator)
            z, log_det = self.model.inverse(x.flatten(1), context)
            nll.append(self.log_volume - self.model.prior.log_prob(z) - log_det)
            far.append(z.square().sum(1) / 2)
        maps = torch.stack([torch.stack(nll), torch.stack(far)], 1)  # (N, 2, m * m)
        places = (maps / self.features).clamp(max=NOISE)
        return maps[:, 0].mean(1), places.unflatten(2, (len(starts), len(starts)))

    def _cells(self, count: int) -> float:
        return self.config.patch / 2 / _stride(self.config, count)

    def _score(self, nll: Tensor, maps: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        return (self.unlike(maps, mean, SCORED) / (spread + SOFT)).flatten(1).amax(1)

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


def half(maps: np.ndarray) -> np.ndarray:
    """Return maps in half precision; what lies further out than that reaches, ends there.

    Of any shape; the result has the same.
    """
    return np.nan_to_num(maps.clip(-6e4, 6e4)).astype(np.float16)


def _levels(x: Tensor) -> np.ndarray:
    """Return 8-bit levels; what is not finite, or far out, ends at black or white."""
    return x.nan_to_num(0, 255, 0).floor().clamp(0, 255).byte().cpu().numpy()


def _stride(config: MAFConfig, cells: int) -> int:
    """Return the pixels between two patches of a map that has so many cells on a side."""
    return (config.side - config.patch) // max(cells - 1, 1) or 1


def stretched(maps: Tensor, config: MAFConfig) -> Tensor:
    """Bring maps ``(N, m, m)`` to the size of the images, ``(N, S, S)``."""
    side, patch, cells = config.side, config.patch, maps.shape[-1]
    if config.model == "image":
        return maps
    stride = _stride(config, cells)
    wide = functional.interpolate(
        maps[:, None], size=cells * stride, mode="bilinear", align_corners=False
    )
    # The first cell is centred at half a patch, not at half a stride.
    before = (patch - stride) // 2
    after = side - cells * stride - before
    if after < 0:
        wide, after = wide[..., :after, :after], 0
    return functional.pad(wide, (before, after, before, after), mode="replicate")[:, 0]


def _smooth(maps: Tensor, sigma: float) -> Tensor:
    """Blur maps ``(N, P, m, m)`` by a Gaussian; their edge is continued."""
    reach = max(1, round(3 * sigma))
    x = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    kernel = (-0.5 * (x / sigma).square()).exp()
    kernel = (kernel / kernel.sum())[None, None, None]
    wide = functional.pad(maps.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
    smooth = functional.conv2d(functional.conv2d(wide, kernel), kernel.mT)
    return smooth.view(maps.shape)


def build(
    config: MAFConfig, *, device: torch.device | str = "cpu", own: DefectSet | None = None
) -> DefectFlow:
    """Return the experiment that ``config`` describes, not yet trained.

    Raises:
        DataError: its images are not there or cannot be used.
    """
    kind = ImageFlow if config.model == "image" else PatchFlow
    return kind(config, load(config, own), device=device)


def read(path: Path, config: MAFConfig) -> DefectSet:
    """Read a person's own set, from a folder or a zip.

    Raises:
        DataError: it cannot be used.
    """
    if path.is_dir():
        return defects.read_folder(path, config.side)
    with path.open("rb") as file:
        return defects.read_zip(file, config.side, name=path.name)


DEFECT_DATA = DataKind(
    "a folder or zip in MVTec's layout",
    read,
    DefectSet.load,
    titles=defects.SETS,
    fits=lambda config, _own: find(config),
)
TRAINING = Training(MAFConfig, model, build, data=DEFECT_DATA)

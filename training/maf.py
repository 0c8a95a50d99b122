"""Train a MAF on good images, whole or in patches, and score how anomalous others are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from datasets import defects, rendered_sets
from datasets.defects import DefectSet
from datasets.own import DataError
from datasets.plane import OWN
from metrics import anomaly_map
from models.flow import Flow
from models.maf import log_prob_terms, maf, position_features
from training.core.config import RunConfig, knob, rate_knob, seed_knob
from training.defects.experiment import SCORED, DefectFlow
from training.core.family import DataKind, Training

PATCHES = 64  # patches of each image in a step
FREQUENCIES = 7  # octaves that say where a patch is
NOISE = math.log(256)  # nats per dimension of uniform noise: anomalous enough for any map

# Where the two models start in the form: one knob has one default.
PRESETS: dict[str, dict[str, object]] = {
    "patches": {"model": "patches", "blocks": 5, "hidden": 256, "learning_rate": 2e-3},
    "image": {"model": "image", "blocks": 7, "hidden": 512, "learning_rate": 1e-4},
}


class MAFConfig(RunConfig):
    """What can be set on a MAF training."""

    dataset: Literal["rendered", "rendered_bottle", "rendered_textile", "mvtec_capsule", "own"] = (
        knob(
            "rendered",
            label="Dataset",
            help="Good images to learn from. Rendered ones are drawn here and now; `mvtec_capsule` is "
            "a real set, from a data folder; `own` is a folder or zip of yours.",
            group="Data",
        )
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

    @property
    def window(self) -> int:
        """Pixels on each side of what one density is of, a patch or the whole image."""
        return self.image_size if self.model == "image" else self.patch

    @property
    def features(self) -> int:
        """Dimensions of the density."""
        return 3 * self.window**2


def load(config: MAFConfig, own: DefectSet | None = None) -> DefectSet:
    """Return the images that ``config`` names, at the size that it needs.

    Raises:
        DataError: they are not there or cannot be used.
    """
    folder = find(config)
    if folder is not None:
        return defects.read_folder(folder, config.side)
    if config.dataset in rendered_sets.PARTS:
        return rendered_sets.rendered_set(config.dataset, config.side)
    if own is None:
        raise DataError("The data set own needs a folder or a zip in MVTec's layout.")
    return own.resized(config.side)


def find(config: MAFConfig) -> Path | None:
    """Return the folder that ``config`` names, or ``None`` if its images need none.

    Raises:
        DataError: it is not there.
    """
    if config.dataset == OWN or config.dataset in rendered_sets.PARTS:
        return None
    folder = defects.find_sets().get(config.dataset)
    if folder is None:
        raise DataError(
            f"There is no folder {config.dataset} under the data roots: download it, or set "
            "GENLAB_DATA to where it is."
        )
    return folder


def model(config: MAFConfig, *, generator: torch.Generator | None = None) -> Flow:
    """Return the flow that ``config`` describes, not yet trained."""
    image = config.model == "image"
    return maf(
        features=config.features,
        blocks=config.blocks,
        hidden=config.hidden,
        # Whole images come standardised per channel alone; where a pixel lies says much of it.
        actnorm=image,
        context=0 if image else 4 * FREQUENCIES,
        generator=generator,
    )


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

    def _score(self, nll: Tensor, raw: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
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

    def _score(self, nll: Tensor, raw: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        return anomaly_map.scores(self.anomaly_maps(raw, mean, SCORED), spread)

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


def _levels(x: Tensor) -> np.ndarray:
    """Return 8-bit levels; what is not finite, or far out, ends at black or white."""
    return x.nan_to_num(0, 255, 0).floor().clamp(0, 255).byte().cpu().numpy()


def build(
    config: MAFConfig, *, device: torch.device | str = "cpu", own: DefectSet | None = None
) -> DefectFlow:
    """Return the experiment that ``config`` describes, not yet trained.

    Raises:
        DataError: its images are not there or cannot be used.
    """
    kind = WholeImageFlow if config.model == "image" else PatchFlow
    data = load(config, own)
    flow = model(config, generator=torch.Generator().manual_seed(config.seed))
    return kind(config, data, flow, device=device)


def read(config: MAFConfig, path: Path) -> DefectSet:
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
    fetched=frozenset(defects.SETS) - set(rendered_sets.PARTS),
    fits=lambda config, _own: find(config),
)
TRAINING = Training(MAFConfig, model, build, data=DEFECT_DATA)

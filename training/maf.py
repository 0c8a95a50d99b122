"""Train a MAF on good images, whole or in patches, and score how anomalous others are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch

from datasets import defects, rendered_sets
from datasets.defects import DefectSet
from datasets.own import DataError
from datasets.plane import OWN
from models.flow import Flow
from models.good_images import NearestGood, PixelGaussian
from models.maf import maf
from training.core.config import RunConfig, knob, rate_knob, seed_knob
from training.core.family import DataKind, Training
from training.defects.experiment import DefectExperiment
from training.defects.flows import FREQUENCIES, PATCHES, BothFlow, PatchFlow, WholeImageFlow
from training.defects.untrained import CELL, POOLED, NearestExperiment, PixelExperiment

# Where the two models start in the form: one knob has one default.
PRESETS: dict[str, dict[str, object]] = {
    "both": {"model": "both", "blocks": 5, "hidden": 256, "learning_rate": 2e-3},
    "patches": {"model": "patches", "blocks": 5, "hidden": 256, "learning_rate": 2e-3},
    "image": {"model": "image", "blocks": 7, "hidden": 512, "learning_rate": 1e-4},
    "nearest": {"model": "nearest"},
    "gaussian": {"model": "gaussian"},
}


Dataset = Literal["rendered", "rendered_bottle", "rendered_textile", "mvtec_capsule", "own"]
UNTRAINED = ("nearest", "gaussian")  # models at their end where they begin


class MAFConfig(RunConfig):
    """What can be set on a MAF training."""

    dataset: Dataset = knob(
        "rendered",
        label="Dataset",
        help="Good images to learn from. Rendered ones are drawn here and now; `mvtec_capsule` is "
        "a real set, from a data folder; `own` is a folder or zip of yours.",
        group="Data",
    )
    model: Literal["both", "patches", "image", "nearest", "gaussian"] = knob(
        "patches",
        label="Model",
        help="`patches`: one density of small patches given their place, slid over the image; "
        "`both`: its map and that of the nearest good image; `image`: one density of the whole "
        "small image. Without training: `nearest`, the distance to the nearest good image at each "
        "place, and `gaussian`, mean and standard deviation of each pixel.",
        group="Model",
    )
    resolution: int = knob(
        128,
        bounds=(32, 256, 32),
        label="Resolution (pixels)",
        help="Side of the images. Scratches and pokes that are thin need 256. The whole-image "
        "model ignores it.",
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


def map_window(config: MAFConfig) -> int:
    """Return the pixels on each side of what a cell of the live maps is of."""
    return {"nearest": CELL, "gaussian": POOLED}.get(config.model, config.window)


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


def model(
    config: MAFConfig, *, generator: torch.Generator | None = None
) -> Flow | NearestGood | PixelGaussian:
    """Return what ``config`` describes, not yet trained."""
    if config.model == "gaussian":
        return PixelGaussian(config.side)
    if config.model == "nearest":
        return NearestGood(config.side // CELL)
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


def build(
    config: MAFConfig, *, device: torch.device | str = "cpu", own: DefectSet | None = None
) -> DefectExperiment:
    """Return the experiment that ``config`` describes, not yet trained.

    Raises:
        DataError: its images are not there or cannot be used.
    """
    return experiment(config, load(config, own), device)


KINDS = {
    "both": BothFlow,
    "patches": PatchFlow,
    "image": WholeImageFlow,
    "nearest": NearestExperiment,
    "gaussian": PixelExperiment,
}


def experiment(
    config: MAFConfig, data: DefectSet, device: torch.device | str = "cpu"
) -> DefectExperiment:
    """Return the experiment that ``config`` describes on images that are here already."""
    untrained = model(config, generator=torch.Generator().manual_seed(config.seed))
    return KINDS[config.model](config, data, untrained, device=device)


def baseline_names(of: DefectExperiment) -> list[str]:
    """Return which models without training stand beside another one; what is part of it does not.

    They are scored on the same images, with the same of them held out.
    """
    known = {of.config.model, "nearest"} if of.config.model == "both" else {of.config.model}
    return [name for name in UNTRAINED if name not in known]


def baselines_of(of: DefectExperiment) -> Iterator[DefectExperiment]:
    """Yield the experiments that :func:`baseline_names` names, one after the other."""
    for name in baseline_names(of):
        side = of.config.side
        # The whole-image model may read smaller images than the others may be set to.
        config = of.config.model_copy(update={"model": name, "resolution": side})
        yield experiment(config, of.data, of.device)


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
    "a folder or zip of good images, or in MVTec's layout",
    read,
    DefectSet.load,
    titles=defects.SETS,
    fetched=frozenset(defects.SETS) - set(rendered_sets.PARTS),
    fits=lambda config, _own: find(config),
)
TRAINING = Training(MAFConfig, model, build, data=DEFECT_DATA, presets=PRESETS)

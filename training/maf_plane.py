"""Train a MAF on a density in the plane."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from datasets.own import OwnData
from models.flow import Flow
from models.maf import maf
from training.core.config import knob
from training.core.loop import Progress, train
from training.core.plane_flow import PlaneConfig, PlaneFlow


class MAFPlaneConfig(PlaneConfig):
    """What can be set on a training of MAF in the plane."""

    blocks: int = knob(
        8,
        ge=1,
        le=12,
        step=1,
        label="Blocks",
        help="Masked autoregressive layers; they take turns in which coordinate comes first.",
        group="Model",
    )
    hidden: int = knob(
        64,
        ge=32,
        le=256,
        step=32,
        label="Hidden units",
        help="Width of the two hidden layers of each MADE.",
        group="Model",
    )


CONFIG = MAFPlaneConfig


def model(config: MAFPlaneConfig, *, generator: torch.Generator | None = None) -> Flow:
    """Return the flow that ``config`` describes."""
    return maf(features=2, blocks=config.blocks, hidden=config.hidden, generator=generator)


def build(
    config: MAFPlaneConfig, *, device: torch.device | str = "cpu", own: OwnData | None = None
) -> PlaneFlow:
    """Return the experiment that ``config`` describes, not yet trained."""
    return PlaneFlow(config, partial(model, config), device=device, own=own)


def train_maf_plane(
    config: MAFPlaneConfig, *, device: torch.device | str = "cpu", own: OwnData | None = None
) -> Iterator[Progress]:
    """Train to the end, yielding after every step."""
    return train(build(config, device=device, own=own))

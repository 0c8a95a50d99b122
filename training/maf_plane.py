"""Train a MAF on a 2-D density."""

from __future__ import annotations

import torch

from models.blocks.layers import shared_bound
from models.flow import Flow
from models.maf import MaskedAutoregressive, maf
from training.core.config import knob
from training.core.plane_flow import PlaneConfig, plane_flow

# Largest log-scale of all blocks together: deep flows moved all of them the same way in the first
# steps, and their loss jumped to millions.
REACH = 20.0


class MAFPlaneConfig(PlaneConfig):
    """What can be set on a training of MAF in 2-D."""

    blocks: int = knob(
        8,
        bounds=(1, 12, 1),
        label="Blocks",
        help="Masked autoregressive layers; they take turns in which coordinate comes first.",
        group="Model",
    )
    hidden: int = knob(
        64,
        bounds=(32, 256, 32),
        label="Hidden units",
        help="Width of the two hidden layers of each MADE.",
        group="Model",
    )


def model(config: MAFPlaneConfig, *, generator: torch.Generator | None = None) -> Flow:
    """Return the flow that ``config`` describes."""
    return maf(
        features=2,
        blocks=config.blocks,
        hidden=config.hidden,
        bound=shared_bound(min(MaskedAutoregressive.BOUND, REACH / config.blocks), config.blocks),
        generator=generator,
    )


TRAINING = plane_flow(MAFPlaneConfig, model)

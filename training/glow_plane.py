"""Train Glow on a 2-D density: actnorm, invertible linear map, affine coupling."""

from __future__ import annotations

import torch

from models.flow import Flow
from models.glow import glow_plane
from training.core.config import knob
from training.core.plane_flow import PlaneConfig, plane_flow


class GlowPlaneConfig(PlaneConfig):
    """What can be set on a training of Glow in 2-D."""

    steps: int = knob(
        8,
        bounds=(2, 12, 1),
        label="Steps of flow, K",
        help="Each is an actnorm, an invertible linear map that mixes the coordinates, and an "
        "affine coupling.",
        group="Model",
    )
    hidden: int = knob(
        64,
        bounds=(32, 256, 32),
        label="Hidden units",
        help="Width of the two hidden layers of each conditioner.",
        group="Model",
    )


def model(config: GlowPlaneConfig, *, generator: torch.Generator | None = None) -> Flow:
    """Return the flow that ``config`` describes."""
    return glow_plane(steps=config.steps, hidden=config.hidden, generator=generator)


TRAINING = plane_flow(GlowPlaneConfig, model)

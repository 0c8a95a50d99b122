"""Train NICE on a 2-D density."""

from __future__ import annotations

from typing import Literal

import torch

from models.flow import Flow
from models.nice import nice
from training.core.config import knob
from training.core.plane_flow import PlaneConfig, plane_flow


class NICEConfig(PlaneConfig):
    """What can be set on a NICE training."""

    layers: int = knob(
        8,
        bounds=(2, 12, 1),
        label="Coupling layers",
        help="Additive couplings; they take turns in which coordinate is passive. Two can only "
        "shear; more can curl.",
        group="Model",
    )
    hidden: int = knob(
        128,
        bounds=(32, 256, 32),
        label="Hidden units",
        help="Width of the two hidden layers of each conditioner, the network that decides the "
        "shift.",
        group="Model",
    )
    prior: Literal["gaussian", "logistic"] = knob(
        "gaussian",
        label="Prior",
        help="Distribution of the latents. The paper prefers the logistic one for images, for its "
        "heavier tails.",
        group="Model",
    )


def model(config: NICEConfig, *, generator: torch.Generator | None = None) -> Flow:
    """Return the flow that ``config`` describes."""
    return nice(layers=config.layers, hidden=config.hidden, prior=config.prior, generator=generator)


TRAINING = plane_flow(NICEConfig, model)

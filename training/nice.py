"""Train NICE on a density in the plane."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

import torch

from datasets.own import OwnData
from models.flow import Flow
from models.nice import nice
from training.core.config import knob
from training.core.loop import Progress, train
from training.core.plane_flow import PlaneConfig, PlaneFlow


class NICEConfig(PlaneConfig):
    """What can be set on a NICE training."""

    layers: int = knob(
        8,
        ge=2,
        le=12,
        step=1,
        label="Coupling layers",
        help="Additive couplings; they take turns in which coordinate is passive. Two can only "
        "shear; more can curl.",
        group="Model",
    )
    hidden: int = knob(
        128,
        ge=32,
        le=256,
        step=32,
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


CONFIG = NICEConfig


def model(config: NICEConfig, *, generator: torch.Generator | None = None) -> Flow:
    """Return the flow that ``config`` describes."""
    return nice(layers=config.layers, hidden=config.hidden, prior=config.prior, generator=generator)


def build(
    config: NICEConfig, *, device: torch.device | str = "cpu", own: OwnData | None = None
) -> PlaneFlow:
    """Return the experiment that ``config`` describes, not yet trained."""
    return PlaneFlow(config, partial(model, config), device=device, own=own)


def train_nice(
    config: NICEConfig, *, device: torch.device | str = "cpu", own: OwnData | None = None
) -> Iterator[Progress]:
    """Train to the end, yielding after every step."""
    return train(build(config, device=device, own=own))

"""Train RealNVP, with affine or spline couplings, on a 2-D density."""

from __future__ import annotations

from typing import Literal

import torch

from models.flow import Flow
from models.realnvp import realnvp
from training.core.config import knob
from training.core.plane_flow import PlaneConfig, plane_flow


class RealNVPConfig(PlaneConfig):
    """What can be set on a RealNVP training."""

    coupling: Literal["affine", "spline"] = knob(
        "affine",
        label="Coupling",
        help="Affine: each coupling stretches and shifts. Spline: it bends by a monotone curve of "
        "eight pieces, which learns finer shapes and takes two to three times as long.",
        group="Model",
    )
    blocks: int = knob(
        8,
        bounds=(2, 12, 1),
        label="Blocks",
        help="Couplings; they take turns in which coordinate is passive.",
        group="Model",
    )
    hidden: int = knob(
        64,
        bounds=(32, 256, 32),
        label="Hidden units",
        help="Width of the two hidden layers of each conditioner.",
        group="Model",
    )
    actnorm: bool = knob(
        False,
        label="ActNorm before each block",
        help="Shift and scale set from the first batch. Deep image flows need it; in 2-D, "
        "with standardised data, it changes little.",
        group="Model",
    )


def model(config: RealNVPConfig, *, generator: torch.Generator | None = None) -> Flow:
    """Return the flow that ``config`` describes."""
    return realnvp(
        blocks=config.blocks,
        hidden=config.hidden,
        coupling=config.coupling,
        actnorm=config.actnorm,
        generator=generator,
    )


TRAINING = plane_flow(RealNVPConfig, model)

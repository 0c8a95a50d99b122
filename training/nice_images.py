"""Train NICE on images: the set-up of the paper."""

from __future__ import annotations

from typing import Literal

import torch

from models.blocks.image_layers import ImageShape
from models.flow import Flow
from models.nice import nice_images
from training.core.config import knob
from training.core.image_flow import FlowConfig, image_flow, squeezable


class NICEImagesConfig(FlowConfig):
    """What can be set on a training of NICE on images."""

    layers: int = knob(
        4,
        bounds=(2, 8, 1),
        label="Coupling layers",
        help="Additive couplings between the pixels at even and at odd places. The paper has 4.",
        group="Model",
    )
    hidden: int = knob(
        1000,
        bounds=(100, 1500, 100),
        label="Hidden units",
        help="Width of the hidden layers of each conditioner. The paper has 1000.",
        group="Model",
    )
    depth: int = knob(
        5,
        bounds=(1, 6, 1),
        label="Hidden layers",
        help="Of each conditioner. The paper has 5.",
        group="Model",
    )
    prior: Literal["logistic", "gaussian"] = knob(
        "logistic",
        label="Prior",
        help="Distribution of the latents. The paper takes the logistic one for digits, for its "
        "heavier tails.",
        group="Model",
    )

    def padded(self, shape: ImageShape) -> ImageShape:
        """Return the shape that images of ``shape`` are padded to: vectors need no padding."""
        return squeezable(shape, 0)


def model(
    config: NICEImagesConfig,
    shape: ImageShape,
    classes: int,
    *,
    generator: torch.Generator | None = None,
) -> Flow:
    """Return the flow that ``config`` describes, over images of ``shape``; it knows no classes."""
    return nice_images(
        shape=shape,
        layers=config.layers,
        hidden=config.hidden,
        depth=config.depth,
        prior=config.prior,
        generator=generator,
    )


TRAINING = image_flow(NICEImagesConfig, model)

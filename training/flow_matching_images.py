"""Train flow matching on images: a U-Net learns the velocity, with or without the class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from datasets.own_images import OwnImages
from models.blocks.image_layers import ImageShape
from models.flow import Flow
from models.flow_matching import TARGETS, Transport, flow_matching_images, solved
from training.core import collectives
from training.core.config import knob, rate_knob, seed_knob
from training.core.experiment import Snapshot
from training.core.family import Training
from training.core.image_flow import (
    ImageFlowTraining,
    bits_per_dim,
    conditional_knob,
    squeezable,
)
from training.core.images import IMAGE_DATA, ImageDataConfig, dequantise, quantise, scattered
from training.core.optimiser import one_cycle
from training.flow_matching import times

DROPPED = 0.1  # of the images, whose class is not told, so that there is a velocity of any class
STEPS = 10  # of Euler's method behind the samples of a snapshot
MEASURED = 512  # test images behind each measurement
LIKELY = 100  # test images whose bits/dim are estimated, once, at the end
LIKELY_STEPS = 16  # of the midpoint method on their trajectories


class FlowMatchingImagesConfig(ImageDataConfig):
    """What can be set on a training of flow matching on images."""

    path: Literal["straight", "variance_preserving"] = knob(
        "straight",
        label="Path",
        help="From noise to an image. Straight: in a line, at one speed. Variance preserving: on a "
        "quarter of a circle, as in diffusion.",
        group="Model",
    )
    target: Literal[TARGETS] = knob(  # type: ignore[valid-type]
        "velocity",
        label="Predict",
        help="What the network is asked for on the way: the velocity, the noise that the way "
        "began at, or the image that it leads to. The other two follow.",
        group="Model",
    )
    channels: int = knob(
        32,
        bounds=(16, 128, 16),
        label="Channels",
        help="Of the finer level of the U-Net; the coarser one has twice as many. Its time grows "
        "with the square.",
        group="Model",
    )
    blocks: int = knob(
        1,
        bounds=(1, 3, 1),
        label="Blocks per level",
        help="Residual blocks on the way down, and as many on the way up.",
        group="Model",
    )
    conditional: bool = conditional_knob()
    iterations: int = knob(
        4000,
        bounds=(1000, 20_000, 500),
        label="Iterations",
        help="Optimiser steps. The learning rate follows one cycle over all of them: up in the "
        "first tenth, then down to zero.",
    )
    batch: int = knob(64, bounds=(32, 256, 32), label="Batch size", help="Images per step.")
    learning_rate: float = rate_knob(2e-3, bounds=(1e-4, 5e-3))
    seed: int = seed_knob()

    def padded(self, shape: ImageShape) -> ImageShape:
        """Return the shape that images of ``shape`` are padded to: the U-Net halves them twice."""
        return squeezable(shape, 2)


def model(
    config: FlowMatchingImagesConfig,
    shape: ImageShape,
    classes: int,
    *,
    generator: torch.Generator | None = None,
) -> Flow:
    """Return the flow that ``config`` describes, over images of ``shape``."""
    return flow_matching_images(
        shape=shape,
        channels=config.channels,
        blocks=config.blocks,
        classes=classes if config.conditional else 0,
        path=config.path,
        target=config.target,
        generator=generator,
    )


class ImageFlowMatching(ImageFlowTraining):
    """Regression on the velocity, or what it follows from, along paths from noise to images.

    Args:
        config: what to train.
        device: where it trains.
        own: the user's images, if ``config.dataset`` is ``"own"``.

    References:
        Flow Matching for Generative Modeling (Lipman et al., 2022), equation 9.
        https://arxiv.org/abs/2210.02747
        Classifier-Free Diffusion Guidance (Ho, Salimans, 2022), algorithm 1: some classes are not
        told. https://arxiv.org/abs/2207.12598
    """

    LOSSES = ("matching",)
    METRICS = ("matching_test",)
    SNAPSHOT_PATIENCE = 20.0

    def __init__(
        self,
        config: FlowMatchingImagesConfig,
        *,
        device: torch.device | str = "cpu",
        own: OwnImages | None = None,
    ) -> None:
        super().__init__(config, model, device=device, own=own)
        rows = self.image_labels()
        source = torch.Generator().manual_seed(1)
        # Not colder than they are learned: a velocity knows the way of typical noise only.
        self.latents = self.model.prior.sample(len(rows), generator=source, device=self.device)

    @property
    def transport(self) -> Transport:
        """The layer that follows the velocity."""
        return self.model.chain[1]

    def update(self) -> Mapping[str, Tensor]:
        x, labels = self._batch(self.config.batch)
        noise = torch.randn(x.shape, generator=self.generator, device=self.device)
        t = times(len(x), self.generator)
        kept = torch.rand(len(x), generator=self.generator, device=self.device) >= DROPPED
        x, labels, noise, t, kept = collectives.shard(x, labels, noise, t, kept)
        context = self.context(labels)
        context = None if context is None else context * kept[:, None]
        errors = self.transport.loss(noise, 2 * x - 1, t, context)
        loss = collectives.mean(errors, of=self.config.batch)
        rate = self.live["learning_rate"] * one_cycle(self.step / self.total)
        self.optimisers["adam"].step(loss, rate)
        return {"matching": loss.detach()}

    @torch.no_grad()
    def snapshot(self) -> Snapshot:
        centred, transport = solved(self.model, solver="euler", steps=STEPS).chain
        x = transport.follow(self.latents, self.context(self.image_labels()))
        return {"samples": quantise(self._cropped(centred.forward(x)[0]))}

    @torch.no_grad()
    def measure(self) -> Mapping[str, float]:
        """Return the squared error on test images, always the same ones at the same times."""
        count = min(MEASURED, len(self.images.test))
        source = torch.Generator(self.device).manual_seed(3)
        x = dequantise(scattered(self.images.test, count), source)
        context = self.context(scattered(self.images.test_labels, count))
        noise = torch.randn(x.shape, generator=source, device=self.device)
        errors = self.transport.loss(noise, 2 * x - 1, times(count, source), context)
        return {"matching_test": float(errors.mean())}

    @torch.no_grad()
    def summary(self) -> Mapping[str, float]:
        """Return ``bits_per_dim_test`` over some test images, and ``bits_per_dim_error``.

        The latter is the standard error of their mean: luck of the images and of the probes that
        estimate the divergence.
        """
        count = min(LIKELY, len(self.images.test))
        source = torch.Generator(self.device).manual_seed(3)
        x = dequantise(scattered(self.images.test, count), source)
        context = self.context(scattered(self.images.test_labels, count))
        likely = solved(self.model, solver="midpoint", steps=LIKELY_STEPS)
        bits = bits_per_dim(likely.log_prob(x, context), likely, self.dims)
        numbers = {"parameters": sum(p.numel() for p in self.model.parameters())}
        error = float(bits.std() / math.sqrt(count))
        return numbers | {"bits_per_dim_test": float(bits.mean()), "bits_per_dim_error": error}


TRAINING = Training(
    FlowMatchingImagesConfig,
    model,
    ImageFlowMatching,
    data=IMAGE_DATA,
    threads=8,
    parallel=True,
)

"""Train a flow on images: what Glow, RealNVP and NICE share there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from datasets.images import ImageSet, load_images
from datasets.own_images import OwnImages
from models.blocks.dequantise import VariationalNoise
from models.blocks.image_layers import ConvNet, ImageShape
from models.blocks.transformer import CausalTransformer
from models.flow import Flow
from training.core import collectives
from training.core.config import ConfigError, knob
from training.core.devices import knows_bfloat16
from training.core.experiment import Experiment, Snapshot
from training.core.family import Training
from training.core.images import (
    IMAGE_DATA,
    ImageConfig,
    crop,
    dequantise,
    one_hot,
    quantise,
    scattered,
)
from training.core.optimiser import Optimiser, one_cycle

COLUMNS = 6  # samples of each class in a snapshot
ROWS = 10  # rows of a snapshot where there are no classes
TEMPERATURE = 0.7  # of the samples in a snapshot: the usual one for flows on images
MEASURED = 512  # test images behind each measurement but the last, which takes all
CHUNK = 250  # images at a time where no gradient is needed


def levels_knob(label: str) -> Any:
    """Declare in how many levels a flow sees its images."""
    return knob(
        2,
        bounds=(1, 4, 1),
        label=label,
        help="How often the image is halved; half of what is left becomes latent each time. Images "
        "that cannot be halved so often get a frame of zeros.",
        group="Model",
    )


def channels_knob() -> Any:
    """Declare how wide the convolutions inside couplings are."""
    return knob(
        64,
        bounds=(32, 512, 32),
        label="Hidden channels",
        help="Width of the convolutional network inside each coupling. Its time grows with the "
        "square.",
        group="Model",
    )


def conditional_knob() -> Any:
    """Declare whether a flow gets the class of each image."""
    return knob(
        True,
        label="Class-conditional",
        help="Give the couplings the class of each image, so that it can be chosen when sampling.",
        group="Model",
    )


class FlowConfig(ImageConfig):
    """What all flows on images share besides."""

    dequantisation: Literal["uniform", "variational"] = knob(
        "uniform",
        label="Dequantisation",
        help="Noise that makes bytes a density. Uniform: the same for all. Variational: a small "
        "flow learns it together with the model, byte by byte; bits/dim are an upper bound either "
        "way, and this one is tighter. A step takes longer.",
    )


class ConvolutionConfig(FlowConfig):
    """What families with convolutions inside their couplings share besides."""

    precision: Literal["mixed", "float32"] = knob(
        "mixed",
        label="Precision",
        help="Mixed computes the networks inside the couplings in bfloat16, where the processor "
        "knows it; latents, log-scales and log-determinants stay in float32.",
    )


def squeezable(shape: ImageShape, levels: int) -> ImageShape:
    """Return the shape of images padded so that they can be halved ``levels`` times.

    Raises:
        ConfigError: that would be more frame than image.
    """
    if (found := framed(shape, 2**levels)) is not None:
        return found
    _, height, width = shape
    most = max((fewer for fewer in range(1, levels) if framed(shape, 2**fewer)), default=0)
    raise ConfigError(
        f"Images of {height} x {width} pixels cannot be halved {levels} times; "
        f"the most levels they can have is {most}."
    )


def framed(shape: ImageShape, unit: int) -> ImageShape | None:
    """Return the shape of images padded to a square whose side is a multiple of ``unit``.

    ``None`` if that would be more frame than image.
    """
    channels, height, width = shape
    side = -(-max(height, width) // unit) * unit
    return (channels, side, side) if side**2 <= 1.5 * height * width else None


class ImageFlowTraining(Experiment):
    """Maximum likelihood on images with 8 bits per channel, uniformly dequantised.

    All numbers are bits/dim in 8-bit pixel space. Images that a model needs padded are padded with
    zeros: the bits of the frame count, its pixels do not, so the number is an upper bound then.

    Args:
        config: a config with the fields of :class:`~training.core.images.ImageConfig`.
        model: makes the flow: ``model(config, shape, classes, generator=...)``.
        device: where it trains.
        own: the user's images, if ``config.dataset`` is ``"own"``.

    References:
        A note on the evaluation of generative models (Theis, van den Oord, Bethge, 2015),
        section 3.1. https://arxiv.org/abs/1511.01844
    """

    LOSSES = ("bits_per_dim",)
    METRICS = ("bits_per_dim_test",)
    SNAPSHOT_PATIENCE = 6.0

    def __init__(
        self,
        config: ImageConfig,
        model: Callable[..., Flow],
        *,
        device: torch.device | str = "cpu",
        own: OwnImages | None = None,
    ) -> None:
        super().__init__(config, device, config.iterations)
        images = load_images(config.dataset, own)
        self.dims = math.prod(images.shape)
        self.classes = images.classes
        self.images: ImageSet = images.pad_to(config.padded(images.shape)[1]).to(device)
        self.model: Flow = model(
            config, self.images.shape, len(self.classes), generator=self.seeded()
        ).to(self.device)
        x, labels = self._batch(512)
        self.model.initialise(x, self.context(labels))
        self.optimisers = {"adam": Optimiser(self.model)}
        # Evaluation has a generator of its own, so that it never changes the training.
        eval_generator = torch.Generator().manual_seed(1)
        rows = self.image_labels()
        self.latents = self.model.prior.sample(
            len(rows), generator=eval_generator, temperature=TEMPERATURE, device=self.device
        )

    def update(self) -> Mapping[str, Tensor]:
        x, labels = collectives.shard(*self._batch(self.config.batch))
        mixed = getattr(self.config, "precision", "float32") == "mixed"
        with mixed_precision(self.model, mixed):
            loss = collectives.mean(self.bits_per_dim(x, labels), of=self.config.batch)
            rate = self.live["learning_rate"] * one_cycle(self.step / self.total)
            self.optimisers["adam"].step(loss, rate)
        return {"bits_per_dim": loss.detach()}

    def bits_per_dim(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return bits/dim of dequantised images ``(B, C, H, W)``, shape ``(B,)``."""
        return bits_per_dim(self.model.log_prob(x, self.context(labels)), self.model, self.dims)

    def context(self, labels: Tensor) -> Tensor | None:
        """Return the context of labels ``(B,)`` for a conditional model: one-hot, ``(B, K)``."""
        return one_hot(labels, self.model.context)

    def image_labels(self) -> Tensor:
        """Return the classes of the samples of a snapshot, row by row: the first ten.

        Shape ``(samples,)``.
        """
        rows = min(len(self.classes), ROWS) if self.model.context else ROWS
        return torch.arange(rows, device=self.device).repeat_interleave(COLUMNS)

    @torch.no_grad()
    def snapshot(self) -> Snapshot:
        x, _ = self.model.forward(self.latents, self.context(self.image_labels()))
        return {"samples": quantise(self._cropped(x))}

    @torch.no_grad()
    def target(self) -> Snapshot:
        """Return real images in rows (of classes, if the model knows them) and their shape."""
        images, labels = self.images.train.cpu(), self.images.train_labels.cpu()
        if self.model.context:
            rows = [images[labels == k] for k in self.image_labels()[::COLUMNS].tolist()]
            blank = torch.zeros_like(images[:1])  # a class may have all its images in the test part
            rows = [row if len(row) else blank for row in rows]
            shown = torch.cat([row.repeat(COLUMNS, 1, 1, 1)[:COLUMNS] for row in rows])
        else:
            shown = scattered(images, ROWS * COLUMNS)
        return {
            "images": self._cropped(shown).numpy(),
            "shape": np.array(self.images.shape),
            "crop": np.array(self._crop_size()),
            "classes": np.array(self.classes),
        }

    @torch.no_grad()
    def measure(self) -> Mapping[str, float]:
        """Return bits/dim on test images: the same 512 each time, all of them at the end."""
        images, labels = self.images.test, self.images.test_labels
        if self.step < self.total:
            count = min(MEASURED, len(images))
            images, labels = scattered(images, count), scattered(labels, count)
        eval_generator = torch.Generator(self.device).manual_seed(3)
        parts = zip(images.split(CHUNK), labels.split(CHUNK), strict=True)
        bits = [self.bits_per_dim(dequantise(x, eval_generator), y) for x, y in parts]
        return {"bits_per_dim_test": float(torch.cat(bits).mean())}

    def _batch(self, count: int) -> tuple[Tensor, Tensor]:
        images, labels = self.images.batch(count, self.generator)
        return dequantise(images, self.generator), labels

    def _crop_size(self) -> tuple[int, int]:
        channels, side, _ = self.images.shape
        inner = round(math.sqrt(self.dims / channels))
        return inner, side

    def _cropped(self, x: Tensor) -> Tensor:
        return crop(x, *self._crop_size())


def image_flow(
    config: type[ImageConfig],
    model: Callable[..., Flow],
    experiment: type[ImageFlowTraining] = ImageFlowTraining,
) -> Training:
    """Return what a family of flows on images trains: its settings, and what makes its flow."""
    made = partial(_with_noise, model)
    build = partial(experiment, model=made)
    return Training(config, made, build, data=IMAGE_DATA, threads=8, parallel=True)


def _with_noise(
    model: Callable[..., Flow],
    config: FlowConfig,
    shape: ImageShape,
    classes: int,
    *,
    generator: torch.Generator | None = None,
) -> Flow:
    """Return a family's flow, behind learned noise if the settings ask for it."""
    flow = model(config, shape, classes, generator=generator)
    if config.dequantisation == "uniform":
        return flow
    chain = [VariationalNoise(shape, generator=generator), *flow.chain]
    return Flow(flow.prior, chain, context=flow.context)


def bits_per_dim(log_prob: Tensor, model: Flow, dims: int) -> Tensor:
    """Return bits/dim in 8-bit pixel space.

    Args:
        log_prob: log density in nats over images with values in [0, 1], shape ``(B,)``.
        model: the flow; its pixels are 1/256 wide each.
        dims: pixels times channels that count.
    """
    return (model.features * math.log(256) - log_prob) / (dims * math.log(2))


@contextmanager
def mixed_precision(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Have the networks inside a flow compute in bfloat16, if the device is good at it."""
    kinds = (ConvNet, CausalTransformer)
    nets = [module for module in model.modules() if isinstance(module, kinds)]
    mixed = wanted and knows_bfloat16(next(model.parameters()).device)
    for net in nets:
        net.mixed = mixed
    try:
        yield
    finally:
        for net in nets:
            net.mixed = False

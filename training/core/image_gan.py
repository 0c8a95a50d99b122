"""Train a GAN on images: what the fully connected one and DCGAN share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from datasets.images import ImageSet, load_images
from datasets.own_images import OwnImages
from metrics.plane import diversity
from models.blocks.augmentation import augmented
from models.gan import GAN
from training.core.adversarial import (
    PARTS,
    Duel,
    DuelConfig,
    discriminator_rate_knob,
    generator_rate_knob,
)
from training.core.config import knob
from training.core.devices import knows_bfloat16
from training.core.experiment import Snapshot
from training.core.family import Training
from training.core.image_flow import CHUNK, COLUMNS, ROWS
from training.core.images import IMAGE_DATA, ImageDataConfig, crop, quantise, scattered, signed

MEASURED = 500  # samples, and test images, behind the diversity


def veil_knob(default: float) -> Any:
    """Declare the noise through which the discriminator sees all images."""
    return knob(
        default,
        bounds=(0.0, 1.0, 0.05),
        label="Noise on all images",
        help="Standard deviation, at the start, of the noise through which the discriminator sees "
        "real and fake images (from -1 to 1); it falls to zero at the end. It keeps a "
        "discriminator that has few images from overfitting them.",
        live=True,
    )


def epochs_knob(default: int) -> Any:
    """Declare how long a GAN on images trains."""
    return knob(
        default,
        bounds=(1, 200, 1),
        label="Epochs",
        help="As many images are drawn as that many passes through the training images would see.",
    )


class ImageDuelConfig(DuelConfig, ImageDataConfig):
    """What can be set on all trainings of GANs on images."""

    learning_rate_d: float = discriminator_rate_knob(2e-4, bounds=(1e-5, 5e-3))
    learning_rate: float = generator_rate_knob(2e-4, bounds=(1e-5, 5e-3))
    momentum: float = knob(
        0.5,
        bounds=(0.0, 0.95, 0.05),
        label="Momentum",
        help="Fraction of the last step that goes into the next (Adam's first decay). "
        "DCGAN's is 0.5.",
        live=True,
    )
    veil: float = veil_knob(0.3)
    augment: Literal["none", "translation-cutout", "colour-translation-cutout"] = knob(
        "none",
        label="Augmentation",
        help="Random changes of all images that the discriminator sees, real and fake, through "
        "which the generator's gradient flows. With a few hundred images it keeps a discriminator "
        "from overfitting them; the generator learns the images as they are.",
        live=True,
    )
    epochs: int = epochs_knob(25)
    batch: int = knob(
        64,
        bounds=(16, 256, 16),
        label="Batch size",
        help="Real and fake images per update.",
    )


class ImageDuel(Duel):
    """A duel over images with values in [-1, 1], seen through noise that clears up.

    Args:
        config: what to train.
        model: makes the networks: ``model(config, shape, classes, generator=...)``.
        device: where it trains.
        own: the user's images, if ``config.dataset`` is ``"own"``.

    References:
        Towards Principled Methods for Training Generative Adversarial Networks (Arjovsky, Bottou,
        2017), section 3.1: the noise. https://arxiv.org/abs/1701.04862
    """

    METRICS = ("diversity",)
    SNAPSHOT_PATIENCE = 6.0

    def __init__(
        self,
        config: ImageDuelConfig,
        model: Callable[..., GAN],
        *,
        device: torch.device | str = "cpu",
        own: OwnImages | None = None,
    ) -> None:
        images = load_images(config.dataset, own)
        passes = math.ceil(len(images.train) / config.batch)
        super().__init__(config, device, config.epochs * passes)
        self.classes, self.inner = images.classes, images.shape[1]
        self.images: ImageSet = images.pad_to(config.padded(images.shape)[1]).to(device)
        self.enter(model(config, self.images.shape, len(self.classes), generator=self.seeded()))
        eval_generator = torch.Generator().manual_seed(1)
        self.latents = self.model.draw(MEASURED, eval_generator).to(self.device)

    def real(self) -> Tensor:
        images, _ = self.images.batch(self.config.batch, self.generator)
        return signed(images)

    def seen(self, x: Tensor) -> Tensor:
        x = augmented(x, self.live["augment"], self.generator)
        width = self.live["veil"] * (1 - self.step / self.total)
        if not width:
            return x
        return x + width * torch.randn(x.shape, generator=self.generator, device=x.device)

    def precision(self) -> AbstractContextManager:
        mixed = getattr(self.config, "precision", "float32") == "mixed"
        if mixed and knows_bfloat16(self.device):
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    @torch.no_grad()
    def snapshot(self) -> Snapshot:
        with evaluating(self.model):
            x = self.model(self.latents[: COLUMNS * ROWS])
        return {"samples": self.shown(x)}

    def shown(self, x: Tensor) -> np.ndarray:
        """Return images with values in [-1, 1] as bytes, without their frame.

        ``(B, C, S, S)`` becomes ``(B, C, inner, inner)``, uint8.
        """
        return shown(x, self.inner)

    @torch.no_grad()
    def target(self) -> Snapshot:
        some = scattered(self.images.train, ROWS * COLUMNS).cpu()
        side = self.images.shape[1]
        return {
            "images": crop(some, self.inner, side).numpy(),
            "shape": np.array(self.images.shape),
            "crop": np.array((self.inner, side)),
            "classes": np.array(self.classes),
        }

    @torch.no_grad()
    def measure(self) -> Mapping[str, float]:
        """Return how much samples differ from each other, compared with test images."""
        with evaluating(self.model):
            x = torch.cat([self.model(z) for z in self.latents.split(CHUNK)])
        test = self.images.test
        real = signed(scattered(test, min(MEASURED, len(test))))
        return {"diversity": diversity(x, real)}


def image_duel(
    config: type[ImageDuelConfig],
    model: Callable[..., GAN],
    experiment: type[ImageDuel] = ImageDuel,
) -> Training:
    """Return what a family of GANs on images trains: its settings, and what makes its networks."""
    build = partial(experiment, model=model)
    return Training(
        config, model, build, data=IMAGE_DATA, threads=8, parts=PARTS, likelihood="none"
    )


def shown(x: Tensor, inner: int) -> np.ndarray:
    """Return the middle ``inner`` x ``inner`` pixels of images in [-1, 1], as bytes.

    ``(B, C, S, S)`` becomes ``(B, C, inner, inner)``, uint8.
    """
    # A tanh comes to 1 only in the limit: 255 / 256 of the way it must be white.
    return quantise((crop(x, inner, x.shape[-1]).float() + 1) * (255.5 / 512))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Use running statistics, not those of the batch, and leave them as they are."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)

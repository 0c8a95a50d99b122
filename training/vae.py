"""Train a variational autoencoder on images."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from datasets.images import ImageSet, load_images
from datasets.own_images import OwnImages
from metrics.vae import (
    active_units,
    binarised,
    elbo_terms,
    encode,
    grey_entropy,
    plane_of,
    scaled,
    to_bytes,
)
from models.blocks.image_layers import ImageShape
from models.vae import LIKELIHOODS, VAE, importance_bound, vae, with_free_bits
from training.core import collectives
from training.core.config import ConfigError, knob, rate_knob, seed_knob
from training.core.devices import knows_bfloat16
from training.core.experiment import Experiment, Snapshot
from training.core.family import Training
from training.core.images import IMAGE_DATA, ImageDataConfig, scattered
from training.core.optimiser import RISE, Optimiser, follow, one_cycle

COLUMNS, ROWS = 6, 10  # samples in a snapshot
PAIRS = 10  # test images beside their reconstructions
POINTS = 1000  # test images whose means are drawn while it trains
CLIP = 200.0  # largest norm of the gradient; with Bernoulli pixels it is 20 to 80 after the start


class VAEConfig(ImageDataConfig):
    """What can be set on a VAE training."""

    network: Literal["mlp", "conv", "residual"] = knob(
        "mlp",
        label="Network",
        help="Fully connected: nothing else. Convolutional: two convolutions of 32 and 64 channels "
        "around such layers, which know that pixels have neighbours. Residual: no hidden layers, "
        "but as many residual blocks at either size as *Hidden layers* says; the best and the "
        "slowest.",
        group="Model",
    )
    latent: int = knob(
        20,
        bounds=(2, 512, 1),
        label="Latent units",
        help="Numbers that describe an image. With 2 the whole latent space can be drawn; with "
        "many, most stay unused.",
        group="Model",
    )
    hidden: int = knob(
        512,
        bounds=(64, 1024, 64),
        label="Hidden units",
        help="Width of the fully connected hidden layers of encoder and decoder.",
        group="Model",
    )
    depth: int = knob(
        1,
        bounds=(1, 3, 1),
        label="Hidden layers",
        help="Fully connected hidden layers of the encoder, and as many of the decoder. With few "
        "latent units, two help.",
        group="Model",
    )
    likelihood: Literal[tuple(LIKELIHOODS)] = knob(  # type: ignore[valid-type]
        "bernoulli",
        label="Likelihood",
        help="Bernoulli: grey values as probabilities of white, as is usual. Continuous Bernoulli: "
        "the same made a true density over grey values. Gaussian: squared error, with a learned "
        "standard deviation. Their nats do not compare.",
        group="Model",
    )
    binarised: bool = knob(
        False,
        label="Binarised data",
        help="Draw each pixel black or white, anew each time an image is seen, with its grey value "
        "as the probability of white. Of such data Bernoulli is a likelihood, and most published "
        "numbers for MNIST are of them.",
        group="Model",
    )
    draws: int = knob(
        1,
        bounds=(1, 50, 1),
        label="Importance-weighted draws, k",
        help="1 maximises the ELBO. More draws for each image, weighted by how well they explain "
        "it, maximise a tighter bound (IWAE): the encoder may miss with some of them. Time grows "
        "with k.",
    )
    free_bits: float = knob(
        0.0,
        bounds=(0.0, 2.0, 0.05),
        label="Free nats per unit",
        help="KL that each latent unit has for free (*free bits*): below it there is nothing to "
        "gain by giving the unit back. A remedy for posterior collapse. For k = 1.",
    )
    ema: int = knob(
        0,
        bounds=(0, 2000, 50),
        label="Average of the weights [steps]",
        help="Half-life of a moving average (EMA), which is then what is shown, measured and kept. "
        "0: no average.",
    )
    beta: float = knob(
        1.0,
        bounds=(0.0, 10.0, 0.1),
        label="Beta",
        help="Weight of the KL. 1 is the bound on the likelihood; above, the latents say less and "
        "images get blurrier; at 0 it is hardly more than an autoencoder.",
    )
    warm_up: int = knob(
        0,
        bounds=(0, 20, 1),
        label="Beta warm-up (epochs)",
        help="Let beta rise from 0 over so many epochs, so that units are not given up before they "
        "are of use.",
    )
    epochs: int = knob(
        30,
        bounds=(1, 50, 1),
        label="Epochs",
        help="How often each training image is seen. The learning rate follows one cycle over all "
        "of them: up in the first tenth, then down to zero.",
    )
    batch: int = knob(
        64,
        bounds=(16, 512, 16),
        label="Batch size",
        help="Images per step.",
    )
    learning_rate: float = rate_knob(2e-3, bounds=(1e-4, 1e-2))
    precision: Literal["float32", "mixed"] = knob(
        "float32",
        label="Precision",
        help="Mixed computes the two networks in bfloat16, where the processor knows it; the loss "
        "stays in float32.",
    )
    seed: int = seed_knob()


def model(
    config: VAEConfig, shape: ImageShape, classes: int, *, generator: torch.Generator | None = None
) -> VAE:
    """Return the model that ``config`` describes, over images of ``shape``; it knows no classes."""
    return vae(
        shape=shape,
        latent=config.latent,
        hidden=config.hidden,
        depth=config.depth,
        network=config.network,
        likelihood=config.likelihood,
        generator=generator,
    )


def check(config: VAEConfig) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigError: that is so.
    """
    if config.binarised and config.likelihood != "bernoulli":
        raise ConfigError("Binarised data are black and white: they take the Bernoulli likelihood.")
    if config.free_bits and config.draws > 1:
        raise ConfigError(
            "Free nats are a floor under the KL, and with importance-weighted draws there is no KL "
            "in what is maximised: take k = 1, or no free nats."
        )


def as_learned(config: VAEConfig, images: Tensor) -> Tensor:
    """Return held-out uint8 images ``(N, C, H, W)`` as a training sees its own."""
    if not config.binarised:
        return images
    return binarised(images, torch.Generator(images.device).manual_seed(4))


class VAETraining(Experiment):
    """Maximise a bound over images; all numbers are nats per image, combined over pixels.

    Grey values are kept, v / 255, or taken as probabilities of white and drawn anew each time. The
    images are one uint8 tensor on the device, and an epoch is one permutation of it.

    With an average of the weights, ``model`` is that, and ``learner`` what is trained.

    Args:
        config: its settings.
        device: where it trains.
        own: the user's images, if ``config.dataset`` is ``"own"``.
    """

    LOSSES = ("reconstruction", "kl", "loss")
    METRICS = ("elbo_test", "active_units")
    SNAPSHOT_PATIENCE = 3.0

    def __init__(
        self,
        config: VAEConfig,
        *,
        device: torch.device | str = "cpu",
        own: OwnImages | None = None,
    ) -> None:
        images = load_images(config.dataset, own)
        self.per_epoch = -(-len(images.train) // config.batch)
        super().__init__(config, device, config.epochs * self.per_epoch)
        self.images: ImageSet = images.to(device)
        self.classes = images.classes
        blank = model(config, images.shape, len(self.classes), generator=self.seeded())
        self.model = self.learner = blank.to(device)
        if config.ema:
            self.learner = copy.deepcopy(self.model)
            self.METRICS = (*self.METRICS, "elbo_test_last")
        self.optimisers = {"adam": Optimiser(self.learner, clip=CLIP)}
        self.order = torch.empty(0, dtype=torch.int64, device=self.device)
        self.mixed = config.precision == "mixed" and knows_bfloat16(self.device)
        # Evaluation has a generator of its own, so that it never changes the training.
        eval_generator = torch.Generator().manual_seed(1)
        latents = torch.randn(ROWS * COLUMNS, config.latent, generator=eval_generator)
        self.latents = latents.to(self.device)
        mixed = torch.randperm(len(images.test), generator=eval_generator)[:POINTS]
        self.seen = self.images.test[mixed.to(self.device)]
        self.seen_labels = images.test_labels[mixed]

    @property
    def beta(self) -> float:
        """The weight of the KL at this step."""
        rise = self.config.warm_up * self.per_epoch
        return self.config.beta * (min(1.0, self.step / rise) if rise else 1.0)

    def update(self) -> Mapping[str, Tensor]:
        images = self._batch()
        if self.config.binarised:
            images = binarised(images, self.generator)
        x = scaled(images)
        count, draws = len(x), self.config.draws
        several = (draws,) if draws > 1 else ()
        shape = *several, count, self.config.latent
        noise = torch.randn(shape, generator=self.generator, device=self.device)
        logged = self._weighted(x, noise, count) if several else self._elbo(x, noise, count)
        rate = self.live["learning_rate"] * one_cycle(self.step / self.total)
        self.optimisers["adam"].step(logged["loss"], rate)
        if self.learner is not self.model:
            follow(self.model, self.learner, min(self.config.ema, RISE * self.step))
        return {name: value.detach() for name, value in logged.items()}

    def _elbo(self, x: Tensor, noise: Tensor, count: int) -> dict[str, Tensor]:
        """Return the terms of the negative ELBO of a batch ``(B, ...)``, and what is minimised."""
        x, noise = collectives.shard(x, noise)
        with self._precision():
            terms = self.learner.unit_terms(x, noise)
            reconstruction = collectives.mean(terms.reconstruction, of=count)
            kl = collectives.mean(terms.kl.sum(1), of=count)
        charged = kl
        if self.config.free_bits:
            units = collectives.mean(terms.kl, of=count)
            charged = with_free_bits(units, self.config.free_bits)
        return {
            "reconstruction": reconstruction,
            "kl": kl,
            "loss": reconstruction + self.beta * charged,
        }

    def _weighted(self, x: Tensor, noise: Tensor, count: int) -> dict[str, Tensor]:
        """Return the mean terms of several draws ``(K, B, latent)``, and minus their bound."""
        x, noise = collectives.shard(x, noise.transpose(0, 1))
        with self._precision():
            seen, said = self.learner.drawn_terms(x, noise.transpose(0, 1))
            bound = importance_bound(-seen - self.beta * said)
        return {
            "reconstruction": collectives.mean(seen.mean(0), of=count),
            "kl": collectives.mean(said.mean(0), of=count),
            "loss": -collectives.mean(bound, of=count),
        }

    def _batch(self) -> Tensor:
        """Return the next images of this epoch, uint8; the last batch may be smaller."""
        place = self.step % self.per_epoch
        if place == 0:
            self.order = torch.randperm(
                len(self.images.train), generator=self.generator, device=self.device
            )
        return self.images.train[self.order[place * self.config.batch :][: self.config.batch]]

    def _precision(self):
        if not self.mixed:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    @torch.no_grad()
    def snapshot(self) -> Snapshot:
        means = encode(self.model, self.seen)
        return {
            "samples": to_bytes(self.model.decode(self.latents)),
            "reconstructions": to_bytes(self.model.reconstruct(scaled(self.seen[:PAIRS]))),
            "means": plane_of(means).project(means).cpu().numpy().astype(np.float16),
        }

    @torch.no_grad()
    def target(self) -> Snapshot:
        """Return real images, those that are reconstructed, and the classes of the drawn means."""
        return {
            "images": scattered(self.images.train, ROWS * COLUMNS).cpu().numpy(),
            "originals": self.seen[:PAIRS].cpu().numpy(),
            "labels": self.seen_labels.numpy().astype(np.int16),
            "shape": np.array(self.images.shape),
            "classes": np.array(self.classes),
            "grey_entropy": np.array(float(grey_entropy(scaled(self.seen)).mean())),
        }

    @torch.no_grad()
    def measure(self) -> Mapping[str, float]:
        """Return the ELBO in nats per test image, by one draw each, and the units in use.

        On the same thousand test images while it trains, on all of them at the end.
        """
        images = self.images.test if self.step == self.total else self.seen
        found = {
            "elbo_test": self._elbo_of(self.model, images),
            "active_units": active_units(encode(self.model, images)),
        }
        if self.learner is not self.model:
            found["elbo_test_last"] = self._elbo_of(self.learner, images)
        return found

    def _elbo_of(self, model: VAE, images: Tensor) -> float:
        eval_generator = torch.Generator(self.device).manual_seed(3)
        terms = elbo_terms(model, as_learned(self.config, images), generator=eval_generator)
        return -float((terms.reconstruction + terms.kl).mean())

    def state_dict(self) -> dict:
        state = {**super().state_dict(), "order": self.order}
        if self.learner is not self.model:
            state["learner"] = self.learner.state_dict()
        return state

    def load_state_dict(self, state: Mapping) -> None:
        super().load_state_dict(state)
        self.order = state["order"].to(self.device)
        if self.learner is not self.model:
            self.learner.load_state_dict(state["learner"])


TRAINING = Training(
    VAEConfig,
    model,
    VAETraining,
    data=IMAGE_DATA,
    check=check,
    threads=8,
    parallel=True,
    likelihood="bound",
)

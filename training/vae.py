"""Train a variational autoencoder on images."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from datasets.images import ImageSet, load_images
from datasets.own_images import OwnImages
from metrics.vae import active_units, elbo_terms, encode, plane_of, scaled, to_bytes
from models.image_layers import ImageShape
from models.vae import LIKELIHOODS, VAE, vae
from training.core import collectives
from training.core.config import knob, rate_knob, seed_knob
from training.core.devices import knows_bfloat16
from training.core.experiment import Experiment, Snapshot
from training.core.family import Training
from training.core.images import IMAGE_DATA, ImageDataConfig, scattered
from training.core.optimiser import Optimiser, one_cycle

COLUMNS, ROWS = 6, 10  # samples in a snapshot
PAIRS = 10  # test images beside their reconstructions
POINTS = 1000  # test images whose means are drawn while it trains
CLIP = 200.0  # largest norm of the gradient; with Bernoulli pixels it is 20 to 80 after the start


class VAEConfig(ImageDataConfig):
    """What can be set on a VAE training."""

    network: Literal["mlp", "conv"] = knob(
        "mlp",
        label="Network",
        help="Mlp: fully connected layers only. Conv: two convolutions of 32 and 64 channels around"
        " them, which know that pixels have neighbours.",
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


class VAETraining(Experiment):
    """Maximise the ELBO over images; all numbers are nats per image, summed over pixels.

    Grey values are kept: v / 255, without binarisation or noise. The images are one uint8 tensor on
    the device, and an epoch is one permutation of it.

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
        self.model = blank.to(device)
        self.optimisers = {"adam": Optimiser(self.model, clip=CLIP)}
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
        x = scaled(self._batch())
        count = len(x)
        noise = torch.randn(count, self.config.latent, generator=self.generator, device=self.device)
        x, noise = collectives.shard(x, noise)
        with self._precision():
            terms = self.model.terms(x, noise)
            reconstruction, kl = (collectives.mean(term, of=count) for term in terms)
        loss = reconstruction + self.beta * kl
        rate = self.live["learning_rate"] * one_cycle(self.step / self.total)
        self.optimisers["adam"].step(loss, rate)
        return {
            "reconstruction": reconstruction.detach(),
            "kl": kl.detach(),
            "loss": loss.detach(),
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
        }

    @torch.no_grad()
    def measure(self) -> Mapping[str, float]:
        """Return the ELBO in nats per test image, by one draw each, and the units in use.

        On the same thousand test images while it trains, on all of them at the end.
        """
        images = self.images.test if self.step == self.total else self.seen
        eval_generator = torch.Generator(self.device).manual_seed(3)
        terms = elbo_terms(self.model, images, generator=eval_generator)
        return {
            "elbo_test": -float((terms.reconstruction + terms.kl).mean()),
            "active_units": active_units(encode(self.model, images)),
        }

    def state_dict(self) -> dict:
        return {**super().state_dict(), "order": self.order}

    def load_state_dict(self, state: Mapping) -> None:
        super().load_state_dict(state)
        self.order = state["order"].to(self.device)


TRAINING = Training(
    VAEConfig, model, VAETraining, data=IMAGE_DATA, threads=8, parallel=True, likelihood="bound"
)

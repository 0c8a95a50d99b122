"""Train CycleGAN: two worlds, no pairs, two generators and two discriminators."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from datasets.own_pairs import OwnPairs
from datasets.pairs import OWN, PAIRS, PairSet, load_pairs
from models.cyclegan import CycleGAN, cyclegan
from training.core.config import ConfigError, RunConfig, knob, rate_knob, seed_knob
from training.core.devices import Lanes, knows_bfloat16
from training.core.experiment import Experiment, Snapshot
from training.core.family import Training
from training.core.images import bytes_of_signed, signed
from training.core.optimiser import Optimiser
from training.core.unpaired import (
    PAIR_DATA,
    Epochs,
    ImagePool,
    compared,
    discriminator_loss,
    distance,
    exact,
    jittered,
    squared,
    yardsticks,
)

POOL = 50  # images in a pool
SHOWN = 4  # test images of either set in a snapshot
MEASURED = 16  # test images of either set behind each measurement but the last, which takes more
FINAL = 100
CHANNELS_LAST = {"cpu": False}  # whether images are laid out so, by device, as measured
WIDE = 32  # width of the generators from which bfloat16 pays on a CPU
BETAS = (0.5, 0.999)


class CycleGANConfig(RunConfig):
    """What can be set on a CycleGAN training."""

    dataset: Literal[(*PAIRS, OWN)] = knob(  # type: ignore[valid-type]
        "fruits",
        label="Dataset",
        help="The two sets of images, A and B. The first is drawn by the lab itself; the others "
        "are downloaded once. `own` is a folder or two sets of yours.",
        group="Data",
    )
    image_size: int = knob(
        64,
        bounds=(32, 256, 32),
        label="Image size [pixels]",
        help="Pixels per side. Its time grows with the square; a GPU is needed from 128 on.",
        group="Data",
    )
    jitter: bool = knob(
        True,
        label="Flip and shift",
        help="Mirror half of the images and shift each by up to a tenth of its side: more variety "
        "out of few images.",
        group="Data",
    )
    width: int = knob(
        16,
        bounds=(8, 64, 4),
        label="Width of the generators",
        help="Channels next to the image; four times as many inside. The paper has 64.",
        group="Model",
    )
    blocks: int = knob(
        3,
        bounds=(3, 9, 3),
        label="Residual blocks",
        help="Of either generator. The paper has 6 for 128 pixels and 9 for 256.",
        group="Model",
    )
    discriminator_width: int = knob(
        16,
        bounds=(8, 64, 4),
        label="Width of the discriminators",
        help="Channels next to the image; eight times as many at the end. The paper has 64.",
        group="Model",
    )
    epochs: int = knob(
        20,
        bounds=(1, 200, 1),
        label="Epochs",
        help="How often each image of the larger set is seen.",
    )
    batch: int = knob(
        1,
        bounds=(1, 16, 1),
        label="Batch size",
        help="Images of A, and as many of B, per step. The paper has 1.",
    )
    learning_rate: float = rate_knob(
        2e-4,
        bounds=(1e-5, 2e-3),
        help="Of generators and discriminators, before it falls.",
    )
    decay: float = knob(
        0.5,
        bounds=(0.0, 1.0, 0.05),
        label="Falling part",
        help="Fraction of the training, at its end, in which the learning rate falls in a straight "
        "line to zero. In the paper it is half.",
    )
    cycle: float = knob(
        10.0,
        bounds=(0.0, 20.0, 0.5),
        label="Weight of the cycle loss",
        help="How much it counts that there and back again gives the same image. At 0 nothing ties "
        "a translation to its input.",
        live=True,
    )
    identity: float = knob(
        5.0,
        bounds=(0.0, 10.0, 0.5),
        label="Weight of the identity loss",
        help="How much it counts that an image which is already of the other set is left alone. At "
        "0 generators are free to change all colours.",
        live=True,
    )
    precision: Literal["mixed", "float32"] = knob(
        "mixed",
        label="Precision",
        help="Mixed computes the four networks in bfloat16 where that is faster: on a processor "
        "that knows it, from width 32 on. The losses stay in float32.",
    )
    seed: int = seed_knob()


def model(config: CycleGANConfig, *, generator: torch.Generator | None = None) -> CycleGAN:
    """Return the networks that ``config`` describes; they take images of any size."""
    return cyclegan(
        width=config.width,
        blocks=config.blocks,
        discriminator_width=config.discriminator_width,
        generator=generator,
    )


def check(config: CycleGANConfig) -> None:
    """Refuse what no generator can be made for.

    Raises:
        ConfigError: the side of the images cannot be halved twice.
    """
    if config.image_size % 4:
        raise ConfigError(f"image_size must be a multiple of 4; {config.image_size} is not.")


class RoundTrip(NamedTuple):
    """Half of a step of the generators.

    Attributes:
        fake: the translations, shape ``(B, 3, S, S)``, without a graph.
        gradients: of the loss by each weight of both generators, of its shape.
        adversarial, cycle, identity: the losses, scalars.
        loss: their weighted sum.
    """

    fake: Tensor
    gradients: tuple[Tensor, ...]
    adversarial: Tensor
    cycle: Tensor
    identity: Tensor
    loss: Tensor


class CycleGANTraining(Experiment):
    """Two least-squares duels, tied together by what comes back from there and back again.

    A step is one of the generators, on all of their losses at once, and then one of the
    discriminators, on real images and on images out of the pools.

    Args:
        config: its settings.
        device: where it trains.
        own: the user's two sets, if ``config.dataset`` is ``"own"``.

    References:
        Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu, Park,
        Isola, Efros, 2017), equations 1 to 3 and section 4. https://arxiv.org/abs/1703.10593
        Least Squares Generative Adversarial Networks (Mao et al., 2016).
        https://arxiv.org/abs/1611.04076
    """

    LOSSES = (
        "adversarial_ab",
        "adversarial_ba",
        "cycle_a",
        "cycle_b",
        "identity_a",
        "identity_b",
        "discriminator_a",
        "discriminator_b",
    )
    SNAPSHOT_PATIENCE = 6.0

    def __init__(
        self,
        config: CycleGANConfig,
        *,
        device: torch.device | str = "cpu",
        own: OwnPairs | None = None,
    ) -> None:
        check(config)
        pairs: PairSet = load_pairs(config.dataset, config.image_size, own)
        counts = len(pairs.train_a), len(pairs.train_b)
        per_epoch = -(-max(counts) // config.batch)
        super().__init__(config, device, config.epochs * per_epoch)
        self.landmarks = (per_epoch,)
        self.pairs = pairs.to(self.device)
        self.METRICS = tuple(compared(self.pairs, 1, lambda x, _: signed(x)))
        self.model = model(config, generator=self.seeded()).to(self.device)
        self.optimisers = self.new_optimisers()
        self.lanes = Lanes(self.device, 2)
        self.epochs = [Epochs(n, per_epoch * config.batch, self.device) for n in counts]
        self.pools = [ImagePool(POOL, self.device) for _ in range(2)]
        self.mixed = config.precision == "mixed" and gains_by_bfloat16(config, self.device)
        last = CHANNELS_LAST.get(self.device.type, False)
        self.layout = torch.channels_last if last else torch.contiguous_format

    def new_optimisers(self) -> dict[str, Optimiser]:
        """Return what moves the generators, and what moves the discriminators."""
        # Without a limit on the gradient: as in the paper.
        return {
            name: Optimiser(nets, clip=float("inf"), betas=BETAS)
            for name, nets in (
                ("generators", self.model.generators),
                ("discriminators", self.model.discriminators),
            )
        }

    def update(self) -> Mapping[str, Tensor]:
        with self.lanes:
            a, b = self.batch()
            rate = self.live["learning_rate"] * self.rate_factor()
            there, back = self.move_generators(a, b, rate)
            discriminator_a, discriminator_b = self.move_discriminators(
                a, b, back.fake, there.fake, rate
            )
        return {
            "adversarial_ab": there.adversarial,
            "adversarial_ba": back.adversarial,
            "cycle_a": there.cycle,
            "cycle_b": back.cycle,
            "identity_a": back.identity,
            "identity_b": there.identity,
            "discriminator_a": discriminator_a,
            "discriminator_b": discriminator_b,
        }

    def move_generators(self, a: Tensor, b: Tensor, rate: float) -> list[RoundTrip]:
        """Take the generators' step: the way from A and that from B only share weights.

        Both batches have the shape ``(B, 3, S, S)``.
        """
        net = self.model
        there, back = self.lanes.run(
            lambda: self.round_trip(a, b, net.a_to_b, net.b_to_a, net.discriminator_b),
            lambda: self.round_trip(b, a, net.b_to_a, net.a_to_b, net.discriminator_a),
        )
        pairs = zip(there.gradients, back.gradients, strict=True)
        gradients = [one.add_(other) for one, other in pairs]
        self.optimisers["generators"].along(gradients, there.loss + back.loss, rate)
        return [there, back]

    def move_discriminators(
        self, a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor, rate: float
    ) -> list[Tensor]:
        """Take the discriminators' step, on images out of the pools; return their losses.

        All images have the shape ``(B, 3, S, S)``, losses are scalars.
        """
        net = self.model
        old_a, old_b = (
            pool.exchange(fake, self.generator)
            for pool, fake in zip(self.pools, (fake_a, fake_b), strict=True)
        )
        (discriminator_a, of_a), (discriminator_b, of_b) = self.lanes.run(
            lambda: self.discriminator_gradients(net.discriminator_a, a, old_a),
            lambda: self.discriminator_gradients(net.discriminator_b, b, old_b),
        )
        self.optimisers["discriminators"].along(
            of_a + of_b, discriminator_a + discriminator_b, rate
        )
        return [discriminator_a, discriminator_b]

    def round_trip(
        self, x: Tensor, y: Tensor, there: Module, back: Module, discriminator: Module
    ) -> RoundTrip:
        """Return what the generators lose from x there and back again, and where to go.

        A generator translates one batch and leaves the other alone in one pass: an instance norm
        never looks from one image to another, so the numbers are the same.

        Args:
            x: images to translate, shape ``(B, 3, S, S)``.
            y: images to leave alone, of the same shape.
            there: the generator from x to y.
            back: the other one.
            discriminator: that of y.
        """
        with self.precision():
            fake, same = there(torch.cat([x, y])).split([len(x), len(y)])
            adversarial = squared(discriminator(fake), 1.0)
            cycle, identity = distance(back(fake), x), distance(same, y)
        loss = adversarial + self.live["cycle"] * cycle + self.live["identity"] * identity
        gradients = torch.autograd.grad(loss, self.optimisers["generators"].parameters)
        values = (value.detach() for value in (adversarial, cycle, identity, loss))
        return RoundTrip(exact(fake.detach()), gradients, *values)

    def discriminator_gradients(
        self, discriminator: Module, real: Tensor, fake: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return what a discriminator loses on images ``(B, 3, S, S)``, and its gradients."""
        with self.precision():
            loss = discriminator_loss(discriminator, real, fake)
        return loss.detach(), torch.autograd.grad(loss, list(discriminator.parameters()))

    def rate_factor(self) -> float:
        """Return the factor on the learning rate: 1, and at the end a line down to 0."""
        left = (self.total - self.step) / self.total
        return min(1.0, left / self.config.decay) if self.config.decay else 1.0

    def batch(self) -> list[Tensor]:
        """Return the next images of A and of B with values in [-1, 1].

        Shape ``(batch, 3, S, S)`` each.
        """
        images = (self.pairs.train_a, self.pairs.train_b)
        drawn = []
        for part, epoch in zip(images, self.epochs, strict=True):
            x = part[epoch.next(self.step, self.config.batch, self.generator)]
            if self.config.jitter:
                x = jittered(x, self.generator)
            drawn.append(signed(x).contiguous(memory_format=self.layout))
        return drawn

    def precision(self) -> AbstractContextManager:
        """Return the context in which the networks compute."""
        if not self.mixed:
            return nullcontext()
        # Torch would keep converted weights for all threads; here none is used twice.
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)

    def carry(self, images: Tensor, to_b: bool) -> Tensor:
        """Return uint8 images, or floats in [-1, 1], as the generator to B or to A paints them.

        Shape ``(B, 3, S, S)``, values in [-1, 1].
        """
        net = self.model.a_to_b if to_b else self.model.b_to_a
        x = signed(images) if images.dtype == torch.uint8 else images
        return net(x.contiguous(memory_format=self.layout))

    @torch.no_grad()
    def snapshot(self) -> Snapshot:
        """Return translations of the same test images, and what comes back from there."""
        ab = self.carry(self.pairs.test_a[:SHOWN], True)
        ba = self.carry(self.pairs.test_b[:SHOWN], False)
        aba, bab = self.carry(ab, False), self.carry(ba, True)
        return {
            name: bytes_of_signed(x).cpu().numpy()
            for name, x in (("ab", ab), ("aba", aba), ("ba", ba), ("bab", bab))
        }

    def target(self) -> Snapshot:
        return {
            "a": self.pairs.test_a[:SHOWN].cpu().numpy(),
            "b": self.pairs.test_b[:SHOWN].cpu().numpy(),
            "shape": np.array((3, self.pairs.size, self.pairs.size)),
            "classes": np.array(self.pairs.domains),
            **{f"taken_{way}": np.array(two) for way, two in yardsticks(self.pairs, FINAL).items()},
        }

    @torch.no_grad()
    def measure(self) -> Mapping[str, float]:
        """Measure on the first test images of either set: on a few, at the end on up to 100."""
        return compared(self.pairs, FINAL if self.step == self.total else MEASURED, self.carry)

    def state_dict(self) -> dict:
        return {
            **super().state_dict(),
            "orders": [epoch.order for epoch in self.epochs],
            "pools": [pool.state_dict() for pool in self.pools],
        }

    def load_state_dict(self, state: Mapping) -> None:
        super().load_state_dict(state)
        for epoch, order in zip(self.epochs, state["orders"], strict=True):
            epoch.order = order.to(self.device)
        for pool, kept in zip(self.pools, state["pools"], strict=True):
            pool.load_state_dict(kept)


def gains_by_bfloat16(config: CycleGANConfig, device: torch.device) -> bool:
    """Return whether a device is faster in bfloat16: measured on a CPU, from some width on."""
    return knows_bfloat16(device) and (device.type != "cpu" or config.width >= WIDE)


TRAINING = Training(
    CycleGANConfig,
    model,
    CycleGANTraining,
    data=PAIR_DATA,
    check=check,
    threads=8,
    likelihood="none",
)

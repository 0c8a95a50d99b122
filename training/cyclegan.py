"""Train CycleGAN: two worlds, no pairs, two generators and two discriminators."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module

from datasets.own_pairs import OwnPairs
from datasets.pairs import OWN, PAIRS
from models.cut import CUT, cut
from models.cyclegan import UPSAMPLINGS, CycleGAN, cyclegan
from training.core.config import ConfigError, RunConfig, knob, rate_knob, seed_knob
from training.core.family import Training
from training.core.unpaired import (
    PAIR_DATA,
    Translation,
    discriminator_loss,
    distance,
    exact,
    squared,
)
from training.cut import CUTTraining


class CycleGANConfig(RunConfig):
    """What can be set on a CycleGAN training."""

    BEFORE = MappingProxyType({"upsampling": "transposed"})

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
    upsampling: Literal[tuple(UPSAMPLINGS)] = knob(  # type: ignore[valid-type]
        "resize",
        label="Upsampling",
        help="How generators double the sides. Resize: repeat pixels, then convolve. Transposed: "
        "the paper's transposed convolutions, faster, but with a checkerboard in what they paint.",
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
    tie: Literal["cycle", "contrast"] = knob(
        "cycle",
        label="What ties a translation to its input",
        help="Cycle: a second generator has to find the way back. Contrast (CUT): there is one "
        "generator, from A to B, and each patch of its translation has to be more like the patch "
        "that it came from than like others of that image. Some 1.6 times as fast, one way.",
        group="Model",
    )
    contrast: float = knob(
        1.0,
        bounds=(0.0, 10.0, 0.5),
        label="Weight of the contrast",
        help="How much it counts that patches are found again, and that images which are of B "
        "already are left alone. At 0 nothing ties a translation to its input. Only if contrast is "
        "what ties it; the weights of cycle and identity loss have no say then.",
        live=True,
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


def model(config: CycleGANConfig, *, generator: torch.Generator | None = None) -> CycleGAN | CUT:
    """Return the networks that ``config`` describes; they take images of any size."""
    return (cyclegan if config.tie == "cycle" else cut)(
        width=config.width,
        blocks=config.blocks,
        discriminator_width=config.discriminator_width,
        upsampling=config.upsampling,
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


class CycleGANTraining(Translation):
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


def build(
    config: CycleGANConfig, *, device: torch.device | str = "cpu", own: OwnPairs | None = None
) -> Translation:
    """Return the training, untrained: of a cycle, or of one generator by contrast.

    Raises:
        ConfigError: see :func:`check`.
    """
    kind = CycleGANTraining if config.tie == "cycle" else CUTTraining
    check(config)
    networks = model(config, generator=torch.Generator().manual_seed(config.seed))
    return kind(config, networks, device=device, own=own)


TRAINING = Training(
    CycleGANConfig,
    model,
    build,
    data=PAIR_DATA,
    check=check,
    threads=8,
    likelihood="none",
)

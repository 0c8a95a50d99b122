"""The duel of a GAN: discriminator and generator take turns. What all GANs of the lab share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from models.gan import GAN
from training.core.config import RunConfig, knob, rate_knob, seed_knob
from training.core.experiment import Experiment
from training.core.gan_losses import (
    LOSSES,
    Penalty,
    explained,
    gradient_penalty,
    realness,
    slope_at,
)
from training.core.optimiser import RISE, Optimiser, follow

PARTS = ("discriminator", "generator")


def discriminator_rate_knob(default: float, bounds: tuple[float, float]) -> Any:
    """Declare the learning rate of the discriminator."""
    words = "Of the discriminator, at the start; it falls in a straight line to zero at the end."
    return rate_knob(default, bounds, words, "D learning rate")


def generator_rate_knob(default: float, bounds: tuple[float, float]) -> Any:
    """Declare the learning rate of the generator."""
    words = "Of the generator, at the start; it falls in a straight line to zero at the end."
    return rate_knob(default, bounds, words, "G learning rate")


class DuelConfig(RunConfig):
    """What can be changed about a duel while it runs."""

    loss: Literal[tuple(LOSSES)] = knob(  # type: ignore[valid-type]
        "non-saturating",
        label="Loss",
        help=f"What the two minimise.\n\n{explained()}",
        live=True,
    )
    learning_rate_d: float = discriminator_rate_knob(1e-3, bounds=(1e-5, 2e-2))
    learning_rate: float = generator_rate_knob(1e-3, bounds=(1e-5, 2e-2))
    optimiser: Literal["adam", "gradient-descent"] = knob(
        "adam",
        label="Optimiser",
        help="Adam divides each gradient by its usual size; gradient descent does not, and asks "
        "for a rate ten to a hundred times as high.",
        live=True,
    )
    momentum: float = knob(
        0.0,
        bounds=(0.0, 0.95, 0.05),
        label="Momentum",
        help="Fraction of the last step that goes into the next (Adam's first decay). Where two "
        "chase each other, much of it makes them overshoot.",
        live=True,
    )
    d_steps: int = knob(
        1,
        bounds=(1, 10, 1),
        label="D updates, k_D",
        help="Of the discriminator in each step. A Wasserstein critic wants about five.",
        live=True,
    )
    g_steps: int = knob(
        1,
        bounds=(1, 10, 1),
        label="G updates, k_G",
        help="Of the generator in each step. More than the discriminator's invite collapse onto "
        "what fools it now.",
        live=True,
    )
    smoothing: float = knob(
        0.0,
        bounds=(0.0, 0.4, 0.05),
        label="Label smoothing",
        help="The target for real examples is 1 minus this, not 1: less than "
        "certainty. For the cross-entropy and least-squares losses.",
        live=True,
    )
    penalty: Literal["of-the-loss", "none", "r1", "r1-r2"] = knob(
        "of-the-loss",
        label="Gradient penalty",
        help="On the discriminator's slope. *R1* flattens it at real examples, *R2* at fake ones, "
        "so that where the two agree it stops pushing and the duel comes to rest. The relativistic "
        "loss has both, Wasserstein its own, the others none.",
        live=True,
    )
    gamma: float = knob(
        0.1,
        bounds=(0.001, 100.0),
        label="Weight of R1 and R2, γ",
        help="At the start; it falls to a tenth over the training. Large: calm and slow, with "
        "blurred modes. Small: sharp, but it may swing.",
        live=True,
        scale="log",
    )
    penalty_every: int = knob(
        4,
        bounds=(1, 16, 1),
        label="R1 and R2 every",
        help="So many steps, with as many times the weight: the gradient of a gradient costs more "
        "than all the rest of a step.",
        live=True,
    )
    ema: int = knob(
        0,
        bounds=(0, 1000, 10),
        label="Average of the generator [steps]",
        help="Half-life of a moving average of its weights (EMA), which is what is shown and "
        "sampled. It takes the swinging of the duel out of the samples; the training itself does "
        "not see it. 0: no average.",
    )
    delay: float = knob(
        0.0,
        bounds=(0.0, 2.0, 0.1),
        label="Slow motion [s]",
        help="Seconds between two steps on the page, to watch single steps. It changes nothing "
        "else.",
        live=True,
    )
    seed: int = seed_knob()


def with_average(model: GAN, config: DuelConfig) -> GAN:
    """Return the networks of a config, with an average of the generator if it asks for one."""
    if config.ema:
        model.keep_average()
    return model


class SwitchableOptimiser(Optimiser):
    """A :class:`~training.core.optimiser.Optimiser` whose rule can be changed while it runs.

    Args:
        module: its parameters become views into one vector.
        second: decay of Adam's second moment.
    """

    def __init__(self, module: torch.nn.Module, second: float) -> None:
        # A clipped gradient would hide that one of the two has won.
        super().__init__(module, clip=math.inf, betas=(0.0, second))
        self.plain = torch.optim.SGD([self.flat], fused=self.fused)
        self.rule, self.momentum, self.second = "adam", 0.0, second

    def _follow(self, rule: torch.optim.Optimizer, bad: Tensor, learning_rate: float) -> None:
        adam = self.rule == "adam"
        rule = self.adam if adam else self.plain
        decays = {"betas": (self.momentum, self.second)} if adam else {"momentum": self.momentum}
        rule.param_groups[0].update(decays)
        if not adam and self.momentum:
            # Made here: a first step that is skipped leaves what the kernel makes uninitialised.
            memory = self.plain.state[self.flat]
            memory.setdefault("momentum_buffer", torch.zeros_like(self.flat))
        super()._follow(rule, bad, learning_rate)

    def state_dict(self) -> dict:
        return {**super().state_dict(), "plain": self.plain.state_dict()}

    def load_state_dict(self, state: Mapping) -> None:
        super().load_state_dict(state)
        self.load_rule(self.plain, state["plain"])


class Duel(Experiment):
    """Discriminator and generator take turns.

    A family supplies ``model``, ``real``, ``snapshot`` and ``measure``. ``live`` has the knobs of
    :class:`DuelConfig`.

    References:
        Generative Adversarial Nets (Goodfellow et al., 2014), algorithm 1.
        https://arxiv.org/abs/1406.2661
    """

    LOSSES = ("d_loss", "g_loss", "d_real", "d_fake")
    PARTS = PARTS
    PENALTY = 10.0  # weight of the gradient penalty
    SECOND = 0.999  # decay of Adam's second moment

    model: GAN

    def enter(self, model: GAN) -> None:
        """Take up the two networks."""
        self.model = model.to(self.device)
        self.optimisers = {
            "discriminator": SwitchableOptimiser(self.model.discriminator, self.SECOND),
            "generator": SwitchableOptimiser(self.model.generator, self.SECOND),
        }

    def real(self) -> Tensor:
        """Return a batch of real examples, drawn with ``self.generator``.

        Shape ``(B, ...)``.
        """
        raise NotImplementedError

    def precision(self) -> AbstractContextManager:
        """Return the context in which the networks compute."""
        return nullcontext()

    def seen(self, x: Tensor) -> Tensor:
        """Return examples as the discriminator is shown them.

        Shape ``(B, ...)``, as they came.
        """
        return x

    def made(self, count: int) -> Tensor:
        """Return new fake examples ``(count, ...)``, with their history."""
        return self.model.generator(self.model.draw(count, self.generator))

    def scores(self, x: Tensor) -> Tensor:
        """Return the discriminator's scores ``(B,)`` of examples, with their history.

        Examples have the shape ``(B, ...)``.
        """
        return self.model.discriminator(self.seen(x))

    def gradients(self, who: str, loss: Tensor) -> Tensor | Sequence[Tensor]:
        """Return the gradient of a scalar loss with respect to the parameters of one of ``PARTS``.

        As one vector ``(P,)``, or one for each parameter, of its shape.
        """
        return torch.autograd.grad(loss, self.optimisers[who].parameters)

    def update(self) -> Mapping[str, Tensor]:
        """Take the discriminator's updates, then the generator's.

        The first update of the generator sends the examples again that the discriminator has just
        seen, as in the algorithm's usual code; they are made only once.

        Returns:
            Losses, and how real (0 to 1) the discriminator took real and fake examples to be.
        """
        logged: dict[str, Tensor] = {}
        real = fake = None
        if self.part != "generator":
            for _ in range(self.live["d_steps"]):
                real = self.real()
                with torch.set_grad_enabled(self.part is None), self.precision():
                    fake = self.made(len(real))
                logged |= self.update_discriminator(real, fake.detach())
        if self.part != "discriminator":
            for _ in range(self.live["g_steps"]):
                if fake is None:
                    with self.precision():
                        fake = self.made(self.config.batch)
                if real is None and LOSSES[self.live["loss"]].paired:
                    real = self.real()
                logged |= self.update_generator(fake, real)
                fake = None
        return logged

    def update_discriminator(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Take one step of the discriminator; ``fake`` comes detached.

        Both have the shape ``(B, ...)``; losses are scalars.
        """
        loss = LOSSES[self.live["loss"]]
        with self.precision():
            scores_real, scores_fake = self.scores_of_both(real, fake)
        value = loss.discriminator(scores_real, scores_fake, self.live["smoothing"])
        value = self.penalised(value, real, fake)
        self._descend("discriminator", value, "learning_rate_d")
        taken = realness(self.live["loss"], torch.stack([scores_real, scores_fake]).detach())
        d_real, d_fake = taken.mean(1)
        return {"d_loss": value.detach(), "d_real": d_real, "d_fake": d_fake}

    def scores_of_both(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Return the discriminator's scores of real and fake examples.

        Both have the shape ``(B, ...)``, scores ``(B,)``.
        """
        return self.scores(torch.cat([real, fake])).split(len(real))

    @property
    def penalty(self) -> Penalty:
        """The penalty on the discriminator's gradient, as chosen or that of the loss."""
        chosen = self.live["penalty"]
        return LOSSES[self.live["loss"]].penalty if chosen == "of-the-loss" else chosen

    def penalised(self, value: Tensor, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss, a scalar, with the penalty of this step.

        Examples have the shape ``(B, ...)``; fake ones are detached.
        """
        discriminator = self.model.discriminator
        if self.penalty == "wgan-gp":
            # Between what the critic sees, and in full precision: it is a gradient of a gradient.
            seen = self.seen(real), self.seen(fake.float())
            penalty = gradient_penalty(discriminator, *seen, self.generator)
            return value + self.PENALTY * penalty
        weight = self.penalty_weight()
        if weight:
            value = value + weight / 2 * slope_at(discriminator, self.seen(real))
            if self.penalty == "r1-r2":
                value = value + weight / 2 * slope_at(discriminator, self.seen(fake.float()))
        return value

    def penalty_weight(self) -> float:
        """Return the weight of R1 and R2 in this step: 0 in most, so much more in the others.

        References:
            Analyzing and Improving the Image Quality of StyleGAN (Karras et al., 2019), section
            3.1: lazy regularisation. https://arxiv.org/abs/1912.04958
            The GAN is dead; long live the GAN! A Modern GAN Baseline (Huang et al., 2024): a weight
            that falls. https://arxiv.org/abs/2501.05441
        """
        every = self.live["penalty_every"]
        if self.penalty not in ("r1", "r1-r2") or self.step % every:
            return 0.0
        return every * self.live["gamma"] * 0.1 ** (self.step / self.total)

    def update_generator(self, fake: Tensor, real: Tensor | None) -> dict[str, Tensor]:
        """Take one step of the generator; ``fake`` comes with its history.

        Examples have the shape ``(B, ...)``; real ones are for a paired loss. Losses are scalars.
        """
        loss = LOSSES[self.live["loss"]]
        with self.precision():
            scores = self.margins(real, fake) if loss.paired else self.scores(fake)
        # Losses are computed in full precision, whatever the networks compute in.
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        value = loss.generator(scores)
        self._descend("generator", value, "learning_rate")
        if self.model.average is not None:
            half_life = min(self.config.ema, RISE * self.step)
            follow(self.model.average, self.model.generator, half_life)
        return {"g_loss": value.detach()}

    def margins(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return by how much fake examples score above real ones, pair by pair.

        Both have the shape ``(B, ...)``, the result ``(B,)``.
        """
        of_real, of_fake = self.scores_of_both(real, fake)
        return of_fake - of_real

    def rates(self) -> dict[str, float | None]:
        return {
            "learning_rate_d": self.optimisers["discriminator"].rate,
            "learning_rate": self.optimisers["generator"].rate,
        }

    def _descend(self, who: str, loss: Tensor, rate: str) -> None:
        optimiser = self.optimisers[who]
        optimiser.rule, optimiser.momentum = self.live["optimiser"], self.live["momentum"]
        # Falling to zero: a duel at a constant rate circles its goal and never arrives.
        falling = self.live[rate] * (1 - self.step / self.total)
        optimiser.along(self.gradients(who, loss), loss.detach(), falling)

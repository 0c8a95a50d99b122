"""Train a GAN on 2-D points, where the truth is known and the duel can be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from datasets.own import OwnData
from datasets.plane import OWN, Plane, load_plane
from datasets.toy import TOY, Box
from metrics.plane import SAMPLES, Truth, diversity, summarise
from models.fast.by_hand import ByHand
from models.gan import GAN, plane_gan
from training.core.adversarial import PARTS, Duel, DuelConfig, with_average
from training.core.config import knob
from training.core.experiment import Snapshot
from training.core.family import Training
from training.core.gan_losses import LOSSES, PLANE_PENALTY, realness
from training.core.plane_flow import GRID, POINT_DATA, dataset_knob, grid_points, noise_knob

DRAWN = 1000  # points of a snapshot
PUSHED = 150  # of these, with an arrow
MARGIN = 0.08  # around the data, as a fraction of their window
LATTICE = 25  # points along each side of the latent square


class GANConfig(DuelConfig):
    """What can be set on a training of a GAN in 2-D."""

    dataset: Literal[(*TOY, OWN)] = dataset_knob("ring")  # type: ignore[valid-type]
    noise: float = noise_knob(0.02)
    hidden: int = knob(
        128,
        bounds=(16, 256, 16),
        label="Hidden units",
        help="Width of the hidden layers of either network.",
        group="Model",
    )
    depth: int = knob(
        2,
        bounds=(1, 4, 1),
        label="Hidden layers",
        help="Of either network.",
        group="Model",
    )
    prior: Literal["uniform", "gaussian"] = knob(
        "gaussian",
        label="Latents",
        help="Where the two numbers come from that each point is made of: evenly from a square, or "
        "standard normal.",
        group="Model",
    )
    iterations: int = knob(
        9000,
        bounds=(1000, 30_000, 500),
        label="Iterations",
        help="Steps of the duel. The learning rates fall to zero over all of them.",
    )
    batch: int = knob(
        256,
        bounds=(16, 1024, 16),
        label="Batch size",
        help="Real and fake points per update.",
    )


class PlaneGAN(Duel):
    """A duel over 2-D points.

    Args:
        config: what to train.
        device: where it trains.
        own: the user's data, if ``config.dataset`` is ``"own"``.
    """

    METRICS = ("modes", "good", "kl_to_truth", "js_to_truth", "diversity")
    PENALTY = PLANE_PENALTY
    SECOND = 0.9  # a short memory: in a duel, the usual size of a gradient changes quickly

    def __init__(
        self,
        config: GANConfig,
        *,
        device: torch.device | str = "cpu",
        own: OwnData | None = None,
    ) -> None:
        super().__init__(config, device, config.iterations)
        self.plane: Plane = load_plane(config.dataset, config.noise, own).to(self.device)
        self.enter(model(config, generator=self.seeded()))
        vectors = {who: optimiser.gradient for who, optimiser in self.optimisers.items()}
        self.fast_generator = ByHand(self.model.generator, vectors["generator"])
        self.fast_discriminator = ByHand(self.model.discriminator[0], vectors["discriminator"])
        self.last_scores: Tensor  # the scores of its last pass
        # Evaluation has a source of its own, so that it never changes the training.
        eval_generator = torch.Generator().manual_seed(1)
        self.latents = self.model.draw(SAMPLES, eval_generator).to(self.device)
        self.lattice = lattice(config.prior).to(self.device)
        self.window = widened(self.plane.box())
        self.grid = grid_points(self.window, GRID).to(self.device)
        self.truth = Truth.of(self.plane)
        self._compared = self.plane.held_out(DRAWN, torch.Generator(self.device).manual_seed(2))

    def real(self) -> Tensor:
        return self.plane.batch(self.config.batch, self.generator)

    # -- gradients by hand: in networks this small, autograd takes a fifth of a step for itself --

    @property
    def by_hand(self) -> bool:
        """Return whether all that the loss wants of the networks is known by hand."""
        return self.penalty != "wgan-gp"

    def made(self, count: int) -> Tensor:
        if not self.by_hand:
            return super().made(count)
        return self.fast_generator.forward(self.model.draw(count, self.generator))

    def scores(self, x: Tensor) -> Tensor:
        if not self.by_hand:
            return super().scores(x)
        self.last_scores = self.fast_discriminator.forward(x).flatten().requires_grad_()
        return self.last_scores

    def penalised(self, value: Tensor, real: Tensor, fake: Tensor) -> Tensor:
        return value if self.by_hand else super().penalised(value, real, fake)

    def gradients(self, who: str, loss: Tensor) -> Tensor | Sequence[Tensor]:
        if not self.by_hand:
            return super().gradients(who, loss)
        slope = torch.autograd.grad(loss, self.last_scores)[0][:, None]
        if who == "discriminator":
            gradient = self.fast_discriminator.weight_gradient(slope)
            return self._with_penalty(gradient, len(slope) // 2)
        slope = self.fast_discriminator.input_gradient(slope)
        # The last scores may be those of real examples, too, before those of fake ones.
        return self.fast_generator.weight_gradient(slope[-len(self.fast_generator.inputs[0]) :])

    def _with_penalty(self, gradient: Tensor, batch: int) -> Tensor:
        """Add R1 and R2 to the gradient ``(P,)`` of a discriminator that saw real ones first."""
        weight = self.penalty_weight()
        if not weight:
            return gradient
        rows = gradient.new_full((2 * batch,), weight / 2 / batch)
        if self.penalty == "r1":
            rows[batch:] = 0
        return gradient.add_(self.fast_discriminator.penalty_gradient(rows))

    def snapshot(self) -> Snapshot:
        """Return fake points, where they are pushed, the bent lattice and the heat map."""
        with torch.no_grad():
            samples = self.model(self.latents[:DRAWN])
            bent = self.model(self.lattice).view(LATTICE, LATTICE, 2)
            heat = realness(self.live["loss"], self.model.discriminator(self.grid))
        return {
            "samples": samples.cpu().numpy(),
            "arrows": self.push(samples[:PUSHED]).cpu().numpy(),
            "lattice": bent.cpu().numpy(),
            "realness": heat.view(GRID, GRID).cpu().numpy().astype(np.float16),
        }

    @torch.enable_grad()
    def push(self, points: Tensor) -> Tensor:
        """Return minus the gradient of the generator's loss at each point ``(n, 2)``."""
        x = points.detach().requires_grad_()
        loss, scores = LOSSES[self.live["loss"]], self.model.discriminator(x)
        if loss.paired:
            scores = scores - self.model.discriminator(self._compared).mean()
        # The loss is a mean: times n, each point has the gradient it would have alone.
        return -len(x) * torch.autograd.grad(loss.generator(scores), x)[0]

    def target(self) -> Snapshot:
        return {
            "samples": self._compared[:DRAWN].cpu().numpy(),
            "box": np.array(self.window, dtype=np.float32),
        }

    @torch.no_grad()
    def measure(self) -> Mapping[str, float]:
        """Compare 20,000 samples with the truth, where it is known; see ``plane_metrics``."""
        samples = self.model(self.latents)
        metrics = {"diversity": diversity(samples[:DRAWN], self._compared)}
        if self.truth is None:
            return metrics
        found = self.truth.score(samples)
        metrics |= {"kl_to_truth": found.pop("kl"), "js_to_truth": found.pop("js")}
        return metrics | found

    def summary(self) -> Mapping[str, float]:
        """Return size, time to sample and what its samples are like; see ``summarise``."""

        def draw(count: int, generator: torch.Generator) -> Tensor:
            return self.model(self.model.draw(count, generator))

        both = nn.ModuleList([self.model.generator, self.model.discriminator])
        return summarise(both, self.plane, self.truth, draw)


def widened(box: Box) -> Box:
    """Return a window with a margin, where fakes may be that are not yet among the data."""
    x0, x1, y0, y1 = box
    margin = MARGIN * (x1 - x0)
    return x0 - margin, x1 + margin, y0 - margin, y1 + margin


def lattice(prior: str) -> Tensor:
    """Return latents on a lattice ``(LATTICE^2, 2)`` whose cells are all drawn equally often.

    At the rim of a Gaussian, which has none, cells end where one of 200 latents lies beyond.
    """
    if prior == "uniform":
        places = torch.linspace(-1, 1, LATTICE)
    else:
        places = torch.special.ndtri(torch.linspace(0.005, 0.995, LATTICE))
    return torch.cartesian_prod(places, places)


def model(config: GANConfig, *, generator: torch.Generator | None = None) -> GAN:
    """Return the networks that ``config`` describes."""
    networks = plane_gan(
        hidden=config.hidden, depth=config.depth, prior=config.prior, generator=generator
    )
    return with_average(networks, config)


TRAINING = Training(GANConfig, model, PlaneGAN, data=POINT_DATA, parts=PARTS, likelihood="none")

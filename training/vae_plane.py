"""Train a VAE on 2-D points: of its density, only a bound is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from datasets.own import OwnData
from datasets.plane import Plane, load_plane
from metrics.plane import Truth, summarise
from models.vae import VAE, importance_bound, plane_vae
from training.core.config import knob
from training.core.experiment import Experiment, Snapshot
from training.core.family import Training
from training.core.optimiser import Optimiser, one_cycle
from training.core.plane_flow import HELD_OUT_POINTS, POINT_DATA, SAMPLES, PlaneConfig

LATENT = 2  # so that the codes can be drawn
TIGHT = 64  # draws behind the tighter bound
TIGHT_POINTS = 2000  # held-out points that it is measured on


class VAEPlaneConfig(PlaneConfig):
    """What can be set on a training of a VAE in 2-D."""

    hidden: int = knob(
        128,
        bounds=(32, 256, 32),
        label="Hidden units",
        help="Width of the hidden layers of encoder and decoder.",
        group="Model",
    )
    depth: int = knob(
        2,
        bounds=(1, 4, 1),
        label="Hidden layers",
        help="Of encoder and decoder each.",
        group="Model",
    )


class PlaneVAE(Experiment):
    """Maximise the ELBO over 2-D points.

    Costs are nats per point in the data's own units. The negative ELBO is a bound: the NLL is at
    most that, and how much less nobody knows exactly.

    Args:
        config: what to train.
        device: where it trains.
        own: the user's data, if ``config.dataset`` is ``"own"``.

    References:
        Auto-Encoding Variational Bayes (Kingma, Welling, 2013). https://arxiv.org/abs/1312.6114
    """

    LOSSES = ("bound", "reconstruction", "kl")
    METRICS = ("bound_test",)

    def __init__(
        self,
        config: VAEPlaneConfig,
        *,
        device: torch.device | str = "cpu",
        own: OwnData | None = None,
    ) -> None:
        super().__init__(config, device, config.iterations)
        self.plane: Plane = load_plane(config.dataset, config.noise, own).to(self.device)
        self.model: VAE = model(config, generator=self.seeded()).to(self.device)
        self.optimisers = {"adam": Optimiser(self.model, weight_decay=config.weight_decay)}
        # Evaluation has a source of its own, so that it never changes the training.
        eval_generator = torch.Generator().manual_seed(1)
        self.latents = torch.randn(2, SAMPLES, LATENT, generator=eval_generator).to(self.device)
        self._shown = self.plane.held_out(SAMPLES, torch.Generator(self.device).manual_seed(2))

    def update(self) -> Mapping[str, Tensor]:
        x = self.plane.batch(self.config.batch, self.generator)  # (B, 2)
        reconstruction, kl = self.model.terms(x, self._noise(self.generator, len(x)))
        loss = (reconstruction + kl).mean()
        rate = self.live["learning_rate"] * one_cycle(self.step / self.total)
        self.optimisers["adam"].step(loss, rate)
        return {
            "bound": loss.detach() + self.plane.log_volume,
            "reconstruction": reconstruction.detach().mean() + self.plane.log_volume,
            "kl": kl.detach().mean(),
        }

    @torch.no_grad()
    def snapshot(self) -> Snapshot:
        """Return samples, and the codes of held-out points: means of q(z | x)."""
        codes, _ = self.model.encode(self._shown[:SAMPLES])
        return {
            "samples": sample(self.model, *self.latents).cpu().numpy(),
            "codes": codes.cpu().numpy(),
        }

    def target(self) -> Snapshot:
        return {
            "samples": self._shown[:SAMPLES].cpu().numpy(),
            "box": np.array(self.plane.box(), dtype=np.float32),
        }

    @torch.no_grad()
    def measure(self) -> Mapping[str, float]:
        """Return the negative ELBO of 20,000 held-out points, nats in data units."""
        eval_generator, x = self._held_out()
        terms = self.model.terms(x, self._noise(eval_generator, len(x)))
        return {"bound_test": float((terms.reconstruction + terms.kl).mean()) + self._volume}

    @torch.no_grad()
    def summary(self) -> Mapping[str, float]:
        """Return what ``summarise`` does, and ``tight_bound``, nats in data units.

        That is the mean, over 2,000 held-out points, of the bound by 64 importance-weighted draws.
        """

        def draw(count: int, generator: torch.Generator) -> Tensor:
            return sample(self.model, *self._noise(generator, 2, count))

        numbers = summarise(self.model, self.plane, Truth.of(self.plane), draw)
        eval_generator, x = self._held_out()
        few = x[:TIGHT_POINTS]
        weights = self.model.log_weights(few, self._noise(eval_generator, TIGHT, len(few)))
        bound = float(-importance_bound(weights).mean()) + self._volume
        return {**numbers, "tight_bound": bound}

    @property
    def _volume(self) -> float:
        return self.plane.log_volume

    def _held_out(self) -> tuple[torch.Generator, Tensor]:
        eval_generator = torch.Generator(self.device).manual_seed(3)
        return eval_generator, self.plane.held_out(HELD_OUT_POINTS, eval_generator)

    def _noise(self, generator: torch.Generator, *shape: int) -> Tensor:
        return torch.randn(*shape, LATENT, generator=generator, device=self.device)


def sample(vae: VAE, z: Tensor, noise: Tensor) -> Tensor:
    """Return points of the model's density, shape ``(n, 2)``, standardised.

    The decoder gives where a point lies on average; the likelihood's spread around it is part of
    the density, and leaving it out would flatter the model.

    Args:
        vae: from :func:`~models.vae.plane_vae`.
        z: latents, standard normal, ``(n, 2)``.
        noise: standard normal, ``(n, 2)``.
    """
    return vae.decode(z) + vae.likelihood.log_scale.exp() * noise


def model(config: VAEPlaneConfig, *, generator: torch.Generator | None = None) -> VAE:
    """Return the networks that ``config`` describes."""
    return plane_vae(latent=LATENT, hidden=config.hidden, depth=config.depth, generator=generator)


TRAINING = Training(VAEPlaneConfig, model, PlaneVAE, data=POINT_DATA, likelihood="bound")

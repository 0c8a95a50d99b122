"""Train a flow on a 2-D density: what NICE, RealNVP and later families share there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from datasets.own import OwnData, read_own
from datasets.plane import OWN, Plane, load_plane
from datasets.toy import TOY
from metrics.plane import Truth, summarise
from models.flow import Flow
from training.core.config import RunConfig, knob, rate_knob, seed_knob
from training.core.experiment import Experiment, Snapshot
from training.core.family import DataKind, Training
from training.core.optimiser import Optimiser, one_cycle

GRID = 96  # cells along each side of a density image
SAMPLES = 1000  # points of a sample image
HELD_OUT_POINTS = 20_000  # points behind each KL: with few, a perfect model looks bad

Model = Callable[..., Flow]


def read(_config: RunConfig, path: Path) -> OwnData:
    """Read a person's own points.

    Raises:
        DataError: they cannot be used.
    """
    return read_own(path.read_bytes(), path.name)


POINT_DATA = DataKind(
    "a CSV of points or an image",
    read,
    OwnData.load,
    titles={name: toy.label for name, toy in TOY.items()},
    faster_on="cpu",  # a step of networks this small is all launching of kernels
    drawn=2**18,
)


def dataset_knob(default: str) -> Any:
    """Declare which points to learn."""
    return knob(
        default,
        label="Dataset",
        help="The density to learn. `own` is a CSV of points or an image of yours.",
        group="Data",
    )


def noise_knob(default: float) -> Any:
    """Declare how noisy the points are."""
    return knob(
        default,
        bounds=(0.02, 0.5, 0.01),
        label="Noise",
        help="Standard deviation of the Gaussian noise around the shape, in the data's own units. "
        "Own points ignore it.",
        group="Data",
    )


class PlaneConfig(RunConfig):
    """What families that learn a 2-D density share: data, batch, steps, optimiser."""

    dataset: Literal[(*TOY, OWN)] = dataset_knob("two_moons")  # type: ignore[valid-type]
    noise: float = noise_knob(0.05)
    iterations: int = knob(
        2000,
        bounds=(1000, 5000, 100),
        label="Iterations",
        help="Optimiser steps. The learning rate follows one cycle over all of them: up in the "
        "first tenth, then down to zero.",
    )
    batch: int = knob(
        512,
        bounds=(64, 2048, 64),
        label="Batch size",
        help="Points per step, drawn afresh each time where the density is known.",
    )
    learning_rate: float = rate_knob(5e-3, bounds=(1e-4, 2e-2))
    weight_decay: float = knob(
        0.0,
        bounds=(0.0, 0.1, 0.005),
        label="Weight decay",
        help="Pulls the weights towards zero (decoupled from the gradient, as in AdamW).",
    )
    seed: int = seed_knob()


class PlaneFlow(Experiment):
    """Maximum likelihood on 2-D points.

    Args:
        config: a config with the fields of :class:`~training.core.plane_flow.PlaneConfig`.
        model: makes the flow: ``model(config, generator=...)``, the source of initial weights.
        device: where it trains.
        own: the user's data, if ``config.dataset`` is ``"own"``.
    """

    LOSSES = ("nll",)
    METRICS = ("nll_test", "kl_to_truth")

    def __init__(
        self,
        config: PlaneConfig,
        model: Model,
        *,
        device: torch.device | str = "cpu",
        own: OwnData | None = None,
    ) -> None:
        super().__init__(config, device, config.iterations)
        self.plane: Plane = load_plane(config.dataset, config.noise, own).to(self.device)
        self.model: Flow = model(config, generator=self.seeded()).to(self.device)
        self.model.initialise(self.plane.batch(2048, self.generator))
        # From the latent on: the order of weights in the vectors of all checkpoints.
        layers = self.model.chain[::-1]
        self.optimisers = {"adam": Optimiser(layers, weight_decay=config.weight_decay)}
        # Latents, grid and held-out points have a generator of their own: evaluation never changes
        # the training.
        eval_generator = torch.Generator().manual_seed(1)
        self.latents = self.model.prior.sample(
            SAMPLES, generator=eval_generator, device=self.device
        )
        self.grid = grid_points(self.plane.box(), GRID).to(self.device)

    def update(self) -> Mapping[str, Tensor]:
        x = self.plane.batch(self.config.batch, self.generator)  # (B, 2)
        loss = -self.model.log_prob(x).mean()
        rate = self.live["learning_rate"] * one_cycle(self.step / self.total)
        self.optimisers["adam"].step(loss, rate)
        return {"nll": loss.detach() + self.plane.log_volume}

    @torch.no_grad()
    def snapshot(self) -> Snapshot:
        return {
            "density": self._density(self._log_prob),
            "samples": self.model.forward(self.latents)[0].cpu().numpy(),
        }

    @torch.no_grad()
    def target(self) -> Snapshot:
        eval_generator = torch.Generator(self.device).manual_seed(2)
        arrays = {
            "samples": self.plane.held_out(SAMPLES, eval_generator)[:SAMPLES].cpu().numpy(),
            "box": np.array(self.plane.box(), dtype=np.float32),
        }
        if self.plane.density is not None:
            arrays["density"] = self._density(self.plane.log_prob)
        return arrays

    @torch.no_grad()
    def measure(self) -> Mapping[str, float]:
        """Return the held-out NLL, nats in data units, and the KL to the truth if that is known.

        The KL is the mean of log p(x) - log q(x) over the same 20,000 points each time. It has the
        expectation of NLL - entropy, and far less spread, since the sampling noise of both terms is
        shared.
        """
        x, truth = self._measured
        log_q = self._log_prob(x)
        metrics = {"nll_test": float(-log_q.mean()) + self.plane.log_volume}
        if truth is not None:
            metrics["kl_to_truth"] = float((truth - log_q).mean())
        return metrics

    def summary(self) -> Mapping[str, float]:
        """Return size, time to sample and what its samples are like; see ``summarise``.

        Also ``kl_error``, the standard error of the last KL to the truth, nats.
        """
        numbers = summarise(self.model, self.plane, Truth.of(self.plane), self._draw, self._nll)
        return numbers | self._kl_error()

    @torch.no_grad()
    def _kl_error(self) -> dict[str, float]:
        x, truth = self._measured
        if truth is None:
            return {}
        terms = truth - self._log_prob(x)
        return {"kl_error": float(terms.std() / len(terms) ** 0.5)}

    def _draw(self, count: int, generator: torch.Generator) -> Tensor:
        z = self.model.prior.sample(count, generator=generator, device=self.device)
        return self.model.forward(z)[0]

    def _log_prob(self, x: Tensor) -> Tensor:
        return self.model.log_prob(x)

    def _nll(self, x: Tensor) -> float:
        return float(-self._log_prob(x).mean()) + self.plane.log_volume

    @cached_property
    def _measured(self) -> tuple[Tensor, Tensor | None]:
        return measuring_points(self.plane)

    def _density(self, log_prob: Callable[[Tensor], Tensor]) -> np.ndarray:
        # Half precision ends at 65,504, and a flow on repeated points has no upper limit.
        density = log_prob(self.grid).exp().clamp(max=6e4)
        side = math.isqrt(len(density))
        return density.view(side, side).cpu().numpy().astype(np.float16)


def plane_flow(config: type[PlaneConfig], model: Model) -> Training:
    """Return what a family of flows in 2-D trains: its settings, and what makes its flow."""
    return Training(config, model, partial(PlaneFlow, model=model), data=POINT_DATA)


def measuring_points(plane: Plane) -> tuple[Tensor, Tensor | None]:
    """Return the held-out points behind each KL, always the same, and their true log-density.

    Returns:
        Standardised points ``(N, 2)``, and ``(N,)`` or ``None`` where the truth is not known.
    """
    x = plane.held_out(HELD_OUT_POINTS, torch.Generator(plane.mean.device).manual_seed(3))
    return x, plane.log_prob(x) if plane.density is not None else None


def grid_points(box: tuple[float, float, float, float], count: int) -> Tensor:
    """Return the centres of ``count`` by ``count`` cells, row by row from the top.

    Args:
        box: ``(x0, x1, y0, y1)``.
        count: cells along each side.

    Returns:
        Points with shape ``(count * count, 2)``, float32.
    """
    x0, x1, y0, y1 = box
    centres = (torch.arange(count) + 0.5) / count
    y, x = torch.meshgrid(y1 - centres * (y1 - y0), x0 + centres * (x1 - x0), indexing="ij")
    return torch.stack([x, y], dim=-1).view(-1, 2)

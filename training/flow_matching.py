"""Train flow matching on a 2-D density: regression on velocities, and reflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from datasets.own import OwnData
from models.flow import Flow
from models.flow_matching import PATHS, TARGETS, Transport, flow_matching, solved
from training.core.config import knob, rate_knob
from training.core.experiment import Snapshot
from training.core.family import Training
from training.core.optimiser import one_cycle
from training.core.plane_flow import POINT_DATA, PlaneConfig, PlaneFlow, grid_points

TRAJECTORIES = 64  # latents whose trajectories are in a snapshot
CELLS = 72  # along each side of a density image
SHOWN_STEPS = 6  # of the solver behind the density of a snapshot
SEEN = 1000  # held-out points behind each measurement but the last, which takes all
PAIRS = 2**15  # of noise and sample, that a round of reflow learns from
GROUP = 64  # ends of paths that are matched with each other
AT_ONCE = 4096  # points whose density is computed together: they stay in the processor's cache


class FlowMatchingConfig(PlaneConfig):
    """What can be set on a training of flow matching in 2-D."""

    path: Literal[tuple(PATHS)] = knob(  # type: ignore[valid-type]
        "straight",
        label="Path",
        help="From noise to data. Straight: in a line, at one speed. Variance preserving: on a "
        "quarter of a circle, as in diffusion. Optimal transport: in lines between pairs that are "
        "matched in each batch, so that they cross less.",
        group="Model",
    )
    target: Literal[TARGETS] = knob(  # type: ignore[valid-type]
        "velocity",
        label="Predict",
        help="What the network is asked for on the way: the velocity, the noise that the way "
        "began at, or the data point that it leads to. The other two follow.",
        group="Model",
    )
    hidden: int = knob(
        128,
        bounds=(32, 256, 32),
        label="Hidden units",
        help="Width of the hidden layers of the network.",
        group="Model",
    )
    depth: int = knob(
        3,
        bounds=(1, 5, 1),
        label="Hidden layers",
        help="Of the one network that is asked at every time.",
        group="Model",
    )
    iterations: int = knob(
        6000,
        bounds=(1000, 20_000, 500),
        label="Iterations",
        help="Optimiser steps of each round. The learning rate follows one cycle over them: up in "
        "the first tenth, then down to zero.",
    )
    learning_rate: float = rate_knob(5e-3, bounds=(1e-4, 2e-2))
    reflow: int = knob(
        0,
        bounds=(0, 3, 1),
        label="Rounds of reflow",
        help="Each draws pairs of noise and sample from what was learned so far, and learns the "
        "paths between them, in as many iterations again. If these are straight, fewer steps of a "
        "solver are enough afterwards.",
    )


def model(config: FlowMatchingConfig, *, generator: torch.Generator | None = None) -> Flow:
    """Return the flow that ``config`` describes."""
    return flow_matching(
        hidden=config.hidden,
        depth=config.depth,
        path=config.path,
        target=config.target,
        generator=generator,
    )


class PlaneFlowMatching(PlaneFlow):
    """Regression on the velocity, or what it follows from, along paths from noise to points.

    Rounds of reflow come after the first one: their pairs are not drawn independently, but are
    both ends of trajectories that were learned.

    Args:
        config: what to train.
        device: where it trains.
        own: the user's data, if ``config.dataset`` is ``"own"``.

    References:
        Flow Matching for Generative Modeling (Lipman et al., 2022), equation 9.
        https://arxiv.org/abs/2210.02747
        Flow Straight and Fast (Liu, Gong, Liu, 2022), algorithm 1: reflow.
        https://arxiv.org/abs/2209.03003
    """

    LOSSES = ("matching",)
    SNAPSHOT_PATIENCE = 5.0

    def __init__(
        self,
        config: FlowMatchingConfig,
        *,
        device: torch.device | str = "cpu",
        own: OwnData | None = None,
    ) -> None:
        super().__init__(config, model, device=device, own=own)
        self.total = config.iterations * (1 + config.reflow)
        self.landmarks = tuple(range(config.iterations, self.total, config.iterations))
        self.grid = grid_points(self.plane.box(), CELLS).to(self.device)
        self.pairs: Tensor | None = None  # of this round: noise and sample, (PAIRS, 2, 2)

    @property
    def transport(self) -> Transport:
        """The one layer of the flow."""
        return self.model.chain[0]

    @property
    def round(self) -> int:
        """Steps of each round."""
        return self.total // (1 + self.config.reflow)

    def update(self) -> Mapping[str, Tensor]:
        noise, data = self._ends()
        loss = self.transport.loss(noise, data, times(self.config.batch, self.generator)).mean()
        rate = self.live["learning_rate"] * one_cycle(self.step % self.round / self.round)
        self.optimisers["adam"].step(loss, rate)
        return {"matching": loss.detach()}

    def _ends(self) -> tuple[Tensor, Tensor]:
        """Return both ends of the paths of a batch, ``(B, 2)`` each."""
        count = self.config.batch
        if self.step >= self.round:
            if self.step % self.round == 0:
                self.pairs = self._drawn_pairs()
            chosen = torch.randint(PAIRS, (count,), generator=self.generator, device=self.device)
            return self.pairs[chosen].unbind(1)
        data = self.plane.batch(count, self.generator)
        noise = torch.randn(data.shape, generator=self.generator, device=self.device)
        return (paired(noise, data) if self.config.path == "optimal_transport" else noise), data

    @torch.no_grad()
    def _drawn_pairs(self) -> Tensor:
        noise = torch.randn(PAIRS, 2, generator=self.generator, device=self.device)
        return torch.stack([noise, self._followed(noise)], dim=1)

    @torch.no_grad()
    def snapshot(self) -> Snapshot:
        """Return density, samples, and trajectories of some, ``(steps + 1, n, 2)``."""
        trajectories = torch.stack(
            [x for _, x in self.transport.trajectory(self.latents[:TRAJECTORIES])]
        )
        rough = solved(self.model, steps=SHOWN_STEPS)
        return {
            "density": self._density(rough.log_prob),
            "samples": self._followed(self.latents).cpu().numpy(),
            "trajectories": trajectories.cpu().numpy().astype(np.float16),
        }

    @torch.no_grad()
    def measure(self) -> Mapping[str, float]:
        """Return the held-out NLL, nats in data units, and the KL to the truth if that is known.

        Over the same 1,000 points while it trains, over 20,000 at the end: the density of each
        takes as long as a hundred steps of training it.
        """
        x, truth = self._measured
        count = len(x) if self.step == self.total else SEEN
        log_q = self._log_prob(x[:count])
        metrics = {"nll_test": float(-log_q.mean()) + self.plane.log_volume}
        if truth is not None:
            metrics["kl_to_truth"] = float((truth[:count] - log_q).mean())
        return metrics

    def _draw(self, count: int, generator: torch.Generator) -> Tensor:
        return self._followed(torch.randn(count, 2, generator=generator, device=self.device))

    def _followed(self, noise: Tensor) -> Tensor:
        return torch.cat([self.transport.follow(part) for part in noise.split(AT_ONCE)])

    def _log_prob(self, x: Tensor) -> Tensor:
        return torch.cat([self.model.log_prob(part) for part in x.split(AT_ONCE)])

    def state_dict(self) -> dict:
        return {**super().state_dict(), "pairs": self.pairs}

    def load_state_dict(self, state: Mapping) -> None:
        super().load_state_dict(state)
        pairs = state["pairs"]
        self.pairs = None if pairs is None else pairs.to(self.device)


def times(count: int, generator: torch.Generator) -> Tensor:
    """Draw times ``(count,)`` all over [0, 1): one in each of as many equal parts."""
    parts = torch.arange(count, device=generator.device)
    return (parts + torch.rand(count, generator=generator, device=generator.device)) / count


def paired(noise: Tensor, data: Tensor) -> Tensor:
    """Return a batch of noise in the order that makes the trajectories to the data shortest in all.

    ``GROUP`` points at a time: exact matching takes a time that grows with the cube of that.

    Args:
        noise: ``(B, ...)``.
        data: ``(B, ...)``.

    References:
        Improving and generalizing flow-based generative models with minibatch optimal transport
        (Tong et al., 2023), section 3.2.4. https://arxiv.org/abs/2302.00482
    """
    parts = zip(noise.split(GROUP), data.split(GROUP), strict=True)
    return torch.cat([_matched(*part) for part in parts])


def _matched(noise: Tensor, data: Tensor) -> Tensor:
    from scipy.optimize import linear_sum_assignment  # a second, that only this path has to wait

    far = torch.cdist(data.flatten(1), noise.flatten(1)).square()
    _, order = linear_sum_assignment(far.cpu().numpy())
    return noise[torch.from_numpy(order).to(noise.device)]


TRAINING = Training(FlowMatchingConfig, model, PlaneFlowMatching, data=POINT_DATA)

"""What one family trains: models, data, optimisers, and the state that a resume needs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from training.core.config import RunConfig, current_names
from training.core.former import current_weights
from training.core.optimiser import Optimiser

Snapshot = Mapping[str, np.ndarray]


class Experiment:
    """What one family trains: models, data, optimisers.

    A family supplies ``update``, ``snapshot`` and ``measure``.

    Everything that a bit-for-bit resume needs is in :meth:`state_dict`; anything drawn at random
    during training comes from ``self.generator``.

    Args:
        config: the family's config.
        device: where the models live.
        total: optimiser steps in all.
    """

    LOSSES: tuple[str, ...] = ("loss",)
    METRICS: tuple[str, ...] = ()
    PARTS: tuple[str, ...] = ()  # of a step that can be taken alone
    SNAPSHOT_PATIENCE = 1.5  # seconds between two live snapshots, at most, whatever they cost

    def __init__(self, config: RunConfig, device: torch.device | str, total: int) -> None:
        self.config = config
        self.device = torch.device(device)
        self.total = total
        self.step = 0
        self.live = config.live_values()
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(getattr(config, "seed", 0))
        self.model: torch.nn.Module
        self.optimisers: dict[str, Optimiser] = {}
        self.part: str | None = None  # what the next step is about; all of it if ``None``
        self.landmarks: tuple[int, ...] = ()  # steps whose snapshots are kept beside every tenth

    def seeded(self) -> torch.Generator:
        """Return the source of the initial weights: on the CPU, so they are the same everywhere."""
        return torch.Generator().manual_seed(self.config.seed)

    def update(self) -> Mapping[str, Tensor]:
        """Take one optimiser step; return named scalar losses, detached, on the device.

        If ``self.part`` names one of ``PARTS``, only that part moves.
        """
        raise NotImplementedError

    def snapshot(self) -> Snapshot:
        """Return small arrays that show what the model knows. Must not touch ``self.generator``."""
        raise NotImplementedError

    def measure(self) -> Mapping[str, float]:
        """Return metrics on held-out data. Must not touch ``self.generator``."""
        return {}

    def summary(self) -> Mapping[str, float]:
        """Return numbers that are measured once, at the end. Must not touch ``self.generator``."""
        return {}

    def target(self) -> Snapshot:
        """Return arrays that show what there is to learn, once per run."""
        return {}

    def set(self, name: str, value: object) -> None:
        """Change a live knob while the training runs.

        Raises:
            ConfigError: no such knob, or a value out of its range.
        """
        if name not in self.live:
            raise ValueError(f"{name} cannot be changed while a training runs.")
        self.live[name] = getattr(self.config.replace(**{name: value}), name)

    def rates(self) -> dict[str, float | None]:
        """Return the learning rates of the last step by their knobs: the schedule is in them."""
        rates = [optimiser.rate for optimiser in self.optimisers.values()]
        return {"learning_rate": rates[0] if rates else None}

    @property
    def skipped(self) -> int:
        """Steps skipped so far because the loss or its gradient was not finite."""
        return sum(int(o.skipped) for o in self.optimisers.values())

    @property
    def streak(self) -> int:
        """Steps skipped in a row until now; 0 after a good one."""
        return max((int(o.streak) for o in self.optimisers.values()), default=0)

    def state_dict(self) -> dict:
        """Return all that the rest of the training depends on: tensors and plain values only."""
        return {
            "step": self.step,
            "live": dict(self.live),
            "model": self.model.state_dict(),
            "optimisers": {name: o.state_dict() for name, o in self.optimisers.items()},
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping) -> None:
        """Take over what ``state_dict`` returned, perhaps on another device."""
        self.step = state["step"]
        self.live |= state["live"]  # knobs that its version did not know stay as configured
        self.model.load_state_dict(current_weights(state["model"], self.model))
        optimisers = current_names(state["optimisers"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(optimisers[name])
        # A checkpoint from a GPU may be opened on a CPU, whose generator state looks different.
        if state["generator"].numel() == self.generator.get_state().numel():
            self.generator.set_state(state["generator"].cpu())

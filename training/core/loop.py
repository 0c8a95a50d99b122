"""The training loop is a generator.

Not calling ``next`` is pause, calling it once is step, ``close()`` is stop.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from training.core import distributed
from training.core.config import RunConfig, current_names

Snapshot = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Progress:
    """What a training reports after each step: plain numbers and CPU arrays, no tensor or figure.

    Attributes:
        step: optimiser steps done.
        total: optimiser steps in all.
        losses: means since the last time they were logged; empty at the steps in between.
        metrics: measured on held-out data; empty at the steps in between.
        snapshot: arrays to draw, or ``None``.
        skipped: steps skipped so far because the loss or its gradient was not finite.
    """

    step: int
    total: int
    losses: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    skipped: int = 0


class TrainingDiverged(RuntimeError):
    """Loss or gradient stayed non-finite for several steps; the weights are the last good ones."""


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
        self.live = {k.name: getattr(config, k.name) for k in config.knobs() if k.live}
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(getattr(config, "seed", 0))
        self.model: torch.nn.Module
        self.optimisers: dict[str, Optimiser] = {}
        self.part: str | None = None  # what the next step is about; all of it if ``None``
        self.landmarks: tuple[int, ...] = ()  # steps whose snapshots are kept beside every tenth

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
        self.live = dict(state["live"])
        self.model.load_state_dict(current_names(state["model"]))
        optimisers = current_names(state["optimisers"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(optimisers[name])
        # A checkpoint from a GPU may be opened on a CPU, whose generator state looks different.
        if state["generator"].numel() == self.generator.get_state().numel():
            self.generator.set_state(state["generator"].cpu())


class Optimiser:
    """Adam on one flat vector of all parameters: clipping, weight decay, and no non-finite step.

    One vector instead of a hundred small tensors saves about a tenth of a step of a small network.
    A step whose loss or gradient is not finite is skipped on the device, without waiting for it,
    and counted.

    Args:
        module: its parameters become views into the vector.
        weight_decay: decoupled weight decay.
        clip: largest norm of the gradient.
        betas: decay rates of Adam's two moments.

    References:
        Adam: A Method for Stochastic Optimization (Kingma, Ba, 2014).
        https://arxiv.org/abs/1412.6980
        Decoupled Weight Decay Regularization (Loshchilov, Hutter, 2017).
        https://arxiv.org/abs/1711.05101
    """

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        weight_decay: float = 0.0,
        clip: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        for parameter, view in zip(
            self.parameters, flat.split([p.numel() for p in self.parameters]), strict=True
        ):
            parameter.data = view.view_as(parameter)
        self.flat = torch.nn.Parameter(flat)
        self.gradient = torch.empty_like(flat)
        self.clip = clip
        # Only the fused kernels can skip a step without a round trip to the host.
        self.fused = flat.device.type in ("cpu", "cuda")
        self.adam = torch.optim.AdamW(
            [self.flat], betas=betas, weight_decay=weight_decay, fused=self.fused
        )
        self.skipped = torch.zeros((), device=flat.device)
        self.streak = torch.zeros((), device=flat.device)

    def step(self, loss: Tensor, learning_rate: float) -> None:
        """Move along the gradient of the scalar ``loss``."""
        gradients = torch.autograd.grad(loss, self.parameters)
        self.along(gradients, loss.detach(), learning_rate)

    def along(
        self, gradients: Tensor | Sequence[Tensor], loss: Tensor, learning_rate: float
    ) -> None:
        """Move along a gradient that is known.

        Args:
            gradients: one for each parameter, of its shape, or all of them as one vector ``(P,)``.
            loss: whose gradient it is, a scalar; only asked whether it is finite.
            learning_rate: of this step.
        """
        if not isinstance(gradients, Tensor):
            # Always into the same memory: to be given new memory takes longer than to fill it.
            gradients = torch.cat([part.reshape(-1) for part in gradients], out=self.gradient)
        gradient, loss = distributed.total(gradients, loss)
        norm = gradient.norm()
        bad = _not_finite(norm + loss).float()
        self.streak.add_(1).mul_(bad)
        self.skipped.add_(bad)
        if not self.fused and bad:
            return
        if self.clip < math.inf:
            gradient.mul_((self.clip / (norm + 1e-12)).clamp(max=1))
        self.flat.grad = gradient
        self._follow(self.adam, bad, learning_rate)

    def _follow(self, rule: torch.optim.Optimizer, bad: Tensor, learning_rate: float) -> None:
        rule.found_inf = bad
        rule.param_groups[0]["lr"] = learning_rate
        if self.fused and rule is self.adam and self.flat in rule.state:
            self._adam_alone(bad, **rule.param_groups[0], **rule.state[self.flat])
        else:
            rule.step()  # the first one makes the moments

    @torch.no_grad()
    def _adam_alone(
        self,
        bad: Tensor,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        step: Tensor,
        exp_avg: Tensor,
        exp_avg_sq: Tensor,
        **_: object,
    ) -> None:
        """Call the kernel that ``AdamW.step`` comes to, with its own state.

        What it does before, sorting parameters into groups, takes longer than the kernel where a
        network is small.
        """
        step.add_(1).sub_(bad)
        torch._fused_adamw_(
            [self.flat],
            [self.flat.grad],
            [exp_avg],
            [exp_avg_sq],
            [],
            [step],
            lr=lr,
            beta1=betas[0],
            beta2=betas[1],
            weight_decay=weight_decay,
            eps=eps,
            amsgrad=False,
            maximize=False,
            found_inf=bad,
        )

    def state_dict(self) -> dict:
        """Return Adam's moments and the counts of skipped steps."""
        return {"adam": self.adam.state_dict(), "skipped": self.skipped, "streak": self.streak}

    def load_state_dict(self, state: Mapping) -> None:
        """Take over what ``state_dict`` returned."""
        self.adam.load_state_dict(state["adam"])
        self.skipped = state["skipped"].to(self.flat.device, copy=True)
        # A run that diverged starts with new patience: its learning rate can be lowered.
        self.streak = torch.zeros_like(self.skipped)


def _not_finite(x: Tensor) -> Tensor:
    """Return where ``x``, of any shape, is infinite or not a number.

    In two operations instead of the five of ``~isfinite``: in a small network each one counts.
    """
    return (x - x) != 0


def one_cycle(fraction: float, *, warm_up: float = 0.1, start: float = 0.1) -> float:
    """Return the factor on the learning rate after a fraction of the training, both in [0, 1].

    Linear from ``start`` to 1 during the warm-up, then half a cosine down to 0. Small steps at the
    end are worth more to a flow than any average of its weights.

    References:
        Super-Convergence (Smith, Topin, 2017). https://arxiv.org/abs/1708.07120

    Examples:
        >>> [round(one_cycle(share), 3) for share in (0, 0.05, 0.1, 0.55, 1)]
        [0.1, 0.55, 1.0, 0.5, 0.0]
    """
    if fraction < warm_up:
        return start + (1 - start) * fraction / warm_up
    return 0.5 * (1 + math.cos(math.pi * (fraction - warm_up) / (1 - warm_up)))


@dataclass
class Wishes:
    """What the driver wants of the next step; wishes never change the training itself."""

    snapshot: bool = False
    losses: bool = False


class Tally:
    """Means of losses, kept on the device until they are logged.

    Non-finite steps do not enter the mean. Added up many at a time: in a small network, each
    operation of a step counts.
    """

    AT_ONCE = 64  # steps

    def __init__(self) -> None:
        self.values: defaultdict[str, list[Tensor]] = defaultdict(list)  # not yet added up
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Count named scalar losses, on the device. Not every step has all of them."""
        for name, value in losses.items():
            values = self.values[name]
            values.append(value)
            if len(values) == self.AT_ONCE:
                self._add_up(name)

    def log_means(self) -> dict[str, float]:
        """Return the means since the last call (NaN where no step was finite) and start again."""
        for name in tuple(self.values):
            self._add_up(name)
        means = {name: float(self.sums[name] / self.counts[name]) for name in self.sums}
        self.__init__()
        return means

    def _add_up(self, name: str) -> None:
        values = torch.stack(self.values.pop(name))
        bad = _not_finite(values)
        self.sums[name] = self.sums.get(name, 0) + values.masked_fill(bad, 0).sum()
        self.counts[name] = self.counts.get(name, 0) + (~bad).sum()


PATIENCE = 5  # non-finite steps in a row after which a training counts as diverged


def train(
    experiment: Experiment,
    *,
    wishes: Wishes | None = None,
    log_every: int | None = None,
    measure_every: int | None = None,
    snapshots: bool = True,
) -> Iterator[Progress]:
    """Train to the end, yielding before the first optimiser step and after each one.

    Most events are only a step count: losses come every ``log_every`` steps, metrics every
    ``measure_every`` (default: a twentieth), snapshots every tenth of the training. A wish brings
    losses or a snapshot with the next event.

    Raises:
        TrainingDiverged: after several non-finite steps in a row.
    """
    wishes = wishes or Wishes()
    total = experiment.total
    log_every = log_every or max(1, min(20, total // 200))
    measure_every = measure_every or max(1, total // 20)
    tenths = (round(total * tenth / 10) for tenth in range(11))
    milestones = {*tenths, *experiment.landmarks} if snapshots else set()
    tally = Tally()

    def progress(first: bool = False) -> Progress:
        step = experiment.step
        last = step == total
        log = (step % log_every == 0 or last or wishes.losses) and not first
        measured = step % measure_every == 0 or last
        shown = step in milestones or wishes.snapshot or (first and snapshots)
        wishes.snapshot = wishes.losses = False
        return Progress(
            step,
            total,
            losses=tally.log_means() if log else {},
            metrics=experiment.measure() if measured else {},
            snapshot=experiment.snapshot() if shown else None,
            skipped=experiment.skipped if log else 0,
        )

    distributed.begin(experiment)
    try:
        yield progress(first=True)
        while experiment.step < total:
            tally.add(distributed.update(experiment))
            experiment.step += 1
            event = progress()
            yield event
            if event.losses and experiment.streak >= PATIENCE:
                raise TrainingDiverged(
                    "The loss has not been a finite number since about step "
                    f"{event.step - experiment.streak}. "
                    "The usual cause is a learning rate too high for this model: try a third of it."
                )
    finally:
        distributed.end()

"""CycleGAN: the lab's step beside the standard order of operations, and what else would help.

1. Equality: the standard step, written as its authors publish it (one generator pass per image,
   identity passes of their own, three backward passes, two Adams, instance norm, biases
   everywhere), on the same images and out of the same pools. Once with the lab's weights before
   each step; and once left alone, from the same initial weights. Left alone, a rounding error turns
   a rectifier's gradient on or off somewhere, Adam makes a whole step of it, and it grows: so the
   standard step is run beside itself, too, with torch's other convolutions, and both in float64,
   where the error starts a billion times smaller.
2. Speed: optimiser steps of both in turns, batch 1, float32, at 64 pixels with width 32 and 128
   pixels with width 64; beside them the lab's step with images laid out channels last, and in
   bfloat16, each alone. The goals are for the way that the lab takes by itself on this machine,
   and of float32.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.machine import DEFAULT_THREADS, load, torch_threads
from benchmarks.options import Options
from benchmarks.tables import Table, reached, spread
from benchmarks.turns import Contestant, log_progress, ratios, take_turns
from models.cyclegan import CycleGAN
from training.core.unpaired import BETAS, ImagePool, gains_by_bfloat16
from training.cyclegan import CycleGANConfig, CycleGANTraining, build

FASTER_GOAL, EQUAL_GOAL = 1.3, 1e-3
FLOAT32, STANDARD = "the lab, float32", "standard order, float32"
LAST, MIXED = "the lab, channels last", "the lab, bfloat16"
SETTINGS = {
    "64 pixels, width 32": {"image_size": 64, "width": 32, "discriminator_width": 32, "blocks": 6},
    "128 pixels, width 64": {
        "image_size": 128,
        "width": 64,
        "discriminator_width": 64,
        "blocks": 6,
    },
}


@dataclass(frozen=True)
class Protocol:
    """How long to measure.

    Attributes:
        settings: names out of ``SETTINGS``.
        steps: whose losses are compared.
        rounds, seconds: of the trainings in turns.
    """

    settings: tuple[str, ...]
    steps: int
    rounds: int
    seconds: float


FULL = Protocol(tuple(SETTINGS), 5, 5, 24.0)
QUICK = Protocol(tuple(SETTINGS)[:1], 2, 1, 4.0)


class Standard:
    """The step as the paper's code takes it.

    Args:
        twin: a training whose weights, images and draws are taken over.

    References:
        https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix, models/cycle_gan_model.py
    """

    def __init__(self, twin: CycleGANTraining) -> None:
        self.twin = twin
        config = twin.config
        self.a_to_b, self.b_to_a = (_generator(config.width, config.blocks) for _ in range(2))
        self.discriminator_a, self.discriminator_b = (
            _discriminator(config.discriminator_width) for _ in range(2)
        )
        self.take(twin.model)
        both = itertools.chain(self.a_to_b.parameters(), self.b_to_a.parameters())
        self.adam = torch.optim.Adam(both, lr=config.learning_rate, betas=BETAS)
        both = itertools.chain(self.discriminator_a.parameters(), self.discriminator_b.parameters())
        self.discriminators_adam = torch.optim.Adam(both, lr=config.learning_rate, betas=BETAS)
        self.pools = [ImagePool(50, "cpu") for _ in range(2)]
        self.square, self.absolute = nn.MSELoss(), nn.L1Loss()

    def take(self, model: CycleGAN) -> None:
        """Take over the lab's weights."""
        for name in ("a_to_b", "b_to_a", "discriminator_a", "discriminator_b"):
            _copy(getattr(model, name), getattr(self, name))

    def update(self) -> Mapping[str, Tensor]:
        a, b = self.twin.batch()
        self.twin.step += 1
        fake_b, fake_a = self.a_to_b(a), self.b_to_a(b)
        back_a, back_b = self.b_to_a(fake_b), self.a_to_b(fake_a)
        self._discriminators_learn(False)
        self.adam.zero_grad()
        config = self.twin.config
        losses = {
            "identity_b": self.absolute(self.a_to_b(b), b),
            "identity_a": self.absolute(self.b_to_a(a), a),
            "adversarial_ab": self._squared(self.discriminator_b(fake_b), 1.0),
            "adversarial_ba": self._squared(self.discriminator_a(fake_a), 1.0),
            "cycle_a": self.absolute(back_a, a),
            "cycle_b": self.absolute(back_b, b),
        }
        loss = (
            config.identity * (losses["identity_a"] + losses["identity_b"])
            + losses["adversarial_ab"]
            + losses["adversarial_ba"]
            + config.cycle * (losses["cycle_a"] + losses["cycle_b"])
        )
        loss.backward()
        self.adam.step()
        self._discriminators_learn(True)
        self.discriminators_adam.zero_grad()
        # The pools are asked in the same order as in the lab, to draw the same images.
        sides = ((self.discriminator_a, a, fake_a), (self.discriminator_b, b, fake_b))
        old = [
            pool.exchange(fake.detach(), self.twin.generator)
            for pool, (_, _, fake) in zip(self.pools, sides, strict=True)
        ]
        for name, (net, real, _), fake in zip(
            ("discriminator_a", "discriminator_b"), sides, old, strict=True
        ):
            right = self._squared(net(real), 1.0)
            wrong = self._squared(net(fake), 0.0)
            losses[name] = 0.5 * (right + wrong)
            losses[name].backward()
        self.discriminators_adam.step()
        return {name: value.detach() for name, value in losses.items()}

    def _squared(self, scores: Tensor, wanted: float) -> Tensor:
        return self.square(scores, torch.full_like(scores, wanted))

    def _discriminators_learn(self, do: bool) -> None:
        for parameter in itertools.chain(
            self.discriminator_a.parameters(), self.discriminator_b.parameters()
        ):
            parameter.requires_grad_(do)


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _generator(width: int, blocks: int) -> nn.Sequential:
    layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), nn.InstanceNorm2d(width)]
    layers.append(nn.ReLU(True))
    for wide in (2 * width, 4 * width):
        layers += [nn.Conv2d(wide // 2, wide, 3, 2, 1), nn.InstanceNorm2d(wide), nn.ReLU(True)]
    layers += [_Block(4 * width) for _ in range(blocks)]
    for wide in (4 * width, 2 * width):
        layers.append(nn.ConvTranspose2d(wide, wide // 2, 3, 2, 1, 1))
        layers += [nn.InstanceNorm2d(wide // 2), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())


def _discriminator(width: int) -> nn.Sequential:
    layers = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for wide, stride in ((2 * width, 2), (4 * width, 2), (8 * width, 1)):
        layers += [nn.Conv2d(wide // 2, wide, 4, stride, 1), nn.InstanceNorm2d(wide)]
        layers.append(nn.LeakyReLU(0.2, True))
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))


@torch.no_grad()
def _copy(source: nn.Module, target: nn.Module) -> None:
    """Give a standard network the lab's weights; biases that the lab goes without become zero."""
    target.to(next(source.parameters()).dtype)
    layers = [m for m in source.modules() if isinstance(getattr(m, "weight", None), Tensor)]
    standard = [m for m in target.modules() if isinstance(getattr(m, "weight", None), Tensor)]
    for theirs, mine in zip(layers, standard, strict=True):
        mine.weight.copy_(theirs.weight)
        mine.bias.zero_() if theirs.bias is None else mine.bias.copy_(theirs.bias)


def run(options: Options) -> Iterator[Table]:
    """Yield what is equal, a table of speeds per setting, and the goals."""
    protocol = QUICK if options.quick else FULL
    goals = Table("cyclegan: goals", ("what", "measured", "goal", "reached"))

    def goal(what: str, value: float, limit: float, form: str, at_least: bool = False) -> None:
        verdict = "-" if protocol is QUICK else reached(value, limit, at_least=at_least)
        sign = ">=" if at_least else "<="
        goals.rows.append((what, f"{value:{form}}", f"{sign} {limit:{form}}", verdict))

    with torch_threads(DEFAULT_THREADS):
        equal = _equality(protocol)
        yield equal
        for name in protocol.settings:
            contestants, before = _race(name, protocol)
            yield _table(name, contestants, protocol, before)
            by_name = {c.name: c for c in contestants}
            for way in dict.fromkeys((_default(name), FLOAT32)):
                faster = statistics.median(ratios(by_name[way], by_name[STANDARD]))
                what = f"times as fast, {name}, {way}"
                goal(what, faster, FASTER_GOAL, ".2f", at_least=True)
    for name, same, *_, double in equal.rows:
        goal(f"difference, {name}, same weights, float32", float(same), EQUAL_GOAL, ".0e")
        if double != "-":
            goal(f"difference, {name}, left alone, float64", float(double), EQUAL_GOAL, ".0e")
    if protocol is QUICK:
        goals.notes.append("Quick: too short for any verdict.")
    yield goals


def training_of(name: str, **changed) -> CycleGANTraining:
    values = {"precision": "float32", "upsampling": "transposed", **SETTINGS[name], **changed}
    return build(CycleGANConfig(**values))


# -- equality -----------------------------------------------------------------------------------


def _equality(protocol: Protocol) -> Table:
    columns = ("setting", "same weights", "left alone", "standard beside itself", "float64")
    table = Table("cyclegan: largest difference of any loss from the standard step", columns)
    for name in protocol.settings:
        log_progress(f"equality, {name}")
        steps = protocol.steps
        cells = [
            same_weights(name, steps),
            left_alone(training_of(name), Standard(training_of(name)), steps),
            beside_itself(name, steps),
        ]
        # In float64 torch has slow convolutions only.
        double = f"{in_double(name, steps):.0e}" if name == protocol.settings[0] else "-"
        table.rows.append((name, *(f"{value:.0e}" for value in cells), double))
        log_progress("")
    table.notes = [
        f"Over the first {protocol.steps} steps, absolute, all eight losses, float32 but for the "
        "last column. Same weights: the standard step is given the lab's before each step. Left "
        "alone, and float64: only at the start. Beside itself: with and without oneDNN, left alone."
    ]
    return table


def same_weights(name: str, steps: int) -> float:
    """Return the largest difference of any loss where both take each step from the same weights."""
    ours, standard = training_of(name), Standard(training_of(name))
    worst = 0.0
    for _ in range(steps):
        standard.take(ours.model)
        worst = max(worst, left_alone(ours, standard, 1))
    return worst


def left_alone(ours: CycleGANTraining, standard: Standard, steps: int) -> float:
    """Return the largest difference of any loss over some steps."""
    worst = 0.0
    for _ in range(steps):
        mine, theirs = ours.update(), standard.update()
        ours.step += 1
        worst = max(worst, _apart(mine, theirs))
    return worst


def beside_itself(name: str, steps: int) -> float:
    """Return how far the standard step is from itself with other convolutions."""
    one, other = Standard(training_of(name)), Standard(training_of(name))
    worst = 0.0
    for _ in range(steps):
        first = one.update()
        with torch.backends.mkldnn.flags(enabled=False):
            second = other.update()
        worst = max(worst, _apart(first, second))
    return worst


def in_double(name: str, steps: int) -> float:
    """Return the same as :func:`left_alone` in float64."""
    ours, twin = training_of(name), training_of(name)
    for training in (ours, twin):
        make_double(training)
    return left_alone(ours, Standard(twin), steps)


def make_double(training: CycleGANTraining) -> None:
    """Have a training compute in float64."""
    training.model.double()
    training.optimisers = training.new_optimisers()
    drawn = training.batch
    training.batch = lambda: [x.double() for x in drawn()]


def _apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return max(abs(float(one[name] - other[name])) for name in one)


# -- speed --------------------------------------------------------------------------------------


def _default(name: str) -> str:
    """Return which of the ways is the one that the lab takes by itself on this machine."""
    config = CycleGANConfig(upsampling="transposed", **SETTINGS[name])
    return MIXED if gains_by_bfloat16(config, torch.device("cpu")) else FLOAT32


def _race(name: str, protocol: Protocol) -> tuple[list[Contestant], str]:
    before = load()
    last, mixed = training_of(name), training_of(name, precision="mixed")
    last.layout = torch.channels_last
    last.model.to(memory_format=torch.channels_last)
    ways = {
        FLOAT32: _steps(training_of(name)),
        STANDARD: _endless(Standard(training_of(name)).update),
        LAST: _steps(last),
        MIXED: _steps(mixed),
    }
    contestants = [Contestant(key, DEFAULT_THREADS, steps) for key, steps in ways.items()]
    take_turns(contestants, protocol.rounds, protocol.seconds)
    return contestants, before


def _endless(update) -> Iterator:
    while True:
        yield update()


def _steps(training: CycleGANTraining) -> Iterator:
    while True:
        yield training.update()
        training.step += 1


def _table(name: str, contestants: list[Contestant], protocol: Protocol, before: str) -> Table:
    standard = next(c for c in contestants if c.name == STANDARD)
    columns = ("way", "pairs/s", "min-max", "x the standard order", "min-max")
    table = Table(f"cyclegan: {name}, 6 residual blocks, batch 1", columns)
    for c in contestants:
        ratio = spread(ratios(c, standard)) if c is not standard else ("", "")
        table.rows.append((c.name, *spread(c.rates), *ratio))
    table.notes = [
        f"{protocol.rounds} rounds of {protocol.seconds:g} s each in turns, {DEFAULT_THREADS} "
        f"threads; load before {before}, after {load()}. Optimiser steps on rendered fruits."
    ]
    return table

"""A VAE on digits: the lab's training beside the usual DataLoader example, and what it reaches.

All have the network of PyTorch's example (784-400-20-400-784, ReLU, batch 128, Adam at 1e-3, grey
values as probabilities): MNIST if it is on this machine, the built-in digits if not.

1. Images/s of training: steps in turns (A B C A B C ...), each with one thread and with all. The
   example reads single images through a ``DataLoader`` with ``ToTensor``, in its own process, as it
   does by default where there is no GPU; its model, loss and Adam are those of the example. A ratio
   is taken within each round, at the better number of threads of either; its median is reported.
   The lab takes turns in bfloat16, too, and so do the example's batches alone, without a step.
2. Test −ELBO after so many epochs, on all test images, summed over pixels, one draw each, with
   active units: latent 20 with 400 hidden units as in the example, latent 2 and 512, and the 4,000
   built-in digits; an importance-weighted bound with 200 draws for the run that ships.
3. AUROC of clean test images against noisy ones, by level of noise and score: three seeds, 500
   images of either kind. Nothing is chosen on them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from analysis.vae_checks import bound_of, gain_of
from analysis.vae_latents import CORRUPTIONS, corrupt, score
from benchmarks.machine import DEFAULT_THREADS, load, torch_threads
from benchmarks.options import Options
from benchmarks.tables import Table, reached, spread
from benchmarks.turns import Contestant, log_progress, ratios, take_turns
from datasets.images import is_here, load_images
from datasets.vision import transforms
from lab.store import Run
from metrics.detection import auroc
from models.vae import VAE
from paths import ASSETS
from training.core.loop import train
from training.vae import VAEConfig, VAETraining

LATENT, HIDDEN, BATCH, RATE = 20, 400, 128, 1e-3  # of PyTorch's example
NEVER = 1 << 40
SPEED_GOAL, WHOLE_GOAL, FEW_GOAL = 1.5, 105.0, 115.0  # ratio, nats, nats
SEEDS = (0, 1, 2)
SCORED = 500  # images of either kind behind an AUROC
DRAWS = 200
SHIPPED = ASSETS / "runs" / "vae"
LAB, MIXED, EXAMPLE = "Generative Lab, float32", "Generative Lab, bfloat16", "DataLoader example"
FEED = "DataLoader alone, no step"


@dataclass(frozen=True)
class Protocol:
    """How long to measure: rounds of turns, seconds in each, epochs, and seeds."""

    rounds: int
    seconds: float
    epochs: int
    few_epochs: int
    seeds: tuple[int, ...]
    measured: int


FULL = Protocol(7, 6.0, epochs=10, few_epochs=30, seeds=SEEDS, measured=1000)
QUICK = Protocol(2, 2.0, epochs=1, few_epochs=1, seeds=SEEDS[:1], measured=20)


# -- the example ---------------------------------------------------------------------------------


class Images(Dataset):
    """Single images as torchvision's MNIST gives them with ``ToTensor``, as in the example."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.transform = images, transforms.ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.fromarray(self.images[index, 0].numpy()))


class Example(nn.Module):
    """The model of https://github.com/pytorch/examples/tree/main/vae, in our own words."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.mean = nn.Linear(784, HIDDEN), nn.Linear(HIDDEN, LATENT)
        self.log_variance = nn.Linear(HIDDEN, LATENT)
        self.fc3, self.fc4 = nn.Linear(LATENT, HIDDEN), nn.Linear(HIDDEN, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.fc1(x.view(-1, 784)).relu()
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return self.fc4(self.fc3(z).relu()).sigmoid(), mean, log_variance


def loader() -> DataLoader:
    return DataLoader(Images(load_images(dataset()).train), batch_size=BATCH, shuffle=True)


def example_steps() -> Iterator[float]:
    """Train without end, as the example does."""
    torch.manual_seed(0)
    model = Example()
    adam = torch.optim.Adam(model.parameters(), lr=RATE)
    while True:
        for x in loader():
            adam.zero_grad()
            again, mean, log_variance = model(x)
            loss = nn.functional.binary_cross_entropy(again, x.view(-1, 784), reduction="sum")
            loss = loss - 0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum()
            loss.backward()
            yield loss.item()  # the example adds it up, so it waits for each step
            adam.step()


def feed_only() -> Iterator[None]:
    """Make the example's batches and do nothing with them."""
    while True:
        for _ in loader():
            yield


def dataset() -> str:
    """Return the name of the digits to train on: MNIST if it is here."""
    return "mnist" if is_here("mnist") else "digits"


def lab_steps(precision: str) -> Iterator:
    """Train the example's network in the lab, without end, images or metrics."""
    sizes = {"latent": LATENT, "hidden": HIDDEN, "batch": BATCH}
    config = VAEConfig(dataset=dataset(), learning_rate=RATE, precision=precision, **sizes)
    experiment = VAETraining(config)
    experiment.total = NEVER
    loop = train(experiment, snapshots=False, measure_every=NEVER)
    next(loop)  # comes before the first step, and measures
    return loop


# -- tables --------------------------------------------------------------------------------------


def run(options: Options) -> Iterator[Table]:
    """Yield the tables: speed, quality, detection."""
    protocol = QUICK if options.quick else FULL
    yield _speed(protocol)
    trained = _train_all(protocol)
    yield _quality(trained, protocol)
    yield _detection(trained, protocol)


def _speed(protocol: Protocol) -> Table:
    before = load()
    steps = {
        LAB: lab_steps("float32"),
        MIXED: lab_steps("mixed"),
        EXAMPLE: example_steps(),
        FEED: feed_only(),
    }
    counts = sorted({1, DEFAULT_THREADS})
    contestants = [Contestant(name, n, s) for name, s in steps.items() for n in counts]
    take_turns(contestants, protocol.rounds, protocol.seconds)
    best = {n: max((c for c in contestants if c.name == n), key=lambda c: c.rate) for n in steps}
    lab, mixed, example, feed = best.values()
    size = f"784-{HIDDEN}-{LATENT}-{HIDDEN}-784, batch {BATCH}"
    columns = ("trained", "threads", "cores", "images/s", "min-max", "lab is x faster", "min-max")
    table = Table(f"vae: {size}, {load_images(dataset()).title}", columns)
    for c in contestants:
        ratio = spread(ratios(lab, c)) if c is not lab else ("", "")
        cores = f"{statistics.median(c.cores):.2f}"
        rates = spread([BATCH * rate for rate in c.rates], 0)
        table.rows.append((c.name, str(c.threads), cores, *rates, *ratio))
    faster = statistics.median(ratios(lab, example))
    gain = statistics.median(ratios(mixed, lab))
    verdict = "" if protocol is QUICK else f": {reached(faster, SPEED_GOAL, at_least=True)}"
    table.notes = [
        f"{protocol.rounds} rounds of {protocol.seconds:g} s each; load before {before}, after "
        f"{load()}. cores: CPU seconds per second; below `threads`, others had the machine.",
        f"Goal: at least {SPEED_GOAL} times the example's images/s in float32; {faster:.2f}"
        f"{verdict}. bfloat16 over float32: {gain:.2f} times.",
        f"A batch of the example costs {1000 / feed.rate:.1f} ms before its step begins, a step of "
        f"the lab {1000 / lab.rate:.1f} ms, most of it in matrix products: those bound it.",
    ]
    return table


Trained = dict[str, VAETraining]


def _train_all(protocol: Protocol) -> Trained:
    """Train what the tables show; the first name of each seed is latent 20 on whole MNIST."""
    epochs, whole = protocol.epochs, dataset()
    settings = {
        f"latent 20, seed {seed}": {"latent": 20, "hidden": HIDDEN, "seed": seed}
        for seed in protocol.seeds
    }
    settings |= {
        "latent 2": {"latent": 2, "hidden": HIDDEN, "depth": 2},
        "latent 512": {"latent": 512, "hidden": HIDDEN},
    }
    configs = {
        name: VAEConfig(dataset=whole, batch=BATCH, epochs=epochs, **values)
        for name, values in settings.items()
    }
    configs["4,000 digits"] = VAEConfig(dataset="digits", epochs=protocol.few_epochs)
    trained = {}
    with torch_threads(1):  # the same numbers, however many cores there are
        for name, config in configs.items():
            trained[name] = VAETraining(config)
            for event in train(trained[name], snapshots=False, measure_every=NEVER):
                if event.step % 50 == 0:
                    log_progress(f"{name}: step {event.step:,} of {event.total:,}")
            trained[name].model.requires_grad_(False)
    log_progress("")
    return trained


def _quality(trained: Trained, protocol: Protocol) -> Table:
    columns = ("trained", "epochs", "−ELBO", "reconstruction", "KL", "active", "bound, 200 draws")
    table = Table("vae: nats per test image, summed over pixels", columns)
    for name, experiment in trained.items():
        log_progress(f"{name}: measuring")
        row = _nats(experiment.model, experiment.images.test, protocol)
        table.rows.append((name, str(experiment.config.epochs), *row))
    table.rows.append(_shipped_row(protocol))
    log_progress("")
    table.notes = [
        f"Hidden units: {HIDDEN} ({VAEConfig().hidden} for the 4,000 digits); latent 2 with "
        "two hidden layers; one cycle of the learning rate up to 2e-3. All test images (10,000 of "
        "MNIST, 1,000 of the built-in digits), one draw each.",
        f"The last column is the −ELBO less what {DRAWS} importance-weighted draws gain on "
        f"{protocol.measured} test images.",
        f"Goals: latent 20 on whole MNIST after 10 epochs <= {WHOLE_GOAL:g} (PyTorch's example: "
        f"105.6), 4,000 digits <= {FEW_GOAL:g}.",
    ]
    if protocol is QUICK:
        table.notes.append("Quick: too few epochs for any verdict.")
    return table


def _shipped_row(protocol: Protocol) -> tuple[str, ...]:
    shipped = Run(SHIPPED)
    images = load_images(shipped.config.dataset if is_here(shipped.config.dataset) else "digits")
    target = shipped.snapshots.target()
    model = shipped.family.training.blank(shipped.config, target)
    shipped.weights.load_into(model)
    model.requires_grad_(False)
    row = _nats(model, images.test, protocol)
    return ("the run that ships", str(shipped.config.epochs), *row)


def _nats(model: VAE, images: Tensor, protocol: Protocol) -> tuple[str, ...]:
    found = bound_of(model, images)
    gain = gain_of(model, images, draws=DRAWS, measured=protocol.measured)
    parts = f"{found.cost:.2f}", f"{found.reconstruction:.2f}", f"{found.kl:.2f}"
    return *parts, f"{found.active}/{model.latent}", f"{found.cost - gain.nats:.2f}"


def _detection(trained: Trained, protocol: Protocol) -> Table:
    columns = ("noise [grey levels]", "cross-entropy", "min-max", "−ELBO", "min-max")
    table = Table("vae: AUROC, clean test images against noisy ones, latent 20", columns)
    models = [trained[f"latent 20, seed {seed}"] for seed in protocol.seeds]
    for level in (5, *CORRUPTIONS["noise"][1]):
        areas: dict[str, list[float]] = {"bce": [], "elbo": []}
        for seed, experiment in zip(protocol.seeds, models, strict=True):
            log_progress(f"noise {level}, seed {seed}")
            clean, noisy = _some(experiment, level, seed)
            for name, values in areas.items():
                scores = np.concatenate([getattr(clean, name), getattr(noisy, name)])
                truth = np.arange(len(scores)) >= len(scores) // 2
                values.append(auroc(scores, truth))
        table.rows.append((str(level), *spread(areas["bce"], 3), *spread(areas["elbo"], 3)))
    log_progress("")
    table.notes = [
        f"Medians and ranges over {len(models)} trainings; for each, {SCORED} clean test images "
        f"and {SCORED} others with Gaussian noise, drawn with its seed. Cross-entropy: of the "
        "image with the reconstruction from its mean latents."
    ]
    return table


def _some(experiment: VAETraining, level: int, seed: int):
    """Return the scores of clean test images, and of others with noise."""
    test = experiment.images.test
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    clean, others = test[order[:SCORED]], test[order[SCORED : 2 * SCORED]]
    noisy = corrupt(others, "noise", level, seed=seed)
    return score(experiment.model, clean), score(experiment.model, noisy)

"""The speed of the duels: the DCGAN step beside the usual tutorial's, and the plane with its page.

1. Images/s of a DCGAN with 64 feature maps, latent 100, batch 64, on the lab's coloured shapes:
   the lab in mixed precision and in float32, beside the order of operations of PyTorch's tutorial
   (https://docs.pytorch.org/tutorials/beginner/dcgan_faces_tutorial.html): the same networks and
   images, a discriminator that sees real and fake images, two calls of ``backward``, a second look
   at the fakes for the generator, two Adams. Steps in turns (A B C A B C ...), each with one
   thread and with all; a ratio is taken within each round, at the better number of threads of
   either; its median is reported.
2. D+G steps/s of the duel in 2-D with the defaults of its page, one thread: the bare
   generator, and the same in the lab with the page open in a headless Chromium.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import torch

from benchmarks.lab_speed import find_browser, open_browser, rate_of
from benchmarks.machine import DEFAULT_THREADS, load, torch_threads
from benchmarks.options import Options, Unavailable
from benchmarks.serving import server
from benchmarks.tables import Table, reached, spread
from benchmarks.turns import Contestant, log_progress, ratios, take_turns
from datasets.images import load_images
from lab.store import Run
from models.gan import dcgan
from training.core.images import signed
from training.core.loop import train
from training.dcgan import TRAINING as DCGAN
from training.gan import TRAINING as GAN

MAPS, LATENT, BATCH, RATE = 64, 100, 64, 2e-4
SPEED_GOAL, DUEL_GOAL = 1.3, 300.0  # ratio, D+G steps/s
NEVER = 1 << 40
MIXED, FLOAT32, PEER = "Generative Lab, mixed", "Generative Lab, float32", "PyTorch tutorial"


def run(options: Options) -> Iterator[Table]:
    """Yield the tables: images/s of DCGAN, steps/s of the duel."""
    yield _images(*((2, 3.0) if options.quick else (7, 6.0)), peers=options.peers)
    yield _duel(1 if options.quick else 3, 1000 if options.quick else 9000)


def lab_steps(precision: str) -> Iterator:
    """Train the lab's DCGAN with losses, but without images and metrics."""
    config = DCGAN.config(
        dataset="shapes", maps=MAPS, latent=LATENT, batch=BATCH, precision=precision
    )
    experiment = DCGAN.build(config)
    experiment.total = NEVER
    loop = train(experiment, snapshots=False, measure_every=NEVER)
    next(loop)  # comes before the first step, and measures
    return loop


def tutorial_steps() -> Iterator[int]:
    """Train the same networks in the order of operations of PyTorch's DCGAN tutorial."""
    data, generator = load_images("shapes"), torch.Generator().manual_seed(0)
    nets = dcgan(shape=data.shape, maps=MAPS, latent=LATENT, generator=generator)
    discriminator, paint = nets.discriminator, nets.generator
    criterion = torch.nn.BCEWithLogitsLoss()
    rules = [
        torch.optim.Adam(n.parameters(), lr=RATE, betas=(0.5, 0.999))
        for n in (discriminator, paint)
    ]
    step = 0
    while True:
        discriminator.zero_grad()
        real = signed(data.batch(BATCH, generator)[0])
        label = torch.full((BATCH,), 1.0)
        criterion(discriminator(real).view(-1), label).backward()
        fake = paint(torch.randn(BATCH, LATENT, generator=generator))
        label.fill_(0.0)
        criterion(discriminator(fake.detach()).view(-1), label).backward()
        rules[0].step()
        paint.zero_grad()
        label.fill_(1.0)
        criterion(discriminator(fake).view(-1), label).backward()
        rules[1].step()
        step += 1
        yield step


def _images(rounds: int, seconds: float, *, peers: bool) -> Table:
    before = load()
    steps = {MIXED: lab_steps("mixed"), FLOAT32: lab_steps("float32")}
    if peers:
        steps[PEER] = tutorial_steps()
    counts = sorted({1, DEFAULT_THREADS}, reverse=True)
    contestants = [Contestant(name, count, steps[name]) for name in steps for count in counts]
    take_turns(contestants, rounds, seconds)
    best = {n: max((c for c in contestants if c.name == n), key=lambda c: c.rate) for n in steps}
    columns = ("trained", "threads", "cores", "images/s", "min-max", "lab is x faster", "min-max")
    table = Table(f"gan: DCGAN, {MAPS} maps, 32 x 32 colour, batch {BATCH}; training", columns)
    for c in contestants:
        ratio = spread(ratios(best[MIXED], c)) if c is not best[MIXED] else ("", "")
        cores = f"{statistics.median(c.cores):.2f}"
        rates = spread([BATCH * rate for rate in c.rates], 0)
        table.rows.append((c.name, str(c.threads), cores, *rates, *ratio))
    table.notes.append(
        f"{rounds} rounds of {seconds:g} s each; load before {before}, after {load()}. cores: CPU "
        "seconds per second; below `threads`, others had the machine."
    )
    if peers:
        faster = statistics.median(ratios(best[MIXED], best[PEER]))
        verdict = "no verdict: too short" if rounds < 5 else _verdict(faster, SPEED_GOAL)
        table.notes.append(f"Goal {SPEED_GOAL} times the tutorial: {faster:.2f}, {verdict}.")
    return table


def _verdict(value: float, goal: float) -> str:
    return "reached" if reached(value, goal, at_least=True) == "yes" else "not reached"


def _duel(rounds: int, iterations: int) -> Table:
    table = Table(
        f"gan: the duel in 2-D, batch 256, {iterations:,} steps, one thread",
        ("trained", "runs", "D+G steps/s", "min-max"),
    )
    bare = []
    for i in range(rounds):
        log_progress(f"bare duel {i + 1} of {rounds}")
        bare.append(_bare_rate(iterations))
    table.rows.append(("bare generator", str(rounds), *spread(bare, 0)))
    try:
        lab = _lab_rates(rounds, iterations)
    except Unavailable as reason:
        table.notes.append(f"Without the page: {reason}")
    else:
        table.rows.append(("in the lab, page open", str(rounds), *spread(lab, 0)))
        rate = statistics.median(lab)
        verdict = "no verdict: too short" if rounds < 3 else _verdict(rate, DUEL_GOAL)
        table.notes.append(f"Goal {DUEL_GOAL:.0f} with the page open: {rate:.0f}, {verdict}.")
    log_progress("")
    table.notes.append(f"Load after {load()}.")
    return table


def _bare_rate(iterations: int) -> float:
    """Train in this process with the default images and metrics; return steps/s."""
    with torch_threads(1):
        events = train(GAN.build(GAN.config(iterations=iterations)))
        next(events)
        start = time.perf_counter()
        return sum(1 for _ in events) / (time.perf_counter() - start)


def _lab_rates(rounds: int, iterations: int) -> list[float]:
    """Return steps/s of runs in the lab, each with its page open."""
    browser, rates = find_browser(), []
    with tempfile.TemporaryDirectory(prefix="genlab-bench-") as folder:
        runs = Path(folder) / "runs"
        with server(runs) as lab, open_browser(browser) as page:
            for i in range(rounds):
                log_progress(f"duel in the lab {i + 1} of {rounds}")
                page.goto(f"{lab.url}/gan?iterations={iterations}&seed={i}")
                main = page.get_by_test_id("stMainBlockContainer")
                main.get_by_role("button", name="Train", exact=True).click()
                page.wait_for_url("**run=*")
                (run_id,) = parse_qs(urlsplit(page.url).query)["run"]
                rates.append(rate_of(_finished(page, Run(runs / run_id))))
    return rates


def _finished(page, found: Run) -> Run:
    deadline = time.monotonic() + 300
    while found.status().active:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{found.status()} after five minutes.")
        page.wait_for_timeout(300)
    return found

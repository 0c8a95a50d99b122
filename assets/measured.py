"""Measure the families side by side, for the page of theory: ``python assets/measured.py``.

Two protocols, and one file, ``assets/measured.json``:

- in 2-D, a comparison on equal terms (the command stands in the file); ``--runs FOLDER``
  takes one that is there already;
- on images, the runs that ship with the lab: time for a batch of samples, and how far a flow
  misses on the way from its samples to the latents and back.

Times are processor time of one core: medians of rounds in which each model has its turn, so that a
neighbour on the machine hits all alike.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from analysis.comparison_results import rows_of, spread  # noqa: E402
from analysis.flow_matching_images import made_of  # noqa: E402
from analysis.flow_matching_plane import sampled  # noqa: E402
from analysis.image_latents import context_of  # noqa: E402
from cli.train import main as command_line  # noqa: E402
from lab.comparison import ENTRANTS, Comparison  # noqa: E402
from lab.runs.files import write_json  # noqa: E402
from lab.store import Run, RunStore  # noqa: E402
from metrics.plane import TIMED  # noqa: E402
from models.flow_matching import solved  # noqa: E402
from models.maf import position_features  # noqa: E402
from training.defects.flows import FREQUENCIES  # noqa: E402
from training.vae_plane import LATENT, sample  # noqa: E402

FILE = HERE / "measured.json"
WORDS = ["compare", "--families", *ENTRANTS, "--dataset", "ring", "--seeds", "3", "--steps", "1000"]
COLUMNS = ("nll_test", "tight_bound", "kl_to_truth", "kl_samples", "modes", "good", "parameters")
BATCH, ROUNDS = 64, 15
EULER, FINE = 16, 96  # steps of solvers: behind samples, and on the way to latents and back

# Whose shipped run stands for a family, and what it makes.
SHIPPED = {
    "nice": ("nice_images", "digits, 28 x 28"),
    "realnvp": ("realnvp_images", "digits, 28 x 28"),
    "glow": ("glow", "digits, 28 x 28"),
    "maf": ("maf", "patches, 8 x 8 in colour"),
    "gan": ("dcgan", "shapes, 32 x 32 in colour"),
    "vae": ("vae", "digits, 28 x 28"),
    "cyclegan": ("cyclegan", "fruits, 64 x 64 in colour"),
    "flow_matching": ("flow_matching_images", "digits, 28 x 28"),
}


def in_the_plane(folder: Path) -> dict:
    """Return means, spreads and counts of a comparison in a folder of the command line."""
    comparison = Comparison(folder / "comparison.json", RunStore(folder / "runs"))
    rows = rows_of(comparison)
    unfinished = [row.run for row in rows if row.state != "finished"]
    if unfinished:
        raise SystemExit(f"Not finished: {', '.join(unfinished)}. Run the comparison again.")
    first = {e.entrant.key: comparison.run_of(e) for e in comparison.entries if e.seed == 0}
    times = median_seconds({key: sampler(run) for key, run in first.items()})
    found = {}
    for key in comparison.terms.entrants:
        spreads = {column: spread(rows, key, column) for column in COLUMNS}
        found[key] = {name: asdict(s) if s else None for name, s in spreads.items()}
        found[key]["sample_seconds"] = times[key]
    floor = next(row.kl_floor for row in rows if row.kl_floor is not None)
    command = "python -m training " + " ".join(WORDS)
    return {"command": command, "kl_floor": floor, "entrants": found}


def sampler(run: Run) -> Callable[[], Tensor]:
    """Return what makes 10,000 samples of a trained model in 2-D."""
    model = run.family.training.blank(run.config, run.snapshots.target())
    run.weights.load_into(model)
    model.eval()
    eval_generator = torch.Generator().manual_seed(1)
    if run.family.stem == "vae_plane":
        return lambda: sample(model, *torch.randn(2, TIMED, LATENT, generator=eval_generator))
    if run.family.stem == "gan":
        return lambda: model(model.draw(TIMED, eval_generator))
    if run.family.stem == "flow_matching":
        return lambda: sampled(model, TIMED)  # without their densities, which cost far more
    return lambda: model.sample(TIMED, generator=eval_generator)


def on_images() -> dict:
    """Measure the shipped runs."""
    found, work = {}, {}
    for page, shipped in SHIPPED.items():
        found[page], work[page] = of_shipped(*shipped)
    for page, seconds in median_seconds(work).items():
        found[page]["seconds"] = seconds
    return found


@torch.no_grad()
def of_shipped(stem: str, what: str) -> tuple[dict, Callable[[], Tensor]]:
    """Return what can be said of the shipped run of a family, and what makes a batch of it."""
    run = Run(HERE / "runs" / stem)
    model = run.family.training.blank(run.config, run.snapshots.target())
    run.weights.load_into(model)
    model.eval()
    make, latent, back = ways(stem, model, run)
    batch = make()
    error = None
    if back is not None:
        error = float((back(batch) - batch).abs().max())
        if not math.isfinite(error):
            raise SystemExit(f"{stem} does not come back.")
    facts = {
        "run": stem,
        "what": what,
        "dimensions": batch[0].numel(),
        "latent": latent,
        "parameters": sum(p.numel() for p in model.parameters()),
        "inverse_error": error,
    }
    return facts, make


def ways(stem: str, model, run: Run) -> tuple[Callable[[], Tensor], int | None, Callable | None]:
    """Return what makes a batch, the size of a latent, and the way to the latents and back."""
    eval_generator = torch.Generator().manual_seed(1)

    def noise(size: int) -> Tensor:
        return torch.randn(BATCH, size, generator=eval_generator)

    if stem == "dcgan":
        return lambda: model(noise(model.latent)), model.latent, None
    if stem == "vae":
        return lambda: model.decode(noise(model.latent)), model.latent, None
    if stem == "cyclegan":
        side = run.config.image_size
        images = 2 * torch.rand(BATCH, 3, side, side, generator=eval_generator) - 1
        return lambda: model.a_to_b(images), None, None
    if stem == "flow_matching_images":
        return followed(model, model.prior.sample(BATCH, generator=eval_generator))
    context: tuple[Tensor, ...] = ()
    if stem == "maf":
        places = torch.rand(BATCH, 2, generator=eval_generator)
        context = (position_features(places, FREQUENCIES),)
        size = 3 * run.config.patch**2
    else:
        size = model.features
        if model.context:
            context = (torch.eye(model.context)[torch.arange(BATCH) % model.context],)
    z = model.prior.sample(BATCH, generator=eval_generator)

    def back(x: Tensor) -> Tensor:
        return model.forward(model.inverse(x, *context)[0], *context)[0]

    return lambda: model.forward(z, *context)[0], size, back


def followed(flow, z: Tensor) -> tuple[Callable[[], Tensor], int, Callable]:
    """Return what ``ways`` does, of flow matching: Euler's method there, a finer one and back."""
    labels = torch.arange(BATCH) % flow.context
    few = solved(flow, solver="euler", steps=EULER)
    centred, transport = solved(flow, solver="rk4", steps=FINE).chain

    def back(x: Tensor) -> Tensor:
        context = context_of(flow, labels)
        there = transport.follow(centred.inverse(x)[0], context, start=1.0, end=0.0)
        return centred.forward(transport.follow(there, context))[0]

    return lambda: made_of(few, z, labels), flow.features, back


@torch.no_grad()
def median_seconds(work: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median processor time of each, over rounds in which each has its turn."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS + 1):
        for name, make in work.items():
            before = time.process_time()
            make()
            times[name].append(time.process_time() - before)
    # The first round warms up.
    return {name: statistics.median(spent[1:]) for name, spent in times.items()}


def machine() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return "unknown processor"


def measure(folder: Path) -> None:
    """Write the file."""
    torch.set_num_threads(1)
    values = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"one core of {machine()}, torch {torch.__version__}",
        "batch": BATCH,
        "rounds": ROUNDS,
        "images": on_images(),
        "plane": in_the_plane(folder),
    }
    write_json(FILE, values)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("comparison/families"))
    chosen = parser.parse_args().runs
    if command_line([*WORDS, "--out", str(chosen), "--device", "cpu"]):
        raise SystemExit("The comparison was interrupted: run the same command again.")
    measure(chosen)

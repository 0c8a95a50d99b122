"""CycleGAN on rendered fruits: what becomes of hue, shape and cycle, over seeds.

Each is trained as ``python -m training cyclegan`` trains it; then the same without the cycle loss,
without the identity loss, and without either. Measured once, at the end, on 100 test images of
either kind. Nothing was chosen on these: the settings are the paper's, with networks small enough
for the time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping

from benchmarks.machine import DEFAULT_THREADS, load, torch_threads
from benchmarks.options import Options
from benchmarks.tables import Table, reached
from benchmarks.turns import log_progress
from training.core.loop import train
from training.cyclegan import CycleGANConfig, build

SEEDS = (0, 1, 2)
HUE_GOAL, SHAPE_GOAL, MINUTES_GOAL = 0.95, 0.9, 15.0
WAYS: dict[str, dict[str, float]] = {
    "as it is": {},
    "no cycle loss": {"cycle": 0.0},
    "no identity loss": {"identity": 0.0},
    "neither": {"cycle": 0.0, "identity": 0.0},
}
QUICK = {"image_size": 32, "width": 8, "discriminator_width": 8, "epochs": 1}
COLUMNS = ("hue_ab", "hue_ba", "iou_ab", "iou_ba", "cycle_error_a", "cycle_error_b")


def run(options: Options) -> Iterator[Table]:
    """Yield one table per way, and the goals."""
    seeds = options.seeds or ((0,) if options.quick else SEEDS)
    found: dict[str, list[Mapping[str, float]]] = {}
    for name, changed in WAYS.items():
        values = {**changed, **(QUICK if options.quick else {})}
        found[name] = [_trained(CycleGANConfig(**values, seed=seed), name) for seed in seeds]
        yield _table(name, found[name], seeds)
    yield _goals(found["as it is"], options.quick)


def _trained(config: CycleGANConfig, name: str) -> dict[str, float]:
    start = time.perf_counter()
    numbers: dict[str, float] = {}
    with torch_threads(DEFAULT_THREADS):
        experiment = build(config)
        for event in train(experiment, snapshots=False, measure_every=1 << 40):
            numbers |= event.metrics
            if event.losses:
                log_progress(f"{name}, seed {config.seed}: step {event.step:,} of {event.total:,}")
    log_progress("")
    return {**numbers, "minutes": (time.perf_counter() - start) / 60}


def _table(name: str, found: list[Mapping[str, float]], seeds: tuple[int, ...]) -> Table:
    columns = ("seed", "minutes", "hue A-B", "hue B-A", "IoU A-B", "IoU B-A", "cycle A", "cycle B")
    table = Table(f"cyclegan: rendered fruits, {name}", columns)
    for seed, numbers in zip(seeds, found, strict=True):
        shown = [f"{numbers[key]:.3f}" for key in COLUMNS]
        table.rows.append((str(seed), f"{numbers['minutes']:.1f}", *shown))
    words = ", ".join(
        f"{key} {statistics.mean(n[key] for n in found):.3f} "
        f"({min(n[key] for n in found):.3f} to {max(n[key] for n in found):.3f})"
        for key in COLUMNS
    )
    table.notes = [
        f"Mean and range over {len(seeds)} seeds: {words}.",
        f"A: apples, B: oranges; 100 test images of either. {DEFAULT_THREADS} threads, load "
        f"{load()}.",
    ]
    return table


def _goals(found: list[Mapping[str, float]], quick: bool) -> Table:
    table = Table("cyclegan: goals on rendered fruits", ("what", "worst", "goal", "reached"))
    for what, keys, goal, form in (
        ("share with the other fruit's hue", COLUMNS[:2], HUE_GOAL, ".1%"),
        ("overlap of masks (IoU)", COLUMNS[2:4], SHAPE_GOAL, ".3f"),
    ):
        worst = min(numbers[key] for numbers in found for key in keys)
        verdict = "-" if quick else reached(worst, goal, at_least=True)
        table.rows.append((what, f"{worst:{form}}", f">= {goal:{form}}", verdict))
    longest = max(numbers["minutes"] for numbers in found)
    verdict = "-" if quick else reached(longest, MINUTES_GOAL)
    table.rows.append(("minutes", f"{longest:.1f}", f"<= {MINUTES_GOAL:.0f}", verdict))
    table.notes = ["Worst of all seeds and of both directions."]
    if quick:
        table.notes.append("Quick: too short for any verdict.")
    return table

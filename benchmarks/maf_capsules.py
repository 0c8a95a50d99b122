"""MAF on MVTec AD's capsules: both models, three seeds, every number of the test set.

Both are trained as ``python -m training maf`` trains them with the flags in the titles, the
whole-image model from where the page starts it. Everything that could be chosen was chosen on
rendered capsules or on splits of the good training images; the test images are scored once, at
the end. The threshold is the score that 5 % of the held-out good training images exceed. Without
the real set under a folder of ``GENLAB_DATA`` there is nothing to measure.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator

import numpy as np

from analysis.maf.scores import Evaluation, evaluate
from benchmarks.machine import DEFAULT_THREADS, load, torch_threads
from benchmarks.options import Options, Unavailable
from benchmarks.tables import Table
from benchmarks.turns import log_progress
from datasets.own import DataError
from metrics import detection
from training.core.loop import train
from training.maf import PRESETS, MAFConfig, build, find

SEEDS = (0, 1, 2)
# What differs from where the page starts. Small defects are gone at 128 pixels: chosen on synthetic
# defects on held-out good training images.
CHANGED = {"patches": {"resolution": 256, "epochs": 400}, "image": {}}
QUICK_EPOCHS = 1


def run(options: Options) -> Iterator[Table]:
    """Yield one table per model."""
    seeds = options.seeds or ((0,) if options.quick else SEEDS)
    for name in ("patches", "image"):
        values = {**PRESETS[name], **CHANGED[name], "dataset": "mvtec_capsule"}
        if options.quick:
            values |= {"epochs": QUICK_EPOCHS}
        config = MAFConfig.parse(values)
        try:
            find(config)
        except DataError as error:
            raise Unavailable(str(error)) from error
        yield _table(name, config, seeds)


def _table(name: str, config: MAFConfig, seeds: tuple[int, ...]) -> Table:
    columns = ("seed", "minutes", "AUROC", "95 % interval", "pixel AUROC", "balanced accuracy")
    changed = {k.name for k in config.knobs() if getattr(config, k.name) != k.default}
    flags = " ".join(f"--{n.replace('_', '-')} {getattr(config, n)}" for n in sorted(changed))
    table = Table(f"maf: {name}: python -m training maf {flags}", (*columns, "accuracy"))
    found: list[Evaluation] = []
    for seed in seeds:
        one, minutes = _trained(config.replace(seed=seed), name)
        found.append(one)
        decided = detection.decide(one.score, one.defective, one.threshold)
        table.rows.append(
            (
                str(seed),
                f"{minutes:.1f}",
                f"{one.auroc.value:.3f}",
                f"{one.auroc.low:.3f}-{one.auroc.high:.3f}",
                f"{one.pixel_auroc:.3f}",
                f"{decided.balanced_accuracy:.3f}",
                f"{decided.accuracy:.3f}",
            )
        )
    table.notes = [_summary(found), _kinds(found), _protocol(found[0])]
    return table


def _trained(config: MAFConfig, name: str) -> tuple[Evaluation, float]:
    start = time.perf_counter()
    with torch_threads(DEFAULT_THREADS):
        experiment = build(config)
        for event in train(experiment, snapshots=False, measure_every=1 << 40):
            if event.losses:
                log_progress(f"{name}, seed {config.seed}: step {event.step:,} of {event.total:,}")
        log_progress("scoring")
        found = evaluate(experiment)
    log_progress("")
    return found, (time.perf_counter() - start) / 60


def _summary(found: list[Evaluation]) -> str:
    areas = [one.auroc.value for one in found]
    pixels = [one.pixel_auroc for one in found if not math.isnan(one.pixel_auroc)]
    words = f"AUROC {statistics.mean(areas):.3f} ({min(areas):.3f} to {max(areas):.3f})"
    if pixels:
        words += (
            f", pixel AUROC {statistics.mean(pixels):.3f} ({min(pixels):.3f} to {max(pixels):.3f})"
        )
    return f"Mean and range over {len(found)} seeds: {words}."


def _kinds(found: list[Evaluation]) -> str:
    kinds = {
        kind: np.mean([one.per_kind[kind].value for one in found]) for kind in found[0].per_kind
    }
    return "By kind, mean AUROC: " + ", ".join(f"{k} {v:.3f}" for k, v in kinds.items()) + "."


def _protocol(one: Evaluation) -> str:
    bad = int(one.defective.sum())
    trivial = detection.all_defective(one.defective)
    return (
        f"{len(one.kinds) - bad} good and {bad} defective test images; calling all defective has "
        f"accuracy {trivial.accuracy:.3f} and balanced accuracy {trivial.balanced_accuracy:.3f}. "
        "Intervals: DeLong on the logit scale, one training each. "
        f"{DEFAULT_THREADS} threads, load {load()}."
    )

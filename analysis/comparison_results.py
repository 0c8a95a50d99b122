"""What a comparison came to: a row per training, spreads over seeds, who wins, tables."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from scipy.special import stdtrit

from lab.comparison import ENTRANTS, Comparison, Entry
from lab.store import Run


@dataclass(frozen=True, slots=True)
class Row:
    """What one training came to. ``None``: it has no answer to that, or not yet.

    Attributes:
        entrant: its key.
        title: its name.
        seed: of its training.
        likelihood: ``"exact"``, ``"bound"`` or ``"none"``.
        state: of its run.
        steps: optimiser steps done.
        seconds: of its training, measuring and saving included.
        steps_per_second: the one by the other.
        parameters: of all its networks.
        nll_test: exact NLL of 20,000 fresh points, nats in data units.
        bound_test: what the NLL is at most, by the ELBO; of a VAE.
        tight_bound: the same by 64 importance-weighted draws.
        kl_to_truth: by the exact likelihood, over the same 20,000 points, nats.
        kl_error: standard error of that mean, nats: these points are a sample themselves.
        kl_samples: KL(truth || samples) over 40 x 40 bins of 20,000 samples, nats.
        kl_floor: the same for samples of the truth.
        modes: covered by at least a tenth of the samples that they should get.
        good: fraction of samples within three standard deviations of a mode.
        sample_seconds: median time for 10,000 samples.
        nll_split_train: exact NLL of the training part of a finite set.
        nll_split_test: of its test part.
        run: id of the run.
    """

    entrant: str
    title: str
    seed: int
    likelihood: str
    state: str
    steps: int
    seconds: float | None = None
    steps_per_second: float | None = None
    parameters: float | None = None
    nll_test: float | None = None
    bound_test: float | None = None
    tight_bound: float | None = None
    kl_to_truth: float | None = None
    kl_error: float | None = None
    kl_samples: float | None = None
    kl_floor: float | None = None
    modes: float | None = None
    good: float | None = None
    sample_seconds: float | None = None
    nll_split_train: float | None = None
    nll_split_test: float | None = None
    run: str = ""


# Columns of a run's metrics that a likelihood of a kind may fill. A GAN's `kl_to_truth` is one of
# samples, which `kl_samples` has for all.
REPORTED = {"exact": ("nll_test", "kl_to_truth"), "bound": ("bound_test",), "none": ()}
SUMMED = (
    "parameters",
    "tight_bound",
    "kl_error",
    "kl_samples",
    "kl_floor",
    "modes",
    "good",
    "sample_seconds",
    "nll_split_train",
    "nll_split_test",
)
NUMERIC = ("seconds", "steps_per_second", "nll_test", "bound_test", "kl_to_truth", *SUMMED)


def rows_of(comparison: Comparison) -> list[Row]:
    """Return a row per training, read from the folders of the runs."""
    return [row_of(entry, comparison.run_of(entry)) for entry in comparison.entries]


def row_of(entry: Entry, run: Run | None) -> Row:
    """Return the row of one training; its numbers are those of the last step."""
    entrant = entry.entrant
    names = entrant.key, entrant.title, entry.seed, entrant.likelihood
    if run is None:
        return Row(*names, "deleted", 0)
    status = run.status()
    if status.state != "finished":
        return Row(*names, status.state, status.step, run=run.id)
    last: dict[str, float] = {}
    for row in run.metrics.rows():
        last.update(row)
    summary = run.metrics.summary()
    numbers = {name: last.get(name) for name in REPORTED[entrant.likelihood]}
    numbers |= {name: summary.get(name) for name in SUMMED}
    if entrant.likelihood != "exact":
        numbers |= {"nll_split_train": None, "nll_split_test": None}
    numbers |= {"seconds": status.seconds, "steps_per_second": status.step / status.seconds}
    finite = {k: v for k, v in numbers.items() if v is not None and math.isfinite(v)}
    return Row(*names, status.state, status.step, run=run.id, **finite)


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation over seeds; the latter is zero for a single one."""

    mean: float
    sd: float
    count: int


def spread(rows: Sequence[Row], entrant: str, column: str) -> Spread | None:
    """Return a column of one entrant over its seeds; ``None`` if it has no answer to that."""
    own = [row for row in rows if row.entrant == entrant and row.state == "finished"]
    found = [getattr(row, column) for row in own]
    values = [value for value in found if value is not None]
    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.fmean(values), sd, len(values))


@dataclass(frozen=True, slots=True)
class Point:
    """A place on a curve of one entrant: mean, least and greatest value over its seeds so far.

    Attributes:
        entrant: its key.
        part: ``"test"``, or ``"train"`` (a mean over the batches since the last place).
        step: optimiser step.
        seconds: of training until then, mean over seeds.
        mean: nats in data units; a bound where the entrant has only that.
        low: of the seeds.
        high: of the seeds.
    """

    entrant: str
    part: str
    step: int
    seconds: float
    mean: float
    low: float
    high: float


PLACES = 50  # of a training curve
COLUMNS = {
    "exact": {"test": "nll_test", "train": "nll"},
    "bound": {"test": "bound_test", "train": "bound"},
    "none": {},
}


def curves(metrics: Sequence[tuple[Entry, Sequence[Mapping[str, float]]]]) -> list[Point]:
    """Return the NLL of each entrant over its training, on test and training data.

    Args:
        metrics: trainings with the rows of their ``metrics.csv`` so far.
    """
    points = []
    for key in dict.fromkeys(entry.entrant.key for entry, _ in metrics):
        runs = [rows for entry, rows in metrics if entry.entrant.key == key]
        total = max((rows[-1]["step"] for rows in runs if rows), default=0)
        for part, column in COLUMNS[ENTRANTS[key].likelihood].items():
            width = max(1, total // PLACES) if part == "train" else 1
            points += _curve(key, part, column, width, runs)
    return points


def _curve(key: str, part: str, column: str, width: int, runs: Sequence) -> list[Point]:
    """Return mean and range over runs of their means over stretches of ``width`` steps."""
    seeds: dict[int, list[tuple[float, float]]] = {}
    for rows in runs:
        stretches: dict[int, list[tuple[float, float]]] = {}
        for row in rows:
            if math.isfinite(row.get(column, math.nan)):
                place = math.ceil(row["step"] / width) * width
                stretches.setdefault(place, []).append((row["seconds"], row[column]))
        for place, found in stretches.items():
            seeds.setdefault(place, []).append(tuple(map(statistics.fmean, zip(*found))))
    points = []
    for place in sorted(seeds):
        seconds, values = zip(*seeds[place])
        mean = statistics.fmean(values)
        times = statistics.fmean(seconds)
        points.append(Point(key, part, place, times, mean, min(values), max(values)))
    return points


OVERFITTED = 0.05  # nats that a test NLL rises by before it is reported


def overfitted(points: Sequence[Point]) -> list[tuple[str, Point, Point]]:
    """Return who has a test NLL that rises: key, lowest and last place of the mean over seeds."""
    found = []
    for key in dict.fromkeys(p.entrant for p in points):
        own = [p for p in points if (p.entrant, p.part) == (key, "test")]
        if own:
            least, last = min(own, key=lambda p: p.mean), own[-1]
            if last.mean > least.mean + OVERFITTED and last.step > least.step:
                found.append((key, least, last))
    return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which of two had the lower NLL, seed by seed.

    Attributes:
        column: of :class:`Row`, that was compared.
        better: key of the one with the lower mean.
        other: key of the other one.
        difference: mean over seeds of the other's NLL minus the better one's, nats.
        half_width: of the 95 % interval of that mean (Student's t); infinite for a single seed.
        wins: seeds for which the better one is better.
        seeds: for which both have a number.
    """

    column: str
    better: str
    other: str
    difference: float
    half_width: float
    wins: int
    seeds: int

    @property
    def clear(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.difference > self.half_width

    def words(self) -> str:
        """Return it as a sentence."""
        better, other = ENTRANTS[self.better].title, ENTRANTS[self.other].title
        what = NLL_OF[self.column]
        if self.seeds == 1:
            return (
                f"{what}: with one seed, {better} is {self.difference:.4f} nats below {other}, "
                "which is too little to call a winner."
            )
        numbers = (
            f"lower by {self.difference:.4f} ± {self.half_width:.4f} nats (mean over {self.seeds} "
            f"seeds, 95 % interval), and lower for {self.wins} of {self.seeds}"
        )
        if self.clear:
            return f"{what}: {better} wins against {other}, {numbers}."
        return f"{what}: nobody wins. {better} is ahead of {other}, but not clearly: {numbers}."


NLL_OF = {
    "nll_test": "NLL on 20,000 fresh points",
    "nll_split_test": "NLL on the test part of the split",
}


def verdict(rows: Sequence[Row], one: str, two: str, column: str = "nll_test") -> Verdict | None:
    """Compare two entrants with an exact likelihood; ``None`` if they share no finished seed.

    Args:
        rows: from :func:`rows_of`.
        one: key of an entrant.
        two: key of the other one.
        column: a key of ``NLL_OF``.
    """
    values = [(row.entrant, row.seed, getattr(row, column)) for row in rows]
    nll = {(key, seed): value for key, seed, value in values if value is not None}
    seeds = [seed for key, seed in nll if key == one and (two, seed) in nll]
    if not seeds:
        return None
    apart = [nll[two, seed] - nll[one, seed] for seed in seeds]
    if statistics.fmean(apart) < 0:
        one, two, apart = two, one, [-d for d in apart]
    half = math.inf
    if len(apart) > 1:
        half = float(stdtrit(len(apart) - 1, 0.975)) * statistics.stdev(apart)
        half /= math.sqrt(len(apart))
    wins = sum(d > 0 for d in apart)
    return Verdict(column, one, two, statistics.fmean(apart), half, wins, len(apart))


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """Return RealNVP against Glow, if both are there, and the best two of all, by each NLL."""
    keys = list(dict.fromkeys(row.entrant for row in rows))
    means = {key: s.mean for key in keys if (s := spread(rows, key, "nll_test")) is not None}
    pairs = [("realnvp", "glow")] if {"realnvp", "glow"} <= means.keys() else []
    best = sorted(means, key=means.__getitem__)[:2]
    if len(best) == 2 and set(best) not in [set(pair) for pair in pairs]:
        pairs.append(tuple(best))
    found = [verdict(rows, *pair, column) for pair in pairs for column in NLL_OF]
    return [one for one in found if one is not None]


# -- tables ------------------------------------------------------------------------------------

RUN_COLUMNS = tuple(Row.__dataclass_fields__)
NONE = {"exact": "-", "bound": "a bound only", "none": "no likelihood"}


def runs_csv(rows: Sequence[Row]) -> str:
    """Return a line per training. What has no answer is an empty cell; `likelihood` says why."""
    lines = [",".join(RUN_COLUMNS)]
    for row in rows:
        lines.append(",".join(_csv(value) for value in asdict(row).values()))
    return "\n".join(lines) + "\n"


def _csv(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.7g}" if isinstance(value, float) else str(value)


TABLE = (
    ("Test NLL [nats]", "nll_test", "{:.3f}"),
    ("NLL, split [nats]", "nll_split_test", "{:.3f}"),
    ("KL [nats]", "kl_to_truth", "{:.3f}"),
    ("Sample KL [nats]", "kl_samples", "{:.3f}"),
    ("Modes", "modes", "{:.1f}"),
    ("Steps", "steps", "{:,.0f}"),
    ("Time [s]", "seconds", "{:.1f}"),
    ("Steps/s", "steps_per_second", "{:.0f}"),
    ("Parameters", "parameters", "{:,.0f}"),
    ("10,000 samples [ms]", "sample_seconds", "{:.1f}"),
)


def table(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Return a line per entrant as text: mean ± standard deviation over its seeds."""
    lines = []
    # A data set without an end has no split, one without Gaussians no modes.
    rare = ("nll_split_test", "modes", "steps")
    present = [c for c in rare[:2] if any(getattr(row, c) is not None for row in rows)]
    if len({row.steps for row in rows if row.state == "finished"}) > 1:  # equal seconds
        present.append("steps")
    shown = [line for line in TABLE if line[1] not in rare or line[1] in present]
    for key in dict.fromkeys(row.entrant for row in rows):
        own = [row for row in rows if row.entrant == key]
        done = sum(row.state == "finished" for row in own)
        line = {"Model": ENTRANTS[key].title, "Seeds": f"{done} of {len(own)}"}
        for title, column, form in shown:
            line[title] = _cell(rows, own[0], column, form)
        lines.append(line)
    return lines


def _cell(rows: Sequence[Row], like: Row, column: str, form: str) -> str:
    if column in ("nll_test", "nll_split_test", "kl_to_truth") and like.likelihood != "exact":
        bound = spread(rows, like.entrant, "tight_bound") if column == "nll_test" else None
        return "≤ " + _text(bound, form) if bound is not None else NONE[like.likelihood]
    found = spread(rows, like.entrant, column)
    if found is None:
        return "-"
    if column == "sample_seconds":
        found = Spread(1000 * found.mean, 1000 * found.sd, found.count)
    return form.format(found.mean) if column in ("parameters", "steps") else _text(found, form)


def _text(found: Spread, form: str) -> str:
    text = form.format(found.mean)
    return f"{text} ± {form.format(found.sd)}" if found.count > 1 else text


def table_markdown(rows: Sequence[Row]) -> str:
    """Return :func:`table` as a Markdown table."""
    lines = table(rows)
    head = list(lines[0])
    body = ["| " + " | ".join(line.values()) + " |" for line in lines]
    return "\n".join([f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1), *body])


def table_csv(rows: Sequence[Row]) -> str:
    """Return a line per entrant: mean, standard deviation and count of each column."""
    names = [f"{c}_{what}" for c in NUMERIC for what in ("mean", "sd", "seeds")]
    lines = [",".join(["entrant", "likelihood", *names])]
    for key in dict.fromkeys(row.entrant for row in rows):
        kind = next(row.likelihood for row in rows if row.entrant == key)
        cells: list[object] = [key, kind]
        for column in NUMERIC:
            found = spread(rows, key, column)
            cells += [None] * 3 if found is None else [found.mean, found.sd, found.count]
        lines.append(",".join(map(_csv, cells)))
    return "\n".join(lines) + "\n"


def as_json(rows: Sequence[Row]) -> str:
    """Return what the command line prints at its end, on one line."""
    found = [asdict(verdict) | {"words": verdict.words()} for verdict in verdicts(rows)]
    for line in found:  # JSON has no infinity
        line["half_width"] = line["half_width"] if math.isfinite(line["half_width"]) else None
    return json.dumps({"runs": [asdict(row) for row in rows], "verdicts": found})

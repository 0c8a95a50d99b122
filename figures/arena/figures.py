"""Figures of a comparison for a paper: PDF and SVG on white. No Streamlit, no global state.

The command line draws them, too.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.comparison_results import Point, curves, rows_of, runs_csv, table_csv
from datasets.plane import load_plane
from figures.palette import palette
from lab.comparison import ENTRANTS, Comparison, Entry

FORMATS = ("pdf", "svg")
EARLY = 0.06  # of the steps, whose NLL may leave the top of a chart


def colour_of(key: str, theme: str) -> str:
    """Return the colour of an entrant, the same in all charts. That of data is nobody's."""
    colours = palette(theme)
    _, blue, green, purple, olive, ink = colours.categorical
    return {
        "realnvp": blue,
        "glow": green,
        "nice": purple,
        "maf": olive,
        "spline": ink,
        "vae": colours.warn,
        "gan": colours.muted,
        "matching": colours.accent,
    }[key]


def entropy_of(comparison: Comparison) -> float | None:
    """Return the entropy of the data, below which no NLL gets, in nats and data units."""
    config = comparison.terms.config
    return load_plane(config.dataset, config.noise).entropy()


def window_of(comparison: Comparison) -> tuple[float, float, float, float]:
    """Return the window of the data, ``(x0, x1, y0, y1)``, standardised."""
    config = comparison.terms.config
    return load_plane(config.dataset, config.noise).box()


def window(points: Sequence[Point], floor: float | None) -> tuple[float, float]:
    """Return the range of the NLL axis: the first steps and a spike may leave it at the top."""
    last = max((p.step for p in points), default=0)
    late = [p.mean for p in points if p.step > EARLY * last] or [p.mean for p in points]
    ends = {p.entrant: p.mean for p in points if p.part == "test"}
    low = min([*late, *([] if floor is None else [floor])])
    high = max([float(np.quantile(late, 0.97)), *ends.values()])
    margin = max(0.06 * (high - low), 0.02)
    return low - margin, high + margin


def nll_figure(points: Sequence[Point], floor: float | None, over: str = "step") -> Figure:
    """Draw the NLL on test (solid, with the range over seeds) and training data (dotted).

    Args:
        points: from :func:`~analysis.comparison_results.curves`.
        floor: the entropy of the data, if it is known.
        over: ``"step"`` or ``"seconds"``.
    """
    colours = palette("light")
    figure = Figure(figsize=(5.2, 3.6), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    for key in dict.fromkeys(p.entrant for p in points):
        colour, title = colour_of(key, "light"), _title(key)
        for part, style in (("test", "-"), ("train", ":")):
            own = [p for p in points if (p.entrant, p.part) == (key, part)]
            x = [getattr(p, over) for p in own]
            if part == "test":
                low, high = [p.low for p in own], [p.high for p in own]
                axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
            label = title if part == "test" else None
            axes.plot(x, [p.mean for p in own], style, color=colour, linewidth=1.3, label=label)
    axes.plot([], [], ":", color=colours.muted, linewidth=1.3, label="training batches")
    if floor is not None:
        axes.axhline(floor, color=colours.muted, linewidth=0.9, linestyle="--", label="entropy")
    if points:
        axes.set_ylim(*window(points, floor))
    axes.set(
        xlabel="optimiser step" if over == "step" else "seconds of training",
        ylabel="negative log-likelihood [nats]",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    return figure


def _title(key: str) -> str:
    entrant = ENTRANTS[key]
    return entrant.title + (" (bound)" if entrant.likelihood == "bound" else "")


def samples_figure(data: np.ndarray, samples: Mapping[str, np.ndarray], box: np.ndarray) -> Figure:
    """Draw samples ``(n, 2)`` of each entrant beside the data, in one window."""
    panels = [("data", palette("light").data, data)]
    panels += [(ENTRANTS[k].title, colour_of(k, "light"), x) for k, x in samples.items()]
    across = min(4, len(panels))
    down = -(-len(panels) // across)
    size = (2.1 * across + 0.3, 2.2 * down + 0.2)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    for i, (title, colour, x) in enumerate(panels):
        axes = figure.add_subplot(down, across, i + 1)
        axes.scatter(*np.asarray(x, np.float32).T, s=2.2, color=colour, linewidths=0, alpha=0.75)
        axes.set_title(title, fontsize=9)
        axes.set(xlim=box[:2], ylim=box[2:], aspect="equal")
        axes.tick_params(labelsize=7)
    return figure


def samples_of(comparison: Comparison) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Return data, the newest samples of each entrant's first training, and their window."""
    data, found = np.zeros((0, 2)), {}
    for entry in comparison.entries:
        run = comparison.run_of(entry)
        steps = run.snapshots.steps() if run is not None and entry.entrant.key not in found else []
        if steps:
            found[entry.entrant.key] = run.snapshots.load(steps[-1])["samples"]
            data = run.snapshots.target()["samples"]
    return data, found, np.array(window_of(comparison))


def encoded(figure: Figure, form: str) -> bytes:
    """Return a figure as ``"pdf"`` or ``"svg"``, without the time at which it was drawn."""
    buffer = io.BytesIO()
    stamp = {"pdf": "CreationDate", "svg": "Date"}[form]
    figure.savefig(buffer, format=form, metadata={stamp: None})
    return buffer.getvalue()


def metrics_of(comparison: Comparison) -> list[tuple[Entry, list[dict[str, float]]]]:
    """Return the trainings with the rows of their metrics, those of deleted runs left out."""
    pairs = [(entry, comparison.run_of(entry)) for entry in comparison.entries]
    return [(entry, run.metrics.rows()) for entry, run in pairs if run is not None]


def figures_of(comparison: Comparison) -> dict[str, Figure]:
    """Return the figures of a comparison by the name of their file."""
    points = curves(metrics_of(comparison))
    over = "seconds" if comparison.terms.config.seconds else "step"
    figures = {"samples": samples_figure(*samples_of(comparison))}
    if points:
        figures["nll"] = nll_figure(points, entropy_of(comparison), over)
    return figures


def write_all(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the figures and tables of a comparison; return the files."""
    files = {
        f"{name}.{form}": encoded(figure, form)
        for name, figure in figures_of(comparison).items()
        for form in FORMATS
    }
    rows = rows_of(comparison)
    files |= {"runs.csv": runs_csv(rows).encode(), "table.csv": table_csv(rows).encode()}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]

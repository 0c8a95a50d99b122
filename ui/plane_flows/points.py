"""What the pages of models in 2-D share: data, samples, a sheet over the training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st
import torch
from PIL import Image
from torch import Tensor

from datasets.plane import Plane, load_plane
from figures.images import contact_sheet, png, points_image
from figures.palette import palette
from lab.store import Run
from ui.common.cached import kept, painted
from ui.common.history import Moment, tenths
from ui.common.page import show_image
from ui.common.widgets import download

SHEET = 200  # pixels along each side of a thumbnail
COUNTS = [200, 500, 1000, 2000, 5000, 10000]

# Makes, of a run, some steps and a theme, what there is to learn and what was learned at each step.
Paint = Callable[[Run, Sequence[int], str], list[Image.Image]]


def plane_of(run: Run) -> Plane:
    """Return the points that a run in 2-D is trained on."""
    return kept(_plane, (str(run.path),), run)


def _plane(run: Run) -> Plane:
    return load_plane(run.config.dataset, run.config.noise, run.own_data())


def count_and_generator() -> tuple[int, torch.Generator]:
    """Let the visitor choose how many samples to draw, and by which latents."""
    count = st.select_slider("Samples", COUNTS, 2000)
    seed = st.number_input("Seed of the latents", 0, 2**31 - 1, 0)
    return count, torch.Generator().manual_seed(int(seed))


def show_points(
    where,
    points: Tensor | np.ndarray,
    box: Sequence[float],
    colour: str,
    shade: str,
    alt: str,
    caption: str,
) -> None:
    """Draw points ``(n, 2)``; see ``paint_points``."""
    drawn = paint_points(np.asarray(points), box, colour, shade)
    show_image(where, png(drawn), alt, caption)


def paint_points(
    points: np.ndarray, box: Sequence[float], colour: str, shade: str, **side: int
) -> Image.Image:
    """Paint points ``(n, 2)`` of the colour that ``figures.palette`` has under a name."""
    finite = points[np.isfinite(points).all(1)]
    return points_image(finite, tuple(box), getattr(palette(shade), colour), shade, **side)


def take_points(where, run: Run, x: Tensor) -> None:
    """Draw the download of samples ``(n, 2)``."""
    restored = plane_of(run).restore(x).numpy()
    download(
        "Samples as CSV",
        lambda: "x1,x2\n" + "".join(f"{a:.6g},{b:.6g}\n" for a, b in restored),
        f"{run.id}-samples.csv",
        "text/csv",
        where,
        help="In the data's own units.",
    )


def draw_tenths(moment: Moment, paint: Paint, first: str, alt: str) -> None:
    """Draw what there is to learn, called ``first``, and what was learned at every tenth."""
    run, steps = moment.run, tuple(tenths(moment.view.status.total, moment.run))
    if len(steps) > 1:
        by = run.id, steps, moment.shade
        show_image(st, painted(tenths_png, by, run, steps, moment.shade, paint, first), alt)


def tenths_png(run: Run, steps: Sequence[int], shade: str, paint: Paint, first: str) -> bytes:
    """Return a sheet of what there is to learn and what was learned at some steps as PNG."""
    images = [image.resize((SHEET, SHEET)) for image in paint(run, steps, shade)]
    # The sheet keeps its size while the training goes on.
    missing = 11 - len(steps)
    blank = paint_points(np.zeros((0, 2)), (0, 1, 0, 1), "data", shade, side=SHEET)
    labels = [first, *(f"step {step:,}" for step in steps), *[""] * missing]
    return contact_sheet(images + [blank] * missing, labels, shade)

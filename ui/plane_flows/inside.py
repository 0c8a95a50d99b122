"""What a flow in 2-D does: an animation from data to latent, and one point on its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from figures.images import categories
from lab.store import Run
from lab.view import View
from models.blocks.layers import Coupling
from models.flow import Flow
from training.core.plane_flow import grid_points
from ui.common.cached import kept, painted
from ui.common.page import theme
from ui.common.trained import trained_model
from ui.plane_flows.points import plane_of
from ui.stage.component import asked_point, show_stage
from ui.stage.encode import encode
from ui.stage.latents import lattice_points
from ui.stage.scene import Drag, Heat, Lines, Panel, Points, Scene, Timeline

LATTICE = 49  # places along each side, between which a dragged point is interpolated
CELLS = 72  # along each side of the map of the stretch
CORNERS_FIRST = 49  # of a grid line, before those where it bends
HALVINGS = 5  # of a piece between two corners
BEND = 0.002  # of the window: how far a piece may lie off its chord
APART = 0.008  # of the window, three pixels: closer lines would run into each other


@dataclass(frozen=True)
class Anatomy:
    """What a trained flow does to a grid and to data, layer by layer, from data to latent.

    Attributes:
        names: what each layer is; the first entry is the data itself.
        grid: both ends of the grid lines in the data, ``(m, 2, 2)``.
        lines: per state, the grid lines, ``(states, m, k, 2)``; shorter ones end in NaN.
        alpha: opacity of each corner, ``(states, m, k)``: 0 where the flow expects no data, and
            where neighbouring lines lie on each other.
        points: per state, data points, ``(states, n, 2)``.
        stretch: per state, log|det| of the layer before it at each cell, ``(states, g, g)``.
        moved: per state, whether the layer before it may move each coordinate, ``(states, 2)``.
        lattice: per state, places of a lattice over the window, ``(states, h, w, 2)``.
        sums: per state, the running sum of log|det| there, ``(states, h, w)``.
        boxes: per state, a window that slides from that of the data to that of the latent.
    """

    names: list[str]
    grid: np.ndarray
    lines: np.ndarray
    alpha: np.ndarray
    points: np.ndarray
    stretch: np.ndarray
    moved: np.ndarray
    lattice: np.ndarray
    sums: np.ndarray
    boxes: np.ndarray


def anatomy_of(run: Run, version: float) -> Anatomy:
    """Return what the flow of a run does to a grid and to data."""
    words = "Carrying a grid through the flow"
    return kept(_anatomy, (run.id, version), run, version, words=words)


def _anatomy(run: Run, version: float) -> Anatomy:
    flow, plane = trained_model(run, version), plane_of(run)
    box = plane.box()
    points = plane.held_out(600, torch.Generator().manual_seed(5))[:600]
    spots, _ = states_of(flow, points)
    boxes = _windows(box, spots)
    ends = grid_lines(box)
    lines = bent_lines(lambda x: states_of(flow, x)[0], ends, boxes)
    alpha = _expected(flow, lines[0]) * _apart(flow, lines, ends, boxes)
    lines, alpha = _shown(lines, alpha)
    _, cells = states_of(flow, grid_points(box, CELLS))
    lattice, sums = states_of(flow, lattice_points(box, LATTICE))
    layers = [None, *flow.chain]
    return Anatomy(
        names=["the data", *(type(layer).__name__ for layer in layers[1:])],
        grid=ends,
        lines=lines,
        alpha=alpha,
        points=spots,
        stretch=np.diff(cells, axis=0, prepend=0).reshape(-1, CELLS, CELLS),
        moved=np.array([_moves(layer) for layer in layers]),
        lattice=lattice.reshape(-1, LATTICE, LATTICE, 2),
        sums=sums.reshape(-1, LATTICE, LATTICE),
        boxes=boxes,
    )


def states_of(flow: Flow, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return where points ``(n, 2)`` are after each layer, and the sum of log|det| so far.

    Returns:
        ``(states, n, 2)`` and ``(states, n)``, the data itself first.
    """
    with torch.no_grad():
        states = list(flow.inverse_states(x))
    values, dets = ([getattr(s, name).numpy() for s in states] for name in ("value", "log_det"))
    return np.stack(values), np.stack(dets)


def _windows(box: tuple[float, ...], points: np.ndarray) -> np.ndarray:
    """Return a window per state: the image slides to that of the latent, and does not jump."""
    reach = max(3.2, float(np.quantile(np.abs(points[-1]), 0.995)) * 1.15)
    part = np.linspace(0, 1, len(points))[:, None]
    return np.asarray(box) * (1 - part) + np.array([-reach, reach, -reach, reach]) * part


def grid_lines(box: tuple[float, ...], count: int = 17) -> np.ndarray:
    """Return both ends of the lines of a grid over a window: ``(2 count, 2, 2)``."""
    x0, x1, y0, y1 = box
    x, y = np.linspace(x0, x1, count), np.linspace(y0, y1, count)
    upright = np.stack([np.stack([x, np.full(count, end)], 1) for end in (y0, y1)], 1)
    level = np.stack([np.stack([np.full(count, end), y], 1) for end in (x0, x1)], 1)
    return np.concatenate([upright, level]).astype(np.float32)


def bent_lines(
    states: Callable[[Tensor], np.ndarray], lines: np.ndarray, boxes: np.ndarray
) -> np.ndarray:
    """Carry straight lines through a map, with the more corners the more it bends them.

    Args:
        states: returns where points ``(n, 2)`` are in each state, ``(states, n, 2)``.
        lines: both ends of each, ``(m, 2, 2)``.
        boxes: the window of each state, by which bends are measured, ``(states, 4)``.

    Returns:
        ``(states, m, most, 2)``; a line with fewer corners ends in NaN.
    """
    # All corners of all lines are kept in one list, by line and place along it.
    sizes = (boxes[:, 1::2] - boxes[:, ::2]).max(1)[:, None]
    line, along = (a.ravel() for a in np.indices((len(lines), CORNERS_FIRST)))
    along = along / (CORNERS_FIRST - 1)
    carried = states(_between(lines, line, along))
    for _ in range(HALVINGS):
        pieces = np.flatnonzero(line[1:] == line[:-1])
        middle = (along[pieces] + along[pieces + 1]) / 2
        landed = states(_between(lines, line[pieces], middle))
        straight = (carried[:, pieces] + carried[:, pieces + 1]) / 2
        off = np.linalg.norm(landed - straight, axis=2) / sizes
        bends = off.max(0) > BEND
        if not bends.any():
            break
        at = pieces[bends] + 1
        line, along = np.insert(line, at, line[at]), np.insert(along, at, middle[bends])
        carried = np.insert(carried, at, landed[:, bends], axis=1)
    return _by_line(carried, line, len(lines))


def _between(ends: np.ndarray, line: np.ndarray, along: np.ndarray) -> Tensor:
    first, last = ends[line, 0], ends[line, 1]
    return torch.from_numpy((first + along[:, None] * (last - first)).astype(np.float32))


def _by_line(carried: np.ndarray, line: np.ndarray, count: int) -> np.ndarray:
    """Return corners ``(states, n, 2)`` by line, ``(states, count, most, 2)``, filled with NaN."""
    lengths = np.bincount(line, minlength=count)
    rank = np.arange(len(line)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    found = np.full((len(carried), count, lengths.max(), 2), np.nan, np.float32)
    found[:, line, rank] = carried
    return found


def _shown(lines: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out corners that no state shows, but for those at the ends of what is shown."""
    seen = np.pad((alpha > 0).any(0), ((0, 0), (1, 1)))
    line, corner = np.nonzero(seen[:, :-2] | seen[:, 1:-1] | seen[:, 2:])
    opacity = np.repeat(alpha[:, line, corner, None], 2, axis=-1)
    return (
        _by_line(lines[:, line, corner], line, lines.shape[1]),
        np.nan_to_num(_by_line(opacity, line, lines.shape[1])[..., 0]),
    )


def _expected(flow: Flow, corners: np.ndarray) -> np.ndarray:
    """Return 1 where the flow's density of corners ``(m, k, 2)`` is highest, 0 at e^-12 of that."""
    with torch.no_grad():
        flat = torch.from_numpy(np.nan_to_num(corners).reshape(-1, 2))
        density = flow.log_prob(flat).numpy().reshape(corners.shape[:2])
    density = np.where(np.isfinite(corners[..., 0]), density, -np.inf)
    return np.clip(1 + (density - density.max()) / 12, 0, 1)


def _apart(flow: Flow, lines: np.ndarray, ends: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return whether the next line is ``APART`` away at each corner, ``(states, m, k)``.

    To first order its distance is what it was in the data, times the stretch of areas, over the
    stretch along the line.
    """
    _, sums = states_of(flow, torch.from_numpy(np.nan_to_num(lines[0]).reshape(-1, 2)))
    lengths = np.linalg.norm(np.diff(lines, axis=2), axis=3)
    along = np.nan_to_num(lengths / lengths[0])
    before, behind = (np.pad(along, ((0, 0), (0, 0), pad)) for pad in ((1, 0), (0, 1)))
    along = np.maximum(before, behind)
    spacing = np.repeat(np.abs(ends[[1, -1]] - ends[[0, -2]]).max((1, 2)), len(ends) // 2)
    distance = spacing[:, None] * np.exp(sums).reshape(along.shape) / np.maximum(along, 1e-12)
    sizes = (boxes[:, 1::2] - boxes[:, ::2]).max(1)
    return distance > APART * sizes[:, None, None]


def _moves(layer: torch.nn.Module | None) -> tuple[bool, bool]:
    if layer is None:
        return False, False
    if not isinstance(layer, Coupling):
        return True, True
    passive = layer.passive(2)
    return 0 not in passive, 1 not in passive


# -- the page ----------------------------------------------------------------------------------


def see_inside(view: View, version: float) -> None:
    """Show grid, points and log-determinant between all layers, and one point on its way."""
    st.caption(
        "**Play** carries grid and points from the data to the latent, layer by layer; stop "
        "anywhere. Generating runs the same layers backwards. **Drag the red point** in the data, "
        "or move it with the arrow keys: its way follows."
    )
    _stage(view.run, version)


@st.fragment
def _stage(run: Run, version: float) -> None:
    anatomy = anatomy_of(run, version)
    key = f"{run.id}.inside"
    first = tuple(map(float, anatomy.points[0, 0]))
    point = asked_point(key, first, anatomy.boxes[0])
    shade = theme()
    by = run.id, version, point, shade
    show_stage(painted(_block, by, run, version, point, shade), key=key)


def _block(run: Run, version: float, point: tuple[float, float], shade: str) -> bytes:
    anatomy = anatomy_of(run, version)
    last = len(anatomy.names) - 1
    states, sums = states_of(trained_model(run, version), torch.tensor([point]))
    drag = Drag(
        panel=0,
        box=anatomy.boxes[0],
        point=point,
        states=anatomy.lattice,
        sums=anatomy.sums,
        moved=anatomy.moved,
        exact=states[:, 0],
        exact_sums=sums[:, 0],
        shown=1,
    )
    timeline = Timeline(
        labels=["the data", *(f"layer {i} of {last}" for i in range(1, last + 1))],
        values=list(range(last + 1)),
        name="Layer",
        smooth=True,
    )
    return encode(Scene(_panels(anatomy), shade, timeline, drag, save=f"{run.id}-inside"))


def _panels(anatomy: Anatomy) -> list[Panel]:
    colours = categories(anatomy.points[0])
    grid = Lines("grid", anatomy.grid)
    dots = Points("points", anatomy.points[0], colours, size=2)
    bent = Lines("grid", anatomy.lines, alpha=anatomy.alpha)
    moving = Points("points", anatomy.points, colours, size=2)
    names = ["the data", *anatomy.names[1:-1], f"{anatomy.names[-1]}: the latent"]
    alt = "Data with a grid and your point"
    return [
        Panel("Data: drag the red point", anatomy.boxes[0], [grid, dots], alt),
        Panel(
            "On its way",
            anatomy.boxes,
            [bent, moving],
            "Grid and points",
            axes=("coordinate 1", "coordinate 2"),
            first=True,
            words=names,
        ),
        _stretched(anatomy),
        Panel(
            "Your point, coordinate by coordinate. A filled mark: the layer could move it",
            (0, 1, 0, 1),
            [],
            "Coordinates of your point and the running sum of log|det|",
            axes=("after layer", "value"),
            trace=True,
        ),
    ]


def _stretched(anatomy: Anatomy) -> Panel:
    so_far, single = np.cumsum(anatomy.stretch, axis=0), anatomy.stretch
    ways = [("so far", so_far), ("by this layer", single)]
    maps = [
        Heat(name, values, _limit(values), signed=True, name=f"log|det| {name} [nats]", on=not i)
        for i, (name, values) in enumerate(ways)
    ]
    words = [_stretch_words(i, values) for i, values in enumerate(single)]
    alt = "Map of the log-determinant"
    return Panel("Where space is stretched", anatomy.boxes[0], maps, alt, words=words)


def _limit(maps: np.ndarray) -> list[float]:
    """Return the value of the last colour, one for all frames: they can be compared."""
    return [max(0.05, float(np.quantile(np.abs(maps), 0.999)))] * len(maps)


def _stretch_words(layer: int, values: np.ndarray) -> str:
    if layer == 0:
        return "Nothing has been done to the data yet"
    if np.abs(values).max() < 1e-4:
        return "This layer keeps every area: its log|det| is 0 everywhere"
    if np.ptp(values) < 1e-4:
        return f"This layer scales every place alike: log|det| {values.mean():+.3f} nats"
    return f"This layer: log|det| from {values.min():+.2f} to {values.max():+.2f} nats"

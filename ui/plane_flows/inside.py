"""What a flow in 2-D does, layer by layer: grid, stretch, and the way of one point."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import streamlit as st
import torch

from figures.charts import journey
from figures.images import colour_bar, hues, png, signed_image, warp_svg
from lab.store import Run
from lab.view import View
from models.flow import Flow
from models.layers import Coupling
from training.core.plane_flow import grid_points
from ui.common.cached import kept
from ui.common.page import show_image, theme
from ui.common.trained import trained_model
from ui.common.widgets import HIDDEN, choice
from ui.plane_flows.points import plane_of


@dataclass(frozen=True)
class Anatomy:
    """What a trained flow does to a grid and to data, layer by layer, from data to latent.

    Attributes:
        names: what each layer is; the first entry is the data itself.
        lines: per state, the grid lines, ``(m, k, 2)``.
        points: per state, data points, ``(n, 2)``.
        stretch: per state, log|det| of the layer before it at each cell of the image, ``(g, g)``.
        moved: per state, whether the layer before it may move each coordinate.
        box: the window of the data.
        latent_box: the window of the latent.
    """

    names: list[str]
    lines: list[np.ndarray]
    points: list[np.ndarray]
    stretch: list[np.ndarray]
    moved: list[tuple[bool, bool]]
    box: tuple[float, float, float, float]
    latent_box: tuple[float, float, float, float]


def anatomy_of(run: Run, version: float) -> Anatomy:
    """Return what the flow of a run does to a grid and to data."""
    return kept(_anatomy, (run.id, version), run, version)


def _anatomy(run: Run, version: float) -> Anatomy:
    flow, plane = trained_model(run, version), plane_of(run)
    box = plane.box()
    lines = grid_lines(box)
    points = plane.held_out(600, torch.Generator().manual_seed(5))[:600]
    cells = grid_points(box, 72)
    start = torch.cat([torch.from_numpy(lines.reshape(-1, 2)), points, cells])
    names, states, dets, moved = ["the data"], [], [], [(False, False)]
    with torch.no_grad():
        for state in flow.inverse_states(start):
            states.append(state.value.numpy())
            dets.append(state.log_det.numpy())
            if state.layer is not None:
                names.append(type(state.layer).__name__)
                moved.append(_moves(state.layer))
    count = lines.shape[0] * lines.shape[1]
    steps = [np.zeros((72, 72))]
    steps += [(b - a)[-72 * 72 :].reshape(72, 72) for a, b in pairwise(dets)]
    latent = np.abs(states[-1][count : count + len(points)])
    reach = max(3.2, float(np.quantile(latent, 0.995)) * 1.15)
    return Anatomy(
        names=names,
        lines=[s[:count].reshape(lines.shape) for s in states],
        points=[s[count : count + len(points)] for s in states],
        stretch=steps,
        moved=moved,
        box=box,
        latent_box=(-reach, reach, -reach, reach),
    )


def grid_lines(box: tuple[float, float, float, float], count: int = 17) -> np.ndarray:
    """Return the lines of a grid over a window, each with 61 corners: ``(2 count, 61, 2)``."""
    x0, x1, y0, y1 = box
    along, across = np.linspace(0, 1, 61), np.linspace(0, 1, count)
    a, b = np.meshgrid(along, across)
    upright = np.stack([x0 + b * (x1 - x0), y0 + a * (y1 - y0)], -1)
    level = np.stack([x0 + a * (x1 - x0), y0 + b * (y1 - y0)], -1)
    return np.concatenate([upright, level]).astype(np.float32)


def _moves(layer: torch.nn.Module) -> tuple[bool, bool]:
    if not isinstance(layer, Coupling):
        return True, True
    passive = layer.passive(2)
    return 0 not in passive, 1 not in passive


def see_inside(view: View, version: float) -> None:
    """Show grid and points after each layer, the log-det map, and one point on its way through."""
    anatomy = anatomy_of(view.run, version)
    shade, last = theme(), len(anatomy.names) - 1
    st.caption(
        "The flow runs from the data to the latent here; generating runs the same layers backwards."
    )
    layer = st.slider(
        "After layer",
        0,
        last,
        last,
        key=f"{view.run.id}.layer",
        help="0 is the data, the last one the latent, where the points should look like the prior.",
    )
    name = anatomy.names[layer]
    what = "before the first layer" if layer == 0 else f"after layer {layer} of {last}, {name}"
    if layer == last:
        what += ": the latent"
    x, y = _point_sliders(view, anatomy)
    path = _path_of(trained_model(view.run, version), (x, y))
    grid, stretch = st.columns(2)
    with grid:
        _space(anatomy, layer, what, path, shade)
    with stretch:
        _stretch(view, anatomy, layer, what, shade)
    st.markdown("**Your point, coordinate by coordinate**")
    st.vega_lite_chart(
        *journey(path.tolist(), anatomy.moved, shade),
        key=f"{view.run.id}.journey",
        alt="The two coordinates of one point through the layers",
    )
    st.caption(
        "A filled mark: the layer could move this coordinate (active). A hollow one: it had to "
        "leave it as it was (passive), and used it to decide how far to move the other."
    )


def _space(anatomy: Anatomy, layer: int, what: str, path: np.ndarray, shade: str) -> None:
    """Draw the grid, the data and the way of one point as they are after a layer."""
    st.markdown(f"**Space {what}**")
    svg = warp_svg(
        anatomy.lines[layer],
        anatomy.points[layer],
        hues(anatomy.points[0], shade),
        _window(anatomy, layer),
        shade,
        path[: layer + 1],
    )
    words = "Colours mark where a point started. The red dot is your point, with its way."
    show_image(st, svg, f"Grid and points {what}", words)


def _stretch(view: View, anatomy: Anatomy, layer: int, what: str, shade: str) -> None:
    """Draw where space is stretched and where it shrinks, over the window of the data."""
    ways = ["Stretch so far", "By this layer"]
    so_far = choice("Stretch", ways, f"{view.run.id}.stretch", **HIDDEN) == ways[0]
    maps = np.cumsum(anatomy.stretch, axis=0) if so_far else np.stack(anatomy.stretch)
    values, limit = maps[layer], max(0.05, float(np.quantile(np.abs(maps), 0.999)))
    show_image(st, png(signed_image(values, limit, shade)), f"Log-determinant {what}")
    bar = colour_bar(f"shrinks, {-limit:.1f} nats", f"stretches, +{limit:.1f} nats", shade)
    show_image(st, bar, "Colour bar", _stretch_words(layer, values, so_far))


def _point_sliders(view: View, anatomy: Anatomy) -> tuple[float, float]:
    x0, x1, y0, y1 = (round(float(v), 2) for v in anatomy.box)
    first = anatomy.points[0][0]
    left, right = st.columns(2)
    x = left.slider("Your point, coordinate 1", x0, x1, round(float(first[0]), 2), 0.01)
    y = right.slider("Your point, coordinate 2", y0, y1, round(float(first[1]), 2), 0.01)
    return x, y


def _path_of(flow: Flow, point: tuple[float, float]) -> np.ndarray:
    with torch.no_grad():
        states = flow.inverse_states(torch.tensor([point]))
        return np.stack([state.value[0].numpy() for state in states])


def _window(anatomy: Anatomy, layer: int) -> tuple[float, float, float, float]:
    """Slide from the window of the data to that of the latent: the image must not jump."""
    part = layer / (len(anatomy.names) - 1)
    pairs = zip(anatomy.box, anatomy.latent_box, strict=True)
    return tuple(a * (1 - part) + b * part for a, b in pairs)


def _stretch_words(layer: int, values: np.ndarray, so_far: bool) -> str:
    if layer == 0:
        return "Nothing has been done to the data yet."
    who = "All layers so far" if so_far else "This layer"
    if np.abs(values).max() < 1e-4:
        return f"{who}: every area is kept as it is, log|det| is zero everywhere."
    if np.ptp(values) < 1e-4:
        return f"{who}: every place is scaled alike, log|det| is {values.mean():+.3f} nats."
    return f"{who}: log|det| from {values.min():+.2f} to {values.max():+.2f} nats."

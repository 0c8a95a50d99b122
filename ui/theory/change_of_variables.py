"""The change of variables in the reader's hands: a density pushed through a map that is bent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from scipy.special import ndtri

from figures.charts import Chart
from figures.images import density_image, png, warp_svg
from figures.palette import palette
from ui.common.page import show_image, theme
from ui.common.widgets import KEPT

REACH = 3.5  # of the standard normal that is pushed, on either side
STRIPS = 12  # pieces of equal probability
BOX = (-3.0, 3.0, -3.0, 3.0)


# -- one dimension -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Map1D:
    """``x = shift + stretch z + step tanh(steepness (z - place))``, increasing throughout."""

    shift: float
    stretch: float
    step: float
    steepness: float
    place: float

    def __call__(self, z: np.ndarray) -> np.ndarray:
        return (
            self.shift + self.stretch * z + self.step * np.tanh(self.steepness * (z - self.place))
        )

    def slope(self, z: np.ndarray) -> np.ndarray:
        """Return dx/dz, always positive."""
        bend = 1 / np.cosh(self.steepness * (z - self.place)) ** 2
        return self.stretch + self.step * self.steepness * bend


def normal(z: np.ndarray) -> np.ndarray:
    """Return the density of the standard normal."""
    return np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


def on_a_line() -> None:
    """Let the reader bend a line, and show what becomes of the density on it."""
    controls, charts = st.columns([1, 2.2])
    with controls:
        f = Map1D(
            st.slider("Shift", -2.0, 2.0, 0.0, 0.1, key="theory.shift", **KEPT),
            st.slider("Stretch", 0.2, 2.0, 0.5, 0.1, key="theory.stretch", **KEPT),
            st.slider("Height of the step", 0.0, 3.0, 1.5, 0.1, key="theory.step", **KEPT),
            st.slider("Steepness of the step", 0.5, 6.0, 3.0, 0.1, key="theory.steep", **KEPT),
            st.slider("Place of the step", -1.5, 1.5, 0.0, 0.1, key="theory.place", **KEPT),
        )
        z = st.slider("Follow the point z", -2.5, 2.5, 0.0, 0.1, key="theory.z", **KEPT)
    x, slope, density = float(f(z)), float(f.slope(z)), float(normal(z))
    shade = theme()
    with charts:
        for names, chart in (
            ("Density of z", _strips(lambda t: t, normal, z, "z", shade)),
            ("Density of x = f(z)", _strips(f, lambda t: normal(t) / f.slope(t), z, "x", shade)),
        ):
            st.vega_lite_chart(*chart, alt=names, key=f"theory.{names}")
    controls.markdown(
        f"At z = {z:.1f} the map has the slope **dx/dz = {slope:.2f}**: a piece of the line there "
        f"becomes {slope:.2f} times as long, so its density is divided by that.\n\n"
        f"$p_x({x:.2f}) = {density:.3f} / {slope:.2f} = {density / slope:.3f}$"
    )
    st.caption(
        f"The {STRIPS} strips hold the same probability above and below, one twelfth each. Where "
        "the map is steep they become wide and low, where it is flat narrow and high. A steep step "
        "in the middle tears one hill into two, but never wholly: an invertible map leaves a thin "
        "bridge between them. The pages of the flows show the same bridges in 2-D."
    )


def _strips(
    f: Callable[[np.ndarray], np.ndarray],
    density: Callable[[np.ndarray], np.ndarray],
    z: float,
    name: str,
    shade: str,
) -> Chart:
    """Draw a density with its strips of equal probability, and a mark at the point."""
    edges = _quantiles()
    t = np.linspace(-REACH, REACH, 601)
    strip = np.digitize(t, edges)
    frame = pd.DataFrame({"x": f(t), "p": density(t), "strip": strip, "odd": strip % 2})
    colours = palette(shade)
    top = float(min(frame["p"].max(), 1.6))
    axes = {
        "x": {
            "field": "x",
            "type": "quantitative",
            "title": name,
            "scale": {"domain": [-5, 5], "nice": False},
        },
        "y": {
            "field": "p",
            "type": "quantitative",
            "title": f"density of {name}",
            "scale": {"domain": [0, 1.05 * top], "nice": False},
            "axis": {"tickCount": 4},
        },
    }
    area = {
        "mark": {"type": "area", "clip": True, "interpolate": "linear"},
        "encoding": {
            **axes,
            "detail": {"field": "strip"},
            "opacity": {
                "field": "odd",
                "type": "nominal",
                "scale": {"domain": [0, 1], "range": [0.35, 0.75]},
                "legend": None,
            },
            "color": {"value": colours.model},
        },
    }
    there = float(f(np.float64(z)))
    mark = {
        "data": {"values": [{"x": there, "p": float(density(np.float64(z)))}]},
        "mark": {"type": "point", "filled": True, "size": 90, "color": colours.data, "clip": True},
        "encoding": axes,
    }
    return frame, {"height": 190, "layer": [area, mark]}


def _quantiles() -> np.ndarray:
    """Return the places that cut the standard normal into strips of equal probability."""
    return ndtri(np.arange(1, STRIPS) / STRIPS)


# -- two dimensions ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Map2D:
    """A coupling, then a turn: what one step of a flow does to the plane.

    ``u = (z1, z2 exp(scale tanh z1) + bend sin(1.5 z1))``, then ``x`` is ``u`` turned by ``angle``.
    """

    scale: float
    bend: float
    angle: float

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Map points ``(..., 2)``."""
        a, b = z[..., 0], z[..., 1]
        u = np.stack([a, b * np.exp(self.scale * np.tanh(a)) + self.bend * np.sin(1.5 * a)], -1)
        return u @ self._turn().T

    def inverse(self, x: np.ndarray) -> np.ndarray:
        """Undo the map."""
        u = x @ self._turn()
        a = u[..., 0]
        b = (u[..., 1] - self.bend * np.sin(1.5 * a)) * np.exp(-self.scale * np.tanh(a))
        return np.stack([a, b], -1)

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """Return dx/dz at one point ``(2,)``, shape ``(2, 2)``."""
        a, b = z
        grown = np.exp(self.scale * np.tanh(a))
        slope = b * grown * self.scale / np.cosh(a) ** 2 + 1.5 * self.bend * np.cos(1.5 * a)
        return self._turn() @ np.array([[1.0, 0.0], [slope, grown]])

    def log_det(self, z: np.ndarray) -> np.ndarray:
        """Return the log of the factor on areas at points ``(..., 2)``: a turn adds nothing."""
        return self.scale * np.tanh(z[..., 0])

    def _turn(self) -> np.ndarray:
        c, s = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        return np.array([[c, -s], [s, c]])


def area_of(corners: np.ndarray) -> float:
    """Return the area inside a closed line ``(n, 2)`` (Gauss's shoelace)."""
    x, y = corners.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def square(centre: np.ndarray, side: float, count: int = 40) -> np.ndarray:
    """Return a square as a closed line of ``4 count`` points."""
    t = np.linspace(0, 1, count, endpoint=False)[:, None]
    corners = centre + side * np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    ends = np.roll(corners, -1, axis=0)
    return np.concatenate([a + t * (b - a) for a, b in zip(corners, ends, strict=True)])


def in_the_plane() -> None:
    """Let the reader bend the plane, and compare the determinant with an area."""
    controls, before, after, density = st.columns([1.1, 1, 1, 1])
    with controls:
        f = Map2D(
            st.slider("Log-scale", -1.5, 1.5, 0.8, 0.1, key="theory.scale2", **KEPT),
            st.slider("Bend", -1.5, 1.5, 0.7, 0.1, key="theory.bend", **KEPT),
            float(st.slider("Turn [degrees]", -90, 90, 20, 5, key="theory.angle", **KEPT)),
        )
        a = st.slider("Square, coordinate 1", -2.0, 2.0, 1.0, 0.1, key="theory.a", **KEPT)
        b = st.slider("Square, coordinate 2", -2.0, 2.0, 0.5, 0.1, key="theory.b", **KEPT)
    centre, side, shade = np.array([a, b]), 0.5, theme()
    outline = square(centre, side)
    grid = _grid()
    none = np.zeros((0, 2))
    drawn = warp_svg(grid, none, [], BOX, shade, np.vstack([outline, outline[:1]]))
    show_image(before, drawn, "The plane of z with a small square", "**z**, and a small square")
    moved = f(outline)
    drawn = warp_svg(
        [f(line) for line in grid], none, [], BOX, shade, np.vstack([moved, moved[:1]])
    )
    show_image(after, drawn, "The plane after the map", "**x = f(z)**, and what became of it")
    painted = png(_pushed(f, shade))
    show_image(density, painted, "The density of x", "**Density of x**, if z is standard normal")
    j, ratio = f.jacobian(centre), area_of(moved) / area_of(outline)
    st.markdown(
        "$$\\frac{\\partial f}{\\partial z} = \\begin{pmatrix}"
        f"{j[0, 0]:.2f} & {j[0, 1]:.2f} \\\\ {j[1, 0]:.2f} & {j[1, 1]:.2f}"
        f"\\end{{pmatrix}}, \\qquad |\\det| = {abs(np.linalg.det(j)):.3f}, \\qquad "
        f"\\frac{{\\text{{area after}}}}{{\\text{{area before}}}} = {ratio:.3f}$$"
    )
    st.caption(
        "The determinant at the middle of the square, from the formula, beside the areas of the "
        "two shapes as drawn. They differ a little because the square is not infinitely small. "
        "Set the log-scale to zero: the map still bends, but every area stays as it was, which is "
        "all that the additive couplings of NICE can do. Turning never changes an area."
    )


def _grid(count: int = 13) -> list[np.ndarray]:
    along = np.linspace(BOX[0], BOX[1], 61)
    places = np.linspace(BOX[0], BOX[1], count)
    upright = [np.stack([np.full(61, p), along], -1) for p in places]
    level = [np.stack([along, np.full(61, p)], -1) for p in places]
    return upright + level


def _pushed(f: Map2D, shade: str, cells: int = 96):
    """Paint the density of x by the change of variables."""
    centres = BOX[0] + (np.arange(cells) + 0.5) / cells * (BOX[1] - BOX[0])
    x = np.stack(np.meshgrid(centres, centres[::-1]), -1)
    z = f.inverse(x)
    log_p = -0.5 * (z**2).sum(-1) - np.log(2 * np.pi) - f.log_det(z)
    values = np.exp(log_p)
    return density_image(values, float(values.max()), shade)

"""The change of variables in the reader's hands: a density pushed through a map that is bent.

The formulas, the drawing and the dragging are in ``change_of_variables.js``: no slider there needs
the server.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import streamlit as st

from figures.palette import palette, sequential
from ui.common.page import theme

_HERE = Path(__file__).parent


def on_a_line() -> None:
    """Let the reader bend a line, and show what becomes of the density on it."""
    _show("line")
    st.caption(
        "The 12 strips hold the same probability in both densities, one twelfth each. Where "
        "the map is steep they become wide and low, where it is flat narrow and high. A steep step "
        "in the middle tears one hill into two, but never wholly: an invertible map leaves a thin "
        "bridge between them. The pages of the flows show the same bridges in 2-D."
    )


def in_the_plane() -> None:
    """Let the reader bend the plane, and compare the determinant with an area."""
    _show("plane")
    st.caption(
        "The determinant at the middle of the square, from the formula, beside the areas of the "
        "two shapes as drawn. They differ a little because the square is not infinitely small. "
        "Set the log-scale to zero: the map still bends, but every area stays as it was, which is "
        "all that the additive couplings of NICE can do. Turning never changes an area."
    )


def _show(what: str) -> None:
    _component(what)(data=colours(theme()), key=f"theory.{what}")


@functools.cache
def _component(what: str) -> Callable[..., Any]:
    files = (f"{what}.html", "change_of_variables.css", "change_of_variables.js")
    html, css, js = ((_HERE / name).read_text(encoding="utf-8") for name in files)
    return st.components.v2.component(f"genlab_{what}", html=html, css=css, js=js)


def colours(shade: str) -> dict[str, str]:
    """Return the colours that are drawn with by name, and the table for densities as hex digits."""
    plain = {name: value for name, value in asdict(palette(shade)).items() if value[0] == "#"}
    return {**plain, "table": sequential(shade)[:, :3].tobytes().hex()}

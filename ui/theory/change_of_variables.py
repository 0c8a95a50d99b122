"""The change of variables in the reader's hands: a density pushed through a map that is bent."""

from __future__ import annotations

import streamlit as st

from ui.theory.drawing import play


def on_a_line() -> None:
    """Let the reader bend a line, and show what becomes of the density on it."""
    play("line", "change_of_variables")
    st.caption(
        "The 12 strips hold the same probability in both densities, one twelfth each. Where "
        "the map is steep they become wide and low, where it is flat narrow and high. A steep step "
        "in the middle tears one hill into two, but never wholly: an invertible map leaves a thin "
        "bridge between them. The pages of the flows show the same bridges in 2-D."
    )


def in_the_plane() -> None:
    """Let the reader bend the plane, and compare the determinant with an area."""
    play("plane", "change_of_variables")
    st.caption(
        "The determinant at the middle of the square, from the formula, beside the areas of the "
        "two shapes as drawn. They differ a little because the square is not infinitely small. "
        "Set the log-scale to zero: the map still bends, but every area stays as it was, which is "
        "all that the additive couplings of NICE can do. Turning never changes an area."
    )

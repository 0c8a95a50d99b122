"""Formulas in the reader's hands: drawn and dragged in the browser, without the server."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import streamlit as st

from figures.palette import palette, sequential
from ui.common.page import theme

HERE = Path(__file__).parent


def play(what: str, program: str) -> None:
    """Draw what a reader can play with.

    Args:
        what: name of its HTML file.
        program: name of the JavaScript file that draws it.
    """
    _component(what, program)(data=colours(theme()), key=f"theory.{what}")


@functools.cache
def _component(what: str, program: str) -> Callable[..., Any]:
    html, css = (read(f"{what}.html"), read("drawing.css"))
    return st.components.v2.component(f"genlab_{what}", html=html, css=css, js=source(program))


def source(program: str) -> str:
    """Return a program with what all of them draw by before it: one file each is what mounts."""
    return read("drawing.js") + read(f"{program}.js")


def read(name: str) -> str:
    """Return the text of a file of this folder."""
    return (HERE / name).read_text(encoding="utf-8")


def colours(shade: str) -> dict[str, str]:
    """Return the colours that are drawn with by name, and the table for densities as hex digits."""
    plain = {name: value for name, value in asdict(palette(shade)).items() if value[0] == "#"}
    return {**plain, "table": sequential(shade)[:, :3].tobytes().hex()}

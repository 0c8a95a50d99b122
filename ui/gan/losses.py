"""Which loss loses modes: what was measured over many seeds, in 2-D."""

from __future__ import annotations

import streamlit as st

from analysis.gan_losses import COLUMNS, cells, measured, outcomes
from lab.view import View
from ui.common.plain import markdown


def losses(_view: View, _version: float) -> None:
    """Draw a table for each task: losses, how many seeds kept all modes, and what it took."""
    st.markdown(
        "**Which loss loses modes?** One training says little: seeds differ more than losses. Each "
        "line is as many trainings as it says, each with a seed of its own; none was left out."
    )
    found = measured()
    for name, task in found.items():
        floor = task["perfect"]
        perfect = f"{floor['modes']:.0f}", f"{floor['good']:.1%}", f"{floor['js']:.3f}"
        lines = [cells(outcome) for outcome in outcomes(task)]
        lines.append(("a perfect generator", "", "", *perfect, ""))
        st.markdown(f"**The {name}**")
        st.markdown(markdown(COLUMNS, lines))
    st.caption(
        "Median, and in brackets the least and the most of all seeds; modes and good samples as "
        "above, of 20,000 fresh samples each. All else as the form has it at first, but for the "
        "learning rates: 0.005 with R1, R2 or a relativistic loss, 0.001 with all others; the grid "
        "takes 20,000 steps. Processor seconds of one core that others used, too. "
        "`python -m benchmarks gan_quality` goes on with more seeds."
    )

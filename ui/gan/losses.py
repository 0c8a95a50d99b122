"""Which loss loses modes: what was measured over many seeds, in 2-D."""

from __future__ import annotations

import streamlit as st

from analysis.gan_losses import COLUMNS, cells, measured, outcomes
from lab.view import View
from ui.common.plain import markdown


def losses(_view: View, _version: float) -> None:
    """Draw a table for each task: losses, how many seeds kept all modes, and what it took."""
    st.markdown(
        "**Which loss loses modes?** One training says little, for seeds differ. Each line is as "
        "many trainings as it says, each with a seed of its own; none was left out."
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
        "Median, and in brackets the least and the most of all seeds; modes and good samples as in "
        "*Check*, of 20,000 fresh samples each. All else as the form has it at first, 20,000 steps "
        "on the grid. * With three hidden layers of 80 units, learning rates of 0.003 and an "
        "average of the generator over 200 steps. Processor seconds of one core that others used, "
        "too. `python -m benchmarks gan_quality` goes on with more seeds."
    )

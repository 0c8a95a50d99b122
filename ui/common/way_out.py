"""Out of trouble in one click: the nearest settings known to train well, and back again."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from analysis.healthy import SHIPPED, Known, differing, known, nearest
from lab.store import Run
from training.core.config import RunConfig
from ui.common.lab import lab
from ui.common.plain import markdown
from ui.common.run_words import address

TROUBLE = {
    *("collapse", "won", "oscillation", "far", "inversion"),  # of GANs
    *("silent", "asleep"),  # of VAEs
    "diverged",
}
NAMED = 3  # settings on the link, at most


def way_out(run: Run, state: str) -> None:
    """Draw links to settings that train well and back, and what was measured, if in trouble.

    Args:
        run: that is in trouble, or not.
        state: of its health, or of the run.
    """
    if state not in TROUBLE or (found := nearest(run.family, run.config)) is None:
        return
    changed = differing(found.config, run.config)
    if not changed:
        st.caption(
            "These are settings that trained well when they were measured: try another seed."
        )
    else:
        words = [f"{name.replace('_', ' ')} {getattr(found.config, name)}" for name in changed]
        words[NAMED:] = [f"{len(words) - NAMED} more"] if len(words) > NAMED else []
        st.caption(f"The nearest settings known to train well have {', '.join(words)}.")
        _link(run, found.config, changed, "Set up those settings", "healing")
        _link(run, run.config, changed, "Back to the settings of this run", "undo")
    with st.expander("What was measured", icon=":material/table:"):
        _table(found, known(run.family))


def _link(run: Run, config: RunConfig, changed: list[str], label: str, icon: str) -> None:
    """Draw a link that sets the form to some settings and leaves the run where it is."""
    family = run.family
    values = {
        knob.name: str(getattr(config, knob.name)).lower()
        for knob in config.knobs()
        if knob.name in changed or getattr(config, knob.name) != knob.default
    }
    here = address(run) if lab().view(run.id) is not None else {}
    here |= {"on": family.stem} if family.page != family.stem else {}
    page = f"pages/{family.page}.py"
    st.page_link(page, label=label, icon=f":material/{icon}:", query_params={**values, **here})


def _table(found: Known, all_of_them: Sequence[Known]) -> None:
    rows = [
        (f"**{one.name}**" if one == found else one.name, one.outcome, _yes_or_no(one.healthy))
        for one in all_of_them
    ]
    st.markdown(markdown(("changed", "measured", "trained well"), rows))
    if found.name == SHIPPED:
        st.caption("Nothing else was measured of this family; the numbers are of the last step.")
    else:
        st.caption(
            "One number per seed, by `python -m benchmarks healthy`; all else as in the settings "
            "of the link. In bold, the nearest one."
        )


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"

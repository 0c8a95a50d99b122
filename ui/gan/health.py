"""The health light: what it says, and the numbers of samples that it looked at."""

from __future__ import annotations

import time
from typing import Protocol

import streamlit as st

from analysis.sample_look import look_at
from lab.store import Run
from metrics.samples import Look
from ui.common.cached import painted
from ui.common.history import Moment
from ui.common.plain import markdown
from ui.common.way_out import way_out

LIGHTS = {
    "unknown": (":gray-badge[:material/hourglass_empty: Too early]", st.info),
    "balanced": (":green-badge[:material/balance: Balanced]", st.info),
    "far": (":red-badge[:material/wrong_location: {far}]", st.warning),
    "won": (":red-badge[:material/gavel: {discriminator} has won]", st.warning),
    "collapse": (":red-badge[:material/filter_center_focus: {collapse}]", st.warning),
    "oscillation": (":orange-badge[:material/sync: Oscillation]", st.warning),
    "silent": (":red-badge[:material/voice_over_off: Posterior collapse]", st.warning),
    "asleep": (":orange-badge[:material/bedtime: Units asleep]", st.warning),
    "awake": (":green-badge[:material/wb_sunny: Units awake]", st.info),
    "inversion": (":orange-badge[:material/invert_colors: Colours inverted]", st.warning),
}

LOOK_EVERY = 5.0  # seconds between two looks at the samples of a run at work


class Found(Protocol):
    """What ``metrics.gan_health`` and ``metrics.cyclegan_health`` find."""

    state: str
    words: str
    advice: str


def show_light(run: Run, found: Found, **names: str) -> None:
    """Draw the light, what it means, what to try and a way out; ``names`` are of what it says."""
    badge, box = LIGHTS[found.state]
    st.markdown(f"**Health** {badge.format(**names)}")
    box(found.words + (f"\n\n**What to try.** {found.advice}" if found.advice else ""))
    way_out(run, found.state)


def samples_of(moment: Moment) -> Look | None:
    """Return what the newest samples of a run look like; while it trains, not at every snapshot."""
    view = moment.view
    key = f"{view.run.id}.look"
    due, look = st.session_state.get(key, (0.0, None))
    if time.monotonic() >= due or not view.status.active:
        by = view.run.id, view.step
        look = painted(look_at, by, view.run, view.step, view.snapshot, moment.target)
        st.session_state[key] = time.monotonic() + LOOK_EVERY, look
    return look


def show_look(look: Look | None) -> None:
    """Draw the numbers of samples, each beside that of real examples and that of noise."""
    if look is None:
        return
    rows = [
        (found.label, *map(found.say, (found.value, found.real, found.noise)))
        for found in look.measures.values()
    ]
    spread = f"{look.spread:.0%}", "100%", f"{look.spread_of_noise:.0%}"
    rows.append(("Diversity", *spread))
    st.markdown(markdown(("", "samples", "real", "noise"), rows))
    st.caption(
        f"{look.count} samples of step {look.step:,}, compared by {look.space}. Real covered: "
        "fraction of real ones with a sample near. Diversity: mean distance between two."
    )

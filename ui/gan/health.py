"""The health light of a duel."""

from __future__ import annotations

from typing import Protocol

import streamlit as st

LIGHTS = {
    "unknown": (":gray-badge[:material/hourglass_empty: Too early]", st.info),
    "balanced": (":green-badge[:material/balance: Balanced]", st.info),
    "won": (":red-badge[:material/gavel: {discriminator} has won]", st.warning),
    "collapse": (":red-badge[:material/filter_center_focus: {collapse}]", st.warning),
    "oscillation": (":orange-badge[:material/sync: Oscillation]", st.warning),
    "inversion": (":orange-badge[:material/invert_colors: Colours inverted]", st.warning),
}


class Found(Protocol):
    """What ``metrics.gan_health`` and ``metrics.cyclegan_health`` find."""

    state: str
    words: str
    advice: str


def show_light(found: Found, **names: str) -> None:
    """Draw the light, what it means and what to try; ``names`` are of what it can say."""
    badge, box = LIGHTS[found.state]
    st.markdown(f"**Health** {badge.format(**names)}")
    box(found.words + (f"\n\n**What to try.** {found.advice}" if found.advice else ""))

"""What the other families rest on, in the reader's hands: ELBO, duel, cycle, order."""

from __future__ import annotations

import streamlit as st

from ui.theory.drawing import play


def trade_the_elbo() -> None:
    """Let the reader trade reconstruction against KL."""
    play("elbo", "elbo")
    st.caption(
        "**Try this:** at beta 1 bring the point down to the dashed line by mean and standard "
        "deviation. There the encoder is the posterior and the gap is zero. Then set beta to 10 "
        "and look for the lowest point again: the best encoder moves towards the prior. That is "
        "posterior collapse."
    )


def play_the_duel() -> None:
    """Let the reader follow generator and discriminator with one number each."""
    play("minmax", "minmax")
    st.caption(
        "**Try this:** set the learning rate to its smallest value: the two go round each other "
        "and never arrive. Raise it, and the way spirals outwards: stepping at once, both "
        "overshoot. Then raise the gradient penalty a little, and it spirals inwards."
    )


def go_round() -> None:
    """Let the reader turn two maps between two clouds."""
    play("cycle", "cycle")
    st.caption(
        "**Try this:** set G to 0 degrees and a stretch of 1.6: it looks like B. Turn G by 60 "
        "degrees: it still does, and a discriminator that sees only the cloud cannot tell. The "
        "cycle error can, until F turns back by as much and stretches by 1 / 1.6 = 0.625. So the "
        "cycle ties the two maps to each other, not to the translation that one has in mind."
    )


def follow_the_order() -> None:
    """Let the reader follow which inputs an output of a MADE sees."""
    play("order", "order")
    st.caption(
        "**Try this:** follow the output that is first in the order: it sees nothing, so the first "
        "coordinate has a density without conditions. Reverse the order, and another is the first. "
        "Set the last mask to ≥, and every output sees itself."
    )

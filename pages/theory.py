"""Theory: what a generative model is, and the one formula behind all flows, felt by hand."""

import streamlit as st

from paths import ROOT
from registry import PAGES
from ui.common.page import sections, set_up
from ui.common.widgets import choice
from ui.guide.keeper import keep
from ui.guide.listing import show_exercises
from ui.guide.strip import accompany
from ui.theory.change_of_variables import in_the_plane, on_a_line
from ui.theory.other_families import (
    follow_the_order,
    go_round,
    play_the_duel,
    trade_the_elbo,
)
from ui.theory.side_by_side import side_by_side

FELT = {"Felt on a line": on_a_line, "Felt in 2-D": in_the_plane}
OTHERS = {
    "ELBO (VAE)": trade_the_elbo,
    "Min-max (GAN)": play_the_duel,
    "Cycle (CycleGAN)": go_round,
    "Order (MAF)": follow_the_order,
}

set_up("Theory")
st.title("Theory", anchor=False)
if not accompany("theory", FELT):
    keep()
parts = sections(ROOT / "docs" / "generative_models.md")
st.markdown(parts["What it is"])
st.header("The one formula", anchor=False)
st.markdown(parts["The one formula"])
for title, feel in FELT.items():
    with st.container(key=f"theory.{title}"):
        st.subheader(title, anchor=False)
        feel()
st.header("What the other families rest on", anchor=False)
part = choice("Played with", list(OTHERS), "theory.other", label_visibility="collapsed")
OTHERS[part]()
st.header("The families side by side", anchor=False)
st.markdown(parts["The families side by side"])
side_by_side()
st.header("Exercises", anchor=False)
st.markdown(
    "Predict, train, compare. Each link opens a page with its form set up and the task above it; "
    "**Train** is left to you. What you should see is hidden until you have predicted it."
)
show_exercises()
st.header("Reading", anchor=False)
st.markdown("\n".join(f"- [{family.paper}]({family.url})" for family in PAGES))

"""Every run of the lab: find one, compare some, keep or delete them."""

import streamlit as st

from ui.common.page import set_up
from ui.lab_pages.desk import bring_in, desk

set_up("Runs")
st.title("Runs", anchor=False)
st.markdown(
    "Every training is a folder with its settings, curves, snapshots and weights. "
    "Tick one to rename, open, resume, download or delete it; tick several to compare them."
)
desk()
bring_in()

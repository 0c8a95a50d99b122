"""Who runs what, what waits, and what it takes: for who runs the lab."""

import streamlit as st

from ui.common.lab import lab
from ui.common.page import set_up
from ui.lab_pages.admin import overview

set_up("Admin")
st.title("Admin", anchor=False)
if lab().who.admin:
    overview()
else:
    st.info("This page is for who runs the lab: the addresses under `admins` in its configuration.")
    st.page_link("app.py", label="Home", icon=":material/home:")

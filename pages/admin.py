"""Who runs what, what waits, and what it takes: for who runs the lab."""

import streamlit as st

from ui.common.lab import lab
from ui.common.page import set_up
from ui.lab_pages.admin import ask_for_access, overview, what_holds
from ui.lab_pages.progress import progress_of_all

set_up("Admin")
st.title("Admin", anchor=False)
if lab().who.admin:
    overview()
    progress_of_all()
    what_holds()
else:
    ask_for_access()
    st.page_link("app.py", label="Home", icon=":material/home:")

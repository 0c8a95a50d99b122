"""The front door of Generative Lab: ``streamlit run app.py``."""

import streamlit as st

from ui.server.start import LAYERS, life, open_lab

if __name__ == "__main__":  # at each visit
    from ui.common.page import set_up
    from ui.guide.keeper import keep
    from ui.lab_pages.first_visit import path
    from ui.lab_pages.home import cards, hero, runs_now

    set_up("Generative Lab")
    hero()
    path()
    runs_now()
    cards()
    keep()
elif __name__ == "app":  # once, before anything is served
    open_lab()
    app = st.App(__file__, lifespan=life, middleware=LAYERS)

"""The front door of Generative Lab: ``streamlit run app.py``."""

import streamlit as st

from ui.server.start import LAYERS, life, open_lab

if __name__ == "__main__":  # at each visit
    from ui.common.page import set_up
    from ui.lab_pages.home import cards, hero, runs_now

    set_up("Generative Lab")
    hero()
    runs_now()
    cards()
elif __name__ == "app":  # once, before anything is served
    open_lab()
    app = st.App(__file__, lifespan=life, middleware=LAYERS)

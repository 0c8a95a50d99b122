"""The front door of Generative Lab: ``streamlit run app.py``."""

from ui.common.page import set_up
from ui.lab_pages.home import cards, hero, runs_now

set_up("Generative Lab")
hero()
runs_now()
cards()

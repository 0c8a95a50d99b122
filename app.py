"""The front door of Generative Lab: ``streamlit run app.py``."""

from ui.home import cards, hero, runs_now
from ui.page import set_up

set_up("Generative Lab")
hero()
runs_now()
cards()

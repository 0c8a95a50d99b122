"""The lab behind all pages."""

from __future__ import annotations

import streamlit as st

from training.lab import Lab, get_lab


@st.cache_resource(show_spinner=False)
def lab() -> Lab:
    """Return the lab of this server; the object itself outlives the cache."""
    return get_lab()

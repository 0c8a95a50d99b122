"""Streamlit parts that several pages use, and the drawing under them."""

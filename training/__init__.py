"""Generators that train a family and yield progress; run folder, workers and command line.

Nothing in here knows Streamlit.
"""

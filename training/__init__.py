"""Generators that train a family and yield progress, the run folder, the workers and the command line.

Nothing in here knows Streamlit.
"""

"""A run as one file of Python that needs no lab: its data, its model and its training."""

"""Architectures and their maths, nothing else: layers, priors, flows. Knows no data, no loop, no page."""

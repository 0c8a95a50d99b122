"""Architectures and their maths, nothing else: layers, priors, flows. No data, no loop, no page."""

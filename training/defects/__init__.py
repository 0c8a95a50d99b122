"""Detectors of defects that are made from good images alone."""

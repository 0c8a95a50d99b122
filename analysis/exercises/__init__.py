"""The exercises: what is asked, whether a run does it, how far a class is."""

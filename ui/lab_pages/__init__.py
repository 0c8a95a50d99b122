"""The home page, and the pages of runs and of who runs the lab."""

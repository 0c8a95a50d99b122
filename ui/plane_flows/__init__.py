"""What the pages of flows show of the plane."""

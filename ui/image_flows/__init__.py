"""What the pages of flows show of images."""

"""What the lab draws itself, and parts of it; everything follows from a seed."""

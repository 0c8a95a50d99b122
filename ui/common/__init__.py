"""What the pages of all families share."""

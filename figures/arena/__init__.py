"""The arena in pictures."""

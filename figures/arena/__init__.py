"""The charts and figures of the arena."""

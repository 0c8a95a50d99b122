"""What is wrong with data that came from outside."""

from __future__ import annotations

__all__ = ["DataError"]


class DataError(ValueError):
    """The user's data cannot be used; the message is one sentence that says why."""

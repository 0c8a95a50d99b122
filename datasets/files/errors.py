"""What is wrong with data that came from outside."""

from __future__ import annotations

__all__ = ["DataError", "DataMissing"]


class DataError(ValueError):
    """The user's data cannot be used; the message is one sentence that says why."""


class DataMissing(DataError):
    """The data set is not on this machine; the message says what to do."""

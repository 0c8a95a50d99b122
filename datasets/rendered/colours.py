"""Colours by hue, for what the lab renders."""

from __future__ import annotations

import numpy as np


def rgb_of(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return hue (in turns, any number), saturation and value (0 to 1), each ``(n,)``, as RGB.

    Returns:
        Shape ``(n, 3)``, 0 to 1.
    """
    wheel = np.abs((hue[:, None] + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
    return value[:, None] * (1 - saturation[:, None] * (1 - wheel.clip(0, 1)))

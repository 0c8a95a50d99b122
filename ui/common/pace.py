"""How often the live part of a page is drawn.

Measured on two cores, a browser without a GPU takes about 0.15 s of both to draw snapshots and
curves anew. Where there are no others, that is missing to the training.
"""

from __future__ import annotations

from training.core.devices import usable_cores

_FEW = 0 < len(usable_cores()) <= 2

POLL = 1.0 if _FEW else 0.5  # seconds between two looks at a run at work
CURVES_EVERY = 3.5 if _FEW else 1.5  # seconds between two drawings of the curves

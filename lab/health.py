"""What is wrong with a lab, for whoever watches over the server: empty if it does its work."""

from __future__ import annotations

import os
import shutil

from lab.lab import Lab

LEAST_DISK = 200e6  # bytes; less than the checkpoints of a few runs


def faults(lab: Lab | None) -> list[str]:
    """Return sentences that name no person, run or path: whoever reaches the server may read them.

    Args:
        lab: of this server; ``None`` if it could not be made.
    """
    if lab is None:
        return ["There is no lab: the log says why. Each visit tries again."]
    found = []
    if not lab.listens:
        found.append("Nobody listens to the trainings any more: restart the service.")
    if not lab.can_start:
        found.append("No training can be started: the process that starts them is not there.")
    root = lab.store.root
    if not os.access(root, os.W_OK):
        return [*found, "The folder of runs cannot be written."]
    free = shutil.disk_usage(root).free
    if free < LEAST_DISK:
        found.append(f"The disk of the runs has {free / 1e6:.0f} MB left.")
    return found

"""The one place through which torchvision is imported.

torchvision's datasets and transforms are plain Python, but the package refuses to import at all
where its compiled half does not fit the installed torch (a CUDA build beside a CPU build of torch
ends in ``operator torchvision::nms does not exist``). Only two operator schemas are missing then.
This module declares them, and nothing where a plain import works.

Calling a compiled operator, ``torchvision.ops.nms`` for example, still raises ``RuntimeError``.
"""

from __future__ import annotations

import importlib
import sys

import torch

__all__ = ["datasets", "transforms", "utils"]

# The operators for which torchvision/_meta_registrations.py registers a fake at import, whether or
# not the extension was loaded; the schemas are those of torchvision/csrc/ops.
_SCHEMAS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _forget_torchvision() -> None:
    """Drop what a failed import left behind, so that the next one starts from nothing."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def _import_torchvision() -> torch.library.Library | None:
    """Import torchvision, with its two missing schemas if it needs them.

    Returns:
        The library that holds the schemas, to be kept alive, or None where none was needed.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: the import fails for a reason that this module does not know.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        _forget_torchvision()
        if "operator torchvision::" not in str(error):
            raise
    else:
        return None

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _SCHEMAS:
        library.define(name + _SIGNATURE)
    importlib.import_module("torchvision")
    return library


# torch forgets the schemas when the library object is collected.
_library = _import_torchvision()

from torchvision import datasets, transforms, utils  # noqa: E402

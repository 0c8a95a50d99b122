"""Weights that earlier versions wrote, under the names that they have today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.blocks.image_layers import Flatten
from models.blocks.layers import AffineCoupling, Split
from models.flow import Flow
from models.maf import MaskedAutoregressive
from training.core.config import current_names


def current_weights(weights: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """Return weights, or what is said of them, by the names that a model has for them today.

    Where a name comes in both forms, the old one stays, to be refused. Bounds of log-scales that
    were not written yet are added.
    """
    former = _former_layers(model) if isinstance(model, Flow) else {}
    bounds = _former_bounds(model) if isinstance(model, Flow) else {}

    def today(name: str) -> str:
        for old, new in former.items():
            if name.startswith(f"{old}."):
                return new + name[len(old) :]
        return name

    named = current_names(weights)
    found = {name if today(name) in named else today(name): w for name, w in named.items()}
    return found if bounds.keys() & found.keys() else {**found, **bounds}


def _former_bounds(flow: Flow) -> dict[str, Tensor]:
    """Return the bounds of log-scales from before they were kept among the weights.

    Flows over images had theirs of today; all others had one whatever their depth.
    """
    of_today = isinstance(flow.chain[-1], Flatten)
    return {
        f"{name}.bound": layer.bound if of_today else torch.full_like(layer.bound, layer.BOUND)
        for name, layer in flow.named_modules()
        if isinstance(layer, AffineCoupling | MaskedAutoregressive)
    }


def _former_layers(flow: Flow) -> dict[str, str]:
    """Return the former name of each layer, and its name today.

    They were counted from the latent on, or in flows over images from the data on in each level.
    """
    last, level, place = len(flow.chain) - 1, 0, 0
    names = {}
    for i, layer in enumerate(flow.chain):
        names[f"layers.{last - i}"] = names[f"levels.{level}.{place}"] = f"chain.{i}"
        place += 1
        if isinstance(layer, Split):
            level, place = level + 1, 0
    return names

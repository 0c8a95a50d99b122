"""A small convolutional classifier whose features images can be compared by."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

FEATURES = 64  # of an image, before the last layer


class Classifier(nn.Module):
    """Three convolutions of stride 2 and a layer of features, then the classes.

    Args:
        channels: of an image.
        classes: how many there are.
        generator: source of the initial weights.
    """

    def __init__(
        self, channels: int, classes: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        widths = (channels, 24, 48, 64)
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.utils.skip_init(nn.Conv2d, narrow, wide, 3, 2, 1), nn.ReLU()]
        inner = nn.utils.skip_init(nn.Linear, widths[-1] * 4, FEATURES)
        self.features = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), inner, nn.ReLU()
        )
        self.head = nn.utils.skip_init(nn.Linear, FEATURES, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = math.sqrt(6 / module.weight[0].numel())
                nn.init.uniform_(module.weight, -bound, bound, generator=generator)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(B, K)`` of images ``(B, C, H, W)`` with values in [0, 1]."""
        return self.head(self.features(x))

"""Backpropagation by hand, for networks so small that autograd's own work is a fifth of a step.

Autograd writes down every operation, looks up its derivative later and hands each gradient on by
itself. For linear layers with rectifiers between them the chain rule is four lines.

References:
    Learning representations by back-propagating errors (Rumelhart, Hinton, Williams, 1986).
    https://doi.org/10.1038/323533a0
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.layers import MLP, Thin


class ByHand:
    """A network that remembers its last pass, so that slopes can be pulled back through it.

    Args:
        net: linear layers with rectifiers between them. Its weights may change between passes, not
            between a pass and what is pulled back through it.

    Raises:
        ValueError: the network has other layers.
    """

    def __init__(self, net: MLP) -> None:
        kinds = (nn.Linear, nn.ReLU)
        if any(not isinstance(layer, kinds[i % 2]) for i, layer in enumerate(net)):
            raise ValueError("Only linear layers with rectifiers between them.")
        self.layers: list[nn.Linear] = list(net)[::2]
        self.inputs: list[Tensor] = []  # of each layer, in the last pass

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs ``(B, out)`` of inputs ``(B, in)``, without a history."""
        self.inputs = [x]
        *hidden, last = self.layers
        for layer in hidden:
            x = torch.addmm(layer.bias, x, layer.weight.t()).relu_()
            self.inputs.append(x)
        return torch.addmm(last.bias, x, last.weight.t())

    @torch.no_grad()
    def weight_gradients(self, slope: Tensor) -> list[Tensor]:
        """Return the gradients of all weights and biases, in the order of ``parameters()``.

        Args:
            slope: gradient of a scalar by the outputs of the last pass, ``(B, out)``.
        """
        found: list[Tensor] = []
        for i in reversed(range(len(self.layers))):
            found += [slope.sum(0), _product(slope, self.inputs[i])]
            if i:
                slope = self._below(i, slope)
        return found[::-1]

    @torch.no_grad()
    def input_gradient(self, slope: Tensor) -> Tensor:
        """Return the gradient by the inputs of the last pass, ``(B, in)``; see above."""
        for i in reversed(range(1, len(self.layers))):
            slope = self._below(i, slope)
        weight = self.layers[0].weight
        if weight.shape[1] in Thin.INPUTS:
            weight = weight.t().contiguous().t()
        return slope.mm(weight)

    def _below(self, i: int, slope: Tensor) -> Tensor:
        """Carry a slope from the outputs of layer ``i`` to those of the layer before it."""
        # Where a rectifier gave nothing, nothing comes back.
        return torch.ops.aten.threshold_backward(slope.mm(self.layers[i].weight), self.inputs[i], 0)


def _product(slope: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of weights, ``(out, in)``; see :class:`~models.layers.Thin`."""
    return x.t().mm(slope).t() if x.shape[1] in Thin.INPUTS else slope.t().mm(x)

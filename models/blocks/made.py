"""MADE: a network in which each output sees the inputs before it, and the parts that it is made of.

Hidden units are sorted by degree, so every mask is a staircase: a row sees a first part of the
inputs and nothing after it. What a mask would multiply by zero is neither stored nor computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from models.blocks.layers import MLP


def hidden_degrees(features: int, hidden: int) -> Tensor:
    """Return the degrees of hidden units, sorted, evenly spread over 1 ... D - 1, shape ``(H,)``.

    A unit of degree m sees the first m inputs.

    References:
        MADE: Masked Autoencoder for Distribution Estimation (Germain, Gregor, Murray, Larochelle,
        2015), equations 13-14. https://arxiv.org/abs/1502.03509
    """
    degrees = torch.linspace(1, max(features - 1, 1), hidden, dtype=torch.float64, device="cpu")
    return degrees.round().long()


class _Staircase(torch.autograd.Function):
    """``x @ W.T + b`` for pieces of rows that see ever more columns; masks only along the edge."""

    @staticmethod
    def forward(ctx, x: Tensor, bias: Tensor, layer: MaskedLinear, *weights: Tensor) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x, *weights)
        y = x.new_empty(len(x), len(bias))
        for (start, stop), full, edge, weight in layer.pieces(weights):
            part = torch.addmm(bias[start:stop], x[:, :full], weight[:, :full].t())
            part.addmm_(x[:, full : weight.shape[1]], (weight[:, full:] * edge).t())
            y[:, start:stop] = part
        return y

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        dx = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        dw: list[Tensor | None] = [None] * len(weights)
        for i, ((start, stop), full, edge, w) in enumerate(ctx.layer.pieces(weights)):
            part, seen = dy[:, start:stop], w.shape[1]
            if dx is not None:
                dx[:, :full] += part @ w[:, :full]
                dx[:, full:seen] += part @ (w[:, full:] * edge)
            if ctx.needs_input_grad[3 + i]:
                dw[i] = part.t() @ x[:, :seen]
                dw[i][:, full:] *= edge
        return dx, dy.sum(0), None, *dw


class MaskedLinear(nn.Module):
    """A linear layer of which row r sees the first ``visible[r]`` inputs only.

    Rows are split into pieces, each stored as wide as its last row needs; a mask remains where the
    staircase crosses a piece. One piece is the plain masked layer.

    Args:
        visible: number of inputs that each row sees, never decreasing, shape ``(out,)``.
        pieces: number of pieces wanted. Rows that see the same are never torn apart.
        zero: start with all weights at zero.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        visible: Tensor,
        *,
        pieces: int = 1,
        zero: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.visible = visible.tolist()
        rows = len(visible)
        starts = [0]
        for wanted in (rows * i // pieces for i in range(1, pieces)):
            start = int(torch.searchsorted(visible, visible[wanted]))
            if start > starts[-1] and self.visible[start - 1]:
                starts.append(start)
        self.spans = list(pairwise([*starts, rows]))
        self._kept: tuple | None = None
        self.bias = nn.Parameter(torch.zeros(rows))
        self.weights = nn.ParameterList()
        for i, (start, stop) in enumerate(self.spans):
            full, seen = self.visible[start], self.visible[stop - 1]
            edge = torch.arange(full, seen, device="cpu") < visible[start:stop, None]
            # Masks follow from the sizes: files of weights need not hold them.
            self.register_buffer(f"edge{i}", edge, persistent=False)
            weight = torch.zeros(stop - start, seen)
            if not zero:
                bound = visible[start:stop, None].clamp_min(1).rsqrt()
                weight.uniform_(-1, 1, generator=generator).mul_(bound.to(weight.device))
                weight[:, full:].mul_(edge.to(weight.device))
            self.weights.append(weight)

    def pieces(self, weights: Iterable[Tensor]) -> Iterator[tuple]:
        """Yield rows ``(start, stop)``, columns free of masks, mask of the rest, and weight."""
        for i, (span, weight) in enumerate(zip(self.spans, weights, strict=True)):
            yield span, self.visible[span[0]], getattr(self, f"edge{i}"), weight

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in)`` to ``(B, out)``."""
        return _Staircase.apply(x, self.bias, self, *self.weights)

    def runs(self, starts: list[int]) -> list[Tensor]:
        """Return the transposed weight of the rows from each start to the next, seen inputs only.

        Each has the shape ``(inputs seen, rows)``.

        Rows in between must all see the same inputs.
        """
        if torch.is_grad_enabled():
            return self._views(starts)  # each belongs to a graph of its own
        # To make a view takes as long as the product that it is for, so they are made once.
        key = tuple(starts), *(weight.data_ptr() for weight in self.weights)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self._views(starts)
        return self._kept[1]

    def _views(self, starts: list[int]) -> list[Tensor]:
        spans, views = list(pairwise([*starts, len(self.visible)])), []
        for (first, last), weight in zip(self.spans, self.weights, strict=True):
            inside = [(a, b) for a, b in spans if first <= a < last]
            parts = weight.split([b - a for a, b in inside])
            for (start, _), rows in zip(inside, parts, strict=True):
                views.append(rows[:, : self.visible[start]].t())
        return views

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_kept": None}  # a copy has weights of its own

    def mask(self, columns: int) -> Tensor:
        """Return what each row sees of ``columns`` inputs, booleans, shape ``(out, columns)``."""
        return torch.arange(columns) < torch.tensor(self.visible)[:, None]


class MADE(nn.Module):
    """A network whose output i depends on the inputs before i only, in their natural order.

    Args:
        features: dimension D of input and of each output.
        hidden: width of the hidden layers.
        depth: number of hidden layers.
        outputs: numbers per dimension.
        context: width of a vector that every hidden unit of the first layer and every output sees.
        strict: outputs see hidden units of degree strictly below their own. Anything else is wrong
            and there to be shown: an output then sees its own input.
        pieces: pieces of each :class:`MaskedLinear`; by default as many as the size makes use of.
        generator: source of the initial weights.

    References:
        MADE (Germain et al., 2015). https://arxiv.org/abs/1502.03509
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        *,
        depth: int = 2,
        outputs: int = 2,
        context: int = 0,
        strict: bool = True,
        pieces: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.features, self.outputs, self.context = features, outputs, context
        pieces = pieces or (8 if features * hidden > 2**20 else 4 if hidden >= 128 else 1)
        self.degrees = hidden_degrees(features, hidden)
        among = torch.searchsorted(self.degrees, self.degrees, right=True)
        dims = torch.arange(1, features + 1, device="cpu")
        before = torch.searchsorted(self.degrees, dims, right=not strict)
        linear = partial(MaskedLinear, pieces=pieces, generator=generator)
        self.layers = nn.ModuleList(
            [
                linear(self.degrees.clamp(max=features)),
                *(linear(among) for _ in range(depth - 1)),
                linear(before.repeat_interleave(outputs), zero=True),
            ]
        )
        self.context_in = self.context_out = None
        if context:
            self.context_in = MLP(context, hidden, identity=False, generator=generator)[0]
            self.context_out = MLP(context, features * outputs)[0]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map ``(B, D)``, and a context ``(B, K)``, to ``(B, D, outputs)``."""
        first, *others = self.layers
        early, late = self.offsets(context)
        h = first(x) + early
        for layer in others:
            h = layer(h.relu())
        return (h + late).view(len(x), self.features, self.outputs)

    def offsets(self, context: Tensor | None) -> tuple[Tensor | float, Tensor | float]:
        """Return what the context adds to the first hidden layer and to the outputs.

        Shapes ``(B, hidden)`` and ``(B, outputs * D)`` for a context ``(B, context)``; 0 without
        one.
        """
        if self.context_in is None:
            return 0.0, 0.0
        return self.context_in(context), self.context_out(context)

    def masks(self) -> list[Tensor]:
        """Return the masks from input to output, booleans, each ``(out, in)``.

        Rows of the last one are dimensions, once each, not outputs.
        """
        widths = [self.features, *[len(self.degrees)] * (len(self.layers) - 1)]
        *inner, last = [m.mask(width) for m, width in zip(self.layers, widths, strict=True)]
        return [*inner, last[:: self.outputs]]

    def sizes(self) -> tuple[list[int], list[int]]:
        """Return how many units have each degree, and how many dimensions come at each step."""
        distinct, counts = self.degrees.unique_consecutive(return_counts=True)
        dims = [0, *(d for d in distinct.tolist() if d < self.features), self.features]
        return counts.tolist(), [stop - start for start, stop in pairwise(dims)]

    def steps(self, x: Known, context: Tensor | None = None) -> Iterator[Tensor]:
        """Yield outputs ``(B, d, outputs)`` for the next d dimensions, as soon as they are known.

        Between two neighbouring degrees all dimensions depend on the same hidden units. Whoever
        iterates appends these dimensions to ``x`` before asking for more. Each hidden unit is
        computed once, so all steps together do the arithmetic of one pass.
        """
        *inner, last = self.layers
        early, late = self.offsets(context)
        counts, sizes = self.sizes()
        ends = [size * self.outputs for size in sizes]
        units, outs = _starts(counts), _starts(ends)
        hidden = [Known(x.like, counts) for _ in inner]
        rows = [zip(m.runs(units), m.bias.split(counts)) for m in inner]
        if self.context:
            rows[0] = zip(inner[0].runs(units), (inner[0].bias + early).split(counts, dim=-1))
        biases = (last.bias + late).split(ends, dim=-1)
        for step, (weight, bias) in enumerate(zip(last.runs(outs), biases, strict=True)):
            if step:
                source = x
                for layer, target in zip(rows, hidden, strict=True):
                    target.append_hidden(source, *next(layer))
                    source = target
            out = torch.addmm(bias, hidden[-1].first(len(weight)), weight)
            yield out.view(len(out), sizes[step], self.outputs)


def _starts(sizes: list[int]) -> list[int]:
    return [0, *accumulate(sizes[:-1])]


class Known:
    """Columns that become known from left to right; written in place unless gradients are kept.

    Args:
        like: says how many rows there are, and of what kind.
        sizes: columns of each part that will be appended.
    """

    def __init__(self, like: Tensor, sizes: list[int]) -> None:
        self.like = like
        self.size = 0
        # What autograd saved must not change.
        self.fixed = not torch.is_grad_enabled()
        self.value = like.new_empty(len(like), sum(sizes) if self.fixed else 0)
        self._parts = iter(self.value.split(sizes, dim=1)) if self.fixed else None

    def append(self, part: Tensor) -> None:
        """Append columns, shape ``(B, k)``, that are known now."""
        if self.fixed:
            next(self._parts).copy_(part)
        else:
            self.value = torch.cat([self.value, part], dim=1)
        self.size += part.shape[1]

    def append_hidden(self, source: Known, weight: Tensor, bias: Tensor) -> None:
        """Append the next hidden units: a linear map of what they see of ``source``, and ReLU.

        ``weight`` has the shape ``(seen, k)``, ``bias`` ``(k,)``.
        """
        seen = source.first(len(weight))
        if self.fixed:
            torch.addmm(bias, seen, weight, out=next(self._parts)).relu_()
            self.size += weight.shape[1]
        else:
            self.append(torch.addmm(bias, seen, weight).relu())

    def first(self, count: int) -> Tensor:
        """Return so many columns, from the left.

        The shape is ``(B, count)``.
        """
        return self.value[:, :count]

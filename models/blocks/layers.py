"""Invertible layers, with the interface of ``normflows`` so that its layers mix in.

Every layer maps between a latent ``z`` and data ``x`` of the same shape ``(B, D)``, or
``(B, C, H, W)``; the split is along dimension 1::

    x, log_det = layer.forward(z)      # latent to data, log |det dx/dz| per example, shape (B,)
    z, log_det = layer.inverse(x)      # data to latent, log |det dz/dx| per example, shape (B,)

A layer of a density that is conditioned on a vector takes it as ``context``, shape ``(B, K)``. All
others do not get it: :func:`given` decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

Result = tuple[Tensor, Tensor]


def given(module: nn.Module, context: Tensor | None) -> dict[str, Tensor]:
    """Return the keyword by which a layer, or the network inside, gets a context ``(B, K)``.

    Nothing, if it takes none: ours have the width of the context as an attribute above zero, those
    of ``normflows`` a ``context_layer`` inside.
    """
    if context is None:
        return {}
    parts = module.modules()
    takes = any(getattr(part, "context", 0) or hasattr(part, "context_layer") for part in parts)
    return {"context": context} if takes else {}


def blank(kind: type[nn.Module], *sizes: int, **options: int | bool) -> nn.Module:
    """Return a layer of PyTorch's whose weights are not drawn yet."""
    # On the meta device, weights from a file are compared with the model before it has memory.
    return nn.utils.skip_init(kind, *sizes, device=torch.get_default_device(), **options)


def kept(bound: float) -> Tensor:
    """Return the bound of a layer's log-scale as it is kept among the weights, a scalar.

    Weights that were learned under another bound bring it along.
    """
    # Never on the meta device: former weights, which lack it, are completed from here.
    return torch.tensor(float(bound), device="cpu")


DEEP = 8  # layers that scale, up to which each may have the bound that it has alone
DEEP_REACH = 6.0  # largest log-scale of all of them together in deeper flows, in nats


def shared_bound(bound: float, depth: int) -> float:
    """Return the bound of each log-scale in a flow over points with so many layers that scale.

    In the first steps all of them move the same way, and a point that is carried far out by one is
    scaled by all that follow. At the highest rate, RealNVP of 12 couplings left its first loss by
    up to a million nats in 100 steps; with the bound shared, by less than one, five seeds.
    """
    return bound if depth <= DEEP else min(bound, DEEP_REACH / depth)


class MLP(nn.Sequential):
    """A fully connected network, the conditioner of a coupling.

    Args:
        features: width of input, hidden layers and output, e.g. ``(1, 64, 64, 2)``.
        identity: start the last layer at zero, so that the coupling starts as the identity. Not
            for couplings that only shift: on data that is its own mirror image, no shift at all is
            a stationary point, and they would stay there.
        generator: source of the initial weights; the global random state is never touched.
    """

    def __init__(
        self, *features: int, identity: bool = True, generator: torch.Generator | None = None
    ) -> None:
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(features):
            layer = blank(nn.Linear, width_in, width_out)
            bound = 1 / math.sqrt(width_in)
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
            layers += [layer, nn.ReLU(inplace=True)]
        if identity:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        super().__init__(*layers[:-1])


class Coupling(nn.Module):
    """Half of the coordinates (passive) stay and decide how the other half (active) moves.

    The Jacobian is triangular, so its determinant costs nothing, and the inverse never inverts the
    conditioner, which may therefore be any network.

    Args:
        conditioner: network from the passive half ``(B, D_p)`` to the parameters of the map of the
            active half.
        flip: the second half is passive instead of the first. For odd D the first half is the
            larger one.

    References:
        NICE: Non-linear Independent Components Estimation (Dinh, Krueger, Bengio, 2014),
        equations 5-7. https://arxiv.org/abs/1410.8516
    """

    def __init__(self, conditioner: nn.Module, *, flip: bool = False) -> None:
        super().__init__()
        self.conditioner = conditioner
        self.flip = flip

    def passive(self, features: int) -> list[int]:
        """Return the indices (along dimension 1) that this layer leaves as they are."""
        half = (features + 1) // 2
        return list(range(half, features)) if self.flip else list(range(half))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Result:
        """Map latents ``(B, D)`` to data; also return ``log |det dx/dz|``, shape ``(B,)``."""
        return self._couple(z, context, self._to_data)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> Result:
        """Map data ``(B, D)`` to latents; also return ``log |det dz/dx|``, shape ``(B,)``."""
        return self._couple(x, context, self._to_latent)

    def _couple(
        self, v: Tensor, context: Tensor | None, move: Callable[[Tensor, Tensor], Result]
    ) -> Result:
        first, second = v.chunk(2, dim=1)
        passive, active = (second, first) if self.flip else (first, second)
        parameters = self.conditioner(passive, **given(self.conditioner, context))
        active, log_det = move(active, parameters)
        return torch.cat((active, passive) if self.flip else (passive, active), dim=1), log_det

    def _to_data(self, active: Tensor, parameters: Tensor) -> Result:
        raise NotImplementedError

    def _to_latent(self, active: Tensor, parameters: Tensor) -> Result:
        raise NotImplementedError


class AdditiveCoupling(Coupling):
    """Shift the active half: ``x_a = z_a + m(z_p)``. The volume is kept: ``log_det`` is zero.

    References:
        NICE (Dinh, Krueger, Bengio, 2014), equation 10. https://arxiv.org/abs/1410.8516

    Examples:
        >>> layer = AdditiveCoupling(nn.Identity())  # the shift is the passive half itself
        >>> layer.inverse(torch.tensor([[1.0, 5.0]]))
        (tensor([[1., 4.]]), tensor([0.]))
    """

    def _to_data(self, active: Tensor, shift: Tensor) -> Result:
        return active + shift, active.new_zeros(len(active))

    def _to_latent(self, active: Tensor, shift: Tensor) -> Result:
        return active - shift, active.new_zeros(len(active))


class AffineCoupling(Coupling):
    """Scale and shift the active half.

    Towards the latent, ``z_a = x_a * exp(s(x_p)) + t(x_p)`` and ``log_det = sum s``.

    The log-scale is bounded smoothly, ``s = bound * tanh(raw)``: unbounded ones are the usual way
    in which flows end in NaN.

    Args:
        conditioner: network with an output twice as wide as the active half,
            ``(shift, raw log-scale)``.
        flip: see :class:`Coupling`.
        bound: largest absolute log-scale, in nats per coordinate.

    References:
        Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), equations 7-8.
        https://arxiv.org/abs/1605.08803

    Examples:
        >>> net = MLP(1, 16, 2, identity=False, generator=torch.Generator().manual_seed(0))
        >>> layer, x = AffineCoupling(net), torch.tensor([[0.5, -1.0]])
        >>> z, log_det = layer.inverse(x)
        >>> back, log_det_back = layer.forward(z)
        >>> torch.allclose(back, x), torch.allclose(log_det_back, -log_det)
        (True, True)
    """

    BOUND = 3.0  # where nothing else is asked for
    bound: Tensor

    def __init__(self, conditioner: nn.Module, *, flip: bool = False, bound: float = BOUND) -> None:
        super().__init__(conditioner, flip=flip)
        self.register_buffer("bound", kept(bound))

    def _to_data(self, active: Tensor, parameters: Tensor) -> Result:
        shift, raw = parameters.chunk(2, dim=1)
        log_scale = self.bound * torch.tanh(raw)
        return (active - shift) * (-log_scale).exp(), -log_scale.flatten(1).sum(1)

    def _to_latent(self, active: Tensor, parameters: Tensor) -> Result:
        shift, raw = parameters.chunk(2, dim=1)
        log_scale = self.bound * torch.tanh(raw)
        return active * log_scale.exp() + shift, log_scale.flatten(1).sum(1)


class DiagonalScale(nn.Module):
    """Scale each coordinate: ``x = z * exp(s)``, ``log_det = sum s``. The last layer of NICE.

    It is the only part of NICE that can change volume: the scales say which latent directions
    matter.

    Args:
        features: D.
        from_data: :meth:`initialise` sets the scales, so that each latent starts with unit
            variance. For pixels, whose spreads differ by a factor of a hundred.

    References:
        NICE (Dinh, Krueger, Bengio, 2014), section 3.3. https://arxiv.org/abs/1410.8516
    """

    def __init__(self, features: int, *, from_data: bool = False) -> None:
        super().__init__()
        self.from_data = from_data
        self.log_scale = nn.Parameter(torch.zeros(features))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set the scales from data ``x`` of shape ``(B, D)``, if this layer asks for it."""
        if self.from_data:
            self.log_scale.copy_(x.std(0).clamp_min(1e-4).log())

    def forward(self, z: Tensor) -> Result:
        """Map latents ``(B, D)`` to data; also return ``log |det dx/dz|``, shape ``(B,)``."""
        return z * self.log_scale.exp(), self.log_scale.sum().expand(len(z))

    def inverse(self, x: Tensor) -> Result:
        """Map data ``(B, D)`` to latents; also return ``log |det dz/dx|``, shape ``(B,)``."""
        return x * (-self.log_scale).exp(), -self.log_scale.sum().expand(len(x))


class ActNorm(nn.Module):
    """Shift and scale each channel, ``x = z * exp(s) + b``: s and b start from a batch of data.

    A coordinate of a point ``(B, D)`` is a channel; an image ``(B, C, H, W)`` has one shift and one
    scale per channel for all pixels. After :meth:`initialise` the latent side of that batch has
    zero mean and unit variance in each channel.

    References:
        Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018),
        section 3.1. https://arxiv.org/abs/1807.03039

    Examples:
        >>> layer = ActNorm(2)
        >>> layer.initialise(torch.tensor([[0.0, 10.0], [2.0, 30.0], [4.0, 50.0]]))
        >>> z, log_det = layer.inverse(torch.tensor([[2.0, 50.0]]))
        >>> [round(number, 3) for number in z[0].tolist()]
        [0.0, 1.0]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set shift and scale from data ``x`` of shape ``(B, C, ...)``, B at least 2."""
        values = x.transpose(0, 1).flatten(1)  # (C, B * pixels)
        self.shift.copy_(values.mean(1))
        # A constant channel has no scale to learn from: the floor keeps its log finite.
        self.log_scale.copy_(values.std(1).clamp_min(1e-3).log())

    def forward(self, z: Tensor) -> Result:
        """Map latents ``(B, C, ...)`` to data; also return ``log |det dx/dz|``, shape ``(B,)``."""
        shift, log_scale, log_det = self._like(z)
        return z * log_scale.exp() + shift, log_det

    def inverse(self, x: Tensor) -> Result:
        """Map data ``(B, C, ...)`` to latents; also return ``log |det dz/dx|``, shape ``(B,)``."""
        shift, log_scale, log_det = self._like(x)
        return (x - shift) * (-log_scale).exp(), -log_det

    def _like(self, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shape = (-1, *[1] * (v.dim() - 2))
        log_det = self.log_scale.sum() * v[0, 0].numel()
        return self.shift.view(shape), self.log_scale.view(shape), log_det.expand(len(v))


class Split(nn.Module):
    """Towards the latent, the second half of the channels leaves, the first half goes on.

    A :class:`~models.flow.Flow` keeps what has left, which is latent. A coupling before it whose
    active half is the second one has a learned, conditional prior for what leaves, as Glow does.

    Args:
        shape: of what leaves, such as channels, height and width.

    References:
        Density estimation using Real NVP (Dinh, Sohl-Dickstein, Bengio, 2016), section 3.6.
        https://arxiv.org/abs/1605.08803
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def part(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what goes on, and what leaves, of ``x`` with shape ``(B, 2C, ...)``."""
        stays, leaves = x.chunk(2, dim=1)
        return stays, leaves

    def join(self, stayed: Tensor, left: Tensor) -> Tensor:
        """Undo :meth:`part`: ``(B, 2C, ...)``."""
        return torch.cat([stayed, left], dim=1)

"""The models and loops of the peers, as iterators that take one optimiser step per ``next``.

Nothing is tuned here, for or against anybody: models and loops are those of the peers' own
documentation (normflows: README, ``examples/real_nvp_colab.ipynb``, ``examples/glow_colab.ipynb``).
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator

import normflows as nf
import numpy as np
import torch
from normflows.utils.splines import unconstrained_rational_quadratic_spline
from torch import Tensor, nn

from models.blocks.layers import Result
from models.blocks.splines import SplineCoupling

Sampler = Callable[[], Tensor]
LabelledSampler = Callable[[], tuple[Tensor, Tensor]]


def normflows_realnvp(couplings: int, hidden: int = 64) -> nf.NormalizingFlow:
    """Return the RealNVP of normflows' README, with so many couplings in place of its 32."""
    flows: list[nn.Module] = []
    for _ in range(couplings):
        flows.append(
            nf.flows.AffineCouplingBlock(nf.nets.MLP([1, hidden, hidden, 2], init_zeros=True))
        )
        flows.append(nf.flows.Permute(2, mode="swap"))
    return nf.NormalizingFlow(nf.distributions.base.DiagGaussian(2), flows)


def normflows_loop(
    model: nf.NormalizingFlow, sample: Sampler, *, lr: float = 5e-4, weight_decay: float = 1e-5
) -> Iterator[int]:
    """Train as normflows' RealNVP example does, line for line; yield the number of steps done."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
    loss_hist = np.array([])
    for step in itertools.count(1):
        optimizer.zero_grad()
        loss = model.forward_kld(sample())
        if ~(torch.isnan(loss) | torch.isinf(loss)):
            loss.backward()
            optimizer.step()
        loss_hist = np.append(loss_hist, loss.to("cpu").data.numpy())
        yield step


def normflows_glow(
    shape: tuple[int, int, int], *, levels: int, steps: int, hidden: int, classes: int, alpha: float
) -> nf.MultiscaleFlow:
    """Return the Glow of normflows' example, with other sizes and a logit before it.

    Args:
        shape: channels, height and width of the images.
        levels: L of the example.
        steps: K of the example.
        hidden: channels inside each coupling's network.
        classes: number of classes that the base distributions know.
        alpha: of the logit that normflows has for pixels, which the example goes without.
    """
    channels, height, width = shape
    bases, merges, flows = [], [], []
    for i in range(levels):
        width_in = channels * 2 ** (levels + 1 - i)
        blocks = [_glow_block(width_in, hidden) for _ in range(steps)]
        flows.append([*blocks, nf.flows.Squeeze()])
        if i > 0:
            merges.append(nf.flows.Merge())
        scale = 2 ** (levels - i)
        latent = (channels * scale * (1 if i else 2), height // scale, width // scale)
        bases.append(nf.distributions.ClassCondDiagGaussian(latent, classes))
    return nf.MultiscaleFlow(bases, flows, merges, transform=nf.transforms.Logit(alpha))


def _glow_block(channels: int, hidden: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it takes torch.lu, which is deprecated
        return nf.flows.GlowBlock(channels, hidden, split_mode="channel", scale=True)


def normflows_glow_loop(
    model: nf.MultiscaleFlow, sample: LabelledSampler, *, lr: float = 1e-3, decay: float = 1e-5
) -> Iterator[int]:
    """Train as normflows' Glow example does, line for line; yield the number of steps done."""
    optimizer = torch.optim.Adamax(model.parameters(), lr=lr, weight_decay=decay)
    loss_hist = np.array([])
    for step in itertools.count(1):
        x, y = sample()
        optimizer.zero_grad()
        loss = model.forward_kld(x, y)
        if ~(torch.isnan(loss) | torch.isinf(loss)):
            loss.backward()
            optimizer.step()
        loss_hist = np.append(loss_hist, loss.detach().to("cpu").numpy())
        yield step


def normflows_spline(couplings: int, hidden: int = 64) -> nf.NormalizingFlow:
    """Return normflows' own neural spline flow: eight pieces, two residual blocks each."""
    flows: list[nn.Module] = []
    for _ in range(couplings):
        flows.append(nf.flows.CoupledRationalQuadraticSpline(2, 2, hidden, tail_bound=4))
        flows.append(nf.flows.Permute(2, mode="swap"))
    return nf.NormalizingFlow(nf.distributions.base.DiagGaussian(2), flows)


class NormflowsSpline(SplineCoupling):
    """The lab's coupling around normflows' spline: what the spline alone makes of a step."""

    def _spline(self, active: Tensor, parameters: Tensor, *, inverse: bool) -> Result:
        parameters = parameters.view(*active.shape, 3 * self.bins - 1)
        widths, heights, slopes = parameters.tensor_split([self.bins, 2 * self.bins], dim=-1)
        moved, log_slope = unconstrained_rational_quadratic_spline(
            active, widths, heights, slopes, inverse=inverse, tail_bound=self.tail
        )
        return moved, log_slope.sum(1)


def zuko_realnvp(transforms: int, hidden: int = 64) -> nn.Module:
    """Return zuko's RealNVP.

    Raises:
        ImportError: zuko is not installed; only the benchmarks want it.
    """
    import zuko

    return zuko.flows.RealNVP(2, transforms=transforms, hidden_features=(hidden, hidden))


def zuko_nsf(transforms: int, hidden: int = 64) -> nn.Module:
    """Return zuko's autoregressive neural spline flow, eight pieces to a spline.

    Raises:
        ImportError: zuko is not installed; only the benchmarks want it.
    """
    import zuko

    return zuko.flows.NSF(2, transforms=transforms, hidden_features=(hidden, hidden))


def zuko_loop(model: nn.Module, sample: Sampler, *, lr: float = 1e-3) -> Iterator[int]:
    """Train as zuko's README does; yield the number of steps done."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for step in itertools.count(1):
        loss = -model().log_prob(sample()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield step

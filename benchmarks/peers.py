"""The models and loops of the peers, as iterators that take one optimiser step per ``next``.

Nothing is tuned here, for or against anybody: models and loops are those of the peers' own
documentation (normflows: README and ``examples/real_nvp_colab.ipynb``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import normflows as nf
import numpy as np
import torch
from torch import Tensor, nn

Sampler = Callable[[], Tensor]


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

"""Rational-quadratic splines: normflows' values, monotone, undone, with the slope they state."""

from __future__ import annotations

import pytest
import torch
from normflows.utils.splines import unconstrained_rational_quadratic_spline
from torch import Tensor, nn

from models.blocks.layers import MLP
from models.blocks.priors import Gaussian
from models.blocks.splines import _SLOPE_ONE, SplineCoupling, parameters_of, rational_quadratic
from models.flow import Flow

BINS, TAIL = 8, 4.0
TAILS = ["linear", "circular"]


@pytest.fixture(params=TAILS)
def tails(request) -> str:
    return request.param


def drawn(tails: str, *shape: int, strength: float = 2.0) -> tuple[Tensor, Tensor]:
    """Places in and outside the box, and the parameters of a spline for each, in float64."""
    generator = torch.Generator().manual_seed(1)
    x = 2.5 * torch.randn(*shape, generator=generator, dtype=torch.double)
    numbers = torch.randn(*shape, parameters_of(BINS, tails), generator=generator)
    return x, strength * numbers.double()


def theirs(x: Tensor, parameters: Tensor, tails: str, *, inverse: bool) -> tuple[Tensor, Tensor]:
    widths, heights, slopes = parameters.tensor_split([BINS, 2 * BINS], dim=-1)
    return unconstrained_rational_quadratic_spline(
        x, widths, heights, slopes + _SLOPE_ONE, inverse=inverse, tails=tails, tail_bound=TAIL
    )


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("shape", [(400,), (50, 3), (10, 2, 3, 4)])
def test_values_slopes_and_gradients_are_those_of_normflows(tails, inverse, shape):
    x, parameters = (v.requires_grad_() for v in drawn(tails, *shape))
    found, wanted = (
        rational_quadratic(x, parameters, tail=TAIL, tails=tails, inverse=inverse),
        theirs(x, parameters, tails, inverse=inverse),
    )
    assert (x.abs() > TAIL).any()
    for mine, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)
    gradients = (
        torch.autograd.grad(sum(v.sum() for v in r), (x, parameters)) for r in (found, wanted)
    )
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)


def test_the_inverse_undoes_it_and_has_the_slope_of_the_other_sign(tails):
    x, parameters = drawn(tails, 500)
    y, log_slope = rational_quadratic(x, parameters, tail=TAIL, tails=tails)
    back, log_slope_back = rational_quadratic(y, parameters, tail=TAIL, tails=tails, inverse=True)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_slope_back, -log_slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("inverse", [False, True])
def test_the_slope_is_that_of_autograd(tails, inverse):
    x, parameters = drawn(tails, 500)
    x.requires_grad_()
    y, log_slope = rational_quadratic(x, parameters, tail=TAIL, tails=tails, inverse=inverse)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_slope, slope.log())


def test_zeros_are_the_identity(tails):
    x, parameters = drawn(tails, 100, strength=0.0)
    y, log_slope = rational_quadratic(x, parameters, tail=TAIL, tails=tails)
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(log_slope, torch.zeros_like(x))


def test_linear_tails_leave_the_box_without_a_bend_and_a_circle_closes_without_one(tails):
    _, parameters = drawn(tails, 20)
    ends = torch.tensor([-TAIL, TAIL]).double().expand(20, 2)
    both = parameters[:, None].expand(20, 2, -1)
    y, log_slope = rational_quadratic(ends, both, tail=TAIL, tails=tails)
    torch.testing.assert_close(y, ends)
    torch.testing.assert_close(log_slope[:, 0], log_slope[:, 1])
    assert (log_slope.abs().amax() < 1e-9) == (tails == "linear")


@pytest.mark.parametrize("inverse", [False, True])
def test_the_steepest_pieces_in_single_precision_have_numbers_and_gradients(tails, inverse):
    x, parameters = (v.float().requires_grad_() for v in drawn(tails, 5000, strength=30.0))
    y, log_slope = rational_quadratic(x, parameters, tail=TAIL, tails=tails, inverse=inverse)
    gradients = torch.autograd.grad(y.sum() + log_slope.sum(), (x, parameters))
    assert all(v.isfinite().all() for v in (y, log_slope, *gradients))


def test_a_coupling_on_a_circle_is_a_layer_of_a_flow():
    generator = torch.Generator().manual_seed(0)
    net = MLP(1, 16, parameters_of(5, "circular"), identity=False, generator=generator)
    layer = SplineCoupling(net, bins=5, tail=torch.pi, tails="circular")
    flow = Flow(Gaussian(2), [layer]).double()
    x = torch.pi * (2 * torch.rand(50, 2, generator=generator).double() - 1)
    z, log_det = flow.inverse(x)
    torch.testing.assert_close(flow.forward(z)[0], x)
    jacobian = torch.autograd.functional.jacobian(lambda u: flow.inverse(u)[0].sum(0), x)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian.transpose(0, 1))[1])


def test_couplings_have_the_weights_of_the_network_inside_and_no_others():
    names = SplineCoupling(nn.Linear(1, 23)).state_dict()
    assert set(names) == {"conditioner.weight", "conditioner.bias"}

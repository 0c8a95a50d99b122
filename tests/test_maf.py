"""MADE sees only what comes before; MAF is a bijection with its density, and samples exactly."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from models.blocks.layers import ActNorm
from models.blocks.made import MADE, MaskedLinear, hidden_degrees
from models.flow import Flow
from models.maf import (
    MaskedAutoregressive,
    log_prob_terms,
    maf,
    position_features,
)

SIZES = [(1, 4), (2, 16), (3, 2), (7, 3), (6, 40), (5, 128), (40, 7)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def disturbed(module: torch.nn.Module, strength: float = 0.3, seed: int = 0) -> torch.nn.Module:
    """Double precision, and weights that are not those of the identity."""
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += strength * torch.randn(parameter.shape, generator=generator)
    return module.double()


def flow(features: int = 2, context: int = 0, seed: int = 0, **settings) -> Flow:
    settings = {"blocks": 3, "hidden": 16, **settings}
    built = maf(features=features, context=context, generator=seeded(seed), **settings)
    return disturbed(built, 0.15, seed)


def points(features: int = 2, count: int = 32, seed: int = 7) -> Tensor:
    return torch.randn(count, features, generator=seeded(seed)).double()


def jacobians(function, v: Tensor) -> Tensor:
    """The Jacobian of each example, shape (B, D_out, D_in)."""
    rows = torch.autograd.functional.jacobian(lambda u: function(u).flatten(1).sum(0), v)
    return rows.transpose(0, 1)


# -- masks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("features", "hidden"), SIZES)
def test_an_output_sees_the_inputs_before_it_and_nothing_else(features, hidden):
    made = disturbed(MADE(features, hidden, outputs=1, generator=seeded()), 1.0)
    seen = jacobians(made, points(features, 200)).abs().amax(0) > 0
    assert not seen.triu().any()
    if hidden >= features - 1:
        assert torch.equal(seen, torch.ones_like(seen).tril(-1)), "nothing is masked in vain"


@pytest.mark.parametrize("pieces", [1, 2, 5])
@pytest.mark.parametrize(("features", "hidden"), SIZES)
def test_the_masks_are_those_of_the_paper(features, hidden, pieces):
    made = MADE(features, hidden, pieces=pieces)
    degrees, dims = hidden_degrees(features, hidden), torch.arange(1, features + 1)
    first, second, last = made.masks()
    if features > 1:
        assert degrees.min() >= 1
        assert degrees.max() <= features - 1
        assert torch.equal(first, degrees[:, None] >= dims)
    assert torch.equal(second, degrees[:, None] >= degrees)
    assert torch.equal(last, dims[:, None] > degrees)
    path = last.double() @ second.double() @ first.double()
    assert not path.triu().any()


def test_the_break_it_switch_lets_outputs_see_themselves():
    made = disturbed(MADE(6, 30, outputs=1, strict=False, generator=seeded()), 1.0)
    seen = jacobians(made, points(6, 100)).abs().amax(0)
    assert (seen.diagonal()[:-1] > 0).all()
    layer = disturbed(MaskedAutoregressive(4, 30, strict=False, generator=seeded()), 0.5)
    x = points(4)
    honest = torch.linalg.slogdet(jacobians(lambda u: layer.inverse(u)[0], x))[1]
    assert (layer.inverse(x)[1] - honest).abs().max() > 0.1


@pytest.mark.parametrize("pieces", [1, 3, 8])
def test_pieces_change_nothing_but_the_work(pieces):
    visible = torch.tensor([1, 1, 2, 4, 4, 7, 9, 9, 9])
    layer = disturbed(MaskedLinear(visible, pieces=pieces, generator=seeded()))
    dense = torch.zeros(9, 10).double()
    for (start, stop), weight in zip(layer.spans, layer.weights):
        dense[start:stop, : weight.shape[1]] = weight.detach()
    dense *= layer.mask(10)
    x = points(10).requires_grad_()
    y = layer(x)
    torch.testing.assert_close(y, x @ dense.T + layer.bias)
    up = points(9, seed=3)
    (dx,) = torch.autograd.grad(y, x, up, retain_graph=True)
    torch.testing.assert_close(dx, up @ dense)
    for (start, stop), weight in zip(layer.spans, layer.weights):
        (dw,) = torch.autograd.grad(y, weight, up, retain_graph=True)
        expected = (up.T @ x.detach() * layer.mask(10))[start:stop, : weight.shape[1]]
        torch.testing.assert_close(dw, expected)


def test_pieces_store_about_half_of_a_large_layer():
    whole = sum(p.numel() for p in MADE(512, 256, pieces=1).parameters())
    parts = sum(p.numel() for p in MADE(512, 256, pieces=8).parameters())
    assert parts < 0.6 * whole


def test_gradients_are_those_of_finite_differences():
    layer = disturbed(MaskedAutoregressive(4, 8, context=2, generator=seeded()))
    x, context = points(4, 3), points(2, 3, seed=1)
    names = [name for name, _ in layer.named_parameters()]

    def apply(x, context, *parameters):
        values = dict(zip(names, parameters))
        return torch.func.functional_call(layer, values, (x, context))

    inputs = [t.detach().requires_grad_() for t in (x, context, *layer.parameters())]
    assert torch.autograd.gradcheck(apply, inputs)


# -- the map ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("features", "hidden"), SIZES)
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_the_jacobian_of_a_block_is_triangular_with_the_diagonal_it_states(
    features, hidden, reverse, direction
):
    layer = disturbed(MaskedAutoregressive(features, hidden, reverse=reverse, generator=seeded()))
    x = points(features)
    move = getattr(layer, direction)
    jacobian = jacobians(lambda u: move(u)[0], x)
    assert not (jacobian.tril(-1) if reverse else jacobian.triu(1)).any()
    diagonal = jacobian.diagonal(dim1=1, dim2=2)
    assert (diagonal > 0).all()
    torch.testing.assert_close(move(x)[1], diagonal.log().sum(1))
    if direction == "inverse":
        torch.testing.assert_close(-layer.inverse_terms(x)[1], diagonal.log())


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("features", [2, 3, 9])
@pytest.mark.parametrize("actnorm", [False, True])
def test_flow_inverts_and_its_log_det_is_autograds(features, context, actnorm):
    built, v = flow(features, context, actnorm=actnorm), points(features)
    given = points(context, seed=2) if context else None
    for one, other in ((built.forward, built.inverse), (built.inverse, built.forward)):
        there, log_det = one(v, given)
        back, undone = other(there, given)
        assert (there - v).abs().mean() > 0.05
        torch.testing.assert_close(back, v, rtol=0, atol=1e-6)
        torch.testing.assert_close(log_det, -undone, rtol=0, atol=1e-6)
        exact = torch.linalg.slogdet(jacobians(lambda u, move=one: move(u, given)[0], v))[1]
        torch.testing.assert_close(log_det, exact, rtol=0, atol=1e-6)


def test_the_order_turns_between_blocks_and_data_come_in_the_natural_one():
    layers = list(flow(4, blocks=5).chain)
    assert not layers[0].reverse
    assert all(a.reverse != b.reverse for a, b in pairwise(layers))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize(("features", "hidden"), SIZES)
def test_fast_and_plain_sampling_agree(features, hidden, context, reverse):
    layer = MaskedAutoregressive(
        features, hidden, reverse=reverse, context=context, generator=seeded()
    )
    layer = disturbed(layer, 0.15).float()
    z = points(features).float()
    given = points(context, seed=2).float() if context else None
    plain, plain_det = layer.forward_plain(z, given)
    kept, _ = layer.forward(z, given)
    with torch.no_grad():
        fast, fast_det = layer.forward(z, given)
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(kept, plain, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(fast_det, plain_det, rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_fast_sampling_follows_the_weights_wherever_they_go():
    """It keeps views of the weights, which must not outlive them."""
    block = disturbed(MaskedAutoregressive(9, 24, pieces=2, generator=seeded()))
    z = points(9, 4)
    before = block.forward(z)[0]
    copied = deepcopy(block)
    for weight in block.parameters():
        weight.mul_(0.5)
    torch.testing.assert_close(block.forward(z)[0], block.forward_plain(z)[0])
    torch.testing.assert_close(copied.forward(z)[0], before)
    for weight in block.parameters():  # as an optimiser over one long vector does
        weight.data = weight.data.clone() * 0.5
    torch.testing.assert_close(block.forward(z)[0], block.forward_plain(z)[0])
    single = block.float()
    torch.testing.assert_close(single.forward(z.float())[0], single.forward_plain(z.float())[0])


def test_fast_sampling_takes_a_step_per_degree_and_shows_them():
    layer = disturbed(MaskedAutoregressive(100, 8, generator=seeded()), 0.1)
    z = points(100, 4)
    with torch.no_grad():
        final = layer.forward(z)[0]
        seen = [(x.clone(), known) for x, _, known in layer.forward_steps(z)]
    assert len(seen) == 9, "eight degrees, and the dimensions that depend on nothing"
    assert [known for _, known in seen] == sorted({known for _, known in seen})
    for x, known in seen:
        assert torch.equal(x[:, :known], final[:, :known])
    assert seen[-1][1] == 100


def test_the_terms_of_the_dimensions_add_up_to_the_log_density():
    built, x = flow(5, 2, actnorm=True), points(5)
    given = points(2, seed=3)
    torch.testing.assert_close(log_prob_terms(built, x, given).sum(1), built.log_prob(x, given))


def test_log_scales_are_bounded():
    layer = disturbed(MaskedAutoregressive(3, 8, generator=seeded()), 50.0)
    log_scale = layer.inverse_terms(100 * points(3))[1]
    assert log_scale.abs().max() <= 5
    assert log_scale.abs().max() > 4


def test_it_starts_as_the_identity():
    built = maf(features=6, blocks=3, hidden=16, context=2, generator=seeded()).double()
    x = points(6)
    z, log_det = built.inverse(x, points(2))
    torch.testing.assert_close(z, x)
    assert not log_det.any()


def test_the_context_matters_and_each_example_sees_its_own():
    built, x = flow(4, 3), points(4)
    one, other = points(3, seed=1), points(3, seed=2)
    mixed = torch.cat([one[:16], other[16:]])
    a, b, both = built.log_prob(x, one), built.log_prob(x, other), built.log_prob(x, mixed)
    assert (a - b).abs().min() > 0
    torch.testing.assert_close(both, torch.cat([a[:16], b[16:]]))


def test_initialise_brings_the_data_to_the_standard():
    built, x = flow(4, 3, actnorm=True), 3 * points(4, 500) + 2
    given = points(3, 500, seed=1)
    built.initialise(x, given)
    seen = [s.value for s in built.inverse_states(x, given) if isinstance(s.layer, ActNorm)]
    assert len(seen) == 3
    for value in seen:
        torch.testing.assert_close(value.mean(0), torch.zeros(4).double(), rtol=0, atol=1e-6)


# -- the density ------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("seed", range(2))
def test_density_integrates_to_one(context, seed):
    built = flow(2, context, seed)
    given = points(context, 1, seed=seed + 3) if context else None
    with torch.no_grad():
        few = None if given is None else given.expand(4000, -1)
        drawn = built.sample(4000, context=few, generator=seeded())
        low, high = drawn.amin(0), drawn.amax(0)
        low, high = low - 0.3 * (high - low), high + 0.3 * (high - low)
        axes = [
            low[i] + (high - low)[i] * (torch.arange(300).double() + 0.5) / 300 for i in range(2)
        ]
        grid, area = torch.cartesian_prod(*axes), ((high - low) / 300).prod()
        many = None if given is None else given.expand(len(grid), -1)
        mass = float((built.log_prob(grid, many).exp() * area).sum())
    assert mass == pytest.approx(1, abs=0.01)


def test_every_parameter_gets_a_gradient():
    built = flow(5, 3, actnorm=True, hidden=128)
    (-built.log_prob(points(5), points(3, seed=1)).mean()).backward()
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_what_is_masked_never_matters_and_never_moves():
    layer = disturbed(MaskedLinear(torch.tensor([1, 2, 3]), generator=seeded()))
    hidden = ~layer.mask(3)
    x = points(3)
    before = layer(x)
    with torch.no_grad():
        layer.weights[0][hidden] += 100
    assert torch.equal(layer(x), before)
    (gradient,) = torch.autograd.grad(layer(x).square().sum(), layer.weights[0])
    assert not gradient[hidden].any()


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_ever_nan(seed):
    built = flow(4, 2, seed, blocks=5).float()
    v = torch.cat([points(4, 100, seed).float() * 1e3, points(4, 100, seed).float()])
    given = points(2, 200, seed).float()
    for result in (*built.forward(v, given), *built.inverse(v, given), built.log_prob(v, given)):
        assert torch.isfinite(result).all()
    loss = -built.log_prob(v, given).mean()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, list(built.parameters())))


def test_weights_saved_and_loaded_give_the_same_flow():
    one, two, x = flow(4, 2), flow(4, 2, seed=1), points(4)
    given = points(2)
    two.load_state_dict(one.state_dict())
    assert torch.equal(two.log_prob(x, given), one.log_prob(x, given))
    assert not any("edge" in name for name in one.state_dict()), "masks follow from the sizes"


def test_positions_are_told_apart():
    corners = torch.cartesian_prod(torch.arange(61), torch.arange(61)) / 61
    features = position_features(corners, 6)
    assert features.shape == (61 * 61, 24)
    near = torch.cdist(features[::7], features[::7]) + 10 * torch.eye(len(features[::7]))
    assert near.min() > 0.1

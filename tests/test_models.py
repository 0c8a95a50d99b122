"""Every flow is a bijection with the log-determinant it states, a density, and trainable."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise

import normflows as nf
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from models.blocks.image_layers import Flatten, InvertibleLinear, Squeeze
from models.blocks.layers import (
    MLP,
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    Coupling,
    given,
)
from models.blocks.priors import PRIORS, Gaussian
from models.blocks.splines import SplineCoupling
from models.fast.by_hand import ByHand
from models.flow import Flow
from models.glow import glow_plane
from models.maf import maf
from models.nice import nice
from models.realnvp import realnvp

HIDDEN = 16


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixed(features: int, generator: torch.Generator) -> Flow:
    """Our layers among those of normflows, which draw weights from the global random state."""
    first, second = (features + 1) // 2, features // 2
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        net = nf.nets.MLP([first, HIDDEN, 2 * second], init_zeros=True)
        theirs = [
            nf.flows.AffineCouplingBlock(net),
            nf.flows.Permute(features, mode="swap"),
            nf.flows.ActNorm((features,)),
            nf.flows.LULinearPermute(features),
        ]
    ours = [
        AffineCoupling(MLP(first, HIDDEN, 2 * second, generator=generator)),
        ActNorm(features),
        SplineCoupling(MLP(second, HIDDEN, 23 * first, generator=generator), flip=True),
    ]
    return Flow(Gaussian(features), [*theirs[:2], ours[0], theirs[2], *ours[1:], theirs[3]])


Build = Callable[[int, torch.Generator], Flow]


def recipe(build: Callable[..., Flow], **settings) -> Build:
    return lambda features, generator: build(
        features=features, hidden=HIDDEN, generator=generator, **settings
    )


OURS: dict[str, Build] = {
    **{f"nice-{n}-gaussian": recipe(nice, layers=n) for n in range(2, 13)},
    **{f"nice-{n}-logistic": recipe(nice, layers=n, prior="logistic") for n in (2, 7, 12)},
    **{f"affine-{n}": recipe(realnvp, blocks=n) for n in (2, 3, 8, 12)},
    **{f"affine-{n}-actnorm": recipe(realnvp, blocks=n, actnorm=True) for n in (2, 12)},
    **{f"spline-{n}": recipe(realnvp, blocks=n, coupling="spline") for n in (2, 3, 12)},
    "spline-4-actnorm": recipe(realnvp, blocks=4, coupling="spline", actnorm=True),
    **{f"glow-{n}": recipe(glow_plane, steps=n) for n in (2, 5)},
    "maf-3": recipe(maf, blocks=3),
}
FLOWS = {**OURS, "mixed-with-normflows": mixed}


def skewed(count: int, features: int, seed: int = 5) -> Tensor:
    """Points that are neither centred nor alike in their coordinates."""
    scale = torch.linspace(0.5, 1.5, features)
    return torch.randn(count, features, generator=seeded(seed)) * scale + scale


def bent(build: Build, features: int = 2, seed: int = 0) -> Flow:
    """A flow in double precision, initialised on data, with disturbed weights: not the identity."""
    generator = seeded(seed)
    flow = build(features, generator)
    flow.initialise(skewed(500, features))
    strength = 0.25 / len(flow.chain) ** 0.5
    with torch.no_grad():
        for parameter in flow.chain[::-1].parameters():
            parameter += strength * torch.randn(parameter.shape, generator=generator)
    return flow.double()


def points(count: int = 64, features: int = 2, seed: int = 7) -> Tensor:
    return 2 * torch.randn(count, features, generator=seeded(seed)).double()


def jacobians(function: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
    """The Jacobian of each example, shape (B, D, D). One that sees another would show here."""
    return torch.autograd.functional.jacobian(lambda u: function(u).sum(0), v).transpose(0, 1)


FEW = [
    "nice-2-gaussian",
    "nice-12-gaussian",
    "nice-7-logistic",
    "affine-3",
    "affine-12",
    "affine-2-actnorm",
    "spline-3",
    "spline-4-actnorm",
    "glow-5",
]


@pytest.fixture(params=FLOWS, ids=str)
def each(request) -> Build:
    return FLOWS[request.param]


@pytest.fixture(params=[*FEW, "mixed-with-normflows"], ids=str)
def build(request) -> Build:
    return FLOWS[request.param]


@pytest.fixture(params=FEW, ids=str)
def ours(request) -> Build:
    return OURS[request.param]


# -- the map ----------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [2, 3])
def test_inverse_undoes_forward_and_forward_undoes_inverse(each, features):
    flow, v = bent(each, features), points(features=features)
    x, there = flow.forward(v)
    z, back = flow.inverse(x)
    assert (x - v).abs().mean() > 0.05  # the identity would prove nothing
    torch.testing.assert_close(z, v, rtol=0, atol=1e-7)
    torch.testing.assert_close(there, -back, rtol=0, atol=1e-6)

    z, there = flow.inverse(v)
    x, back = flow.forward(z)
    torch.testing.assert_close(x, v, rtol=0, atol=1e-7)
    torch.testing.assert_close(there, -back, rtol=0, atol=1e-6)


def test_single_precision_is_good_enough_to_come_back(build):
    flow, x = bent(build).float(), skewed(500, 2)
    back = flow.forward(flow.inverse(x)[0])[0]
    assert (back - x).abs().max() < 2e-3
    assert (back - x).abs().median() < 1e-5


@pytest.mark.parametrize("features", [2, 3])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_log_det_is_that_of_the_autograd_jacobian(each, features, direction):
    flow, v = bent(each, features), points(16, features)
    move = getattr(flow, direction)
    sign, expected = torch.linalg.slogdet(jacobians(lambda u: move(u)[0], v))
    assert (sign != 0).all()
    torch.testing.assert_close(move(v)[1], expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_states_lead_from_one_side_to_the_other(build, direction):
    flow, v = bent(build), points()
    states = list(getattr(flow, f"{direction}_states")(v))
    value, log_det = getattr(flow, direction)(v)
    assert torch.equal(states[0].value, v)
    assert not states[0].log_det.any()
    assert torch.equal(states[-1].value, value)
    assert torch.equal(states[-1].log_det, log_det)

    layers = list(flow.chain) if direction == "inverse" else list(flow.chain)[::-1]
    assert [state.layer for state in states] == [None, *layers]
    for before, after in pairwise(states):
        # Each state alone says how its layer turned the points before it into those after it.
        sign, expected = torch.linalg.slogdet(
            jacobians(lambda u, layer=after.layer: getattr(layer, direction)(u)[0], before.value)
        )
        assert (sign != 0).all()
        torch.testing.assert_close(after.log_det - before.log_det, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("features", [2, 3, 5])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_the_passive_half_stays_and_decides(ours, features, direction):
    flow, v = bent(ours, features), points(features=features)
    couplings = [layer for layer in flow.chain if isinstance(layer, Coupling)]
    mixing = any(isinstance(layer, InvertibleLinear) for layer in flow.chain)
    flips = {layer.flip for layer in couplings}
    assert mixing or len(flips) == 2, "no coordinate may stay all the way"
    for layer in couplings:
        passive = layer.passive(features)
        active = [i for i in range(features) if i not in passive]
        moved, _ = getattr(layer, direction)(v)
        assert torch.equal(moved[:, passive], v[:, passive])
        assert ((moved - v)[:, active].abs().amax(0) > 1e-3).all()
        # Each active coordinate depends on itself and the passive ones only.
        reach = jacobians(lambda u, layer=layer: getattr(layer, direction)(u)[0], v)
        among = reach[:, active][:, :, active]
        assert not (among - torch.diag_embed(among.diagonal(dim1=1, dim2=2))).any()


@pytest.mark.parametrize("name", [n for n in OURS if not n.startswith(("nice", "glow"))])
def test_couplings_that_scale_start_as_the_identity(name):
    flow, x = OURS[name](2, seeded()).double(), points()
    z, log_det = flow.inverse(x)
    torch.testing.assert_close(z, x, rtol=0, atol=1e-6)
    torch.testing.assert_close(log_det, torch.zeros_like(log_det), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in OURS if n.startswith("glow")])
def test_glow_starts_as_a_rotation(name):
    flow, x = OURS[name](2, seeded()).double(), points()
    z, log_det = flow.inverse(x)
    assert (z - x).abs().max() > 0.1
    torch.testing.assert_close(z.norm(dim=1), x.norm(dim=1), rtol=0, atol=1e-5)
    torch.testing.assert_close(log_det, torch.zeros(len(x)).double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in OURS if n.startswith("nice")])
def test_nice_is_not_stuck_on_data_that_is_its_own_mirror_image(name):
    # With shifts that start at zero all gradients of the couplings vanish there.
    flow = OURS[name](2, seeded())
    x = skewed(400, 2)
    x = torch.cat([x, -x, x * torch.tensor([1.0, -1.0]), x * torch.tensor([-1.0, 1.0])])
    (-flow.log_prob(x).mean()).backward()
    conditioners = [layer.conditioner for layer in flow.chain if isinstance(layer, Coupling)]
    assert all(net[-1].weight.grad.abs().max() > 1e-4 for net in conditioners)


@pytest.mark.parametrize("name", [n for n in OURS if n.startswith("nice")])
def test_nice_changes_volume_by_the_same_factor_everywhere(name):
    flow = bent(OURS[name])
    log_det = flow.inverse(points())[1]
    assert log_det.std() < 1e-12
    assert log_det.abs().min() > 1e-3


@pytest.mark.parametrize("kind", [AdditiveCoupling, AffineCoupling])
@pytest.mark.parametrize("flip", [False, True])
def test_couplings_work_on_images(kind, flip):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Conv2d(2, 2 if kind is AdditiveCoupling else 4, 3, padding=1).double()
    layer = kind(net, flip=flip)
    x = torch.randn(3, 4, 3, 3, generator=seeded()).double()
    z, log_det = layer.inverse(x)
    torch.testing.assert_close(layer.forward(z)[0], x)
    assert torch.equal(z[:, layer.passive(4)], x[:, layer.passive(4)])
    for i in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda u: layer.inverse(u)[0], x[i : i + 1])
        expected = torch.linalg.slogdet(jacobian.reshape(36, 36))[1]
        torch.testing.assert_close(log_det[i], expected)


def test_splines_leave_what_is_far_out_alone():
    flow = bent(OURS["spline-3"])
    far = torch.tensor([[5.0, -5.0], [100.0, 4.5], [-7.0, 1e4]]).double()
    assert torch.equal(flow.inverse(far)[0], far)


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_ever_nan(ours, seed):
    flow = bent(ours, seed=seed).float()
    corners = torch.cartesian_prod(*[torch.tensor([-1e3, -4.0, 0.0, 1e-6, 4.0, 1e3])] * 2)
    v = torch.cat([corners, 1e3 * torch.randn(200, 2, generator=seeded(seed))])
    for result in (*flow.forward(v), *flow.inverse(v), flow.log_prob(v)):
        assert torch.isfinite(result).all()
    loss = -flow.log_prob(v).mean()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, list(flow.parameters())))


# -- the density ------------------------------------------------------------------------------


def wide_grid(flow: Flow, count: int = 240) -> tuple[Tensor, Tensor]:
    """Cell centres over more than the samples cover, shape (count^2, 2), and the area of one."""
    drawn = flow.sample(5000, generator=seeded()).detach()
    low, high = drawn.amin(0), drawn.amax(0)
    low, high = low - 0.3 * (high - low), high + 0.3 * (high - low)
    cell = (high - low) / count
    steps = torch.arange(count).double() + 0.5
    axes = [low[i] + cell[i] * steps for i in range(2)]
    return torch.cartesian_prod(*axes), cell.prod()


def test_density_integrates_to_one(each):
    flow = bent(each)
    grid, area = wide_grid(flow)
    with torch.no_grad():
        assert float(flow.log_prob(grid).exp().sum() * area) == pytest.approx(1, abs=0.01)


def test_samples_are_of_the_density(build):
    flow = bent(build)
    grid, area = wide_grid(flow)
    drawn = flow.sample(20_000, generator=seeded(1)).detach()
    with torch.no_grad():
        mass = flow.log_prob(grid).exp() * area
    for power in (1, 2):  # the mean of f by counting and by integrating, for f = x and f = x^2
        expected = (mass[:, None] * grid**power).sum(0)
        found = (drawn**power).mean(0)
        error = (drawn**power).std(0) / len(drawn) ** 0.5
        assert ((found - expected).abs() < 5 * error + 0.01).all()


def test_samples_come_from_their_generator_alone(build):
    flow = bent(build)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        one = flow.sample(50, generator=seeded(3))
        torch.manual_seed(2)
        state = torch.get_rng_state()
        two = flow.sample(50, generator=seeded(3))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, two)
    assert not torch.equal(one, flow.sample(50, generator=seeded(4)))


def test_cold_samples_are_all_the_same_point(build):
    flow = bent(build)
    drawn = flow.sample(5, generator=seeded(), temperature=0)
    torch.testing.assert_close(drawn, flow.forward(torch.zeros(5, 2).double())[0])


@pytest.mark.parametrize(
    ("name", "truth"), [("gaussian", scipy.stats.norm), ("logistic", scipy.stats.logistic)]
)
def test_priors_are_what_scipy_knows_by_the_name(name, truth):
    prior = PRIORS[name](3)
    z = prior.sample(4000, generator=seeded())
    assert scipy.stats.kstest(z.flatten().numpy(), truth.cdf).pvalue > 1e-3
    assert abs(scipy.stats.pearsonr(z[:, 0].numpy(), z[:, 1].numpy()).statistic) < 0.06
    expected = torch.from_numpy(truth.logpdf(z.double().numpy()).sum(1))
    torch.testing.assert_close(prior.log_prob(z.double()), expected)
    warm = prior.sample(4000, generator=seeded(), temperature=0.5)
    torch.testing.assert_close(warm, z / 2)


# -- as modules -------------------------------------------------------------------------------


def test_every_parameter_gets_a_gradient(build):
    flow = bent(build)
    (-flow.log_prob(points()).mean()).backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_one_batch_of_gradient_descent_improves_the_fit(build):
    flow, x = bent(build), skewed(256, 2).double()
    optimiser = torch.optim.Adam(flow.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.05


def test_evaluation_mode_changes_nothing(build):
    flow, x = bent(build), points()
    train = flow.train().log_prob(x)
    assert torch.equal(flow.eval().log_prob(x), train)


def test_weights_saved_and_loaded_give_the_same_flow(build):
    flow, other, x = bent(build), bent(build, seed=1), points()
    assert not torch.equal(other.log_prob(x), flow.log_prob(x))
    file = io.BytesIO()
    torch.save(flow.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.log_prob(x), flow.log_prob(x))
    assert torch.equal(other.forward(x)[0], flow.forward(x)[0])


def test_double_precision_is_kept_and_agrees_with_single(build):
    flow, x = bent(build), skewed(200, 2)
    double = flow.log_prob(x.double())
    drawn = flow.sample(20, generator=seeded())
    assert double.dtype == drawn.dtype == torch.float64
    single = flow.float().log_prob(x)
    assert single.dtype == flow.sample(20, generator=seeded()).dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-2)


def test_same_seed_same_weights_and_the_global_random_state_is_left_alone(ours):
    state = torch.get_rng_state()
    one, two, other = (ours(2, seeded(seed)).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


# -- ActNorm ----------------------------------------------------------------------------------


def test_actnorm_starts_from_the_data():
    layer, x = ActNorm(3), skewed(1000, 3)
    layer.initialise(x)
    z, _ = layer.inverse(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.std(0), torch.ones(3), rtol=0, atol=1e-5)


def test_actnorm_bears_a_constant_coordinate():
    layer = ActNorm(2)
    x = torch.stack([torch.full((50,), 7.0), torch.linspace(0, 1, 50)], dim=1)
    layer.initialise(x)
    z, log_det = layer.inverse(x)
    assert torch.isfinite(z).all()
    assert torch.isfinite(log_det).all()


@pytest.mark.parametrize("name", ["affine-12-actnorm", "spline-4-actnorm", "mixed-with-normflows"])
def test_each_actnorm_of_a_flow_sees_the_data_as_it_arrives_there(name):
    flow, x = FLOWS[name](2, seeded()), skewed(1000, 2) * 3
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=seeded(1))
    flow.initialise(x)
    norms = (ActNorm, nf.flows.ActNorm)
    seen = [s.value for s in flow.inverse_states(x) if isinstance(s.layer, norms)]
    assert seen
    for value in seen:
        torch.testing.assert_close(value.mean(0), torch.zeros(2), rtol=0, atol=1e-3)
        torch.testing.assert_close(value.std(0), torch.ones(2), rtol=0, atol=1e-3)


@pytest.mark.parametrize("widths", [(2, 1), (2, 16, 1), (1, 8, 8, 8, 2), (9, 16, 8, 3)])
def test_gradients_by_hand_are_those_of_autograd(widths):
    generator = torch.Generator().manual_seed(0)
    net = MLP(*widths, identity=False, generator=generator).double()
    by_hand = ByHand(net, torch.empty(sum(p.numel() for p in net.parameters())).double())
    for _ in range(2):  # each pass is a new one
        x = torch.randn(7, widths[0], dtype=torch.double, generator=generator, requires_grad=True)
        y = net(x)
        slope = torch.randn(y.shape, dtype=torch.double, generator=generator)
        inputs, *weights = torch.autograd.grad(y, (x, *net.parameters()), slope)
        found = by_hand.forward(x)
        assert not found.requires_grad
        torch.testing.assert_close(found, y, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(by_hand.input_gradient(slope), inputs, rtol=1e-12, atol=1e-12)
        wanted = torch.cat([weight.flatten() for weight in weights])
        torch.testing.assert_close(by_hand.weight_gradient(slope), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "layers",
    [(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)), (nn.Linear(2, 4), nn.ReLU()), ()],
    ids=["tanh", "rectified", "empty"],
)
def test_by_hand_go_only_networks_whose_chain_rule_it_knows(layers):
    net = nn.Sequential(*layers)
    with pytest.raises(ValueError, match="ReLU"):
        ByHand(net, torch.empty(sum(p.numel() for p in net.parameters())))


def test_layers_of_normflows_get_the_context_where_they_take_one():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nf.nets.ResidualNet(1, 2, HIDDEN, context_features=3, num_blocks=1)
        theirs = [
            nf.flows.MaskedAffineAutoregressive(2, HIDDEN, context_features=3, num_blocks=1),
            nf.flows.MaskedAffineAutoregressive(2, HIDDEN, num_blocks=1),
        ]
    layers = [AffineCoupling(net), nf.flows.Permute(2, mode="swap"), *theirs, ActNorm(2)]
    flow = Flow(Gaussian(2), layers, context=3).double()
    vectors = torch.randn(2, 3, generator=seeded()).double()
    assert [bool(given(layer, vectors)) for layer in layers] == [True, False, True, False, False]
    x = points(8)
    one, other = (vector.expand(8, -1) for vector in vectors)
    z, log_det = flow.inverse(x, one)
    assert (z - flow.inverse(x, other)[0]).abs().min() > 0
    torch.testing.assert_close(flow.forward(z, context=one)[0], x)
    exact = torch.linalg.slogdet(jacobians(lambda u: flow.inverse(u, one)[0], x))[1]
    torch.testing.assert_close(log_det, exact)


def test_a_flow_without_weights_has_samples():
    flow = Flow(Gaussian(2), [nf.flows.Permute(2, mode="swap")])
    assert flow.sample(3, generator=seeded()).shape == (3, 2)


def test_weights_that_are_no_numbers_do_not_say_how_precise_samples_are():
    flow = Flow(Gaussian(2), [ActNorm(2)]).double()
    flow.chain.insert(0, nf.flows.Permute(2, mode="swap"))
    flow.chain[0].order = nn.Parameter(torch.arange(2), requires_grad=False)
    assert flow.sample(3, generator=seeded()).dtype == torch.double


def test_our_layers_and_priors_mix_in_a_model_of_normflows():
    generator = seeded()
    ours = [AffineCoupling(MLP(1, HIDDEN, 2, identity=False, generator=generator)), ActNorm(2)]
    ours[1].initialise(skewed(500, 2))
    swap = nf.flows.Permute(2, mode="swap")
    flow = Flow(Gaussian(2), [ours[1], swap, ours[0]])
    theirs = nf.NormalizingFlow(Gaussian(2), [ours[0], swap, ours[1]])  # from the latent on
    x = points(8).float()
    torch.testing.assert_close(theirs.log_prob(x), flow.log_prob(x))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        samples, log_prob = theirs.sample(5)
    torch.testing.assert_close(log_prob, flow.log_prob(samples), rtol=1e-4, atol=1e-4)


def test_squeezes_of_both_mix_in_models_of_either():
    x = torch.rand(3, 1, 8, 8, generator=seeded())
    flow = Flow(Gaussian(64), [nf.flows.Squeeze(), Squeeze(), ActNorm(16), Flatten((16, 2, 2))])
    z, log_det = flow.inverse(x)
    assert z.shape == (3, 64) and log_det.shape == (3,)
    torch.testing.assert_close(flow.forward(z)[0], x)
    base = Gaussian(16, 2, 2)
    theirs = nf.NormalizingFlow(base, [ActNorm(16), Squeeze(), nf.flows.Squeeze()])
    torch.testing.assert_close(theirs.log_prob(x), flow.log_prob(x))
    assert theirs.sample(2)[0].shape == (2, 1, 8, 8)

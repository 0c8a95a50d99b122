"""Flow matching: solvers, paths and densities against what is known of them; and it learns."""

from __future__ import annotations

import copy
import math
from itertools import islice, pairwise, permutations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from analysis.flow_matching_images import denoised
from analysis.flow_matching_plane import bend, trails_of, trajectories_of
from models.blocks import ode
from models.flow_matching import (
    PATHS,
    TARGETS,
    Transport,
    VelocityNet,
    ends_of,
    flow_matching,
    flow_matching_images,
    solved,
    velocity_of,
    wanted,
)
from registry import FAMILIES
from training.core.loop import train
from training.core.plane_flow import grid_points
from training.flow_matching import paired

FIXED = [name for name, solver in ode.SOLVERS.items() if not solver.embedded]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(count: int, seed: int = 3, **kind) -> Tensor:
    return torch.randn(count, 2, generator=seeded(seed), **kind)


def bent(**settings) -> Transport:
    """A transport in double precision whose velocity bends space everywhere."""
    flow = flow_matching(hidden=16, depth=2, generator=seeded(), **settings).double()
    with torch.no_grad():
        for layer in flow.chain[0].network.layers:
            layer.weight.mul_(2)
    return flow.chain[0]


# -- solvers ---------------------------------------------------------------------------------------


def spiral(t: float, y: Tensor) -> Tensor:
    """A velocity that turns, shrinks and depends on the time; no formula for its trajectories."""
    x, z = y.unbind(1)
    return torch.stack([-z * (1 + t) + 0.3 * x.sin(), x - 0.5 * z * math.cos(3 * t)], dim=1)


def by_scipy(y: Tensor, start: float, end: float) -> Tensor:
    def velocity(t, flat):
        return spiral(t, torch.from_numpy(flat).view(-1, 2)).flatten().numpy()

    found = solve_ivp(velocity, (start, end), y.flatten().numpy(), rtol=1e-11, atol=1e-12)
    return torch.from_numpy(found.y[:, -1]).view(-1, 2)


def end_of(y: Tensor, start: float = 0.0, end: float = 1.0, **how) -> Tensor:
    *_, (t, y) = ode.states(spiral, y, start=start, end=end, **how)
    assert t == end
    return y


@pytest.mark.parametrize("solver", FIXED)
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.2)])
def test_half_the_step_makes_an_error_smaller_by_two_to_the_order(solver, start, end):
    y = points(20, dtype=torch.double)
    exact = by_scipy(y, start, end)
    errors = [
        float((end_of(y, start, end, solver=solver, steps=n) - exact).norm()) for n in (16, 32, 64)
    ]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders[-1] == pytest.approx(ode.SOLVERS[solver].order, abs=0.15), errors


def test_the_adaptive_solver_keeps_to_its_tolerance_and_its_step_has_order_five():
    y = points(20, dtype=torch.double)
    exact = by_scipy(y, 0.0, 1.0)
    for tolerance in (1e-3, 1e-6, 1e-9):
        error = (end_of(y, solver="adaptive", tolerance=tolerance) - exact).abs().max()
        assert error < 10 * tolerance
    method = ode.SOLVERS["adaptive"]
    sizes = [2.0**-k for k in (3, 4, 5)]
    errors = [
        float((method.step(spiral, 0.0, y, h)[0] - by_scipy(y, 0.0, h)).norm()) for h in sizes
    ]
    # Of one step alone: one order more than of a whole way.
    assert math.log2(errors[0] / errors[1]) == pytest.approx(6, abs=0.5), errors


def test_the_tableaus_are_consistent():
    for solver in ode.SOLVERS.values():
        for node, row in zip(solver.nodes, solver.matrix, strict=True):
            assert sum(row) == pytest.approx(node)
        assert sum(solver.weights) == pytest.approx(1)
        assert sum(solver.embedded or [1]) == pytest.approx(1)


def test_an_adaptive_solver_that_gets_nowhere_says_so():
    def wild(t: float, y: Tensor) -> Tensor:
        return y * float("nan")

    with pytest.raises(RuntimeError, match="1,000 steps"):
        list(ode.states(wild, torch.ones(1, 2), solver="adaptive"))


# -- paths and targets -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_a_path_leads_from_noise_to_data_at_the_speed_of_its_derivative(path):
    t = torch.linspace(0, 1, 41, dtype=torch.double, requires_grad=True)
    at = PATHS[path](t)
    for weight, first, last in ((at.data, 0, 1), (at.noise, 1, 0)):
        ends = weight.detach()[[0, -1]].tolist()
        assert ends == pytest.approx([first, last], abs=1e-12)
    for value, rate in ((at.data, at.data_rate), (at.noise, at.noise_rate)):
        exact = torch.autograd.grad(value.sum(), t, retain_graph=True)[0]
        torch.testing.assert_close(rate.detach(), exact)
    if path == "variance_preserving":
        torch.testing.assert_close(at.data**2 + at.noise**2, torch.ones_like(t))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("target", TARGETS)
def test_whatever_is_predicted_the_same_velocity_follows(path, target):
    noise, data = points(50, 1, dtype=torch.double), points(50, 2, dtype=torch.double)
    at = PATHS[path](torch.linspace(0.1, 0.9, 50, dtype=torch.double)[:, None])
    x = at.data * data + at.noise * noise
    said = wanted(target, at, noise, data)
    velocity = velocity_of(target, at, x, said)
    torch.testing.assert_close(velocity, at.data_rate * data + at.noise_rate * noise)
    torch.testing.assert_close(ends_of(at, x, velocity), (noise, data))


def test_paired_ends_are_the_same_points_and_as_close_as_any_order_makes_them():
    noise, data = points(6, 1), points(6, 2)
    found = paired(noise, data)
    assert sorted(found.tolist()) == sorted(noise.tolist())
    orders = torch.tensor(list(permutations(range(6))))
    costs = (noise[orders] - data).square().sum((1, 2))
    assert float((found - data).square().sum()) == pytest.approx(float(costs.min()))


# -- between two Gaussians, where all is known -----------------------------------------------------

MEAN, SPREAD = torch.tensor([1.5, -0.5], dtype=torch.double), 0.4


class BetweenGaussians(nn.Module):
    """What a perfect network says on the way from a standard normal to another Gaussian.

    At every time the points are Gaussian, and what is expected of both ends given a place is
    linear in it.
    """

    def __init__(self, path: str, target: str) -> None:
        super().__init__()
        self.path, self.target = path, target

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        at = PATHS[self.path](t[:, None])
        off = (x - at.data * MEAN) / ((at.data * SPREAD) ** 2 + at.noise**2)
        noise, data = at.noise * off, MEAN + at.data * SPREAD**2 * off
        return wanted(self.target, at, noise, data)


def log_density(x: Tensor) -> Tensor:
    return torch.distributions.Normal(MEAN, SPREAD).log_prob(x).sum(1)


@pytest.mark.parametrize("path", ["straight", "variance_preserving"])
def test_the_least_squares_velocity_is_that_of_the_closed_form(path):
    """Regression on single pairs finds the mean velocity: fitted in a band around a place."""
    t = torch.full((1,), 0.6, dtype=torch.double)
    at = PATHS[path](t[:, None])
    noise = points(400_000, 1, dtype=torch.double)
    data = MEAN + SPREAD * points(400_000, 2, dtype=torch.double)
    x, u = at.data * data + at.noise * noise, wanted("velocity", at, noise, data)
    inputs = torch.cat([x, torch.ones(len(x), 1, dtype=torch.double)], dim=1)
    fitted = torch.linalg.lstsq(inputs, u).solution
    places = points(10, 4, dtype=torch.double)
    exact = BetweenGaussians(path, "velocity")(places, t.expand(10))
    found = torch.cat([places, torch.ones(10, 1, dtype=torch.double)], dim=1) @ fitted
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0)


@pytest.mark.parametrize("path", ["straight", "variance_preserving"])
@pytest.mark.parametrize("target", TARGETS)
def test_likelihood_and_samples_are_those_of_the_known_flow(path, target):
    layer = Transport(BetweenGaussians(path, target), path=path, target=target)
    layer.steps = 24
    x = MEAN + SPREAD * points(30, dtype=torch.double)
    z, log_det = layer.inverse(x)
    density = torch.distributions.Normal(0, 1).log_prob(z).sum(1) + log_det
    # Within a thousandth of an end, a prediction is asked for as if it were a thousandth away.
    close = 1e-4 if target == "velocity" else 2e-2
    torch.testing.assert_close(density, log_density(x), atol=close, rtol=0)
    torch.testing.assert_close(layer.forward(z)[0], x, atol=close, rtol=0)
    torch.testing.assert_close(z, (x - MEAN) / SPREAD, atol=close, rtol=0)


# -- the layer -------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_the_divergence_is_that_of_autograd(target):
    layer, x = bent(path="variance_preserving", target=target), points(20, dtype=torch.double)
    velocity, found = layer.divergence(x, 0.4)
    jacobian = torch.autograd.functional.jacobian(lambda v: layer.velocity(v, 0.4).sum(0), x)
    torch.testing.assert_close(found, jacobian.diagonal(dim1=0, dim2=2).sum(1), atol=1e-12, rtol=0)
    torch.testing.assert_close(velocity, layer.velocity(x, 0.4))


def test_the_log_determinant_is_that_of_the_way_and_the_way_back_leads_back():
    layer, x = bent(), points(20, dtype=torch.double)
    layer.steps = 48
    z, log_det = layer.inverse(x)
    back, opposite = layer.forward(z)
    torch.testing.assert_close(back, x, atol=1e-6, rtol=0)
    torch.testing.assert_close(opposite, -log_det, atol=1e-6, rtol=0)
    rows = torch.autograd.functional.jacobian(lambda v: layer.inverse(v)[0].sum(0), x)
    exact = torch.linalg.slogdet(rows.transpose(0, 1)).logabsdet
    torch.testing.assert_close(log_det, exact, atol=1e-6, rtol=0)


@pytest.mark.parametrize("solver", FIXED)
def test_the_error_of_there_and_back_falls_with_the_order_of_the_solver(solver):
    layer, x = bent(), points(20, dtype=torch.double)
    layer.solver, errors = solver, []
    for layer.steps in (16, 32):
        with torch.no_grad():
            back = layer.follow(layer.follow(x, start=1, end=0))
        errors.append(float((back - x).abs().max()))
    assert math.log2(errors[0] / errors[1]) > ode.SOLVERS[solver].order - 0.3, errors


def test_the_density_has_mass_one():
    layer = bent()
    layer.steps = 24
    box = (-9.0, 9.0, -9.0, 9.0)
    flow = flow_matching(hidden=16, depth=2)
    flow.chain[0] = layer
    grid = grid_points(box, 90).double()
    with torch.no_grad():
        mass = float(flow.log_prob(grid).exp().sum()) * (18 / 90) ** 2
    assert mass == pytest.approx(1, abs=2e-3)


def test_every_weight_gets_a_gradient_and_the_network_knows_the_time():
    layer = flow_matching(hidden=16, depth=2, generator=seeded()).chain[0]
    noise, data, t = points(32, 1), points(32, 2), torch.rand(32, generator=seeded())
    layer.loss(noise, data, t).mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())
    net = VelocityNet(2, 16, 2, generator=seeded())
    early, late = (net(data, torch.full((32,), t)) for t in (0.1, 0.9))
    assert not torch.allclose(early, late, atol=1e-3)


# -- training --------------------------------------------------------------------------------------

SMALL = {"hidden": 32, "depth": 2, "batch": 64, "iterations": 1000}


def built(**values):
    training = FAMILIES["flow_matching"].training
    return training.build(training.config(**{**SMALL, **values}))


def test_it_learns():
    experiment = built(batch=128, noise=0.3, learning_rate=0.02)
    experiment.total, experiment.transport.steps = 300, 8
    untrained = experiment.measure()
    for _ in islice(train(experiment, snapshots=False, measure_every=999), 300):
        pass
    assert experiment.measure()["kl_to_truth"] < 0.7 * untrained["kl_to_truth"]


def test_reflow_learns_from_its_own_samples_and_goes_on_where_it_was_stopped():
    once, again = built(reflow=1), built(reflow=1)
    assert once.total == 2000
    for experiment in (once, again):
        experiment.total = 10
    for _ in islice(train(once, snapshots=False, measure_every=99), 8):
        pass
    again.load_state_dict(copy.deepcopy(once.state_dict()))
    noise, data = again.pairs.unbind(1)
    assert noise.shape == data.shape == (2**15, 2)
    assert not torch.equal(noise, data)
    for experiment in (once, again):
        experiment.step = 7
        experiment.update()
    assert torch.equal(once.optimisers["adam"].flat, again.optimisers["adam"].flat)


# -- trajectories, as pages draw them -------------------------------------------------------------


def test_ways_begin_at_the_noise_end_at_the_samples_and_grow_with_time():
    flow, times = flow_matching(hidden=16, depth=2, generator=seeded()), np.linspace(0, 1, 5)
    few = solved(flow, solver="euler", steps=2)
    assert few.chain[-1].network is flow.chain[-1].network
    assert flow.chain[-1].steps != 2, "the flow itself is followed as before"
    z = points(7)
    trajectories = trajectories_of(few, z, times)
    np.testing.assert_allclose(trajectories[0], z.numpy())
    np.testing.assert_allclose(
        trajectories[-1], few.chain[-1].follow(z).detach().numpy(), atol=1e-6
    )
    # Two steps of Euler: straight up to the middle.
    np.testing.assert_allclose(trajectories[1], (trajectories[0] + trajectories[2]) / 2, atol=1e-6)
    trails = trails_of(trajectories)
    assert trails.shape == (5, 7, 5, 2)
    assert np.isfinite(trails[2, :, :3]).all()
    assert np.isnan(trails[2, :, 3:]).all()
    assert bend(
        np.stack([trajectories[0], trajectories[0] + 1, trajectories[0] + 2])
    ) == pytest.approx(0, abs=1e-6)
    corner = np.stack([trajectories[0], trajectories[0] + [1, 0], trajectories[0] + [1, 1]])
    assert bend(corner) == pytest.approx(2 / math.sqrt(2) - 1, abs=1e-6)


# -- images ----------------------------------------------------------------------------------------


def image_flow(**settings):
    flow = flow_matching_images(
        shape=(1, 8, 8), channels=16, classes=3, generator=seeded(), **settings
    )
    with torch.no_grad():  # at first all is zero
        for p in flow.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=seeded(2)))
    return flow.requires_grad_(False)


def test_probes_of_the_divergence_are_right_on_average():
    transport = image_flow().chain[1]
    x, context = torch.randn(1, 1, 8, 8, generator=seeded(3)), torch.eye(3)[:1]
    exact = transport.divergence(x, 0.3, context)[1].detach()
    many, contexts = x.expand(400, -1, -1, -1), context.expand(400, -1)
    signs = 2 * torch.randint(0, 2, (1, *many.shape), generator=seeded(4)).float() - 1
    with torch.no_grad():
        _, found = transport.divergence(many, 0.3, contexts, signs)
    error = float(found.std()) / 20
    assert error > 0
    assert abs(float(found.mean() - exact)) < 4 * error


def test_a_density_of_images_is_the_same_each_time_and_changes_with_the_probes():
    flow, x = image_flow(), torch.rand(2, 1, 8, 8, generator=seeded(5))
    few = solved(flow, solver="euler", steps=2)
    first, again = few.log_prob(x, torch.eye(3)[:2]), few.log_prob(x, torch.eye(3)[:2])
    assert torch.equal(first, again)
    assert not torch.equal(first, solved(few, probe_seed=1).log_prob(x, torch.eye(3)[:2]))
    z, log_det = flow.chain[0].inverse(x)
    torch.testing.assert_close(z, 2 * x - 1)
    torch.testing.assert_close(log_det, torch.full((2,), 64 * math.log(2)))
    torch.testing.assert_close(flow.chain[0].forward(z), (x, -log_det))


def test_guidance_goes_from_any_class_to_the_given_one_and_beyond():
    flow, x = image_flow(), torch.randn(4, 1, 8, 8, generator=seeded(6))
    context = torch.eye(3)[[0, 1, 2, 0]]

    def velocity(guidance: float) -> Tensor:
        return solved(flow, guidance=guidance).chain[1].velocity(x, 0.4, context)

    free = flow.chain[1].velocity(x, 0.4, torch.zeros_like(context))
    torch.testing.assert_close(velocity(0.0), free)
    torch.testing.assert_close(velocity(3.0) - free, 3 * (velocity(1.0) - free), atol=1e-5, rtol=0)
    assert not torch.allclose(velocity(1.0), free, atol=1e-3)


def test_what_little_noise_was_added_to_is_found_again():
    flow = solved(image_flow(), solver="euler", steps=4)
    image = torch.randint(0, 256, (1, 1, 8, 8), generator=seeded(7), dtype=torch.uint8)
    found = denoised(flow, image, torch.tensor([1, 1]), 0.999)
    for made in (found.noisy, found.guess, found.followed):
        torch.testing.assert_close(made, image.expand(2, -1, -1, -1) / 256, atol=0.02, rtol=0)
    assert not torch.equal(found.score[0], found.score[1])


def test_images_train_and_their_evaluation_changes_nothing():
    training = FAMILIES["flow_matching_images"].training
    one, two = (
        training.build(training.config(dataset="digits8", channels=16, batch=32)) for _ in range(2)
    )
    for experiment in (one, two):
        experiment.total = 12
    start = one.measure()["matching_test"]
    for experiment in (one, two):
        for experiment.step in range(12):
            experiment.update()
            if experiment is one and experiment.step == 5:
                assert experiment.snapshot()["samples"].shape == (60, 1, 8, 8)
    assert torch.equal(one.optimisers["adam"].flat, two.optimisers["adam"].flat)
    assert one.measure()["matching_test"] < start

"""The toy densities say the truth about the points they draw."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import make_moons
from torch import Tensor

from datasets import densities
from datasets.own import DataError, OwnData
from datasets.plane import OWN, Plane, load_plane
from datasets.toy import TOY, CurveDensity, Density, Pinwheel, PixelDensity, make

NOISES = (0.05, 0.2)
CASES = [(name, noise) for name in TOY for noise in NOISES]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grid(density: Density, step: float) -> Tensor:
    x0, x1, y0, y1 = density.extent(7)
    axes = (torch.arange(a, b, step, dtype=torch.float64) for a, b in ((x0, x1), (y0, y1)))
    return torch.cartesian_prod(*axes)


def image() -> PixelDensity:
    # Asymmetric, with empty pixels, not square: a flip or a transposition shows.
    weights = torch.tensor([[1.0, 0.0, 2.0], [0.0, 5.0, 0.5]])
    return PixelDensity(weights, (-1.0, 2.0, 0.0, 1.5), 0.1)


@pytest.mark.parametrize(("name", "noise"), CASES)
def test_density_integrates_to_one(name, noise):
    density = make(name, noise)
    step = density.resolution
    assert float(density.log_prob(grid(density, step)).exp().sum()) * step**2 == pytest.approx(
        1, abs=1e-3
    )


@pytest.mark.parametrize(("name", "noise"), CASES)
def test_samples_agree_with_density(name, noise):
    density = make(name, noise)
    x = density.sample(50_000, generator(1))
    nll = -density.log_prob(x).double()
    assert abs(nll.mean() - density.entropy()) < 4 * nll.std() / math.sqrt(len(x))

    # The characteristic functions tell apart what the mean log-density does not.
    waves = 2 * torch.randn(2, 30, generator=generator(4), dtype=torch.float64) / density.std.max()
    fine = grid(density, step := density.resolution / 2)
    mass = density.log_prob(fine).exp() * step**2
    for wave in (torch.cos, torch.sin):
        expected = torch.stack([mass @ wave(fine @ w) for w in waves.T])
        seen = wave(x.double() @ waves)
        assert ((seen.mean(0) - expected).abs() < 4.5 * seen.std(0) / math.sqrt(len(x))).all()


@pytest.mark.parametrize(("name", "noise"), CASES)
def test_moments_are_those_of_the_samples(name, noise):
    density = make(name, noise)
    n = 50_000
    x = density.sample(n, generator(2))
    assert ((x.mean(0) - density.mean).abs() < 4 * density.std / math.sqrt(n)).all()
    assert torch.allclose(x.std(0), density.std, rtol=0.02)


@pytest.mark.parametrize(
    ("name", "noise", "entropy"),
    [
        ("two_moons", 0.05, 0.288),
        ("two_moons", 0.1, 1.007),
        ("two_moons", 0.2, 1.677),
        ("ring", 0.1, 0.312),
        ("ring", 0.02, math.log(8) + math.log(2 * math.pi * math.e * 0.02**2)),
        ("grid", 0.05, 0.065),
    ],
)
def test_known_entropies(name, noise, entropy):
    assert make(name, noise).entropy() == pytest.approx(entropy, abs=2e-3)


@pytest.mark.parametrize("name", TOY)
def test_quadrature_has_converged(name):
    density = TOY[name].build(0.1)
    entropy = density.entropy()
    finer = density.blades if isinstance(density, Pinwheel) else density
    finer.resolution /= 2
    assert finer._quadrature() == pytest.approx(entropy, abs=1e-6)


@pytest.mark.parametrize("name", ["two_moons", "spirals", "circles"])
def test_curve_nodes_have_converged(name, monkeypatch):
    coarse = TOY[name].build(0.05)
    panels = coarse._panels()
    monkeypatch.setattr(CurveDensity, "_panels", lambda self: 3 * panels)
    fine = TOY[name].build(0.05)
    x = coarse.sample(2000, generator()).double()
    assert torch.allclose(coarse.log_prob(x), fine.log_prob(x), rtol=0, atol=1e-8)


def energy_distance(x: Tensor, y: Tensor) -> float:
    def apart(a: Tensor, b: Tensor) -> float:
        return float(torch.cdist(a, b).mean())

    return 2 * apart(x, y) - apart(x, x) - apart(y, y)


def test_two_moons_are_those_of_scikit_learn():
    theirs = torch.from_numpy(make_moons(3000, noise=0.1, random_state=0)[0]).float()
    ours = make("two_moons", 0.1).sample(3000, generator())
    # Two samples of one law differ by about 2 E|x - y| / n = 0.0009; a shift of 0.05 gives 0.002.
    assert energy_distance(ours, theirs) < 0.0018
    assert energy_distance(ours + torch.tensor([0.1, 0.0]), theirs) > 0.0018
    nll = -make("two_moons", 0.1).log_prob(theirs).double()
    assert abs(nll.mean() - 1.0076) < 4 * nll.std() / math.sqrt(3000)


def test_twist_keeps_areas_and_is_undone():
    pinwheel = make("pinwheel")
    v = torch.randn(50, 2, generator=generator(), dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda p: twist(pinwheel, p)))(v)
    assert torch.allclose(torch.linalg.det(jacobian), torch.ones(50, dtype=torch.float64))
    assert torch.allclose(pinwheel.twist(pinwheel.twist(v), -1), v)


def twist(pinwheel: Pinwheel, point: Tensor) -> Tensor:
    return pinwheel.twist(point[None])[0]


@pytest.mark.parametrize("name", TOY)
def test_drawing_depends_on_the_generator_alone(name):
    density = make(name)
    first = density.sample(100, generator(5))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(first, density.sample(100, generator(5)))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, density.sample(100, generator(6)))
    assert first.dtype == torch.float32


@pytest.mark.parametrize("name", TOY)
def test_where_there_is_no_float64_samples_still_agree_with_the_density(name, monkeypatch):
    density = make(name)
    with monkeypatch.context() as patch:
        patch.setattr(densities, "FLOAT64", ())
        x = density.sample(50_000, generator(1))
    nll = -density.log_prob(x.double())
    assert abs(nll.mean() - density.entropy()) < 4 * nll.std() / math.sqrt(len(x))


@pytest.mark.parametrize("name", TOY)
def test_far_points_keep_a_finite_log_prob(name):
    far = torch.tensor([[30.0, -40.0], [-35.0, 10.0]])
    assert make(name, 0.05).log_prob(far).isfinite().all()


def test_log_prob_in_chunks_is_the_same(monkeypatch):
    density = make("spirals", 0.05)
    x = density.sample(300, generator())
    whole = density.log_prob(x)
    monkeypatch.setattr("datasets.densities.TERMS_AT_ONCE", 7 * density._terms)
    assert torch.allclose(density.log_prob(x), whole)


def test_log_prob_refuses_another_shape():
    with pytest.raises(ValueError, match="shape"):
        make("ring").log_prob(torch.zeros(5, 3))


@pytest.mark.parametrize("noise", [0.0, 0.019, 0.51, -0.1, math.nan, math.inf])
def test_noise_out_of_range_is_named(noise):
    with pytest.raises(ValueError, match=r"noise must be between 0\.02 and 0\.5"):
        make("ring", noise)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"two_moons.*circles.*'moon'"):
        make("moon")
    with pytest.raises(ValueError, match=r"two_moons.*own.*'moon'"):
        load_plane("moon")


def test_image_is_upright():
    density = image()
    top_right, bottom_left = torch.tensor([[1.5, 1.1]]), torch.tensor([[-0.5, 0.4]])
    assert density.log_prob(top_right) > density.log_prob(bottom_left) + 5
    x = density.sample(50_000, generator())
    nll = -density.log_prob(x).double()
    assert abs(nll.mean() - density.entropy()) < 4 * nll.std() / math.sqrt(len(x))
    assert torch.allclose(x.mean(0), density.mean, atol=0.02)
    assert torch.allclose(x.std(0), density.std, rtol=0.02)


def test_image_tails_match_a_sum_over_pixels():
    density = image()
    x = torch.tensor([[-0.5, 9.0], [-40.0, -0.1], [0.4, 0.3]], dtype=torch.float64)
    edges = [
        torch.special.log_ndtr((e - x[:, i, None]) / 0.1)
        for i, e in enumerate((density.x_edges, density.y_edges))
    ]
    # Plain differences suffice for the point inside.
    columns, rows = (e.exp().diff(dim=1) for e in edges)
    inside = torch.einsum("nh,hw,nw->n", rows, density.weights, columns) / (1.0 * 0.75)
    log_prob = density.log_prob(x)
    assert log_prob[2] == pytest.approx(float(inside[2].log()))
    # Far above the empty middle of the top row, and far left: nearest ink decides, -d^2 / 2.
    assert log_prob[0] == pytest.approx(-(7.5**2) / (2 * 0.1**2), rel=0.01)
    assert log_prob[1] == pytest.approx(-(39.0**2) / (2 * 0.1**2), rel=0.1)


def test_sharp_image_is_piecewise_constant():
    density = PixelDensity(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), (0, 2, 0, 2), 0.0)
    points = torch.tensor([[0.5, 1.5], [1.5, 0.5], [0.5, 0.5], [2.5, 0.5]])
    expected = torch.tensor([0.75, 0.25, 0.0, 0.0]).log()
    assert torch.allclose(density.log_prob(points), expected)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert density.entropy() == pytest.approx(entropy)
    assert density.log_prob(density.sample(1000, generator())).isfinite().all()


@pytest.mark.parametrize("weights", [[[0.0, 0.0]], [[1.0, -1.0]], [[1.0, math.nan]]])
def test_image_needs_mass(weights):
    with pytest.raises(ValueError, match="weights"):
        PixelDensity(torch.tensor(weights), (0, 1, 0, 1))


PLANES = [*TOY, OWN]


def plane(name: str) -> Plane:
    x = torch.randn(500, 2, generator=generator(9)) * torch.tensor([3.0, 0.1]) + 7
    return load_plane(name, None, OwnData("points", x.numpy(), "mine.csv"))


@pytest.mark.parametrize("name", PLANES)
def test_batches_are_standardised(name):
    z = plane(name).batch(20_000, generator())
    assert z.shape == (20_000, 2)
    assert z.dtype == torch.float32
    assert z.mean(0).abs().max() < 0.03
    assert (z.std(0) - 1).abs().max() < 0.03


@pytest.mark.parametrize("name", PLANES)
def test_restore_undoes_standardise(name):
    p = plane(name)
    z = p.batch(100, generator())
    assert torch.allclose(p.standardise(p.restore(z)), z, atol=1e-4)


@pytest.mark.parametrize("name", TOY)
def test_nll_in_data_units_is_the_standardised_one_plus_log_volume(name):
    p = load_plane(name)
    z = p.held_out(20_000, generator(3))
    nll = -p.log_prob(z).double() + p.log_volume
    assert abs(nll.mean() - p.entropy()) < 4 * nll.std() / math.sqrt(len(z))


@pytest.mark.parametrize("name", PLANES)
def test_box_is_square_and_holds_the_mass(name):
    p = plane(name)
    x0, x1, y0, y1 = p.box()
    assert x1 - x0 == pytest.approx(y1 - y0)
    x, y = p.batch(20_000, generator()).T
    outside = (x < x0) | (x > x1) | (y < y0) | (y > y1)
    assert outside.float().mean() < 0.01


def test_mixture_is_1000_fixed_points():
    first, second = load_plane("mixture", 0.25), load_plane("mixture", 0.25)
    assert first.train.shape == (800, 2)
    assert first.test.shape == (200, 2)
    assert torch.equal(first.train, second.train)
    assert torch.allclose(first.train.mean(0), torch.zeros(2), atol=1e-5)
    rows = {tuple(row) for row in first.train.tolist()}
    assert not rows & {tuple(row) for row in first.test.tolist()}
    assert {tuple(row) for row in first.batch(500, generator()).tolist()} <= rows
    assert not {tuple(row) for row in first.held_out(500, generator()).tolist()} & rows
    assert first.held_out(500, generator()).shape == (500, 2)


def test_own_points_have_no_known_density():
    p = plane(OWN)
    assert (p.train.shape, p.test.shape) == ((400, 2), (100, 2))
    assert p.entropy() is None
    assert torch.equal(p.held_out(7, generator()), p.test)
    with pytest.raises(ValueError, match="not known"):
        p.log_prob(p.test)


def test_own_image_is_a_density():
    ink = torch.zeros(10, 20)
    ink[:5, :10] = 1  # the upper left
    own = OwnData("picture", ink.numpy(), "blot.png")
    p = load_plane(OWN, None, own)
    assert p.density.noise == pytest.approx(0.1)  # half of 4 / 20
    assert torch.allclose(p.mean, torch.tensor([-1.0, 0.5]), atol=1e-6)
    assert load_plane(OWN, 0.3, own).density.noise == 0.3
    with pytest.raises(ValueError, match="noise must be between"):
        load_plane(OWN, 3.0, own)


def test_own_needs_data():
    with pytest.raises(DataError, match="upload"):
        load_plane(OWN)

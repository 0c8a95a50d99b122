"""Variational autoencoders: bounds, signs and sums that are right, and a training that resumes."""

from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn

from analysis.vae_checks import bound_of, check_vae, gain_of, nested
from analysis.vae_latents import (
    CORRUPTIONS,
    class_means,
    corrupt,
    cross_entropy,
    decode,
    detect,
    lattice,
    log_likelihood,
    normal_lattice,
    score,
    walk,
)
from datasets.images import load_images
from datasets.own_images import OwnImages, fixed_fifth
from metrics.vae import (
    active_units,
    binarised,
    elbo_terms,
    encode,
    grey_entropy,
    latent_health,
    plane_of,
    scaled,
    to_bytes,
)
from models.blocks.residual import Residual
from models.vae import (
    LIKELIHOODS,
    VAE,
    Bernoulli,
    ContinuousBernoulli,
    GaussianLikelihood,
    importance_bound,
    kl_to_prior,
    log_normaliser,
    vae,
    with_free_bits,
)
from training import vae as training
from training.core.config import ConfigError
from training.core.loop import Wishes, train
from training.core.optimiser import Optimiser
from training.vae import TRAINING, VAEConfig, VAETraining

SMALL = {"dataset": "digits8", "hidden": 64, "latent": 4, "batch": 32}
NETWORKS = ("mlp", "conv", "residual")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(total: int = 10, own: OwnImages | None = None, **values) -> VAETraining:
    """A small experiment, cut to ``total`` steps."""
    experiment = VAETraining(VAEConfig(**{**SMALL, **values}), own=own)
    experiment.total = total
    return experiment


def weights(experiment: VAETraining) -> Tensor:
    return torch.cat([w.flatten() for w in experiment.model.state_dict().values()]).clone()


def small(network: str = "mlp", **values) -> VAE:
    settings = {"shape": (1, 8, 8), "latent": 3, "hidden": 32, "generator": seeded(), **values}
    return vae(network=network, **settings)


# -- the KL -----------------------------------------------------------------------------------


def test_the_kl_is_that_of_torch():
    mean, log_variance = torch.randn(2, 7, 5, dtype=torch.float64, generator=seeded())
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(torch.zeros(5).double(), torch.ones(5).double())
    exact = torch.distributions.kl_divergence(posterior, prior).sum(1)
    torch.testing.assert_close(kl_to_prior(mean, log_variance), exact)
    assert (kl_to_prior(mean, log_variance) > 0).all()
    assert kl_to_prior(torch.zeros(1, 5), torch.zeros(1, 5)) == 0


def test_the_kl_is_the_mean_of_what_is_sampled():
    mean, log_variance = torch.tensor([[1.0, -0.5]]), torch.tensor([[-1.0, 0.7]])
    noise = torch.randn(200_000, 2, generator=seeded())
    z = mean + (0.5 * log_variance).exp() * noise
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp()).log_prob(z).sum(1)
    p = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    error = float((q - p).std()) / 200_000**0.5
    assert float((q - p).mean()) == pytest.approx(
        float(kl_to_prior(mean, log_variance)), abs=5 * error
    )


# -- likelihoods ------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [-50.0, -9.0, -1.0, -0.11, -0.09, 0.0, 1e-5, 0.09, 0.11, 2.0, 30.0])
def test_the_continuous_bernoulli_integrates_to_one(t):
    tensor = torch.tensor(t, dtype=torch.float64)
    kind = ContinuousBernoulli()

    def density(x: float) -> float:
        log_p = kind.log_prob(torch.full((1, 1), x, dtype=torch.float64), tensor.view(1, 1))
        return float(log_p.exp())

    whole, _ = integrate.quad(density, 0, 1, epsabs=1e-10)
    assert whole == pytest.approx(1, abs=1e-7)
    mean, _ = integrate.quad(lambda x: x * density(x), 0, 1, epsabs=1e-10)
    assert float(kind.mean(tensor)) == pytest.approx(mean, abs=1e-7)


def test_the_normaliser_is_that_of_the_paper_and_smooth_in_the_middle():
    t = torch.linspace(-12, 12, 4801, dtype=torch.float64, requires_grad=True)
    share = t.detach().sigmoid()
    away = (share - 0.5).abs() > 1e-9
    paper = torch.log(2 * torch.atanh(1 - 2 * share[away]) / (1 - 2 * share[away]))
    torch.testing.assert_close(log_normaliser(t).detach()[away], paper)
    (slope,) = torch.autograd.grad(log_normaliser(t).sum(), t)
    assert slope.diff().abs().max() < 1e-3, "the series and the formula meet"
    # The mean is the slope of what normalises the whole density.
    torch.testing.assert_close(slope, share - ContinuousBernoulli().mean(t.detach()))
    # No infinity, and no NaN in a gradient, whatever the decoder says.
    extreme = torch.tensor([-1e4, -1e-30, 0.0, 1e-30, 1e4], requires_grad=True)
    (slope,) = torch.autograd.grad(log_normaliser(extreme).sum(), extreme)
    assert torch.isfinite(log_normaliser(extreme)).all()
    assert torch.isfinite(slope).all()


def test_bernoulli_is_the_negative_cross_entropy_and_gaussian_the_density():
    x = torch.rand(6, 2, 3, 3, generator=seeded(), dtype=torch.float64)
    output = torch.randn(6, 2, 3, 3, generator=seeded(1), dtype=torch.float64)
    binary = nn.functional.binary_cross_entropy_with_logits(output, x, reduction="none")
    log_prob = LIKELIHOODS["bernoulli"]().log_prob(x, output)
    assert log_prob.shape == (6,)
    torch.testing.assert_close(log_prob, -binary.flatten(1).sum(1))
    gaussian = GaussianLikelihood().double()
    scale = float(gaussian.log_scale.detach().exp())
    density = stats.norm.logpdf(x, output.sigmoid(), scale).reshape(6, -1).sum(1)
    found = gaussian.log_prob(x, output).detach().numpy()
    assert np.allclose(found, density)


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_no_output_of_a_decoder_gives_nan(kind):
    likelihood = LIKELIHOODS[kind]()
    output = torch.tensor([[-1e4, -100.0, 0.0, 100.0, 1e4]], requires_grad=True)
    for x in (0.0, 0.5, 1.0):
        log_prob = likelihood.log_prob(torch.full((1, 5), x), output)
        (slope,) = torch.autograd.grad(log_prob.sum(), output)
        assert torch.isfinite(log_prob).all()
        assert torch.isfinite(slope).all()
    mean = likelihood.mean(output)
    assert ((mean >= 0) & (mean <= 1)).all()
    assert (mean.diff() >= 0).all()


# -- the bound --------------------------------------------------------------------------------


class Linear(nn.Module):
    """The encoder of a linear model: one variance for each unit, whatever the image."""

    def __init__(self, pixels: int, latent: int) -> None:
        super().__init__()
        self.mean = nn.Linear(pixels, latent)
        self.log_variance = nn.Parameter(torch.zeros(latent))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean(x)
        return torch.cat([mean, self.log_variance.expand_as(mean)], dim=1)


def linear_vae(pixels: int, latent: int) -> VAE:
    model = VAE(
        Linear(pixels, latent), nn.Linear(latent, pixels), GaussianLikelihood(squash=False), latent
    )
    for i, parameter in enumerate(model.parameters()):
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.3, generator=seeded(i))
    nn.init.zeros_(model.encoder.mean.bias)
    nn.init.zeros_(model.decoder.bias)
    return model.double()


def correlated(count: int = 800, pixels: int = 6) -> Tensor:
    mixing = torch.randn(2, pixels, generator=seeded(5), dtype=torch.float64)
    latents = torch.randn(count, 2, generator=seeded(6), dtype=torch.float64)
    noise = torch.randn(count, pixels, generator=seeded(7), dtype=torch.float64)
    return latents @ mixing + 0.4 * noise + 1.5


def probabilistic_pca(x: Tensor, latent: int) -> float:
    """The largest mean log-likelihood of the model (Tipping, Bishop, 1999, equations 3 and 8)."""
    values = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    rest = values[latent:].mean()
    spectrum = torch.cat([values[:latent], rest.expand(x.shape[1] - latent)])
    return float(-0.5 * (x.shape[1] * (math.log(2 * math.pi) + 1) + spectrum.log().sum()))


def test_a_linear_gaussian_model_reaches_probabilistic_pca():
    """Its posterior is Gaussian and its units can be turned apart, so the bound can be tight."""
    x = correlated()
    model, best = linear_vae(6, 2), probabilistic_pca(x, 2)
    optimiser, generator = Optimiser(model, clip=math.inf), seeded(3)
    for step in range(600):
        noise = torch.randn(len(x), 2, generator=generator, dtype=torch.float64)
        terms = model.terms(x, noise)
        optimiser.step((terms.reconstruction + terms.kl).mean(), 0.1 * (1 - step / 600))
    with torch.no_grad():
        noise = torch.randn(200, len(x), 2, generator=seeded(4), dtype=torch.float64)
        log_weights = model.log_weights(x, noise)
    elbo, tight = float(log_weights.mean()), float(importance_bound(log_weights).mean())
    assert tight == pytest.approx(best, abs=0.01)
    assert elbo == pytest.approx(best, abs=0.02)
    assert elbo <= tight + 1e-9
    spread = float(model.likelihood.log_scale.detach().exp())
    assert spread == pytest.approx(0.4, abs=0.02)


def test_the_exact_posterior_makes_every_weight_the_likelihood():
    """With p(x, z) known, log p(x, z) - log q(z | x) is log p(x), whatever z is drawn."""
    model = linear_vae(5, 2)
    with torch.no_grad():
        loading = model.decoder.weight.detach()
        scale = float(model.likelihood.log_scale.detach().exp())
        # Columns at right angles, so that the units of the posterior are independent.
        loading.copy_(torch.linalg.qr(loading)[0] * torch.tensor([1.3, 0.6]))
        precision = (loading**2).sum(0) / scale**2 + 1
        model.encoder.mean.weight.copy_((loading / scale**2 / precision).T)
        model.encoder.log_variance.copy_(-precision.log())
    x = torch.randn(4, 5, generator=seeded(8), dtype=torch.float64)
    noise = torch.randn(3, 4, 2, generator=seeded(9), dtype=torch.float64)
    found = model.log_weights(x, noise).detach()
    covariance = (loading @ loading.T + scale**2 * torch.eye(5)).numpy()
    exact = stats.multivariate_normal(np.zeros(5), covariance).logpdf(x.numpy())
    assert np.allclose(found.numpy(), exact)
    assert np.allclose(importance_bound(found).numpy(), exact)
    # And the two terms of the ELBO add up to the same, on average over z.
    noise = torch.randn(20_000, 2, generator=seeded(9), dtype=torch.float64)
    terms = model.terms(x[:1].expand(20_000, -1), noise)
    assert -float((terms.reconstruction + terms.kl).detach().mean()) == pytest.approx(
        exact[0], abs=0.03
    )


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_one_weight_is_the_elbo_and_more_are_a_tighter_bound(network, kind):
    model = small(network, likelihood=kind)
    images = load_images("digits8").test[:40]
    one = log_likelihood(model, images.repeat(20, 1, 1, 1), draws=1, generator=seeded(1))
    terms = elbo_terms(model, images, generator=seeded(2), draws=20)
    spread = float(one.view(20, 40).mean(1).std()) / 20**0.5
    assert float(one.mean()) == pytest.approx(
        -float((terms.reconstruction + terms.kl).mean()), abs=8 * spread + 1e-3
    )
    log_weights = model.log_weights(
        scaled(images), torch.randn(50, 40, 3, generator=seeded(3))
    ).detach()
    bounds = [float(nested(log_weights, k).mean()) for k in (1, 10, 50)]
    assert bounds[0] <= bounds[1] <= bounds[2]
    torch.testing.assert_close(
        nested(log_weights, 50)[0],
        log_likelihood(model, images, draws=50, generator=seeded(3)),
    )


def test_the_bound_rises_with_the_draws_to_the_exact_likelihood():
    """With a posterior that is wrong, in a linear model whose likelihood is known."""
    model = linear_vae(5, 2)
    x = torch.randn(6, 5, generator=seeded(8), dtype=torch.float64)
    loading = model.decoder.weight.detach()
    scale = float(model.likelihood.log_scale.detach().exp())
    covariance = (loading @ loading.T + scale**2 * torch.eye(5)).numpy()
    exact = stats.multivariate_normal(np.zeros(5), covariance).logpdf(x.numpy()).mean()
    noise = torch.randn(20_000, 6, 2, generator=seeded(9), dtype=torch.float64)
    log_weights = model.log_weights(x, noise).detach()
    bounds = [float(nested(log_weights, k).mean()) for k in (1, 5, 50, 2000)]
    assert bounds == sorted(bounds)
    assert bounds[0] < exact - 0.1, "the posterior is far enough off for the test to say something"
    assert bounds[-1] == pytest.approx(exact, abs=0.05)
    terms = model.terms(x[:1].expand(20_000, -1), noise[:, 0])
    elbo = -float((terms.reconstruction + terms.kl).detach().mean())
    assert float(log_weights[:, 0].mean()) == pytest.approx(elbo, abs=0.1), "k = 1 is the ELBO"


def test_many_draws_are_minimised_as_their_bound_and_the_gradient_is_weighted():
    model = small()
    x = scaled(load_images("digits8").test[:5])
    noise = torch.randn(7, 5, 3, generator=seeded(1))
    seen, said = model.drawn_terms(x, noise)
    loss = -importance_bound(-seen - said).mean()
    found = torch.autograd.grad(loss, list(model.parameters()))
    # Burda et al. (2015), equation 14: each draw counts by its share of the weights.
    seen, said = model.drawn_terms(x, noise)
    shares = (-seen - said).softmax(0).detach()
    wanted = torch.autograd.grad((shares * (seen + said)).sum(0).mean(), list(model.parameters()))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_free_nats_leave_a_sleeping_unit_alone_and_charge_one_that_is_awake():
    units = torch.tensor([0.1, 0.5, 2.0], requires_grad=True)
    charged = with_free_bits(units, 0.5)
    assert charged.item() == 0.5 + 0.5 + 2.0
    (slope,) = torch.autograd.grad(charged, units)
    assert slope.tolist()[0] == 0 and slope.tolist()[2] == 1


def test_binarised_images_are_black_and_white_and_grey_on_average():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(4000, -1, -1, -1)
    drawn = binarised(images, seeded(2))
    assert drawn.dtype == torch.uint8 and set(drawn.unique().tolist()) == {0, 255}
    mean = drawn.double().mean(0) / 255
    assert (mean - images[0].double() / 255).abs().max() < 0.04
    assert not torch.equal(drawn[0], drawn[1])
    assert grey_entropy(scaled(drawn[:2])).tolist() == [0, 0]
    half = torch.full((3, 1, 4, 4), 0.5)
    torch.testing.assert_close(grey_entropy(half), torch.full((3,), 16 * math.log(2)))


def test_no_reconstruction_is_below_the_entropy_of_its_grey_values():
    x = scaled(load_images("digits8").test[:20])
    output = torch.logit(x, 1e-6)
    floor = grey_entropy(x)
    best = -Bernoulli().log_prob(x, output)
    torch.testing.assert_close(best, floor, rtol=1e-3, atol=1e-3)
    noise = torch.randn(x.shape, generator=seeded(3))
    assert (-Bernoulli().log_prob(x, output + noise) > floor).all()


def test_what_does_not_go_together_is_refused():
    for values in ({"binarised": True, "likelihood": "gaussian"}, {"draws": 5, "free_bits": 0.1}):
        with pytest.raises(ConfigError):
            TRAINING.check(VAEConfig(**values))


def test_the_average_is_what_is_kept_and_a_resume_brings_both():
    settings = {"dataset": "digits8", "hidden": 64, "latent": 3, "epochs": 1, "ema": 50}
    whole, first, second = (VAETraining(VAEConfig(**settings)) for _ in range(3))
    for experiment in (whole, first, second):
        experiment.total = 12
    *_, last = train(whole, snapshots=False)
    assert {"elbo_test", "elbo_test_last"} <= set(last.metrics)
    assert last.metrics["elbo_test"] != last.metrics["elbo_test_last"]
    for event in train(first, snapshots=False, measure_every=10**9):
        if event.step == 5:
            break
    second.load_state_dict(first.state_dict())
    list(train(second, snapshots=False, measure_every=10**9))
    for name in ("model", "learner"):
        for one, other in zip(
            getattr(whole, name).parameters(), getattr(second, name).parameters(), strict=True
        ):
            assert torch.equal(one, other)


def test_the_residual_network_has_less_than_a_million_weights_and_starts_near_the_identity():
    model = vae(shape=(1, 28, 28), latent=50, depth=3, network="residual", generator=seeded())
    assert sum(p.numel() for p in model.parameters()) < 1_000_000
    block = next(part for part in model.modules() if isinstance(part, Residual))
    x = torch.randn(2, 32, 7, 7, generator=seeded(1))
    assert 0 < float((block(x) - x).std().detach()) < 0.2


def test_the_light_tells_latents_that_say_nothing():
    def rows(kl: float, active: float) -> list[dict]:
        return [{"step": 10 * i, "kl": kl, "active_units": active} for i in range(1, 11)]

    assert latent_health(rows(0.0, 0)[:1], 100, 20).state == "unknown"
    silent = latent_health(rows(0.1, 1), 100, 20)
    assert silent.state == "silent" and "warm-up" in silent.advice
    assert latent_health(rows(12, 5), 100, 20).state == "asleep"
    assert latent_health(rows(25, 20), 100, 20).state == "awake"


def test_terms_are_summed_over_pixels_and_told_for_each_image():
    model = small()
    images = load_images("digits8").test[:6]
    x, noise = scaled(images), torch.randn(6, 3, generator=seeded())
    terms = model.terms(x, noise)
    assert terms.reconstruction.shape == terms.kl.shape == (6,)
    for i in range(6):
        alone = model.terms(x[i : i + 1], noise[i : i + 1])
        torch.testing.assert_close(alone.reconstruction[0], terms.reconstruction[i])
        torch.testing.assert_close(alone.kl[0], terms.kl[i])
    # An untrained Bernoulli decoder is undecided: each of 64 pixels costs about log 2.
    assert float(terms.reconstruction.detach().mean()) == pytest.approx(64 * math.log(2), rel=0.05)


# -- networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (1, 10, 10), (1, 7, 7), (3, 32, 32)])
def test_images_of_any_size_come_back_in_their_shape(network, shape):
    state = torch.get_rng_state()
    model = small(network, shape=shape, depth=2)
    assert torch.equal(torch.get_rng_state(), state), "weights come from the generator alone"
    x = torch.rand(2, *shape, generator=seeded())
    assert model.reconstruct(x).shape == x.shape
    mean, log_variance = model.encode(x)
    assert mean.shape == log_variance.shape == (2, 3)
    loss = sum(term.mean() for term in model.terms(x, torch.randn(2, 3, generator=seeded())))
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_weights_start_as_those_of_pytorch(network):
    """Evenly within one over the root of the inputs; of the transposed convolutions, its own."""
    model = small(network, shape=(1, 28, 28), hidden=256)
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for layer in layers:
        bound = layer.weight[0].numel() ** -0.5
        weight = layer.weight.detach()
        assert float(weight.abs().max()) == pytest.approx(bound, rel=0.05)
        assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.1)


def test_images_like_no_other_give_finite_terms():
    model = small()
    with torch.no_grad():
        model.encoder[-1].weight.mul_(1e6)
    terms = model.terms(torch.ones(1, 1, 8, 8), torch.ones(1, 3))
    assert torch.isfinite(terms.kl).all()
    assert torch.isfinite(terms.reconstruction).all()


# -- the training -----------------------------------------------------------------------------


def test_an_epoch_shows_each_image_once():
    experiment = make(batch=48)
    count = len(experiment.images.train)
    assert experiment.per_epoch == -(-count // 48)
    for _ in range(2):
        seen = []
        for _ in range(experiment.per_epoch):
            seen.append(experiment._batch())
            experiment.step += 1
        assert len(seen[-1]) == count - 48 * (experiment.per_epoch - 1)
        rows = torch.cat(seen).flatten(1)
        assert rows.shape == experiment.images.train.flatten(1).shape
        assert sorted(map(bytes, rows.numpy())) == sorted(
            map(bytes, experiment.images.train.flatten(1).numpy())
        )
    total = VAEConfig(**SMALL, epochs=7)
    assert VAETraining(total).total == 7 * VAETraining(total).per_epoch


def test_losses_are_nats_and_add_up():
    experiment = make(total=6, beta=2.0)
    for event in train(experiment, log_every=1, measure_every=1):
        assert set(event.metrics) == {"elbo_test", "active_units"}
        assert event.metrics["elbo_test"] < 0, "an ELBO of Bernoulli pixels is never positive"
        if event.losses:
            parts = event.losses["reconstruction"] + 2 * event.losses["kl"]
            assert event.losses["loss"] == pytest.approx(parts, rel=1e-5)
            assert event.losses["kl"] > 0


def test_beta_rises_over_the_warm_up():
    experiment = make(beta=2.0, warm_up=2)
    steps = 2 * experiment.per_epoch
    for step, expected in ((0, 0.0), (steps // 2, 1.0), (steps, 2.0), (3 * steps, 2.0)):
        experiment.step = step
        assert experiment.beta == pytest.approx(expected, abs=0.03)
    assert make(beta=2.0).beta == 2.0


@pytest.mark.parametrize("network", NETWORKS)
def test_evaluation_does_not_change_the_training(network):
    looked, left = make(6, network=network), make(6, network=network)
    wishes = Wishes(snapshot=True, losses=True)
    state = torch.get_rng_state()
    for event in train(looked, wishes=wishes, log_every=1, measure_every=1):
        assert set(event.snapshot) == {"samples", "reconstructions", "means"}
        looked.target()
        looked.state_dict()
        wishes.snapshot = wishes.losses = True
    assert torch.equal(torch.get_rng_state(), state)
    for _ in range(6):
        left.update()
        left.step += 1
    assert torch.equal(weights(looked), weights(left))


@pytest.mark.parametrize("settings", [{}, {"network": "conv", "likelihood": "gaussian"}])
def test_a_restored_training_ends_with_the_same_weights(settings):
    total = make(**settings).per_epoch + 5  # over the end of an epoch
    whole = make(total, **settings)
    for _ in train(whole, snapshots=False, measure_every=10**9):
        pass
    first = make(total, **settings)
    for _ in itertools.islice(train(first, snapshots=False, measure_every=10**9), 8):
        pass
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = make(total, **settings)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert second.step == 7
    for _ in train(second, snapshots=False, measure_every=10**9):
        pass
    assert torch.equal(weights(second), weights(whole))
    assert second.measure() == whole.measure()


def test_images_are_small_and_of_test_images():
    experiment = make()
    snapshot, target = experiment.snapshot(), experiment.target()
    assert snapshot["samples"].shape == (60, 1, 8, 8)
    assert snapshot["reconstructions"].shape == target["originals"].shape == (10, 1, 8, 8)
    assert snapshot["samples"].dtype == snapshot["reconstructions"].dtype == np.uint8
    assert snapshot["means"].shape == (len(target["labels"]), 2)
    known = {image.numpy().tobytes() for image in load_images("digits8").test}
    assert all(image.tobytes() in known for image in target["originals"])
    again = experiment.snapshot()
    assert all(np.array_equal(snapshot[name], again[name]) for name in snapshot)


def test_mixed_precision_is_close_and_leaves_the_weights_in_float32(monkeypatch):
    monkeypatch.setattr(training, "knows_bfloat16", lambda device: True)
    exact, mixed, ends = make(5), make(5, precision="mixed"), []
    for experiment in (exact, mixed):
        *_, last = train(experiment, log_every=5, snapshots=False, measure_every=10**9)
        assert weights(experiment).dtype == torch.float32
        ends.append(last.losses["loss"])
    assert ends[0] == pytest.approx(ends[1], rel=0.01)
    assert not torch.equal(weights(exact), weights(mixed))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_every_model_learns(network, kind):
    experiment = make(60, network=network, likelihood=kind, learning_rate=5e-3)
    before = experiment.measure()["elbo_test"]
    for _ in train(experiment, snapshots=False, measure_every=10**9):
        pass
    after = experiment.measure()["elbo_test"]
    assert after > before + 5
    assert experiment.skipped == 0


def test_own_images_in_colour_are_taken():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 9, 9), dtype=np.uint8)
    labels = np.arange(40) % 3
    own = OwnImages(pixels, labels, fixed_fifth(labels), ("a", "b", "c"), "mine")
    experiment = make(3, own, dataset="own", network="conv")
    *_, last = train(experiment)
    assert math.isfinite(last.metrics["elbo_test"])
    assert last.snapshot["samples"].shape == (60, 3, 9, 9)


# -- tools ------------------------------------------------------------------------------------


def test_the_plane_is_that_of_the_principal_components():
    mixing = torch.randn(6, 6, generator=seeded(1)) * torch.tensor([3.0, 2, 1, 0.3, 0.2, 0.1])
    means = torch.randn(500, 6, generator=seeded(2)) @ mixing + 5
    plane = plane_of(means)
    from sklearn.decomposition import PCA

    pca = PCA(2).fit(means.numpy())
    assert plane.explained == pytest.approx(pca.explained_variance_ratio_, abs=1e-4)
    points = plane.project(means)
    assert np.allclose(points.abs(), np.abs(pca.transform(means.numpy())), atol=1e-3)
    torch.testing.assert_close(plane.project(plane.lift(points)), points, atol=1e-4, rtol=1e-4)
    assert (points.pow(3).sum(0) >= 0).all()


def test_two_units_are_the_plane_themselves():
    means = torch.randn(50, 2, generator=seeded()) * torch.tensor([1.0, 3.0]) + 2
    plane = plane_of(means)
    assert torch.equal(plane.project(means), means)
    assert torch.equal(plane.lift(means), means)
    assert sum(plane.explained) == pytest.approx(1)
    assert plane.explained[1] > plane.explained[0]


def test_units_that_say_nothing_are_not_active():
    means = torch.randn(1000, 5, generator=seeded()) * torch.tensor([1.0, 0.2, 0.05, 0.0, 0.5])
    assert active_units(means + 7) == 3


def test_lattices_run_from_the_top_left():
    grid = lattice(3.0, 5).view(5, 5, 2)
    assert grid[0, 0].tolist() == [-3, 3]
    assert grid[4, 4].tolist() == [3, -3]
    normal = normal_lattice(20).view(20, 20, 2)
    shares = torch.distributions.Normal(0.0, 1.0).cdf(normal[0, :, 0])
    torch.testing.assert_close(shares, (torch.arange(20) + 0.5) / 20, atol=1e-4, rtol=0)


def test_a_walk_turns_one_unit_and_class_means_are_means():
    z = torch.randn(6, generator=seeded())
    path = walk(z, 2, 3.0, 7)
    assert path[:, 2].tolist() == [-3, -2, -1, 0, 1, 2, 3]
    others = [0, 1, 3, 4, 5]
    assert torch.equal(path[:, others], z[others].expand(7, -1))
    latents, labels = torch.randn(30, 4, generator=seeded()), torch.arange(30) % 3
    means = class_means(latents, labels, 4)
    torch.testing.assert_close(means[1], latents[labels == 1].mean(0))
    assert means[3].isnan().all()


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_damage_grows_with_its_strength_and_repeats_with_its_seed(kind):
    images = load_images("digits").test[::25]
    before = images.clone()
    assert torch.equal(corrupt(images, kind, 0, seed=1), images)
    apart = []
    for strength in CORRUPTIONS[kind][1]:
        damaged = corrupt(images, kind, strength, seed=1)
        assert damaged.shape == images.shape
        assert damaged.dtype == torch.uint8
        assert torch.equal(damaged, corrupt(images, kind, strength, seed=1))
        apart.append(float((damaged.float() - images.float()).abs().mean()))
    assert apart == sorted(apart)
    assert apart[0] > 0
    assert torch.equal(images, before), "the images themselves stay"
    if kind != "blur":
        assert not torch.equal(damaged, corrupt(images, kind, strength, seed=2))


def test_damage_of_any_size_of_image_is_taken():
    for side in (4, 7, 8, 32):
        images = torch.full((3, 3, side, side), 77, dtype=torch.uint8)
        for kind, (_, strengths) in CORRUPTIONS.items():
            assert corrupt(images, kind, strengths[-1], seed=0).shape == images.shape
    with pytest.raises(ValueError, match="kind must be"):
        corrupt(images, "rust", 1, seed=0)


def test_scores_are_what_they_say():
    model = small()
    images = load_images("digits8").test[:20]
    found = score(model, images)
    again = score(model, images)
    assert np.array_equal(found.elbo, again.elbo)
    means = model.reconstruct(scaled(images)).detach()
    exact = nn.functional.binary_cross_entropy(means, scaled(images), reduction="none")
    assert np.allclose(found.bce, exact.flatten(1).sum(1), rtol=1e-4)
    assert np.array_equal(found.reconstructions, to_bytes(means))
    assert torch.isfinite(cross_entropy(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))).all()


def test_detection_takes_its_threshold_from_validation_images_alone():
    random = np.random.default_rng(0)
    clean, strange, held_out = random.normal([[0], [2], [0]], 1, (3, 400))
    found = detect(clean, strange, held_out)
    assert found.threshold == pytest.approx(np.quantile(held_out, 0.95))
    assert found.auroc.low < stats.norm.cdf(2 / 2**0.5) < found.auroc.high
    assert found.alarms == pytest.approx((clean > found.threshold).mean())
    assert found.found == pytest.approx((strange > found.threshold).mean())


def trained() -> VAETraining:
    experiment = make(500, learning_rate=1e-2)
    for _ in train(experiment, snapshots=False, measure_every=10**9):
        pass
    experiment.model.requires_grad_(False)
    return experiment


def test_a_trained_model_passes_its_checks_and_a_wrong_one_does_not(monkeypatch):
    experiment = trained()
    images = experiment.images.test
    assert all(check.passed in (True, None) for check in check_vae(experiment.model, images))
    gain, bound = (
        gain_of(experiment.model, images, draws=50, measured=40),
        bound_of(experiment.model, images),
    )
    assert 0 < gain.nats < 10
    assert float(bound.units.sum()) == pytest.approx(bound.kl, rel=1e-3)
    assert bound.cost == pytest.approx(-experiment.measure()["elbo_test"], rel=0.02)
    noisy = corrupt(images, "noise", 100, seed=0)
    clean, strange = score(experiment.model, images), score(experiment.model, noisy)
    assert detect(clean.bce, strange.bce, clean.bce).auroc.value > 0.9
    # A KL that is only half of it is found out.
    monkeypatch.setattr("analysis.vae_checks.kl_to_prior", lambda *args: 0.5 * kl_to_prior(*args))
    assert check_vae(experiment.model, images)[0].passed is False


def test_encoding_and_decoding_in_parts_is_the_whole(monkeypatch):
    model, images = small(), load_images("digits8").test[:50]
    whole = encode(model, images)
    monkeypatch.setattr("metrics.vae.CHUNK", 7)
    torch.testing.assert_close(encode(model, images), whole)
    assert decode(model, whole).shape == (50, 1, 8, 8)

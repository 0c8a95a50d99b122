"""A VAE in 2-D: its bound is one, its samples are of the density that the bound is about."""

from __future__ import annotations

import math

import pytest
import torch

from models.vae import plane_vae
from registry import FAMILIES
from training.core.loop import train
from training.vae_plane import LATENT, sample


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear_vae():
    """Encoder and decoder without hidden layers: log p(x) is that of a known Gaussian."""
    vae = plane_vae(hidden=8, depth=0, generator=seeded())
    return vae.double().requires_grad_(False)


def exact_log_prob(vae, x: torch.Tensor) -> torch.Tensor:
    decoder = vae.decoder[0]
    noise = torch.eye(2).double() * vae.likelihood.log_scale.exp() ** 2
    covariance = decoder.weight @ decoder.weight.T + noise
    return torch.distributions.MultivariateNormal(decoder.bias, covariance).log_prob(x)


def test_the_elbo_is_never_above_the_true_log_likelihood_and_more_draws_come_closer():
    from models.vae import importance_bound

    vae, eval_generator = linear_vae(), seeded(1)
    x = torch.randn(200, 2, generator=eval_generator).double()
    exact = float(exact_log_prob(vae, x).mean())
    bounds = []
    for draws in (1, 16, 2048):
        noise = torch.randn(draws, len(x), LATENT, generator=eval_generator).double()
        bounds.append(float(importance_bound(vae.log_weights(x, noise)).mean()))
    assert bounds[0] < bounds[1] < exact + 0.01
    assert bounds[2] == pytest.approx(exact, abs=0.3)


def test_samples_have_the_spread_of_the_density_and_not_that_of_its_means():
    vae, eval_generator = linear_vae(), seeded(2)
    x = sample(vae, *torch.randn(2, 200_000, LATENT, generator=eval_generator).double())
    decoder = vae.decoder[0]
    noise = torch.eye(2).double() * vae.likelihood.log_scale.exp() ** 2
    expected = decoder.weight @ decoder.weight.T + noise
    torch.testing.assert_close(x.T.cov(), expected, rtol=0.03, atol=0.01)


def test_a_short_training_lowers_the_bound_and_says_at_the_end_what_its_samples_are_like():
    training = FAMILIES["vae_plane"].training
    config = training.config(dataset="mixture", noise=0.25, hidden=32, depth=1, batch=64)
    experiment = training.build(config)
    experiment.total = 150
    bounds = [e.metrics["bound_test"] for e in train(experiment, measure_every=75) if e.metrics]
    assert bounds[-1] < bounds[0] - 0.2
    state = experiment.generator.get_state()
    summary = experiment.summary()
    assert torch.equal(experiment.generator.get_state(), state)
    assert summary["tight_bound"] < bounds[-1] + 0.05
    # It can never be below the entropy of the truth, else it were no bound.
    assert summary["tight_bound"] > experiment.plane.entropy() - 0.1
    assert 0 <= summary["modes"] <= 5
    assert not [name for name in summary if name.startswith("nll")]
    assert all(math.isfinite(value) for value in summary.values())

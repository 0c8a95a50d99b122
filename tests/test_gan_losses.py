"""Losses of GANs against what is known of them in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from analysis.gan_losses import cells, measured, outcomes
from benchmarks.gan_losses import LOSSES as LOSS_SETTINGS
from benchmarks.gan_losses import TASKS
from training.core.gan_losses import LOSSES, gradient_penalty, realness, slope_at
from training.gan import GANConfig

P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
Q = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)


def over(masses: Tensor, scores: Tensor) -> Tensor:
    """Repeat scores as often as their masses say, so that a mean is an expectation."""
    return scores.repeat_interleave((masses * 20).round().long())


def best_scores(name: str, smoothing: float = 0.0) -> Tensor:
    """The scores that the best discriminator gives to the four places, found by descent."""
    scores = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    rule = torch.optim.LBFGS([scores], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        rule.zero_grad()
        loss = LOSSES[name].discriminator(over(P, scores), over(Q, scores), smoothing)
        loss.backward()
        return loss

    rule.step(closure)
    return scores.detach()


@pytest.mark.parametrize("name", ["original", "non-saturating"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_best_discriminator_is_the_ratio_of_densities(name, smoothing):
    found = torch.sigmoid(best_scores(name, smoothing))
    torch.testing.assert_close(found, (1 - smoothing) * P / (P + Q), atol=1e-4, rtol=0)


def test_the_value_of_the_original_game_is_the_jensen_shannon_divergence():
    scores = (P / Q).log()
    value = -LOSSES["original"].discriminator(over(P, scores), over(Q, scores), 0.0)
    middle = (P + Q) / 2
    js = ((P * (P / middle).log()).sum() + (Q * (Q / middle).log()).sum()) / 2
    assert float(value) == pytest.approx(2 * float(js) - 2 * math.log(2), abs=1e-12)


def test_at_the_fixed_point_the_discriminator_pays_two_log_two():
    half = torch.zeros(10)
    value = LOSSES["non-saturating"].discriminator(half, half, 0.0)
    assert float(value) == pytest.approx(2 * math.log(2))


def test_least_squares_finds_the_same_ratio():
    found = best_scores("least-squares")
    torch.testing.assert_close(found, P / (P + Q), atol=1e-4, rtol=0)
    smoothed = best_scores("least-squares", 0.2)
    torch.testing.assert_close(smoothed, 0.8 * P / (P + Q), atol=1e-4, rtol=0)


def test_the_best_hinge_discriminator_is_the_sign_of_the_difference():
    scores = torch.where(P > Q, 1.0, -1.0).double()
    value = LOSSES["hinge"].discriminator(over(P, scores), over(Q, scores), 0.0)
    # 2 - 2 TV, Lim and Ye (2017), section 3.
    assert float(value) == pytest.approx(2 - float((P - Q).abs().sum()))


def test_the_best_critic_pays_minus_the_way_that_fakes_have_to_go():
    real = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fake = real + 2
    # Higher for real, with the slope 1 everywhere: Gulrajani et al. (2017), section 2.2.
    value = LOSSES["wasserstein"].discriminator(-real, -fake, 0.0)
    assert float(value) == pytest.approx(-2)


def test_of_pairs_only_the_difference_counts_and_equal_ones_pay_log_two():
    real, fake = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)).double()
    loss = LOSSES["relativistic"]
    assert loss.paired
    paid = loss.discriminator(real, fake, 0.0)
    assert float(paid) == pytest.approx(float((1 + (fake - real).exp()).log().mean()))
    assert float(loss.discriminator(real + 3, fake + 3, 0.0)) == pytest.approx(float(paid))
    assert float(loss.generator(fake - real)) == pytest.approx(
        float((1 + (real - fake).exp()).log().mean())
    )
    assert float(loss.discriminator(real, real, 0.0)) == pytest.approx(math.log(2))


def test_two_spikes_and_a_straight_critic_have_the_gradient_that_is_known():
    # Dirac-GAN (Mescheder et al., 2018): real at 0, fake at t, D(x) = w x. With R1 + R2 it pays
    # log(1 + exp(w t)) + g w^2, so dL/dw = t sigmoid(w t) + 2 g w.
    t, gamma, w = 0.7, 0.3, torch.tensor(-0.4, dtype=torch.float64, requires_grad=True)
    real, fake = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), t, dtype=torch.float64)

    def critic(x: Tensor) -> Tensor:
        return (w * x).flatten()

    value = LOSSES["relativistic"].discriminator(critic(real), critic(fake), 0.0)
    value = value + gamma / 2 * (slope_at(critic, real) + slope_at(critic, fake))
    (slope,) = torch.autograd.grad(value, w)
    known = t / (1 + math.exp(0.4 * t)) + 2 * gamma * -0.4
    assert float(slope) == pytest.approx(known, abs=1e-12)


def test_the_slope_of_a_quadratic_critic_is_known():
    x = torch.randn(9, 3, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = slope_at(lambda y: y.square().flatten(1).sum(1), x)
    assert float(found.detach()) == pytest.approx(float(4 * x.square().flatten(1).sum(1).mean()))


SLOPES = {
    "original": lambda s: -torch.sigmoid(s),
    "non-saturating": lambda s: torch.sigmoid(s) - 1,
    "least-squares": lambda s: s - 1,
    "hinge": lambda s: -torch.ones_like(s),
    "wasserstein": lambda s: -torch.ones_like(s),
    "relativistic": lambda s: torch.sigmoid(s) - 1,  # of how far fake ones are above real ones
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_slope_of_the_generators_loss(name):
    scores = torch.linspace(-8, 8, 33, dtype=torch.float64, requires_grad=True)
    loss = LOSSES[name].generator(scores)
    (slope,) = torch.autograd.grad(loss, scores)
    torch.testing.assert_close(slope * 33, SLOPES[name](scores.detach()))
    if name != "least-squares":  # which pulls back what is more than real
        assert (slope <= 0).all(), "a higher score is never worse for the generator"


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_overflows(name):
    far = torch.tensor([-1e4, 1e4])
    loss = LOSSES[name]
    assert torch.isfinite(loss.discriminator(far, far, 0.1))
    assert torch.isfinite(loss.generator(far))


def test_critics_and_hinges_know_no_labels():
    real, fake = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    for name in ("hinge", "wasserstein", "relativistic"):
        loss = LOSSES[name].discriminator
        assert torch.equal(loss(real, fake, 0.0), loss(real, fake, 0.3))


@pytest.mark.parametrize("shape", [(7, 2), (7, 3, 4, 4)])
@pytest.mark.parametrize("length", [0.0, 0.5, 1.0, 3.0])
def test_the_penalty_of_a_linear_critic_is_known(shape, length):
    generator = torch.Generator().manual_seed(1)
    way = torch.randn(shape[1:], generator=generator, dtype=torch.float64)
    way = (way * length / way.norm()).requires_grad_()
    real, fake = torch.randn((2, *shape), generator=generator, dtype=torch.float64)

    def critic(x: Tensor) -> Tensor:
        return (x * way).flatten(1).sum(1)

    penalty = gradient_penalty(critic, real, fake, generator)
    assert float(penalty.detach()) == pytest.approx((length - 1) ** 2, abs=1e-5)
    if length > 0:
        (slope,) = torch.autograd.grad(penalty, way)
        expected = 2 * (length - 1) * way.detach() / length
        torch.testing.assert_close(slope, expected, atol=1e-6, rtol=0)


def test_the_penalty_looks_between_real_and_fake():
    seen = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.sum(1)

    generator = torch.Generator().manual_seed(2)
    gradient_penalty(critic, torch.zeros(2000, 1), torch.ones(2000, 1), generator)
    assert seen[0].min() > 0 and seen[0].max() < 1
    assert seen[0].mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("name", LOSSES)
def test_realness_rises_from_zero_to_one(name):
    scores = torch.linspace(-6, 6, 101)
    told = realness(name, scores)
    assert told.min() >= 0 and told.max() <= 1
    assert (told.diff() >= 0).all() and told[-1] > 0.9 and told[0] < 0.1
    assert torch.isfinite(realness(name, torch.zeros(1))).all()


# -- what was measured over seeds ------------------------------------------------------------------


def test_the_table_counts_seeds_and_whole_rings():
    scores = {
        str(seed): {"modes": modes, "good": good, "js": 0.1, "seconds": 30.0}
        for seed, (modes, good) in enumerate([(8, 0.98), (7, 0.95), (8, 0.97)])
    }
    task = {"modes": 8, "losses": {"a": {"settings": {}, "scores": scores}}}
    (found,) = outcomes(task)
    assert (found.seeds, found.whole) == (3, 2)
    assert found.modes == (7, 8, 8) and found.good == (0.95, 0.97, 0.98)
    assert cells(found)[1:5] == ("3", "2 of 3", "8 (7-8)", "97.0% (95.0%-98.0%)")


def test_what_was_measured_has_settings_that_are_still_those_of_the_page():
    for name, task in measured().items():
        assert TASKS[name] == (task["data"], task["modes"])
        for loss, found in task["losses"].items():
            assert found["settings"] == LOSS_SETTINGS[loss]
            GANConfig.parse({**task["data"], **found["settings"]})

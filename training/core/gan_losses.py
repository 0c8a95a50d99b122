"""What discriminator and generator of a GAN minimise, from the scores of real and fake examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

PENALTY = 10.0  # weight of the gradient penalty in the paper
PLANE_PENALTY = 0.1  # and in its authors' code for 2-D points

Penalty = Literal["none", "wgan-gp", "r1", "r1-r2"]


@dataclass(frozen=True)
class Loss:
    """A pair of losses. Both functions take scores of shape ``(B,)`` and return a scalar.

    Attributes:
        discriminator: of real scores, fake scores and the amount of label smoothing.
        generator: of fake scores; if ``paired``, of fake scores minus real ones.
        real: how real, from 0 (fake) to 1 (real), a score says that an example is; where scores
            have no fixed meaning, ``None``.
        penalty: on the discriminator's gradient, without which the loss is not what it is.
        about: what to know when choosing it, in a sentence or two.
        paired: only the difference between the scores of a real and a fake example counts.
    """

    discriminator: Callable[[Tensor, Tensor, float], Tensor]
    generator: Callable[[Tensor], Tensor]
    real: Callable[[Tensor], Tensor] | None
    penalty: Penalty
    about: str
    paired: bool = False


def _cross_entropy(real: Tensor, fake: Tensor, smoothing: float) -> Tensor:
    """Discriminator of the first paper: the cross-entropy of its answers, scores ``(B,)``."""
    # softplus(-s) is -log D(x), softplus(s) is -log(1 - D(x)), with D = sigmoid(s).
    loss = softplus(-real)
    if smoothing:
        loss = (1 - smoothing) * loss + smoothing * softplus(real)
    return loss.mean() + softplus(fake).mean()


def _saturating(fake: Tensor) -> Tensor:
    """Generator, original: log(1 - D(G(z)))."""
    return -softplus(fake).mean()


def _non_saturating(fake: Tensor) -> Tensor:
    """Generator, non-saturating: -log D(G(z))."""
    return softplus(-fake).mean()


def _squares(real: Tensor, fake: Tensor, smoothing: float) -> Tensor:
    """Discriminator, least squares: real ones to 1, fake ones to 0."""
    return (real - (1 - smoothing)).square().mean() / 2 + fake.square().mean() / 2


def _squares_generator(fake: Tensor) -> Tensor:
    """Generator, least squares: fake ones to 1."""
    return (fake - 1).square().mean() / 2


def _hinge(real: Tensor, fake: Tensor, _smoothing: float) -> Tensor:
    """Discriminator, hinge: nothing more to win beyond a margin of 1."""
    return relu(1 - real).mean() + relu(1 + fake).mean()


def _critic(real: Tensor, fake: Tensor, _smoothing: float) -> Tensor:
    """Critic, Wasserstein: minus the difference of the mean scores."""
    return fake.mean() - real.mean()


def _against_critic(fake: Tensor) -> Tensor:
    """Generator, hinge and Wasserstein: a higher mean score."""
    return -fake.mean()


def _pairs(real: Tensor, fake: Tensor, _smoothing: float) -> Tensor:
    """Discriminator, relativistic pairing: each real example scores above a fake one."""
    return softplus(fake - real).mean()


def _clamped(scores: Tensor) -> Tensor:
    return scores.clamp(0, 1)


def _between(scores: Tensor) -> Tensor:
    return (scores / 2 + 0.5).clamp(0, 1)


LOSSES: dict[str, Loss] = {
    "non-saturating": Loss(
        _cross_entropy,
        _non_saturating,
        torch.sigmoid,
        "none",
        "**Non-saturating**: the generator maximises log D(G(z)). Its gradient is largest where "
        "the discriminator is sure that a sample is fake.",
    ),
    "original": Loss(
        _cross_entropy,
        _saturating,
        torch.sigmoid,
        "none",
        "**Original**: the generator minimises log(1 - D(G(z))), the zero-sum game of the theory. "
        "Its gradient vanishes where the discriminator is sure, so a generator that is behind "
        "stays behind.",
    ),
    "least-squares": Loss(
        _squares,
        _squares_generator,
        _clamped,
        "none",
        "**Least squares**: scores are pulled to 1 for real and 0 for fake. Samples that are far "
        "from the data are pulled harder, even on the right side of the boundary.",
    ),
    "hinge": Loss(
        _hinge,
        _against_critic,
        _between,
        "none",
        "**Hinge**: the discriminator stops caring about examples beyond a margin of 1, so it "
        "does not grow sure for its own sake.",
    ),
    "wasserstein": Loss(
        _critic,
        _against_critic,
        None,
        "wgan-gp",
        "**Wasserstein with gradient penalty**: a critic whose slope is held near 1 estimates how "
        "far samples have to travel. It needs several steps of its own for one of the generator.",
    ),
    "relativistic": Loss(
        _pairs,
        _non_saturating,
        None,
        "r1-r2",
        "**Relativistic pairing** (R3GAN): each fake sample is compared with a real one, and only "
        "the difference of their scores counts. A generator cannot win by putting all its samples "
        "on one mode, since real examples of the others stay ahead. It comes with R1 + R2.",
        paired=True,
    ),
}
"""By name, the default first.

References:
    Generative Adversarial Nets (Goodfellow et al., 2014), section 3: original, non-saturating.
    https://arxiv.org/abs/1406.2661
    Least Squares Generative Adversarial Networks (Mao et al., 2016), equation 9.
    https://arxiv.org/abs/1611.04076
    Geometric GAN (Lim, Ye, 2017): hinge. https://arxiv.org/abs/1705.02894
    Improved Training of Wasserstein GANs (Gulrajani et al., 2017), equation 3.
    https://arxiv.org/abs/1704.00028
    Improved Techniques for Training GANs (Salimans et al., 2016), section 3.4: one-sided label
    smoothing. https://arxiv.org/abs/1606.03498
    The GAN is dead; long live the GAN! A Modern GAN Baseline (Huang et al., 2024), equation 2:
    relativistic pairing. https://arxiv.org/abs/2501.05441
"""


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: torch.Generator
) -> Tensor:
    """Return the mean of ``(|gradient| - 1)^2`` at points between real and fake examples.

    Args:
        critic: examples to scores ``(B,)``.
        real: real examples ``(B, ...)``.
        fake: as many fake ones, detached.
        generator: of where between the two, on their device.

    Returns:
        A scalar whose gradient reaches the critic's weights.
    """
    ones = [1] * (real.ndim - 1)
    fraction = torch.rand((len(real), *ones), generator=generator, device=real.device)
    between = (real + fraction * (fake - real)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    # The root of a sum of squares has no gradient at zero.
    return ((slope.flatten(1).square().sum(1) + 1e-12).sqrt() - 1).square().mean()


def slope_at(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the mean squared length of the critic's gradient at examples ``(B, ...)``: a scalar.

    At real examples it is the penalty R1, at fake ones R2. Its gradient reaches the critic's
    weights.

    References:
        Which Training Methods for GANs do actually Converge? (Mescheder et al., 2018), equation 9.
        https://arxiv.org/abs/1801.04406
    """
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return slope.flatten(1).square().sum(1).mean()


def explained() -> str:
    """Return what to know of all losses, as Markdown."""
    return "\n\n".join(loss.about for loss in LOSSES.values())


def realness(name: str, scores: Tensor) -> Tensor:
    """Return how real scores of any shape say that examples are, from 0 (fake) to 1 (real).

    A critic's scores have no zero: a logistic function about their mean, as steep as their spread
    asks for, stands in.
    """
    real = LOSSES[name].real
    if real is not None:
        return real(scores)
    spread = scores.std() if scores.numel() > 1 else scores.new_ones(())
    return torch.sigmoid(2 * (scores - scores.mean()) / spread.clamp(min=1e-6))

"""Variational autoencoder: encoder, decoder, and a bound on the likelihood (Kingma, Welling)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks.image_layers import ImageShape
from models.blocks.layers import blank
from models.blocks.residual import residual_decoder, residual_encoder, start_residual

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
LOG_VARIANCE = 30.0  # largest size of a log-variance of the encoder, in nats


# -- what a decoder's output means ---------------------------------------------------------------


class Likelihood(nn.Module):
    """How pixels are distributed around what the decoder gives, each by itself.

    ``output`` is the decoder's, of the images' shape ``(B, C, H, W)`` and without bounds.
    """

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """Return log p(x | z) in nats, summed over pixels, shape ``(B,)``."""
        return self._log_prob(x, output).flatten(1).sum(1)

    def mean(self, output: Tensor) -> Tensor:
        """Return the mean of each pixel, of the images' shape."""
        return output.sigmoid()

    def _log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        raise NotImplementedError


class Bernoulli(Likelihood):
    """Black or white, with the sigmoid of the output as the probability of white.

    A grey value x counts as the mean of many such pixels: ``x log p + (1 - x) log (1 - p)``, the
    negative binary cross-entropy. That is the usual practice, and no density over grey values: its
    best value is not zero but the entropy of x, and it has no normaliser that would make it one.
    """

    def _log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        return x * output - F.softplus(output)


class ContinuousBernoulli(Likelihood):
    """A density over grey values in [0, 1]: Bernoulli's, with the normaliser that it lacks.

    With the output as its natural parameter t, ``log p(x) = t x - softplus(t) + log C(t)``, where
    ``C(t) = t / tanh(t / 2)`` is the paper's constant with ``lambda = sigmoid(t)``. The mean of a
    pixel is not the sigmoid of t.

    References:
        The continuous Bernoulli: fixing a pervasive error in variational autoencoders
        (Loaiza-Ganem, Cunningham, 2019). https://arxiv.org/abs/1907.06845
    """

    def _log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        return x * output - F.softplus(output) + log_normaliser(output)

    def mean(self, output: Tensor) -> Tensor:
        # 1 / (1 - exp(-t)) - 1 / t; around zero its series, since both terms are infinite there.
        small = output.abs() < 0.1
        t = torch.where(small, torch.ones_like(output), output)
        exact = -1 / torch.expm1(-t) - 1 / t
        return torch.where(small, 0.5 + output / 12 - output**3 / 720, exact)


def log_normaliser(t: Tensor) -> Tensor:
    """Return log C(t) of the continuous Bernoulli with natural parameter t, in nats.

    Of any shape; the result has the same.
    """
    small = t.abs() < 0.1
    size = torch.where(small, torch.ones_like(t), t.abs())
    exact = size.log() - torch.tanh(size / 2).log()
    return torch.where(small, math.log(2) + t**2 / 12 - 7 * t**4 / 1440, exact)


class GaussianLikelihood(Likelihood):
    """A density with one learned standard deviation for all pixels around the decoder's mean.

    Args:
        squash: pass the output through a sigmoid, as pixels in [0, 1] want it.

    References:
        Simple and Effective VAE Training with Calibrated Decoders (Rybkin, Daniilidis, Levine,
        2021). https://arxiv.org/abs/2006.13202
    """

    def __init__(self, *, squash: bool = True) -> None:
        super().__init__()
        self.squash = squash
        self.log_scale = nn.Parameter(torch.tensor(-1.0))

    def _log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        z = (x - self.mean(output)) * torch.exp(-self.log_scale)
        return -0.5 * z.square() - self.log_scale - HALF_LOG_2PI

    def mean(self, output: Tensor) -> Tensor:
        return output.sigmoid() if self.squash else output


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": GaussianLikelihood,
}


# -- the model -----------------------------------------------------------------------------------


class Terms(NamedTuple):
    """The two terms of the negative ELBO in nats per image, shape ``(B,)`` each; both are costs."""

    reconstruction: Tensor
    kl: Tensor


class VAE(nn.Module):
    """Latents with a standard normal prior, a decoder, and an encoder that guesses the latents.

    The encoder gives mean and log-variance of a Gaussian q(z | x) with independent units. Training
    maximises ``ELBO = E_q[log p(x | z)] - KL(q(z | x) || p(z))``, which is never above log p(x).

    Args:
        encoder: network from images ``(B, C, H, W)`` to ``(B, 2 latent)``.
        decoder: network from latents ``(B, latent)`` to ``(B, C, H, W)``.
        likelihood: what the decoder's output means.
        latent: number of latent units.

    References:
        Auto-Encoding Variational Bayes (Kingma, Welling, 2013), equations 3 and 10 and appendix B.
        https://arxiv.org/abs/1312.6114
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood, latent: int
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.latent = latent

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z | x), each ``(B, latent)``."""
        mean, log_variance = _whole(self.encoder(x)).chunk(2, dim=1)
        # Images that are like no other may ask for variances that no float32 holds.
        return mean, log_variance.clamp(-LOG_VARIANCE, LOG_VARIANCE)

    def decode(self, z: Tensor) -> Tensor:
        """Return the mean images of latents ``(B, latent)``, shape ``(B, C, H, W)``."""
        return self.likelihood.mean(self.output(z))

    def output(self, z: Tensor) -> Tensor:
        """Return what the decoder gives for latents ``(B, latent)``; see :class:`Likelihood`."""
        return _whole(self.decoder(z))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the mean images of the encoder's means.

        Images with values in [0, 1], shape ``(B, C, H, W)``, as they came.
        """
        return self.decode(self.encode(x)[0])

    def terms(self, x: Tensor, noise: Tensor) -> Terms:
        """Return the terms of the negative ELBO, by one draw from q(z | x) for each image.

        Args:
            x: images with values in [0, 1], ``(B, C, H, W)``.
            noise: standard normal, ``(B, latent)``: the draw is ``mean + sd * noise``, through
                which the gradient flows (section 2.4 of the paper).
        """
        seen, units = self.unit_terms(x, noise)
        return Terms(seen, units.sum(1))

    def unit_terms(self, x: Tensor, noise: Tensor) -> Terms:
        """Return what :meth:`terms` does, with the KL of each unit by itself, ``(B, latent)``."""
        mean, log_variance = self.encode(x)
        z = mean + (0.5 * log_variance).exp() * noise
        seen = -self.likelihood.log_prob(x, self.output(z))
        return Terms(seen, kl_of_units(mean, log_variance))

    def log_weights(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return log p(x, z) - log q(z | x) in nats for several draws of each image, ``(K, B)``.

        Args:
            x: images with values in [0, 1], ``(B, C, H, W)``.
            noise: standard normal, ``(K, B, latent)``.
        """
        seen, said = self.drawn_terms(x, noise)
        return -seen - said

    def drawn_terms(self, x: Tensor, noise: Tensor) -> Terms:
        """Return both costs of several draws of each image, ``(K, B)`` each.

        The second is log q(z | x) - log p(z) at the draw, whose mean over draws is the KL. Shapes
        are those of :meth:`log_weights`.
        """
        mean, log_variance = self.encode(x)
        z = mean + (0.5 * log_variance).exp() * noise  # (K, B, latent)
        outputs = self.output(z.flatten(0, 1))
        repeated = x.expand(len(noise), *x.shape).flatten(0, 1)
        seen = self.likelihood.log_prob(repeated, outputs).view(noise.shape[:2])
        # The terms with 2 pi cancel.
        prior = -0.5 * z.square().sum(-1)
        posterior = -0.5 * (noise.square() + log_variance).sum(-1)
        return Terms(-seen, posterior - prior)


def _whole(x: Tensor) -> Tensor:
    """Return what a network computed in bfloat16 as float32: sums of pixels need the digits."""
    return x.float() if x.dtype == torch.bfloat16 else x


def kl_to_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)) in nats, summed over units, shape ``(B,)``.

    References:
        Auto-Encoding Variational Bayes (Kingma, Welling, 2013), appendix B.
        https://arxiv.org/abs/1312.6114
    """
    return kl_of_units(mean, log_variance).sum(1)


def kl_of_units(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return what :func:`kl_to_prior` sums over, of the shape of both, ``(B, latent)``."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def with_free_bits(units: Tensor, floor: float) -> Tensor:
    """Return the KL that is charged when each unit has some nats for free, a scalar.

    Args:
        units: KL of each unit, mean over a batch, ``(latent,)``.
        floor: nats that a unit may say without a charge; below it, its KL has no gradient.

    References:
        Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016),
        appendix C.8. https://arxiv.org/abs/1606.04934
    """
    return units.clamp(min=floor).sum()


def importance_bound(log_weights: Tensor) -> Tensor:
    """Return a bound on log p(x) in nats from K draws, shape ``(B,)``.

    With K = 1 its mean is the ELBO; the more draws, the tighter.

    Args:
        log_weights: what :meth:`VAE.log_weights` returns, ``(K, B)``.

    References:
        Importance Weighted Autoencoders (Burda, Grosse, Salakhutdinov, 2015), equation 8.
        https://arxiv.org/abs/1509.00519
    """
    return log_weights.logsumexp(0) - math.log(len(log_weights))


# -- networks ------------------------------------------------------------------------------------


def vae(
    *,
    shape: ImageShape,
    latent: int = 20,
    hidden: int = 1024,
    depth: int = 1,
    network: str = "mlp",
    likelihood: str = "bernoulli",
    generator: torch.Generator | None = None,
) -> VAE:
    """Build a variational autoencoder over images.

    Args:
        shape: channels, height and width of the images.
        latent: number of latent units.
        hidden: width of the fully connected hidden layers.
        depth: fully connected hidden layers of either network.
        network: ``"mlp"``: nothing but these; ``"conv"``: two convolutions that halve the image
            before them, and two that double it behind them, with 32 and 64 channels;
            ``"residual"``: ``depth`` residual blocks behind each halving and before each doubling,
            and no hidden layers.
        likelihood: a key of ``LIKELIHOODS``.
        generator: source of the initial weights; the global random state is never touched.

    References:
        Auto-Encoding Variational Bayes (Kingma, Welling, 2013). https://arxiv.org/abs/1312.6114
    """
    wide = [hidden] * depth
    pixels = math.prod(shape)
    if network == "residual":
        encoder = residual_encoder(shape, 2 * latent, depth)
        decoder = residual_decoder(shape, latent, depth)
    elif network == "mlp":
        encoder = nn.Sequential(nn.Flatten(), *_connected(pixels, *wide, 2 * latent))
        decoder = nn.Sequential(*_connected(latent, *wide, pixels), nn.Unflatten(1, shape))
    else:
        encoder = ConvEncoder(shape, *wide, 2 * latent)
        decoder = ConvDecoder(latent, *wide, shape=shape)
    model = VAE(encoder, decoder, LIKELIHOODS[likelihood](), latent)
    (start_residual if network == "residual" else _initialise)(model, generator)
    return model


def plane_vae(
    *,
    latent: int = 2,
    hidden: int = 64,
    depth: int = 2,
    generator: torch.Generator | None = None,
) -> VAE:
    """Build a variational autoencoder over 2-D points, ``(B, 2)``.

    A point is Gaussian around what the decoder gives, with one learned standard deviation for both
    coordinates.

    Args:
        latent: number of latent units.
        hidden: width of the hidden layers of either network.
        depth: hidden layers of either network.
        generator: source of the initial weights.
    """
    wide = [hidden] * depth
    encoder = nn.Sequential(*_connected(2, *wide, 2 * latent))
    decoder = nn.Sequential(*_connected(latent, *wide, 2))
    model = VAE(encoder, decoder, GaussianLikelihood(squash=False), latent)
    _initialise(model, generator)
    return model


CHANNELS = (32, 64)


class ConvEncoder(nn.Sequential):
    """Two convolutions that halve the image, then fully connected layers.

    Args:
        shape: channels, height and width of the images.
        widths: of the fully connected layers, the last one that of the result.
    """

    def __init__(self, shape: ImageShape, *widths: int) -> None:
        channels, height, width = shape
        few, many = CHANNELS
        flat = many * _quarter(height) * _quarter(width)
        super().__init__(
            # To multiples of four, so that both halvings come out even.
            nn.ZeroPad2d((0, -width % 4, 0, -height % 4)),
            blank(nn.Conv2d, channels, few, 4, stride=2, padding=1),
            nn.ReLU(),
            blank(nn.Conv2d, few, many, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            *_connected(flat, *widths),
        )


class ConvDecoder(nn.Module):
    """Fully connected layers, then two convolutions that double the image.

    Args:
        widths: that of the latents, then of the hidden layers.
        shape: channels, height and width of the images.
    """

    def __init__(self, *widths: int, shape: ImageShape) -> None:
        super().__init__()
        channels, self.height, self.width = shape
        few, many = CHANNELS
        small = many, _quarter(self.height), _quarter(self.width)
        self.layers = nn.Sequential(
            *_connected(*widths, math.prod(small)),
            nn.ReLU(),
            nn.Unflatten(1, small),
            blank(nn.ConvTranspose2d, many, few, 4, stride=2, padding=1),
            nn.ReLU(),
            blank(nn.ConvTranspose2d, few, channels, 4, stride=2, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map latents ``(B, latent)`` to ``(B, C, H, W)``."""
        return self.layers(z)[..., : self.height, : self.width]


def _quarter(side: int) -> int:
    return -(-side // 4)


def _connected(*widths: int) -> list[nn.Module]:
    """Return fully connected layers with ReLU between them."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [blank(nn.Linear, width_in, width_out), nn.ReLU()]
    return layers[:-1]


def _initialise(model: nn.Module, generator: torch.Generator | None) -> None:
    """Draw weights and biases evenly within one over the root of the inputs, PyTorch's default."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            inputs = layer.weight[0].numel()
        elif isinstance(layer, nn.ConvTranspose2d):
            # With a stride of two, each pixel of the result meets a quarter of the kernel.
            inputs = layer.weight[:, 0].numel() // 4
        else:
            continue
        bound = inputs**-0.5
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        nn.init.uniform_(layer.bias, -bound, bound, generator=generator)

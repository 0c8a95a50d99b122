"""Variational dequantisation: bytes stay, so does their probability, and the bound is one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.blocks.dequantise import VariationalNoise
from models.blocks.image_layers import Flatten, Logit
from models.blocks.layers import DiagonalScale
from models.blocks.priors import Gaussian
from models.flow import Flow
from training.core.images import dequantise
from training.glow import TRAINING

SHAPE = (1, 3, 4)


def layer(shape=SHAPE, strength: float = 0.1) -> VariationalNoise:
    """A layer whose noise depends on bytes and on neighbours."""
    generator = torch.Generator().manual_seed(0)
    made = VariationalNoise(shape, generator=generator)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += strength * torch.randn(parameter.shape, generator=generator)
    return made.double()


def images(count: int = 5, shape=SHAPE) -> tuple[Tensor, Tensor]:
    """Bytes, and the same with uniform noise, in float64."""
    generator = torch.Generator().manual_seed(1)
    bytes_ = torch.randint(256, (count, *shape), generator=generator, dtype=torch.uint8)
    bytes_[0], bytes_[1] = 0, 255
    return bytes_, dequantise(bytes_, generator).double()


@pytest.mark.parametrize("shape", [SHAPE, (3, 4, 4), (1, 1, 1)])
def test_bytes_stay_and_the_inverse_undoes_it(shape):
    noise, (bytes_, x) = layer(shape), images(shape=shape)
    z, log_det = noise.inverse(x)
    assert (z - x).abs().max() > 1e-4
    assert torch.equal((256 * z).floor(), bytes_.double())
    back, log_det_back = noise.forward(z)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-7)
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-5, atol=1e-5)


def test_log_det_is_that_of_the_autograd_jacobian():
    noise, (_, x) = layer(), images(2)
    _, log_det = noise.inverse(x)
    for i in range(2):
        jacobian = torch.autograd.functional.jacobian(lambda u: noise.inverse(u)[0], x[i : i + 1])
        exact = torch.linalg.slogdet(jacobian.reshape(12, 12))[1]
        torch.testing.assert_close(log_det[i], exact)


def test_it_starts_as_uniform_dequantisation():
    noise, (_, x) = VariationalNoise(SHAPE).double(), images()
    z, log_det = noise.inverse(x)
    torch.testing.assert_close(z, x)
    torch.testing.assert_close(log_det, torch.zeros(5).double())


def test_the_probability_of_every_pair_of_bytes_is_kept_and_the_mean_is_a_bound_on_its_logarithm():
    # Two pixels: the integral over the noise of both is a sum over a grid.
    shape, count = (1, 1, 2), 300
    ends = [Logit(), Flatten(shape), DiagonalScale(2)]
    plain = Flow(Gaussian(2), ends).double()
    learned = Flow(Gaussian(2), [layer(shape), *ends]).double()
    u = (torch.arange(count).double() + 0.5) / count
    grid = torch.cartesian_prod(u, u).view(-1, *shape)
    for pair in ([0, 0], [3, 255], [128, 60]):
        x = (torch.tensor(pair).view(shape) + grid) / 256
        with torch.no_grad():
            uniform, bent = plain.log_prob(x), learned.log_prob(x)
        exact = uniform.exp().mean()
        torch.testing.assert_close(bent.exp().mean(), exact, rtol=1e-3, atol=0)
        assert uniform.mean() <= exact.log() + 1e-9
        assert bent.mean() <= exact.log() + 1e-3
        assert (bent.mean() - uniform.mean()).abs() > 1e-3


def test_the_bound_has_gradients_for_the_noise_and_a_few_steps_tighten_it():
    # Behind the layer, a density with a steep edge at the lower end of each byte.
    bytes_, generator = images(64)[0], torch.Generator().manual_seed(0)
    noise = VariationalNoise(SHAPE, generator=generator)
    optimiser = torch.optim.Adam(noise.parameters(), lr=3e-3)
    values = []
    for _ in range(60):
        z, log_det = noise.inverse(dequantise(bytes_, generator))
        u = 256 * z - (256 * z).floor().detach()
        # p(u) = 3 (1 - u)^2 on [0, 1], whose logarithm has the mean log 3 - 2 under uniform noise.
        bound = ((3 * (1 - u.clamp(max=0.999)).square()).log().flatten(1).sum(1) + log_det).mean()
        (-bound).backward()
        optimiser.step()
        optimiser.zero_grad()
        values.append(float(bound.detach()) / 12)
    assert values[-1] > values[0] + 0.5
    # The mass of a byte is one: no bound is above zero but for the few draws behind it.
    assert max(values[-10:]) < 0.1


def test_a_training_with_it_evaluates_the_same_bound():
    values = {"dataset": "digits8", "levels": 1, "steps": 4, "hidden": 32, "batch": 32}
    experiment = TRAINING.build(TRAINING.config(**values, dequantisation="variational"))
    assert isinstance(experiment.model.chain[0], VariationalNoise)
    for _ in range(3):
        assert experiment.update()["bits_per_dim"].isfinite()
    before = experiment.generator.get_state()
    first, second = experiment.measure(), experiment.measure()
    assert first == second
    assert torch.equal(before, experiment.generator.get_state())

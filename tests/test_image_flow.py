"""Flows on images: every layer is a bijection with the log-determinant it states, in all levels."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from models.blocks.image_layers import (
    ConvNet,
    InvertibleConv,
    Logit,
    Squeeze,
    Unsqueeze,
    Vectorise,
    squeezed,
)
from models.blocks.layers import ActNorm, AffineCoupling, Coupling, Split, given
from models.blocks.priors import Gaussian, Logistic
from models.flow import Flow
from models.glow import glow
from models.nice import nice_images
from models.realnvp import realnvp_images

Shape = tuple[int, int, int]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recipe(build: Callable[..., Flow], shape: Shape, **settings) -> Callable[..., Flow]:
    return lambda generator: build(shape=shape, generator=generator, **settings)


def glows(shape: Shape, levels: int, classes: int = 0, steps: int = 2):
    return recipe(glow, shape, levels=levels, steps=steps, hidden=8, classes=classes)


def realnvps(shape: Shape, levels: int, classes: int = 0, couplings: int = 2):
    return recipe(
        realnvp_images, shape, levels=levels, couplings=couplings, hidden=8, classes=classes
    )


GREY, COLOUR = (1, 8, 8), (3, 8, 8)
FLOWS: dict[str, Callable[[torch.Generator], Flow]] = {
    "glow-1": glows(GREY, 1),
    "glow-2-classes": glows(GREY, 2, classes=3),
    "glow-3": glows(GREY, 3),
    "glow-3-classes": glows(GREY, 3, classes=2, steps=1),
    "glow-colour-2-classes": glows((3, 4, 4), 2, classes=3),
    "glow-colour-3": glows(COLOUR, 3, steps=1),
    "realnvp-1": realnvps(GREY, 1),
    "realnvp-2-classes": realnvps(GREY, 2, classes=3, couplings=3),
    "realnvp-3": realnvps(GREY, 3),
    "realnvp-colour-2-classes": realnvps((3, 4, 4), 2, classes=2),
    "realnvp-colour-3": realnvps(COLOUR, 3, classes=2),
    "nice": recipe(nice_images, GREY, layers=4, hidden=16, depth=2),
    "nice-gaussian-deep": recipe(nice_images, GREY, layers=3, hidden=16, depth=5, prior="gaussian"),
    "nice-colour-odd": recipe(nice_images, (3, 3, 3), layers=2, hidden=16, depth=1),
}
CONDITIONAL = [name for name in FLOWS if "classes" in name or name == "realnvp-colour-3"]
LEVELS = {name: int(name.split("-")[1]) for name in ("glow-1", "glow-3", "realnvp-1", "realnvp-3")}
# Whose full Jacobian takes no second.
SMALL = [name for name in FLOWS if name not in ("glow-colour-3", "realnvp-colour-3")]


@pytest.fixture(params=FLOWS, ids=str)
def build(request) -> Callable[[torch.Generator], Flow]:
    return FLOWS[request.param]


def shape_of(flow: Flow) -> torch.Size:
    """Channels, height and width of its images."""
    return flow.double().sample(1, context=context_of(flow, 1)).shape[1:]


def images(flow: Flow, count: int = 4, seed: int = 5) -> Tensor:
    """Images with values in [0, 1] that have dark and bright places, in double precision."""
    x = torch.rand(count, *shape_of(flow), generator=seeded(seed), dtype=torch.float64)
    return (2 * x - 0.5).clamp(0.002, 0.998)


def context_of(flow: Flow, count: int = 4, shift: int = 0) -> Tensor | None:
    if not flow.context:
        return None
    labels = (torch.arange(count) + shift) % flow.context
    return nn.functional.one_hot(labels, flow.context).double()


def bent(build: Callable[[torch.Generator], Flow], seed: int = 0) -> Flow:
    """A flow in double precision, initialised on data, with disturbed weights: not the identity."""
    generator = seeded(seed)
    flow = build(generator).double()
    flow.initialise(images(flow, 64), context_of(flow, 64))
    with torch.no_grad():
        for parameter in flow.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += (
                0.2 / parameter[0].numel() ** 0.5 * noise if parameter.dim() > 1 else 0.05 * noise
            )
    return flow


def jacobians(function: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
    """The Jacobian of each example, shape (B, D, D). One that sees another would show here."""

    def total(u: Tensor) -> Tensor:
        return function(u).flatten(1).sum(0)

    full = torch.autograd.functional.jacobian(total, v)  # (D, B, ...)
    return full.transpose(0, 1).flatten(2)


def modules(flow: Flow, kind: type) -> list:
    return [module for module in flow.modules() if isinstance(module, kind)]


def levels(flow: Flow) -> list[list[nn.Module]]:
    """The layers of each level, from data to latent, without the splits between them."""
    found = [[]]
    for layer in flow.chain:
        if isinstance(layer, Split):
            found.append([])
        else:
            found[-1].append(layer)
    return found


def assert_sentence(error: BaseException) -> None:
    text = str(error)
    assert text.endswith(".")
    assert "\n" not in text


# -- squeeze ----------------------------------------------------------------------------------


@pytest.mark.parametrize("checkerboard", [False, True])
@pytest.mark.parametrize("kind", [Squeeze, Unsqueeze])
@pytest.mark.parametrize("shape", [(1, 2, 2), (4, 6, 4), (8, 2, 10)])
def test_squeezing_only_moves_values_and_is_undone(kind, checkerboard, shape):
    layer = kind(checkerboard=checkerboard)
    if kind is Unsqueeze:
        shape = (4 * shape[0], *shape[1:])
    x = torch.arange(2 * math.prod(shape)).reshape(2, *shape).float()
    z, log_det = layer.inverse(x)
    parted, whole = (z, x) if kind is Squeeze else (x, z)
    assert tuple(parted.shape[1:]) == squeezed(tuple(whole.shape[1:]))
    assert not torch.equal(z, x.reshape(z.shape)) or min(shape[1:]) == 2
    assert torch.equal(z.flatten(1).sort(1).values, x.flatten(1)), "each image keeps its pixels"
    back, other = layer.forward(z)
    assert torch.equal(back, x)
    assert log_det.shape == other.shape == (2,)
    assert not log_det.any()
    assert not other.any()


def test_unsqueezing_is_the_opposite_of_squeezing():
    x = torch.randn(2, 8, 6, 4, generator=seeded())
    for checkerboard in (False, True):
        squeeze, unsqueeze = (
            Squeeze(checkerboard=checkerboard),
            Unsqueeze(checkerboard=checkerboard),
        )
        assert torch.equal(unsqueeze.inverse(squeeze.inverse(x)[0])[0], x)
        assert torch.equal(squeeze.inverse(x)[0], unsqueeze.forward(x)[0])
        assert not torch.equal(Squeeze(checkerboard=not checkerboard).inverse(x)[0], z(x, squeeze))


def z(x: Tensor, layer: nn.Module) -> Tensor:
    return layer.inverse(x)[0]


def test_each_channel_of_a_squeezed_image_is_a_smaller_image():
    x = torch.randn(2, 3, 6, 8, generator=seeded())
    for checkerboard, corners in (
        (False, ((0, 0), (0, 1), (1, 0), (1, 1))),
        (True, ((0, 0), (1, 1), (0, 1), (1, 0))),
    ):
        expected = torch.cat([x[:, :, i::2, j::2] for i, j in corners], dim=1)
        assert torch.equal(z(x, Squeeze(checkerboard=checkerboard)), expected)


def test_halves_of_the_channels_are_the_black_and_the_white_squares():
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(8), indexing="ij")
    white = ((rows + columns) % 2).float().expand(1, 3, 6, 8)
    first, second = z(white, Squeeze(checkerboard=True)).chunk(2, dim=1)
    assert not first.any()
    assert second.all()
    first, second = z(white, Squeeze()).chunk(2, dim=1)
    assert first.any()
    assert not first.all(), "else the plain squeeze would be no other"


@pytest.mark.parametrize("flip", [False, True])
def test_a_coupling_on_a_checkerboard_leaves_the_squares_of_one_colour(flip):
    net = ConvNet(2, 8, 4, generator=seeded()).double()
    nn.init.normal_(net.last.weight, generator=seeded(1))
    coupling, squeeze = AffineCoupling(net, flip=flip), Squeeze(checkerboard=True)
    x = torch.randn(2, 1, 6, 8, generator=seeded(), dtype=torch.float64)
    moved = squeeze.forward(coupling.inverse(squeeze.inverse(x)[0])[0])[0]
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(8), indexing="ij")
    white = (rows + columns) % 2 == 1
    stay, move = (white, ~white) if flip else (~white, white)
    assert torch.equal(moved[..., stay], x[..., stay])
    assert (moved != x)[..., move].all()


@pytest.mark.parametrize("shape", [(1, 7, 8), (1, 8, 7), (3, 1, 1)])
def test_what_cannot_be_halved_is_refused_in_a_sentence(shape):
    with pytest.raises(ValueError, match=f"{shape[1]} x {shape[2]}") as error:
        squeezed(shape)
    assert_sentence(error.value)


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 3, 3), (1, 1, 5)])
def test_vectors_have_pixels_at_even_places_first(shape):
    layer, count = Vectorise(shape), math.prod(shape)
    x = torch.arange(2 * count).reshape(2, *shape).float()
    vector, log_det = layer.inverse(x)
    assert vector[0].tolist() == [*range(0, count, 2), *range(1, count, 2)]
    # A coupling cuts exactly there, also for an odd number of pixels.
    assert vector.chunk(2, dim=1)[0].shape[1] == len(range(0, count, 2))
    back, other = layer.forward(vector)
    assert torch.equal(back, x)
    assert not log_det.any()
    assert not other.any()


# -- actnorm on images ------------------------------------------------------------------------


def test_actnorm_of_images_is_one_shift_and_scale_for_each_channel():
    layer = ActNorm(3).double()
    x = torch.randn(16, 3, 6, 5, generator=seeded(), dtype=torch.float64)
    x = (
        x * torch.tensor([0.1, 1.0, 7.0])[:, None, None]
        + torch.tensor([3.0, 0.0, -2.0])[:, None, None]
    )
    layer.initialise(x)
    found, log_det = (result.detach() for result in layer.inverse(x))
    for c in range(3):
        assert float(found[:, c].mean()) == pytest.approx(0, abs=1e-9)
        assert float(found[:, c].std()) == pytest.approx(1, rel=1e-9)
        slope = (found[0, c] - found[1, c]) / (x[0, c] - x[1, c])
        torch.testing.assert_close(slope, slope[0, 0].expand(6, 5))
    torch.testing.assert_close(layer.forward(found)[0], x)
    torch.testing.assert_close(layer.forward(found)[1], -log_det)


def test_log_det_of_actnorm_counts_each_pixel():
    layer = ActNorm(2).double()
    with torch.no_grad():
        layer.log_scale.copy_(torch.tensor([0.5, -0.2]))
        layer.shift.copy_(torch.tensor([1.0, 2.0]))
    for shape, pixels in (((2, 3, 4), 12), ((2, 1, 1), 1), ((2,), 1)):
        x = torch.randn(3, *shape, generator=seeded(), dtype=torch.float64)
        torch.testing.assert_close(
            layer.forward(x)[1], torch.full((3,), 0.3 * pixels, dtype=torch.float64)
        )
        expected = torch.linalg.slogdet(jacobians(lambda u: z(u, layer), x))[1]
        torch.testing.assert_close(layer.inverse(x)[1], expected)


def test_actnorm_bears_a_channel_without_contrast():
    layer = ActNorm(2)
    x = torch.randn(8, 2, 4, 4, generator=seeded())
    x[:, 1] = 0.25
    layer.initialise(x)
    assert torch.isfinite(layer.inverse(x)[0]).all()
    assert torch.isfinite(layer.inverse(x)[1]).all()


# -- the invertible convolution ---------------------------------------------------------------


def disturbed_conv(channels: int, seed: int = 0) -> InvertibleConv:
    layer = InvertibleConv(channels, generator=seeded(seed)).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            noise = torch.randn(parameter.shape, generator=seeded(seed + 1), dtype=torch.float64)
            parameter += 0.2 * noise
    return layer


@pytest.mark.parametrize("channels", [1, 2, 4, 12, 48])
def test_the_convolution_starts_as_a_rotation(channels):
    layer = InvertibleConv(channels, generator=seeded()).double()
    matrix = layer.matrix().detach()
    torch.testing.assert_close(
        matrix @ matrix.T, torch.eye(channels, dtype=torch.float64), rtol=0, atol=1e-5
    )
    assert channels == 1 or not torch.allclose(matrix, torch.eye(channels).double(), atol=0.1)
    log_det = layer.inverse(torch.zeros(1, channels, 4, 4, dtype=torch.float64))[1]
    assert log_det.item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 4, 12, 48])
@pytest.mark.parametrize("size", [(1, 1), (3, 5)])
def test_the_convolution_is_its_matrix_at_each_pixel(channels, size):
    layer = disturbed_conv(channels)
    x = torch.randn(2, channels, *size, generator=seeded(3), dtype=torch.float64)
    matrix = layer.matrix()
    found, log_det = layer.inverse(x)
    torch.testing.assert_close(found, torch.einsum("ij,bjhw->bihw", matrix, x))
    sign, expected = torch.linalg.slogdet(matrix)
    assert sign != 0
    torch.testing.assert_close(log_det, (expected * math.prod(size)).expand(2))
    back, other = layer.forward(found)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-8)
    torch.testing.assert_close(other, -log_det)
    undone, _ = layer.forward(x)
    inverse = torch.linalg.inv(matrix)
    torch.testing.assert_close(
        undone, torch.einsum("ij,bjhw->bihw", inverse, x), rtol=1e-6, atol=1e-6
    )


def test_the_convolution_stays_a_product_of_triangles_when_trained():
    layer = InvertibleConv(6, generator=seeded())
    fixed = layer.permutation.clone(), layer.sign.clone()
    before = layer.matrix().detach().clone()
    x = torch.randn(64, 6, 2, 2, generator=seeded(1))
    x = torch.einsum("ij,bjhw->bihw", torch.randn(6, 6, generator=seeded(2)), x)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        found, log_det = layer.inverse(x)
        loss = (0.5 * found.square().flatten(1).sum(1) - log_det).mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 1
    assert (layer.matrix() - before).abs().max() > 0.1
    assert torch.equal(layer.permutation, fixed[0])
    assert torch.equal(layer.sign, fixed[1])
    # Its rows put back in order, elimination needs no exchange and finds the same factors.
    rows = layer.permutation.T @ layer.matrix().detach()
    lower, upper = eliminate(rows.double())
    torch.testing.assert_close(lower.tril(-1), layer.lower.tril(-1).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        upper.diagonal().abs().log(), layer.log_scale.double(), rtol=0, atol=1e-4
    )
    assert torch.equal(upper.diagonal().sign().float(), layer.sign)
    assert layer.inverse(x)[1][0].item() == pytest.approx(
        4 * torch.linalg.slogdet(rows).logabsdet.item(), abs=1e-3
    )


def eliminate(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss without pivots."""
    upper, lower = matrix.clone(), torch.eye(len(matrix), dtype=matrix.dtype)
    for k in range(len(matrix)):
        lower[k + 1 :, k] = upper[k + 1 :, k] / upper[k, k]
        upper[k + 1 :] -= lower[k + 1 :, k, None] * upper[k]
    return lower, upper


# -- logit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 0.05])
def test_logit_has_the_log_det_of_its_slopes(alpha):
    layer = Logit(alpha)
    x = torch.rand(3, 2, 4, 4, generator=seeded(), dtype=torch.float64)
    x[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    expected = torch.logit(alpha + (1 - 2 * alpha) * x)
    found, log_det = layer.inverse(x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    slopes = torch.autograd.functional.jacobian(lambda u: z(u, layer).sum(), x)
    torch.testing.assert_close(log_det, slopes.log().flatten(1).sum(1))
    back, other = layer.forward(found)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-10)
    torch.testing.assert_close(other, -log_det)


@pytest.mark.parametrize("alpha", [1e-6, 0.05])
def test_logit_bears_black_and_white_in_single_precision(alpha):
    layer, values = Logit(alpha), torch.arange(256).float()
    ends = torch.stack([values / 256, (values + 1 - 2**-16) / 256, values / 255])[:, None, None]
    found, log_det = layer.inverse(ends)
    assert torch.isfinite(found).all()
    assert torch.isfinite(log_det).all()
    back, _ = layer.forward(found)
    # A small part of a grey level, whatever the level.
    assert (back - ends).abs().max() < 1 / 256 / 50
    far, log_det = layer.forward(torch.tensor([-1e3, -90.0, 0.0, 90.0, 1e3]).view(5, 1, 1, 1))
    assert torch.isfinite(far).all()
    assert torch.isfinite(log_det).all()


# -- the network inside -----------------------------------------------------------------------


def test_the_network_starts_at_zero_and_sees_its_neighbours():
    net = ConvNet(2, 8, 4, generator=seeded())
    x = torch.randn(1, 2, 7, 7, generator=seeded(1))
    assert not net(x).any(), "couplings start as the identity"
    nn.init.normal_(net.last.weight, generator=seeded(2))
    reach = torch.zeros_like(x)
    reach[0, 0, 3, 3] = 1
    touched = (net(x + reach) - net(x))[0].abs().sum(0) > 0
    assert touched[1:6, 1:6].sum() > 15
    assert touched.sum() == touched[1:6, 1:6].sum(), "two 3 x 3 windows reach two pixels far"


def test_a_wide_network_moves_no_further_in_its_first_step_of_adam_than_a_narrow_one():
    x = torch.rand(16, 2, 8, 8, generator=seeded(1))

    def first_step(hidden: int) -> float:
        net = ConvNet(2, hidden, 4, generator=seeded())
        adam = torch.optim.Adam(net.parameters(), lr=1e-3)
        (net(x) - 1).square().mean().backward()
        adam.step()
        return float(net(x).detach().abs().mean())

    narrow = first_step(64)
    assert narrow > 0
    assert 0.7 < first_step(512) / narrow < 1.4


@pytest.mark.parametrize("build", [glow, realnvp_images])
def test_a_deep_flow_moves_no_further_in_its_first_step_of_adam_than_a_shallow_one(build):
    x = torch.rand(16, 1, 8, 8, generator=seeded(1))

    def first_step(depth: int) -> float:
        size = {glow: {"steps": depth}, realnvp_images: {"couplings": depth // 2}}[build]
        flow = build(shape=(1, 8, 8), levels=1, hidden=16, generator=seeded(), **size)
        flow.initialise(x)
        adam = torch.optim.Adam(
            [w for net in flow.modules() if isinstance(net, ConvNet) for w in net.parameters()],
            lr=1e-5,
        )
        before = flow.log_prob(x)
        before.mean().backward()
        adam.step()
        return float((flow.log_prob(x) - before).detach().abs().mean())

    shallow = first_step(8)
    assert shallow > 0
    assert 0.6 < first_step(24) / shallow < 1.6


@pytest.mark.parametrize("build", [glow, realnvp_images])
def test_however_deep_the_scales_together_stay_within_float32(build):
    depth = {glow: {"steps": 32}, realnvp_images: {"couplings": 8}}[build]
    flow = build(shape=(1, 32, 32), levels=4, hidden=4, **depth)
    bounds = [layer.bound for layer in flow.modules() if isinstance(layer, AffineCoupling)]
    assert len(bounds) >= 64
    assert sum(bounds) < math.log(torch.finfo(torch.float32).max)


def test_mixed_precision_is_nearly_the_same_network():
    net = ConvNet(2, 32, 4, context=3, generator=seeded())
    nn.init.normal_(net.last.weight, std=0.05, generator=seeded(2))
    nn.init.normal_(net.shift, generator=seeded(3))
    x, context = torch.randn(4, 2, 6, 6, generator=seeded(1)), torch.eye(4)[:, :3]
    exact = net(x, context)
    net.mixed = True
    mixed = net(x, context)
    assert mixed.dtype == torch.float32
    assert not torch.equal(mixed, exact)
    assert (mixed - exact).abs().max() < 0.03 * exact.std()
    for one, two in zip(gradients(net, x, context, mixed=True), gradients(net, x, context)):
        assert one.dtype == torch.float32
        assert (one - two).norm() < 0.05 * two.norm()


def gradients(net: ConvNet, x: Tensor, context: Tensor, mixed: bool = False) -> tuple[Tensor, ...]:
    net.mixed = mixed
    return torch.autograd.grad(net(x, context).square().sum(), list(net.parameters()))


# -- the map ----------------------------------------------------------------------------------


def test_inverse_undoes_forward_and_forward_undoes_inverse(build):
    flow = bent(build)
    x, context = images(flow), context_of(flow)
    latents, there = flow.inverse(x, context)
    assert latents.shape == (4, flow.features)
    back, log_det = flow.forward(latents, context)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-8)
    torch.testing.assert_close(there, -log_det, rtol=0, atol=1e-6)

    # Other latents, not so far out that an image is black or white to all digits.
    noise = torch.randn(4, flow.features, generator=seeded(8), dtype=torch.float64)
    drawn = latents.roll(1, 0) + 0.2 * noise
    x, there = flow.forward(drawn, context)
    assert x.shape == (4, *shape_of(flow))
    again, log_det = flow.inverse(x, context)
    torch.testing.assert_close(again, drawn, rtol=0, atol=1e-5)
    torch.testing.assert_close(there, -log_det, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_log_det_is_that_of_the_autograd_jacobian(name):
    flow = bent(FLOWS[name])
    x, context = images(flow, 2), context_of(flow, 2)
    sign, expected = torch.linalg.slogdet(jacobians(lambda u: flow.inverse(u, context)[0], x))
    assert (sign != 0).all()
    torch.testing.assert_close(flow.inverse(x, context)[1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["glow-2-classes", "realnvp-2-classes", "nice"])
def test_log_det_towards_the_data_is_that_of_the_autograd_jacobian(name):
    flow = bent(FLOWS[name])
    context = context_of(flow, 2)
    noise = torch.randn(2, flow.features, generator=seeded(8), dtype=torch.float64)
    latents = flow.inverse(images(flow, 2), context)[0].detach() + 0.2 * noise
    sign, expected = torch.linalg.slogdet(jacobians(lambda u: flow.forward(u, context)[0], latents))
    assert (sign != 0).all()
    torch.testing.assert_close(flow.forward(latents, context)[1], expected, rtol=0, atol=1e-6)


def test_single_precision_is_good_enough_to_come_back(build):
    flow = bent(build)
    x, context = images(flow, 32), context_of(flow, 32)
    exact = flow.log_prob(x, context)
    flow, x = flow.float(), x.float()
    context = None if context is None else context.float()
    back = flow.forward(flow.inverse(x, context)[0], context)[0]
    assert (back - x).abs().max() < 1 / 256 / 8
    # In bits/dim, what rounding costs.
    off = (flow.log_prob(x, context) - exact).abs() / flow.features / math.log(2)
    assert off.max() < 1e-4


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_states_lead_from_one_end_to_the_other(build, direction):
    flow = bent(build)
    context = context_of(flow, 3)
    latents = torch.randn(3, flow.features, generator=seeded(8), dtype=torch.float64)
    start = latents if direction == "forward" else images(flow, 3)
    states = list(getattr(flow, f"{direction}_states")(start, context))
    end, log_det = getattr(flow, direction)(start, context)
    parts = [[s.value, *s.left] for s in (states[0], states[-1])]
    assert [sum(part[0].numel() for part in some) for some in parts] == [flow.features] * 2
    if direction == "forward":
        assert torch.equal(parts[1][0], end)
    else:
        last, *left = (part.flatten(1) for part in parts[1])
        assert torch.equal(torch.cat([*left, last], dim=1), end)
    assert torch.equal(states[-1].log_det, log_det)
    assert not states[0].log_det.any()
    chain = list(flow.chain) if direction == "inverse" else list(flow.chain)[::-1]
    assert [state.layer for state in states] == [None, *chain]


def test_layers_that_see_the_class_are_those_that_get_it(build):
    flow = build(seeded())
    vector = torch.ones(1, 3)
    told = [layer for layer in flow.chain if given(layer, vector)]
    assert bool(told) == bool(flow.context)
    assert not any(given(layer, None) for layer in flow.chain)
    if flow.context:
        assert told == modules(flow, Coupling), "every coupling sees the class"


# -- levels -----------------------------------------------------------------------------------


def test_latents_of_the_levels_partition_the_vector(build):
    flow = bent(build)
    places = flow.latent_slices
    assert len(places) == len(flow.latent_shapes) == len(modules(flow, Split)) + 1
    covered = [i for place in places for i in range(flow.features)[place]]
    assert covered == list(range(flow.features))

    vector = torch.arange(2.0 * flow.features).reshape(2, -1)
    *left, rest = flow.split(vector)
    assert [tuple(part.shape[1:]) for part in left] == flow.latent_shapes[:-1]
    assert rest.shape[1] == math.prod(flow.latent_shapes[-1])
    parts = [*left, rest]
    assert torch.equal(torch.cat([part.flatten(1) for part in parts], dim=1), vector)


@pytest.mark.parametrize("make", [glow, realnvp_images])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 28, 28), [(2, 14, 14), (8, 7, 7)]),
        ((1, 32, 32), [(2, 16, 16), (4, 8, 8), (8, 4, 4), (32, 2, 2)]),
        ((3, 8, 8), [(6, 4, 4), (12, 2, 2), (48, 1, 1)]),
        ((1, 4, 8), [(4, 2, 4)]),
    ],
)
def test_half_of_what_is_left_becomes_latent(make, shape, expected):
    steps = {"steps": 1} if make is glow else {"couplings": 1}
    flow = make(shape=shape, levels=len(expected), hidden=4, **steps, generator=seeded())
    assert flow.latent_shapes == expected
    assert flow.inverse(torch.rand(1, *shape, generator=seeded()))[0].shape == (1, flow.features)


@pytest.mark.parametrize("name", ["glow-3", "realnvp-3"])
def test_a_level_that_changes_leaves_finer_latents_alone(name):
    # The finest latents are done before the coarser levels see anything.
    flow = bent(FLOWS[name])
    x = images(flow)
    before = flow.inverse(x)[0]
    with torch.no_grad():
        for layer in levels(flow)[-1]:
            for parameter in layer.parameters():
                parameter += 0.3
    after = flow.inverse(x)[0]
    changed = [not torch.equal(before[:, p], after[:, p]) for p in flow.latent_slices]
    assert changed == [False, False, True]


@pytest.mark.parametrize("name", [n for n in FLOWS if n[-1] in "23" or "-2-" in n or "-3-" in n])
def test_the_half_that_leaves_a_level_is_what_its_last_coupling_moves(name):
    flow = FLOWS[name](seeded())
    assert len(levels(flow)) > 1
    for level, (channels, *_) in zip(levels(flow)[:-1], flow.latent_shapes):
        last = level[-1]
        assert isinstance(last, Coupling)
        # Half of the channels leaves, the second one.
        assert last.passive(2 * channels) == list(range(channels))


def test_glow_learns_how_the_half_that_leaves_follows_from_the_half_that_stays():
    flow = glow(shape=(1, 8, 8), levels=3, steps=2, hidden=4, generator=seeded())
    couplings = [sum(isinstance(layer, Coupling) for layer in level) for level in levels(flow)]
    assert couplings == [3, 3, 2]


@pytest.mark.parametrize("make", [glow, realnvp_images])
@pytest.mark.parametrize(
    ("shape", "levels"), [((1, 8, 8), 4), ((1, 28, 28), 3), ((3, 7, 7), 1), ((1, 8, 6), 2)]
)
def test_too_many_levels_are_refused_in_a_sentence(make, shape, levels):
    with pytest.raises(ValueError, match="halved") as error:
        make(shape=shape, levels=levels, hidden=4, generator=seeded())
    assert_sentence(error.value)


# -- classes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONDITIONAL)
def test_the_class_changes_density_and_samples(name):
    flow = bent(FLOWS[name])
    x, here, there = images(flow), context_of(flow), context_of(flow, shift=1)
    assert (flow.log_prob(x, here) - flow.log_prob(x, there)).abs().min() > 1e-3
    one = flow.sample(4, context=here, generator=seeded(3))
    two = flow.sample(4, context=there, generator=seeded(3))
    assert (one - two).abs().flatten(1).amax(1).min() > 1e-3
    # An image has its own class: the one beside it does not matter.
    alone = torch.cat([flow.log_prob(x[i : i + 1], here[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(flow.log_prob(x, here), alone)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_at_the_start_no_class_is_told_from_another(name):
    flow = FLOWS[name](seeded()).double()
    x = images(flow)
    one, two = flow.log_prob(x, context_of(flow)), flow.log_prob(x, context_of(flow, shift=1))
    torch.testing.assert_close(one, two)


# -- the density ------------------------------------------------------------------------------

TINY = {
    "glow": glows((1, 2, 2), 1),
    "glow-classes": glows((1, 2, 2), 1, classes=2, steps=1),
    "realnvp": realnvps((1, 2, 2), 1),
    "nice": recipe(nice_images, (1, 2, 2), layers=3, hidden=8, depth=1),
}


@pytest.mark.parametrize("name", TINY)
def test_the_density_of_a_tiny_flow_integrates_to_one(name):
    flow = bent(TINY[name])
    context = None if not flow.context else torch.tensor([[0.0, 1.0]]).double()

    def along(count: int) -> Tensor | None:
        return None if context is None else context.expand(count, -1)

    logit = Logit(1e-6) if modules(flow, Logit) else None
    drawn = flow.sample(4000, context=along(4000), generator=seeded()).detach()
    line = drawn.flatten(1) if logit is None else z(drawn, logit).flatten(1)
    # Importance sampling from something wider than the flow, where both reach the whole space.
    wide = scipy.stats.multivariate_t(line.mean(0).numpy(), 1.5 * line.T.cov().numpy(), df=5)
    count = 60_000
    points = wide.rvs(count, random_state=np.random.default_rng(0))
    x = torch.from_numpy(points).view(count, *shape_of(flow))
    slope = torch.zeros(count, dtype=torch.float64)
    if logit is not None:
        x, slope = logit.forward(x)
    with torch.no_grad():
        log_weight = flow.log_prob(x, along(count)) + slope - torch.from_numpy(wide.logpdf(points))
    weight = log_weight.exp()
    error = float(weight.std()) / count**0.5
    assert error < 0.01, "else the test could not tell"
    assert float(weight.mean()) == pytest.approx(1, abs=5 * error)


@pytest.mark.parametrize("name", ["glow", "realnvp", "nice"])
def test_samples_are_of_the_density(name):
    # E[log p] over samples is minus the entropy: the same by latents and by images.
    flow = bent(TINY[name])
    latents = flow.prior.sample(4000, generator=seeded(2)).double()
    with torch.no_grad():
        x, log_det = flow.forward(latents)
        torch.testing.assert_close(
            flow.log_prob(x), flow.prior.log_prob(latents) - log_det, rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("prior", [Gaussian, Logistic])
def test_a_flow_whose_density_is_known_has_it(prior):
    # logit(x) is logistic if x is uniform; it is normal if x is logit-normal.
    flow = Flow(prior(4), [Logit(0.0), Vectorise((1, 2, 2))])
    x = torch.rand(50, 1, 2, 2, generator=seeded(), dtype=torch.float64).clamp(1e-4, 1 - 1e-4)
    if prior is Logistic:
        expected = torch.zeros(50, dtype=torch.float64)
    else:
        line = torch.logit(x).flatten(1).numpy()
        slopes = -np.log(x.flatten(1) * (1 - x.flatten(1))).numpy()
        expected = torch.from_numpy((scipy.stats.norm.logpdf(line) + slopes).sum(1))
    torch.testing.assert_close(flow.log_prob(x), expected, rtol=0, atol=1e-9)


def test_samples_come_from_their_generator_alone(build):
    flow = bent(build)
    context = context_of(flow, 6)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        one = flow.sample(6, context=context, generator=seeded(3))
        torch.manual_seed(2)
        state = torch.get_rng_state()
        two = flow.sample(6, context=context, generator=seeded(3))
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, two)
    assert one.shape == (6, *shape_of(flow))
    assert not torch.equal(one, flow.sample(6, context=context, generator=seeded(4)))
    cold = flow.sample(6, context=context, generator=seeded(3), temperature=0)
    zero = flow.forward(torch.zeros(6, flow.features, dtype=torch.float64), context)[0]
    torch.testing.assert_close(cold, zero)
    if modules(flow, Logit):
        assert one.min() > -1e-5
        assert one.max() < 1 + 1e-5


# -- as modules -------------------------------------------------------------------------------


def test_every_parameter_gets_a_gradient(build):
    flow = bent(build)
    (-flow.log_prob(images(flow, 16), context_of(flow, 16)).mean()).backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_evaluation_mode_changes_nothing(build):
    flow = bent(build)
    x, context = images(flow), context_of(flow)
    train = flow.train().log_prob(x, context)
    assert torch.equal(flow.eval().log_prob(x, context), train)


def test_weights_saved_and_loaded_give_the_same_flow(build):
    flow, other = bent(build), bent(build, seed=1)
    x, context = images(flow), context_of(flow)
    assert not torch.equal(other.log_prob(x, context), flow.log_prob(x, context))
    file = io.BytesIO()
    torch.save(flow.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.log_prob(x, context), flow.log_prob(x, context))
    latents = flow.inverse(x, context)[0]
    assert torch.equal(other.forward(latents, context)[0], flow.forward(latents, context)[0])


def test_same_seed_same_weights_and_the_global_random_state_is_left_alone(build):
    state = torch.get_rng_state()
    one, two, other = (build(seeded(seed)).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["glow-3-classes", "glow-colour-3", "realnvp-2-classes"])
def test_each_actnorm_of_a_flow_sees_the_data_as_it_arrives_there(name):
    flow = bent(FLOWS[name])
    x, context = images(flow, 64, seed=9), context_of(flow, 64)
    flow.initialise(x, context)
    seen = {}
    for norm in modules(flow, ActNorm):
        real = norm.inverse
        norm.inverse = lambda v, norm=norm, real=real: seen.setdefault(norm, real(v))
    flow.log_prob(x, context)
    assert list(seen) == modules(flow, ActNorm)
    for value, _ in seen.values():
        channels = value.transpose(0, 1).flatten(1)
        torch.testing.assert_close(channels.mean(1), torch.zeros_like(channels[:, 0]))
        torch.testing.assert_close(channels.std(1), torch.ones_like(channels[:, 0]))


@pytest.mark.parametrize("name", FLOWS)
def test_nothing_is_nan_where_images_are_black_or_white(name):
    flow = bent(FLOWS[name])
    shape, flow = shape_of(flow), flow.float()
    noise = torch.rand(shape, generator=seeded()).round()
    ends = [torch.zeros(shape), torch.ones(shape)]
    x, context = torch.stack([*ends, noise, noise / 256]), context_of(flow)
    context = None if context is None else context.float()
    loss = -flow.log_prob(x, context).mean()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, list(flow.parameters())))
    # What is drawn far out is an image, too, and it has latents and a density.
    far, log_det = flow.forward(10 * torch.randn(4, flow.features, generator=seeded(1)), context)
    for result in (far, log_det, *flow.inverse(far, context), flow.log_prob(far, context)):
        assert torch.isfinite(result).all()

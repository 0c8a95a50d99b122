"""MAF over patches: exact in both directions, and no token sees one that comes later."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.flow import Flow
from models.patches import PatchAutoregressive, Patches, maf_images

SHAPE = (1, 8, 8)


def made(*, classes: int = 3, patch: int = 4, **settings) -> Flow:
    """A small flow whose weights are disturbed: not the identity, and seeing its context."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"blocks": 3, "layers": 2, "width": 32, **settings}
    flow = maf_images(shape=SHAPE, patch=patch, classes=classes, generator=generator, **sizes)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return flow.double()


def images(count: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(count, *SHAPE, generator=generator, dtype=torch.double)
    return x, torch.eye(3, dtype=torch.double)[torch.arange(count) % 3]


def jacobian(layer, x: Tensor, context: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(lambda u: layer.inverse(u, context)[0], x)


def block_of(flow: Flow, place: int) -> PatchAutoregressive:
    return [layer for layer in flow.chain if isinstance(layer, PatchAutoregressive)][place]


@pytest.mark.parametrize(("patch", "shape"), [(2, (1, 8, 8)), (4, (3, 8, 8)), (1, (1, 2, 4))])
def test_patches_are_squares_row_by_row_and_come_back(patch, shape):
    layer = Patches(shape, patch)
    x = torch.arange(2.0 * shape[0] * shape[1] * shape[2]).reshape(2, *shape)
    tokens, log_det = layer.inverse(x)
    assert tokens.shape == (2, layer.tokens, layer.features)
    second = x[0, :, :patch, patch : 2 * patch]
    assert torch.equal(tokens[0, 1], second.flatten())
    assert torch.equal(layer.forward(tokens)[0], x)
    assert not log_det.any()


def test_images_of_no_whole_number_of_patches_are_refused():
    with pytest.raises(ValueError, match="whole number"):
        Patches((1, 28, 28), 5)


@pytest.mark.parametrize("place", [0, 1])
def test_the_jacobian_of_a_block_is_triangular_in_blocks_of_a_token(place):
    layer = block_of(made(patch=2), place)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1, 16, 4, generator=generator, dtype=torch.double)
    found = jacobian(layer, x, images(1)[1])[0, :, :, 0]  # (token out, number, token in, number)
    size = found.abs().amax((1, 3))
    size = size.flip(0, 1) if layer.reverse else size
    assert torch.equal(size.triu(1), torch.zeros_like(size))
    assert (size.tril(-1)[1:].amax(1) > 0).all()
    # A number of a token does not move the others of the same one.
    own = found.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    assert torch.equal(own, torch.diag_embed(own.diagonal(dim1=1, dim2=2)))


def test_blocks_take_turns_in_their_direction():
    flow = made(blocks=4)
    assert [block_of(flow, i).reverse for i in range(4)] == [False, True, False, True]


@pytest.mark.parametrize("classes", [0, 3])
def test_the_inverse_undoes_it_and_log_dets_cancel(classes):
    flow, (x, context) = made(classes=classes), images()
    context = context if classes else None
    z, log_det = flow.inverse(x, context)
    back, log_det_back = flow.forward(z, context)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_det_back, -log_det)


def test_log_det_is_that_of_the_autograd_jacobian():
    flow, (x, context) = made(), images(2)
    _, log_det = flow.inverse(x, context)
    for i in range(2):
        whole = jacobian(flow, x[i : i + 1], context[i : i + 1]).reshape(64, 64)
        torch.testing.assert_close(log_det[i], torch.linalg.slogdet(whole)[1])


def test_the_sampler_with_kept_keys_gives_what_the_plain_one_gives():
    flow = made(patch=2).float()
    z = torch.randn(5, 16, 4, generator=torch.Generator().manual_seed(3))
    context = images(5)[1].float()
    for i in (0, 1):
        layer = block_of(flow, i)
        with torch.no_grad():
            fast, plain = layer.forward(z, context), layer.forward_plain(z, context)
        for one, other in zip(fast, plain, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_it_starts_as_the_identity():
    flow = maf_images(shape=SHAPE, classes=3, blocks=2, layers=1, width=32)
    tokens = torch.randn(2, 4, 16)
    assert torch.equal(block_of(flow, 0).inverse(tokens, torch.eye(3)[:2])[0], tokens)


def test_guidance_pushes_away_from_what_no_class_would_give():
    layer, (_, context) = block_of(made(), 0), images()
    z = torch.randn(4, 4, 16, generator=torch.Generator().manual_seed(3)).double()
    with torch.no_grad():
        plain, free = layer.forward(z, context)[0], layer.forward(z, 0 * context)[0]
        layer.guidance = 0.5
        pushed, unpushed = layer.forward(z, context)[0], layer.forward(z)[0]
    # The first token depends on the class alone: shift and log-scale are pushed by a half.
    shifts, log_scales = [], []
    for given in (context, 0 * context):
        out, _ = layer.net.step(None, given, [], 4)
        shift, log_scale = layer._shift_and_scale(out)
        shifts.append(shift)
        log_scales.append(log_scale)
    shift, log_scale = (1.5 * one - 0.5 * other for one, other in (shifts, log_scales))
    torch.testing.assert_close(pushed[:, 0], shift + z[:, 0] * log_scale.exp())
    assert not torch.allclose(plain, pushed)
    torch.testing.assert_close(unpushed, free)

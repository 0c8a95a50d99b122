"""Winograd's convolution is torch's: its numbers, its gradients, its layer; where it is used."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from models.fast.winograd import Conv3x3, convolve, pays


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


SHAPES = [(1, 1, 1, 4, 4), (2, 3, 5, 8, 12), (3, 7, 2, 20, 4), (1, 16, 16, 16, 16)]


@pytest.mark.parametrize(("batch", "channels", "wide", "height", "width"), SHAPES)
def test_it_is_the_convolution_and_its_gradients(batch, channels, wide, height, width):
    x = drawn(batch, channels, height + 2, width + 2).requires_grad_()
    weight = drawn(wide, channels, 3, 3, seed=1).requires_grad_()
    slope = drawn(batch, wide, height, width, seed=2)
    ours, torchs = convolve(x, weight), conv2d(x, weight)
    torch.testing.assert_close(ours, torchs, rtol=1e-10, atol=1e-10)
    for mine, theirs in zip(
        torch.autograd.grad(ours, (x, weight), slope),
        torch.autograd.grad(torchs, (x, weight), slope),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("learns", [(True, False), (False, True)])
def test_only_what_learns_gets_a_gradient(learns):
    x, weight = drawn(1, 2, 6, 6), drawn(3, 2, 3, 3, seed=1)
    for tensor, does in zip((x, weight), learns, strict=True):
        tensor.requires_grad_(does)
    assert torch.autograd.gradcheck(convolve, (x, weight))
    convolve(x, weight).sum().backward()
    assert tuple(tensor.grad is not None for tensor in (x, weight)) == learns


def test_it_takes_views_as_they_lie():
    x, weight = drawn(4, 3, 10, 14), drawn(2, 3, 3, 3, seed=1)
    views = (x[1::2], x.transpose(2, 3), x.to(memory_format=torch.channels_last), x[:, :, 2:8, 4:])
    for view in views:
        torch.testing.assert_close(convolve(view, weight), conv2d(view, weight))
    turned = weight.to(memory_format=torch.channels_last)
    torch.testing.assert_close(convolve(x, turned), conv2d(x, weight))


def test_its_rounding_is_small_in_float32():
    x, weight = drawn(1, 128, 34, 34), 0.02 * drawn(128, 128, 3, 3, seed=1)
    exact = conv2d(x, weight)
    worst = (convolve(x.float(), weight.float()) - exact).abs().max()
    assert worst < 1e-5 * exact.abs().max()


@pytest.mark.parametrize("size", [(5, 6), (6, 7), (2, 6), (8, 10)])
def test_sides_that_are_no_squares_are_refused(size):
    with pytest.raises(ValueError, match=f"multiples of 4, and 2 more; {size[0]} x {size[1]}"):
        convolve(drawn(1, 1, *size), drawn(1, 1, 3, 3))


@pytest.mark.parametrize("shape", [(2, 4, 3, 3), (2, 3, 5, 5)])
def test_weights_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="do not fit 3 channels"):
        convolve(drawn(1, 3, 6, 6), drawn(*shape))


def test_it_is_used_where_it_pays_only():
    def used(*shape: int, wide: int = 128, dtype: torch.dtype = torch.float32) -> bool:
        x = torch.empty(shape, dtype=dtype)
        return pays(x, torch.empty(wide, shape[1], 3, 3, dtype=dtype))

    assert used(1, 128, 34, 34)
    assert used(4, 256, 18, 18)
    assert not used(3, 256, 18, 18)  # too few squares
    assert not used(1, 64, 34, 34)  # too few channels
    assert not used(1, 128, 34, 34, wide=64)
    assert not used(1, 128, 33, 34)  # no whole squares
    assert not used(1, 128, 34, 34, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        assert not used(1, 128, 34, 34)
    weight = torch.empty(128, 128, 3, 3)
    assert not pays(torch.empty(1, 128, 34, 34, device="meta"), weight.to("meta"))
    assert not pays(torch.empty(1, 128, 34, 34).to(memory_format=torch.channels_last), weight)


def test_the_layer_is_torchs_layer():
    ours, torchs = Conv3x3(128, 128), nn.Conv2d(128, 128, 3, bias=False)
    torchs.load_state_dict(ours.state_dict())
    for side in (34, 10):  # in one way, and in the other
        x = drawn(1, 128, side, side, dtype=torch.float32)
        assert pays(x, ours.weight) == (side == 34)
        torch.testing.assert_close(ours(x), torchs(x), rtol=1e-4, atol=1e-4)
        for layer in (ours, torchs):
            layer.zero_grad()
            layer(x).square().mean().backward()
        torch.testing.assert_close(ours.weight.grad, torchs.weight.grad, rtol=1e-3, atol=1e-6)

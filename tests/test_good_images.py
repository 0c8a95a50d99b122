"""Models of good images that nothing trains: a Gaussian per pixel, and the nearest good image."""

from __future__ import annotations

import torch

from models.derivatives import Derivatives
from models.good_images import FOLDS, NearestGood, PixelGaussian


def images(count: int, side: int = 32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, side, side, generator=generator) * 255


def plain(query: torch.Tensor, bank: torch.Tensor, closed=None) -> torch.Tensor:
    """Distances by loops over all places, and nothing else."""
    count, features, cells, _ = query.shape
    found = torch.full((count, cells, cells), torch.inf)
    for row in range(cells):
        for column in range(cells):
            for i in range(max(0, row - 1), min(cells, row + 2)):
                for j in range(max(0, column - 1), min(cells, column + 2)):
                    away = query[:, None, :, row, column] - bank[None, :, :, i, j]
                    away = away.square().sum(-1)
                    if closed is not None:
                        away = away.masked_fill(closed, torch.inf)
                    found[:, row, column] = found[:, row, column].minimum(away.amin(1))
    return (found / features).sqrt()


def test_the_nearest_is_that_of_plain_loops():
    good, model = images(11), NearestGood(10)
    model.fit(good)
    bank = model.bank.float().permute(3, 2, 0, 1)

    def features(some):
        return (model.features(some) - model.mean) / model.deviation

    new = images(2, seed=1)
    torch.testing.assert_close(model(new), plain(features(new), bank), atol=1e-4, rtol=1e-4)
    folds = torch.arange(11) % FOLDS
    expected = plain(features(good), bank, folds[:, None] == folds)
    torch.testing.assert_close(model(good, folds), expected, atol=1e-4, rtol=1e-4)
    assert model(good).max() < 0.01, "each is its own nearest"


def test_a_part_that_is_shifted_by_a_cell_is_still_near():
    good, model = images(6, 64), NearestGood(16)
    smooth = torch.nn.functional.avg_pool2d(good, 9, 1, 4)
    model.fit(smooth)
    inner = slice(3, -3)
    moved = model(smooth.roll(4, -1))[:, inner, inner]
    elsewhere = model(smooth.roll(16, -1))[:, inner, inner]
    assert moved.mean() < 0.5 * elsewhere.mean()


def test_a_pixel_is_as_far_as_it_deviates():
    good = images(50)
    model = PixelGaussian(32)
    model.fit(good)
    odd = good.mean(0, keepdim=True)
    odd[0, :, 5, 7] += 4 * model.deviation[:, 5, 7]
    away = model(odd)
    assert away.shape == (1, 32, 32)
    assert abs(float(away[0, 5, 7]) - 4) < 1e-3
    assert away.flatten().topk(2).values[1] < 1e-3
    model.fit(good[:1].expand(3, -1, -1, -1))
    assert torch.isfinite(model(good)).all(), "images that are all equal"


def test_derivatives_see_edges_where_they_are_and_nothing_on_an_even_ground():
    flat = torch.full((1, 3, 64, 64), 100.0)
    edge = flat.clone()
    edge[..., 32:] = 200
    model = Derivatives(16)
    assert model(flat).shape == (1, Derivatives.COUNT, 16, 16)
    slopes = model(edge)[0].view(3 * 4, 8, 16, 16)[:, 1:]
    assert slopes[:, :, :, [0, 1, 14, 15]].abs().max() < 0.02
    assert slopes[0, 0, :, 7:9].min() > 0.01, "along the columns, of the brightness"

"""A digit on a photograph comes out as MNIST would have it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.digit import mnist_like
from datasets.images import load_images
from datasets.own import DataError


def photograph(digit: np.ndarray, seed: int, inverted: bool) -> Image.Image:
    """A digit in ink on unevenly lit paper, somewhere on a noisy photograph."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(110, 250))
    ink = np.zeros((400, 300))
    y, x = rng.integers(20, 380 - side), rng.integers(20, 280 - side)
    large = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    ink[y : y + side, x : x + side] = np.asarray(large) / 255
    light = np.linspace(230, 150, 300)
    grey = light * (1 - 0.8 * ink) + rng.normal(0, 10, ink.shape)
    grey = 255 - grey if inverted else grey
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("inverted", [False, True])
def test_photographed_digits_are_recognised(inverted):
    """The nearest of 4,000 digits is of the right class about as often as for the originals."""
    data = load_images("digits")
    chosen = range(0, 1000, 8)
    made = [mnist_like(photograph(data.test[i, 0].numpy(), i, inverted)) for i in chosen]
    made = torch.from_numpy(np.stack(made)).flatten(1).float()
    nearest = torch.cdist(made, data.train.flatten(1).float()).argmin(1)
    right = data.train_labels[nearest] == data.test_labels[list(chosen)]
    assert right.float().mean() > 0.93  # originals: 0.96


def test_a_digit_of_mnist_stays_as_it_is():
    digits = load_images("digits").test[::20, 0].numpy()
    for digit in digits:
        again = mnist_like(Image.fromarray(digit))
        assert again.dtype == np.uint8
        assert again.shape == (28, 28)
        assert np.corrcoef(again.ravel(), digit.ravel())[0, 1] > 0.7
    again = np.stack([mnist_like(Image.fromarray(digit)) for digit in digits])
    assert np.corrcoef(again.ravel(), digits.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "I;16", "CMYK"])
@pytest.mark.parametrize("box", [(150, 20, 160, 80), (20, 60, 180, 70), (0, 0, 30, 99)])
def test_lecuns_protocol(mode, box):
    image = Image.new("L", (200, 100), 255)
    image.paste(0, box)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    digit = mnist_like(image.convert(mode) if mode != "I;16" else image)
    rows, columns = (np.flatnonzero(digit.any(axis)) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    assert digit.max() == 255
    mass = digit / digit.sum()
    assert (mass.sum(1) @ np.arange(28), mass.sum(0) @ np.arange(28)) == pytest.approx(
        (14, 14), abs=0.6
    )


def test_specks_are_dropped():
    image = Image.new("L", (200, 200), 255)
    image.paste(0, (90, 50, 110, 150))
    clean = mnist_like(image)
    image.paste(0, (10, 10, 14, 14))
    assert np.array_equal(mnist_like(image), clean)


BLANK = {
    "white": np.full((100, 100), 255, np.uint8),
    "black": np.zeros((100, 100), np.uint8),
    "noisy paper": np.random.default_rng(0).normal(180, 12, (300, 300)).astype(np.uint8),
    "unevenly lit paper": np.tile(np.linspace(50, 250, 300), (200, 1)).astype(np.uint8),
    "1 x 1": np.zeros((1, 1), np.uint8),
}


@pytest.mark.parametrize("case", BLANK)
def test_blank_images_are_refused(case):
    with pytest.raises(DataError, match=r"blank|only 1 × 1") as caught:
        mnist_like(Image.fromarray(BLANK[case]))
    assert str(caught.value).endswith(".")


def test_a_transparent_drawing_is_blank():
    with pytest.raises(DataError, match="blank"):
        mnist_like(Image.new("RGBA", (50, 50), (0, 0, 0, 0)))

"""What pages say of the runs that ship, asked of those runs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from analysis.frechet import SHIPPED, load_classifier
from analysis.image_checks import ood_bits, other_sets
from analysis.image_latents import context_of, decode, encode, resample_level
from datasets.images import load_images
from lab.store import Run
from paths import ASSETS
from training.core.image_flow import TEMPERATURE
from ui.image_flows.masks import real_digit

IMAGES = 40


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


def shipped(stem: str):
    run = Run(ASSETS / "runs" / stem)
    model = run.family.training.blank(run.config, run.snapshots.target())
    run.weights.load_into(model)
    return model.eval().requires_grad_(False)


def redrawn(flow, images: Tensor, labels: Tensor, level: int) -> Tensor:
    """Return images with one level of their latents drawn anew, ``(B, 1, 28, 28)`` in [0, 1]."""
    context = context_of(flow, labels)
    z = resample_level(
        flow, encode(flow, images, context), level, temperature=TEMPERATURE, seed=level
    )
    return decode(flow, z, context).clamp(0, 1)


@pytest.mark.parametrize(("stem", "kept"), [("glow", 0.85), ("realnvp_images", 0.7)])
def test_levels_hold_grain_and_handwriting_and_not_the_class(digits, stem, kept):
    chosen = torch.randperm(len(digits.test), generator=torch.Generator().manual_seed(1))[:IMAGES]
    images, labels = digits.test[chosen], digits.test_labels[chosen]
    flow = shipped(stem)
    classifier = load_classifier(SHIPPED / "digits.safetensors", digits)
    real = images / 256
    moved = []
    for level in range(2):
        drawn = redrawn(flow, images, labels, level)
        assert (classifier(drawn).argmax(1) == labels).double().mean() >= kept
        moved.append(((drawn > 0.5) != (real > 0.5)).double().mean())
    assert moved[0] < 0.03, "the fine level: edges"
    assert moved[1] > 5 * moved[0], "the coarse level: strokes"


def test_black_surprises_a_flow_of_digits_least_and_grey_about_as_much_as_noise(digits):
    found = ood_bits(shipped("glow"), other_sets(digits, 28, 24), 784)
    means = {name: float(bits.mean()) for name, bits in found.items()}
    assert means["black"] < 0.1 * means["test images"]
    assert found["black"].max() < found["test images"].min()
    assert means["noise"] > 5 * means["test images"]
    assert 0.85 * means["noise"] < found["one grey"].median() < means["noise"]


@pytest.mark.parametrize("stem", ["nice", "realnvp", "glow_plane", "maf_plane"])
def test_the_entropy_is_the_least_nll_on_held_out_points(stem):
    rows = [row for row in Run(ASSETS / "runs" / stem).metrics.rows() if "kl_to_truth" in row]
    assert all(row["kl_to_truth"] > 0 for row in rows)


def test_the_masks_show_the_digit_that_the_slider_says(digits):
    images = torch.stack([torch.from_numpy(real_digit(k)) for k in range(10)])[:, None]
    classifier = load_classifier(SHIPPED / "digits.safetensors", digits)
    assert (classifier(images / 255).argmax(1) == torch.arange(10)).double().mean() >= 0.9

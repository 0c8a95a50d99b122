"""What pages say of the runs that ship, asked of those runs."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from analysis.frechet import SHIPPED, load_classifier
from analysis.image_checks import ood_bits, other_sets
from analysis.image_latents import (
    attributes,
    context_of,
    decode,
    encode,
    interpolate,
    resample_level,
    sample,
)
from datasets.images import load_images
from datasets.pairs import load_pairs
from lab.store import Run
from paths import ASSETS
from training.core.image_flow import TEMPERATURE
from training.core.images import signed
from training.core.unpaired import compared
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
    sets = other_sets(digits, 28, 24)
    few = {name: sets[name][:12] for name in ("test images", "black", "noise", "one grey")}
    found = ood_bits(shipped("glow"), few, 784)
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


@pytest.mark.parametrize("stem", ["glow", "realnvp_images"])
def test_a_low_temperature_gives_one_image_and_a_high_one_strays(digits, stem):
    flow, labels = shipped(stem), torch.arange(10).repeat_interleave(6)
    classifier = load_classifier(SHIPPED / "digits.safetensors", digits)
    kept, variety = {}, {}
    for temperature in (0.0, 0.7, 1.2):
        x = sample(flow, labels, temperature=temperature, seed=1).clamp(0, 1)
        kept[temperature] = float((classifier(x).argmax(1) == labels).double().mean())
        variety[temperature] = float(x.view(10, 6, -1).std(1).mean())
    assert variety[0.0] < 1e-6 < variety[0.7] < variety[1.2]
    assert kept[0.7] > max(kept[0.0], kept[1.2])


def test_attributes_change_what_they_say_and_most_digits_stay_what_they_were(digits):
    flow, images, labels = shipped("glow"), digits.test[:IMAGES], digits.test_labels[:IMAGES]
    found = attributes(flow, digits.train, digits.train_labels, 10, per_class=60)
    context = context_of(flow, labels)
    z = encode(flow, images, context)
    classifier = load_classifier(SHIPPED / "digits.safetensors", digits)
    inks = []
    for amount in (-1.0, 0.0, 1.0):
        x = decode(flow, z + amount * found.thicker, context).clamp(0, 1)
        inks.append(float(x.mean()))
        assert (classifier(x).argmax(1) == labels).double().mean() > 0.6
    assert inks[0] < inks[1] < inks[2]


def test_the_middle_of_a_line_is_nearer_to_the_origin_than_that_of_an_arc(digits):
    flow, images, labels = shipped("glow"), digits.test[:2], digits.test_labels[:2]
    context = context_of(flow, labels)
    ends = encode(flow, images, context).norm(dim=1)
    lengths = {}
    for spherical in (False, True):
        x = interpolate(flow, images, labels, steps=3, spherical=spherical)[1:2]
        middle = flow.inverse(x, context.mean(0, keepdim=True))[0]
        lengths[spherical] = float(middle.norm())
    assert lengths[False] < 0.95 * lengths[True]
    assert ends.min() * 0.9 < lengths[True] < ends.max() * 1.1


def test_additive_couplings_change_all_areas_alike():
    run = Run(ASSETS / "runs" / "nice")
    experiment = run.experiment()
    run.weights.load_into(experiment.model)
    flow = experiment.model.requires_grad_(False)
    z = flow.prior.sample(20_000, generator=torch.Generator().manual_seed(0))
    x, log_det = flow.forward(z)
    assert log_det.std() < 1e-5
    # Even its entropy is fixed: that of the prior, and what the scaling adds.
    entropy = math.log(2 * math.pi * math.e) + float(log_det.mean())
    assert -float(flow.log_prob(x).mean()) == pytest.approx(entropy, abs=0.02)


@pytest.mark.parametrize(
    ("stem", "column"),
    [
        ("nice", "kl_to_truth"),
        ("realnvp", "kl_to_truth"),
        ("glow", "bits_per_dim_test"),
        ("realnvp_images", "bits_per_dim_test"),
    ],
)
def test_most_is_learned_in_the_first_fifth(stem, column):
    rows = [row for row in Run(ASSETS / "runs" / stem).metrics.rows() if column in row]
    first, last = rows[0], rows[-1]
    early = next(row for row in rows if row["step"] >= 0.2 * last["step"])
    assert first[column] - early[column] > 0.8 * (first[column] - last[column])


def test_the_kl_of_a_vae_rises_while_its_reconstruction_falls():
    rows = [row for row in Run(ASSETS / "runs" / "vae").metrics.rows() if "kl" in row]
    assert rows[0]["kl"] < 0.1
    tenths = rows[:: len(rows) // 10]
    assert all(a["kl"] < b["kl"] + 0.1 for a, b in itertools.pairwise(tenths))
    assert all(a["reconstruction"] > b["reconstruction"] for a, b in itertools.pairwise(tenths))


def test_a_translation_that_does_nothing_has_no_cycle_error_and_keeps_the_shape():
    pairs = load_pairs("fruits", 64)

    def nothing(x: Tensor, _: bool) -> Tensor:
        return signed(x) if x.dtype == torch.uint8 else x

    found = compared(pairs, 100, nothing)
    assert found["cycle_error_a"] == found["cycle_error_b"] == 0
    assert found["iou_ab"] == pytest.approx(0.98, abs=0.006)
    assert found["iou_ba"] == pytest.approx(0.98, abs=0.006)
    assert found["hue_ab"] < 0.02


def test_glow_needs_about_one_bit_and_nice_close_to_five():
    bits = {
        stem: Run(ASSETS / "runs" / stem).metrics.rows()[-1]["bits_per_dim_test"]
        for stem in ("glow", "nice_images")
    }
    assert 1.05 < bits["glow"] < 1.15
    assert 4.8 < bits["nice_images"] < 5

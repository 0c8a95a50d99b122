"""Rendered fruits: what they are painted with is what the rules find in them."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.rendered.fruits import (
    APPLE,
    KINDS,
    ORANGE,
    found_masks,
    hue_and_chroma,
    is_kind,
    mean_hue,
    overlap,
    render_fruits,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [32, 64, 96])
def test_images_have_the_shape_that_was_asked_for(kind, size):
    fruits = render_fruits(kind, 5, size)
    assert fruits.images.shape == (5, 3, size, size)
    assert fruits.images.dtype == np.uint8
    assert fruits.masks.shape == (5, size, size)
    assert fruits.masks.dtype == bool
    assert fruits.hues.shape == (5,)
    share = fruits.masks.mean((1, 2))
    assert (share > 0.15).all() and (share < 0.5).all()
    edge = np.concatenate([fruits.masks[:, 0], fruits.masks[:, :, 0], fruits.masks[:, :, -1]], 1)
    assert not edge.any(), "whole fruits"


def test_the_same_seed_gives_the_same_images_however_many():
    few, many = render_fruits(APPLE, 3, 32, seed=4), render_fruits(APPLE, 140, 32, seed=4)
    assert np.array_equal(few.images, many.images[:3])
    assert np.array_equal(few.hues, many.hues[:3])
    other = render_fruits(APPLE, 3, 32, seed=5)
    assert not np.array_equal(few.images, other.images)
    # A new chunk is new.
    assert not np.array_equal(many.images[0], many.images[128])


def test_images_vary_in_all_that_they_should():
    for kind in KINDS:
        fruits = render_fruits(kind, 60, 48)
        places = np.array([np.argwhere(mask).mean(0) for mask in fruits.masks])
        assert (places.std(0) > 0.5).all()
        assert fruits.masks.sum((1, 2)).std() > 30
        corners = fruits.images[:, :, 0, 0].astype(float)
        assert (corners.std(0) > 15).all()
        assert fruits.hues.std() > 1.5


def test_the_rules_find_what_was_painted():
    # The floor of every number on translations.
    for kind in KINDS:
        fruits = render_fruits(kind, 300, 64, seed=7)
        right = is_kind(kind, fruits.images, fruits.masks)
        other = is_kind(KINDS[1 - KINDS.index(kind)], fruits.images, fruits.masks)
        assert right.mean() >= 0.99
        assert not (right & other).any()
        found = mean_hue(fruits.images, fruits.masks)
        assert np.abs(found - fruits.hues).mean() < 4
        assert np.corrcoef(found, fruits.hues)[0, 1] > 0.8
        seen = overlap(fruits.masks, found_masks(fruits.images))
        assert seen.mean() > 0.97
        assert seen.min() > 0.9


def test_grounds_show_no_fruit():
    for kind in KINDS:
        fruits = render_fruits(kind, 100, 64)
        outside = found_masks(fruits.images) & ~fruits.masks
        assert outside.mean() < 0.01


def test_what_is_neither_is_called_neither():
    masks = np.ones((3, 8, 8), bool)
    images = np.zeros((3, 3, 8, 8), np.uint8)
    images[0] = 128  # grey
    images[1, 2] = 200  # blue
    images[2, 1] = 200  # green
    for kind in KINDS:
        assert not is_kind(kind, images, masks).any()
    assert not is_kind(ORANGE, images, np.zeros_like(masks)).any(), "an empty mask"
    assert not found_masks(images).any()


@pytest.mark.parametrize(
    ("colour", "hue"),
    [((255, 0, 0), 0), ((255, 255, 0), 60), ((0, 255, 0), 120), ((0, 0, 255), -120)],
)
def test_hues_are_those_of_the_wheel(colour, hue):
    image = np.array(colour, np.uint8)[None, :, None, None]
    found, chroma = hue_and_chroma(image)
    assert found[0, 0, 0] == pytest.approx(hue, abs=1e-3)
    assert chroma[0, 0, 0] == 1


def test_a_mean_hue_goes_around_the_circle():
    image = np.zeros((1, 3, 1, 2), np.uint8)
    image[0, :, 0, 0] = (255, 0, 60)  # just below red
    image[0, :, 0, 1] = (255, 60, 0)  # just above
    assert mean_hue(image, np.ones((1, 1, 2), bool))[0] == pytest.approx(0, abs=0.1)


def test_bad_wishes_are_refused():
    with pytest.raises(ValueError, match="kind"):
        render_fruits("pear", 3, 32)
    with pytest.raises(ValueError, match="count"):
        render_fruits(APPLE, 0, 32)

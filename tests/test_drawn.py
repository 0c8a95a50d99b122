"""Drawings: strokes become points and images, and nothing comes where nothing was painted."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.drawn import PRESETS, WINDOW, Stroke, coverage, draw_points, own_drawing, paint_over
from datasets.files.errors import DataError
from datasets.own import OwnData

LINE = Stroke(((-1.0, 0.0), (1.0, 0.0)), 0.1)
SHORT = Stroke(((-0.25, 1.0), (0.25, 1.0)), 0.1)
N = 20_000
ROUGH = 4 * np.sqrt(0.25 / N)  # four standard deviations of a fraction of N points


def moved(stroke: Stroke, **changes) -> Stroke:
    return Stroke(**vars(stroke) | changes)


def test_points_go_by_length_times_weight() -> None:
    above = (draw_points([LINE, SHORT], N)[:, 1] > 0.5).mean()
    assert above == pytest.approx(0.5 / 2.5, abs=ROUGH)
    above = (draw_points([LINE, moved(SHORT, weight=3.0)], N)[:, 1] > 0.5).mean()
    assert above == pytest.approx(1.5 / 3.5, abs=ROUGH)


def test_points_are_even_along_a_stroke_however_its_corners_lie() -> None:
    corners = ((-1.0, 0.0), (-0.99, 0.0), (-0.98, 0.0), (-0.5, 0.0), (1.0, 0.0))
    x = draw_points([moved(LINE, at=corners)], N)[:, 0]
    counts = np.histogram(x, 8, (-0.8, 0.8))[0] / N
    np.testing.assert_allclose(counts, 0.1, atol=ROUGH)


def test_across_a_stroke_they_are_a_gaussian_cut_off_at_the_rim() -> None:
    y = draw_points([LINE], N)[:, 1]
    assert np.abs(y).max() <= 0.1
    # Of a Gaussian in 2-D, cut off at two standard deviations: 1 - 2 exp(-2) / (1 - exp(-2)).
    expected = 0.05 * np.sqrt(1 - 2 * np.exp(-2) / (1 - np.exp(-2)))
    assert y.std() == pytest.approx(expected, rel=0.02)
    assert abs(y.mean()) < 4 * 0.05 / np.sqrt(N)


def test_a_dot_counts_as_long_as_the_brush_is_wide() -> None:
    dot = Stroke(((0.0, 1.0),), 0.1)
    above = (draw_points([LINE, dot], N)[:, 1] > 0.5).mean()
    assert above == pytest.approx(0.2 / 2.2, abs=ROUGH)
    still = Stroke(((0.0, 1.0),) * 3, 0.1)
    above = (draw_points([LINE, still], N)[:, 1] > 0.5).mean()
    assert above == pytest.approx(0.2 / 2.2, abs=ROUGH)


def test_an_eraser_takes_what_was_drawn_before_it_and_no_more() -> None:
    eraser = Stroke(((0.0, -1.0), (0.0, 1.0)), 0.25, erase=True)
    x = draw_points([LINE, eraser], N)[:, 0]
    assert np.abs(x).min() > 0.24
    assert (x > 0).mean() == pytest.approx(0.5, abs=ROUGH)
    x = draw_points([eraser, LINE], N)[:, 0]
    assert (np.abs(x) < 0.25).mean() == pytest.approx(0.25, abs=ROUGH)
    # The line beside it gets no more than it had: mass is gone, not moved along the stroke.
    above = (draw_points([LINE, SHORT, moved(eraser, radius=0.5, at=((0, 0),))], N)[:, 1]) > 0.5
    assert above.mean() == pytest.approx(0.5 / 1.5, abs=ROUGH)


def test_the_same_drawing_gives_the_same_points_and_leaves_other_generators_alone() -> None:
    np.random.seed(5)
    before = np.random.random()
    np.random.seed(5)
    first, again = own_drawing([LINE]), own_drawing([LINE])
    assert np.random.random() == before
    np.testing.assert_array_equal(first.array, again.array)
    assert first.array.shape == (5_000, 2) and first.array.dtype == np.float32
    assert not np.array_equal(draw_points([LINE], 100, seed=1), draw_points([LINE], 100))


@pytest.mark.parametrize(
    ("strokes", "words"),
    [
        ([], "at least one stroke"),
        ([moved(LINE, erase=True)], "at least one stroke"),
        ([LINE, moved(LINE, erase=True)], "eraser"),
    ],
)
def test_an_empty_drawing_is_refused_with_a_sentence(strokes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        own_drawing(strokes)


def test_a_drawing_is_saved_like_any_other_data(tmp_path) -> None:
    drawn = own_drawing([LINE, SHORT])
    drawn.save(tmp_path / "data.npz")
    loaded = OwnData.load(tmp_path / "data.npz")
    assert (loaded.kind, loaded.name) == ("points", "your drawing")
    np.testing.assert_array_equal(loaded.array, drawn.array)


def test_the_largest_drawing_that_is_let_in_takes_no_minute_and_no_gigabyte() -> None:
    rng = np.random.default_rng(0)
    many = tuple(map(tuple, rng.uniform(-1e5, 1e5, (2_000, 2))))
    strokes = [Stroke(many, 1e-6), *[Stroke(many, 1e5, erase=True)] * 5]
    with pytest.raises(DataError, match="eraser"):
        own_drawing(strokes)
    assert coverage([Stroke(many, 1e5)], 28, 28).min() == 1


@pytest.mark.parametrize("name", PRESETS)
def test_drawings_to_start_from_lie_within_the_window(name: str) -> None:
    points = own_drawing(PRESETS[name]).array
    assert np.abs(points).max() < WINDOW[1]
    assert np.abs(points).max() > 0.6 * WINDOW[1]


def test_paint_covers_as_much_of_a_pixel_as_it_does() -> None:
    line = Stroke(((4.0, 9.5), (12.0, 9.5)), 1.0)  # from below: rows 5.5 to 7.5 from the top
    covered = coverage([line], 16, 16)
    assert covered.shape == (16, 16) and covered.dtype == np.float32
    np.testing.assert_allclose(covered[4:9, 8], [0, 0.5, 1, 0.5, 0], atol=0.02)
    assert not covered[:, :3].any() and not covered[:, 13:].any()
    rubbed = coverage([line, Stroke(((8.0, 9.5),), 2.0, erase=True)], 16, 16)
    assert not rubbed[6, 8] and rubbed[6, 4] == covered[6, 4]


def test_paint_lies_over_an_image_as_far_as_it_covers() -> None:
    pixels = np.full((3, 1, 3), 200, np.uint8)
    painted = paint_over(pixels, np.array([[0.0, 0.5, 1.0]]), 20)
    np.testing.assert_array_equal(painted[0], [[200, 110, 20]])
    assert painted.dtype == np.uint8

"""The page of theory: its maps obey the formula that it teaches, its exercises open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import trapezoid
from streamlit.testing.v1 import AppTest

from registry import FAMILIES, PAGES
from ui.change_of_variables import Map1D, Map2D, area_of, normal, square
from ui.exercises import EXERCISES, address

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("values", [(0, 0.5, 1.5, 3, 0), (-2, 0.2, 3, 6, 1.5), (2, 2, 0, 0.5, 0)])
def test_the_pushed_density_on_the_line_has_mass_one_and_is_that_of_samples(values):
    f = Map1D(*values)
    z = np.linspace(-8, 8, 200_001)
    assert (f.slope(z) > 0).all()
    np.testing.assert_allclose(f.slope(z)[1:-1], np.gradient(f(z), z)[1:-1], rtol=1e-3, atol=1e-4)
    assert trapezoid(normal(z) / f.slope(z), f(z)) == pytest.approx(1, abs=1e-6)
    # Half of the probability lies below the image of the median.
    below = f(z) <= f(np.array(0.0))
    assert trapezoid((normal(z) / f.slope(z))[below], f(z)[below]) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("values", [(0.8, 0.7, 20), (-1.5, 1.5, -90), (0, 1, 45)])
def test_the_determinant_in_the_plane_is_the_ratio_of_areas(values):
    f, centre = Map2D(*values), np.array([0.9, -0.4])
    x = np.random.default_rng(0).normal(size=(50, 2))
    np.testing.assert_allclose(f.inverse(f(x)), x, atol=1e-12)
    small = square(centre, 1e-3)
    ratio = area_of(f(small)) / area_of(small)
    assert abs(np.linalg.det(f.jacobian(centre))) == pytest.approx(ratio, rel=1e-4)
    assert np.exp(f.log_det(centre)) == pytest.approx(ratio, rel=1e-4)


def test_the_area_of_a_square():
    assert area_of(square(np.array([3.0, -1.0]), 0.5)) == pytest.approx(0.25)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: f"{e.stem}: {e.title}")
def test_the_link_of_an_exercise_sets_the_form_to_what_it_says(exercise):
    family = FAMILIES[exercise.stem]
    given = {k: v for k, v in address(exercise).items() if k != "on"}
    config = family.training.CONFIG.parse(given)
    assert all(getattr(config, name) == value for name, value in exercise.settings.items())
    assert any(page.stem == family.page for page in PAGES)


def test_the_page_is_drawn_and_its_sliders_move_the_numbers():
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.switch_page("pages/theory.py").run()
    assert not app.exception
    words = [m.value for m in app.markdown if "dx/dz" in m.value]
    assert len(words) == 1
    next(s for s in app.slider if s.label == "Follow the point z").set_value(2.0)
    app.run()
    assert not app.exception
    assert [m.value for m in app.markdown if "dx/dz" in m.value] != words

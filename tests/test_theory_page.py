"""The page of theory: its maps obey the formula that it teaches, its exercises open."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import trapezoid
from streamlit.testing.v1 import AppTest

from analysis.exercises import exercises
from lab.comparison import ENTRANTS
from lab.runs.files import read_json
from registry import PAGES
from ui.theory.change_of_variables import Map1D, Map2D, area_of, normal, square
from ui.theory.exercises import address

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


@pytest.mark.parametrize("exercise", exercises().values(), ids=lambda e: e.name)
def test_the_link_of_an_exercise_sets_the_form_to_what_it_says(exercise):
    family = exercise.family
    given = {k: v for k, v in address(exercise).items() if k != "on"}
    config = family.training.config.parse(given)
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


def test_every_family_stands_side_by_side_with_what_was_measured():
    measured = read_json(ROOT / "assets" / "measured.json")
    pages = {family.stem for family in PAGES if family.traits is not None}
    assert set(measured["images"]) == pages
    for numbers in measured["images"].values():
        # A latent is as large as the data exactly where there is a way back.
        inverse = numbers["inverse_error"] is not None
        assert inverse == (numbers["latent"] == numbers["dimensions"])
        assert not inverse or 0 <= numbers["inverse_error"] < 1e-3
    plane = measured["plane"]
    assert set(plane["entrants"]) == set(ENTRANTS)
    for key, numbers in plane["entrants"].items():
        exact = ENTRANTS[key].likelihood == "exact"
        assert (numbers["nll_test"] is not None) == exact
        assert (numbers["kl_to_truth"] is not None) == exact
        assert (numbers["tight_bound"] is not None) == (ENTRANTS[key].likelihood == "bound")
        assert numbers["kl_samples"]["mean"] > plane["kl_floor"]


def test_a_family_without_traits_is_left_out_and_not_in_the_way(monkeypatch):
    from ui.theory import side_by_side

    bare = [dataclasses.replace(PAGES[0], traits=None), *PAGES[1:]]
    monkeypatch.setattr(side_by_side, "PAGES", bare)
    app = AppTest.from_function(_table_alone, default_timeout=30).run()
    assert not app.exception
    first = app.markdown[0].value
    assert f"**{PAGES[1].title}**" in first
    assert f"**{PAGES[0].title}**" not in first


def _table_alone() -> None:
    from ui.theory.side_by_side import side_by_side

    side_by_side()

"""The page of theory: its exercises open, its tables say what was measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis.exercises.files import exercises
from lab.comparison import ENTRANTS
from lab.runs.files import read_json
from registry import PAGES
from ui.guide.known import address

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("exercise", exercises().values(), ids=lambda e: e.name)
def test_the_link_of_an_exercise_sets_the_form_to_what_it_says(exercise):
    family = exercise.family
    given = {k: v for k, v in address(exercise).items() if k not in ("on", "exercise")}
    config = family.training.config.parse(given)
    assert config == (exercise.config() if given else family.training.config())
    assert any(page.stem == family.page for page in PAGES)


def test_the_page_is_drawn():
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.switch_page("pages/theory.py").run()
    assert not app.exception
    assert {"Felt on a line", "Felt in 2-D"} <= {s.value for s in app.subheader}


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

"""The first visit: home moves, one button trains, and a path leads through the lab."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest

from analysis.exercises.files import exercises
from lab.answers import Answers
from lab.lab import Lab
from lab.runs.access import EVERYBODY
from paths import ROOT
from ui.common.lab import _lab as cached
from ui.lab_pages.first_visit import FAMILY, PATH, settings


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Iterator[Lab]:
    lab = Lab(tmp_path / "runs", ["cpu"])
    monkeypatch.setitem(sys.__dict__, "_generative_lab", lab)
    cached.clear()
    yield lab
    lab.close()
    cached.clear()


def opened() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    assert not app.exception
    return app


def test_the_stations_are_exercises_that_need_no_long_training():
    known = exercises()
    assert len(PATH) == 5
    for station in PATH:
        one = known[station.exercise]
        assert one.look, "a student is shown where to look"
        assert not one.settings or one.config().iterations <= 2000
    assert len({known[station.exercise].family.page for station in PATH}) == 5


def test_home_begins_a_training_when_asked_and_shows_it(lab):
    app = opened()
    words = " ".join(text.value for text in (*app.markdown, *app.caption))
    assert "ships with the lab" in words
    assert not list(lab.store)
    app.button("home.watch").click()
    app.run()
    assert not app.exception
    (run,) = lab.store
    assert (run.family, run.config) == (FAMILY, settings())
    assert app.button("home.watch").disabled
    lab.command(run.id, "stop")


def test_a_station_that_is_done_is_marked_and_the_next_one_stands_out(lab):
    app = opened()
    links = {link.proto.label for link in app.get("page_link")}
    assert f"**{PATH[0].title}**" in links
    assert PATH[1].title in links
    app.session_state[f"exercises.answers.{EVERYBODY.id}"] = {PATH[0].exercise: {"guess": "x"}}
    app.run()
    links = {link.proto.label for link in app.get("page_link")}
    assert {PATH[0].title, f"**{PATH[1].title}**"} <= links
    assert any(caption.value == "done" for caption in app.caption)
    assert Answers(lab.store.root, EVERYBODY).load() == {}, "nobody's answers stay with the lab"

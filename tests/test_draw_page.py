"""What was drawn, on the pages: it is data like any other."""

from __future__ import annotations

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from datasets.drawn import PRESETS, Stroke, own_drawing
from paths import ROOT
from ui.common.form import OWN_KEY
from ui.plane_flows.own import KEY, _hold
from ui.stage.drawing import Drawing, _start, _take, drawing_of

STROKE = {"at": [0.0, 0.0, 1.0, 1.0], "radius": 0.1, "weight": 1.0, "erase": False}


@pytest.fixture
def session(monkeypatch) -> dict:
    """A visitor's session, with a stage on the page."""
    state = {"here.stage": {"strokes": None}}
    monkeypatch.setattr(st, "session_state", state)
    return state


def test_strokes_from_the_browser_are_kept_and_passed_on(session) -> None:
    seen = []
    session["here.stage"] = {"strokes": {"strokes": [STROKE], "turn": 4}}
    _take("here", "here.stage", seen.append)
    kept = drawing_of("here")
    assert kept == Drawing((Stroke(((0.0, 0.0), (1.0, 1.0)), 0.1),), 4)
    assert seen == [kept.strokes]


def test_a_forged_drawing_is_none_and_the_page_says_why(session) -> None:
    seen = []
    session["here.stage"] = {"strokes": {"strokes": [STROKE] * 201, "turn": 4}}
    _take("here", "here.stage", seen.append)
    assert drawing_of("here") == Drawing((), 4, "A drawing has at most 200 strokes.")
    assert seen == [()]


def test_a_drawing_to_start_from_is_newer_than_what_the_browser_has(session) -> None:
    session["here.drawing"] = Drawing((), 4)
    _start("here", PRESETS["Heart"], lambda strokes: None)
    assert drawing_of("here") == Drawing(PRESETS["Heart"], 5)


@pytest.fixture
def page(tmp_path, monkeypatch) -> AppTest:
    monkeypatch.setenv("GENLAB_RUNS", str(tmp_path / "runs"))
    tester = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    tester.switch_page("pages/realnvp.py")
    tester.query_params["dataset"] = "own"
    tester.session_state["own.way"] = "Draw"
    return tester.run()


def test_a_drawing_becomes_the_data_of_the_page_and_stays_when_one_looks_elsewhere(page) -> None:
    assert not page.exception
    assert [box.value for box in page.info][:1] == ["Draw a shape, then press Train."]
    assert page.button("realnvp.train").disabled
    page.button("plane.Heart").click().run()
    assert not page.exception
    held = page.session_state["own_data"]
    np.testing.assert_array_equal(held.array, own_drawing(PRESETS["Heart"]).array)
    assert any("5,000 points from your drawing" in text.value for text in page.caption)
    assert not page.button("realnvp.train").disabled
    page.switch_page("pages/nice.py").run()
    page.selectbox("nice.dataset").select("own").run()
    assert any("5,000 points from your drawing" in text.value for text in page.caption)
    assert page.session_state["plane.drawing"].strokes == PRESETS["Heart"]


def test_what_the_eraser_took_away_is_no_data(session) -> None:
    _hold(PRESETS["Heart"])
    assert OWN_KEY in session
    _hold((*PRESETS["Heart"], Stroke(PRESETS["Heart"][0].at, 1.0, erase=True)))
    assert OWN_KEY not in session and "eraser" in session[f"{KEY}.refused"]
    _hold(())
    assert "at least one stroke" in session[f"{KEY}.refused"]
    _hold(PRESETS["Spiral"])
    assert OWN_KEY in session and f"{KEY}.refused" not in session

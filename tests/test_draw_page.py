"""What was drawn, on the pages: it is data like any other."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from datasets.drawn import PRESETS, Stroke, own_drawing
from paths import ROOT
from ui.common.form import OWN_KEY
from ui.image_flows.desk import MINE, Mine
from ui.image_flows.drawn import _keep as _keep_mine
from ui.image_flows.drawn import image_of
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
    line = PRESETS["Heart"][0]
    _start(KEY, (line,), _hold)
    assert OWN_KEY in session
    _start(KEY, (line, Stroke(line.at, 1.0, erase=True)), _hold)
    assert OWN_KEY not in session
    assert "eraser" in drawing_of(KEY).refused and len(drawing_of(KEY).strokes) == 2
    _start(KEY, (), _hold)
    assert "at least one stroke" in drawing_of(KEY).refused
    _start(KEY, (line,), _hold)
    assert OWN_KEY in session and not drawing_of(KEY).refused


# -- images --------------------------------------------------------------------------------------

ONE = Stroke(((20.0, 24.0), (17.0, 6.0)), 1.3)  # of a sheet of 28 x 28, right of its middle


def test_a_drawn_digit_looks_like_those_of_mnist() -> None:
    (digit,) = image_of((ONE,), True, 28)
    assert digit.shape == (28, 28) and digit.dtype == np.uint8
    assert digit.max() == 255 and not digit[:, :4].any(), "white on black"
    rows, columns = np.mgrid[:28, :28]
    assert (rows * digit).sum() / digit.sum() == pytest.approx(14, abs=0.6)
    assert (columns * digit).sum() / digit.sum() == pytest.approx(14, abs=0.6)
    assert np.flatnonzero(digit.any(1)).size == 20, "as high as MNIST's"
    assert image_of((ONE,), True, 8).shape == (1, 8, 8)


def test_another_grey_image_is_as_it_was_drawn() -> None:
    (grey,) = image_of((ONE,), False, 14)
    assert grey.shape == (14, 14) and grey.max() == 255
    assert np.flatnonzero(grey.any(0)).min() >= 7, "nothing is moved to the middle"


@pytest.mark.parametrize("strokes", [(), (ONE, Stroke(ONE.at, 3.0, erase=True))])
def test_a_digit_that_is_not_there_is_none(session, strokes) -> None:
    keep = partial(_keep_mine, "mine.1x28.True", True, 28, "which")
    _start("here", (ONE,), keep)
    assert session["mine.1x28.True"].name == "your drawing" and session["which"] == MINE
    _start("here", strokes, keep)
    assert "mine.1x28.True" not in session and "drawn" in drawing_of("here").refused


def test_a_digit_is_drawn_on_the_page_of_glow(page) -> None:
    page.switch_page("pages/glow.py")
    page.query_params.clear()
    page.session_state["glow.part"] = "Explore"
    page.run()
    next(c for c in page.segmented_control if c.key.endswith("desk.Explore")).set_value(
        "Your own digit"
    ).run()
    way = next(c for c in page.segmented_control if c.key.endswith("desk.way"))
    way.set_value("Draw").run()
    assert not page.exception and not page.error
    assert "no digit of yours" in page.info[-1].value
    page.session_state["mine.1x28.True"] = Mine("your drawing", image_of((ONE,), True, 28))
    page.run()
    assert not page.exception and not page.error
    assert any(metric.label == "Bits/dim" for metric in page.metric)
    assert any("your drawing as the flow takes it" in text.value for text in page.caption)


# -- defects -------------------------------------------------------------------------------------


def test_a_scratch_on_a_good_image_is_scored_beside_the_image_without_it(page) -> None:
    page.switch_page("pages/maf.py")
    page.query_params.clear()
    page.session_state["maf.part"] = "Score your own"
    page.run()
    way = next(c for c in page.segmented_control if c.key.endswith("own_way"))
    way.set_value("Paint a defect").run()
    assert not page.exception and not page.error
    assert "Nothing is painted yet." in [box.value for box in page.info]
    key = next(n.key for n in page.number_input if n.key.endswith("paint.number"))
    line = Stroke(((40.0, 64.0), (90.0, 70.0)), 2.0)
    page.session_state[key.replace(".number", ".drawing")] = Drawing((line,), 1)
    page.run()
    assert not page.exception
    metric = page.metric[-1]
    assert float(metric.delta.split()[0].replace(",", "")) > 1, "a scratch is anomalous"
    assert any("Called **defective**" in box.value for box in page.error)

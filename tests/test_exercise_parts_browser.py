"""What exercises need of a browser, in an empty page: a sketched curve, and answers that stay."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from test_browser import chromium, page  # noqa: F401 - fixtures

from analysis.exercises.files import COLUMNS, exercises
from ui.guide.answers import fits
from ui.theory.drawing import colours, read

GUIDE = Path(__file__).parent.parent / "ui" / "guide"
ONE = exercises()["nice-4-the-shape-of-learning"]
LOAD = """async (source) => {
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    window.part = (await import(url)).default;
    window.sent = [];
}"""

pytestmark = [pytest.mark.browser]


@pytest.fixture
def tab(page):  # noqa: F811
    """A page of an address of its own, with a place to keep things."""
    page.route("http://lab.test/**", lambda route: route.fulfill(body="<!doctype html><p></p>"))
    page.goto("http://lab.test/")
    return page


@pytest.fixture
def sketch(tab):
    tab.evaluate(LOAD, read("drawing.js") + (GUIDE / "sketch.js").read_text())
    html, css = ((GUIDE / f"sketch.{kind}").read_text() for kind in ("html", "css"))
    shades = {name: value for name, value in colours("light").items() if name != "table"}
    data = {"open": True, "sketch": None, "mine": [], "measured": [], "legend": []}
    data |= {"total": 1000, "ends": ONE.guess, "title": "NLL", "colours": shades}
    tab.evaluate(
        """([html, css, data]) => {
            document.body.innerHTML = `<style>${css}</style>${html}`;
            window.draw = (more) => window.part({ parentElement: document.body,
                data: { ...data, ...more }, setStateValue: (...sent) => window.sent.push(sent) });
            window.draw({});
        }""",
        [html, css, data],
    )
    return tab


def last(tab) -> list[float]:
    name, heights = tab.evaluate("window.sent.at(-1)")
    assert name == "sketch"
    assert fits(ONE, heights), "the server takes it for a prediction"
    return heights


def test_a_stroke_becomes_a_curve_with_one_height_a_column(sketch) -> None:
    box = sketch.locator("svg").first.bounding_box()
    unit = box["width"] / 620
    left, top = box["x"] + 44 * unit, box["y"] + 8 * unit
    sketch.mouse.move(left, top)
    sketch.mouse.down()
    sketch.mouse.move(left + 276 * unit, top + 76 * unit, steps=8)
    sketch.mouse.up()
    heights = last(sketch)
    assert heights[0] == pytest.approx(3, abs=0.1)
    assert heights[8] == pytest.approx(1.5, abs=0.1)
    assert heights[8:] == [heights[8]] * (COLUMNS - 8), "it goes on as it was left"
    assert all(a >= b for a, b in itertools.pairwise(heights))
    sketch.mouse.move(left, top + 38 * unit)
    sketch.mouse.down()
    sketch.mouse.up()
    assert last(sketch)[1:] == heights[1:], "what was drawn is changed where one draws again"


def test_a_curve_is_drawn_by_keys_and_read_out(sketch) -> None:
    drawing = sketch.get_by_role("slider")
    assert drawing.get_attribute("aria-valuetext") == "nothing drawn yet"
    for key in ("ArrowUp",) * 4 + ("ArrowRight",) + ("ArrowDown",) * 8:
        drawing.press(key)
    assert drawing.get_attribute("aria-valuetext") == "step 63: 1.20"
    drawing.blur()
    heights = last(sketch)
    assert heights[0] == pytest.approx(1.8)
    assert heights[1:] == [pytest.approx(1.2)] * (COLUMNS - 1)


def test_a_curve_that_was_handed_in_is_not_changed(sketch) -> None:
    sketch.evaluate("(heights) => window.draw({ open: false, sketch: heights })", [1.0] * COLUMNS)
    drawing = sketch.get_by_role("slider")
    drawing.press("ArrowUp")
    drawing.click()
    drawing.blur()
    assert sketch.evaluate("window.sent.length") == 0
    assert sketch.locator(".sketch").get_attribute("d").count("L") == COLUMNS - 1


def test_answers_are_kept_in_the_browser_and_forgotten_when_one_starts_over(tab) -> None:
    source = (GUIDE / "keeper.js").read_text()
    tab.evaluate(LOAD, source)
    call = """(data) => window.part({
        data: { look: null, gone: [], answers: {}, ask: false, ...data },
        setStateValue: (...sent) => window.sent.push(sent) })"""
    answers = {"a": {"guess": 1.5, "passed": True}, "b": {"guess": "x"}}
    tab.evaluate("localStorage.setItem('other', '1')")
    tab.evaluate(call, {"answers": answers})
    tab.evaluate(call, {"answers": {"b": {"guess": "y"}}, "gone": ["a"]})
    tab.reload()
    tab.evaluate(LOAD, source)
    tab.evaluate(call, {"ask": True})
    assert tab.evaluate("window.sent") == [["kept", {"b": {"guess": "y"}}]]
    tab.evaluate("localStorage.setItem('genlab.exercise.c', 'no JSON')")
    tab.evaluate(call, {"ask": True})
    name, kept = tab.evaluate("window.sent.at(-1)")
    assert name == "kept"
    assert kept in ({}, {"b": {"guess": "y"}}), "what cannot be read is no error"
    assert tab.evaluate("localStorage.getItem('other')") == "1"

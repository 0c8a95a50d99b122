"""The brush in a real browser: by mouse, by keyboard alone, and by touch."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api")

from test_browser import (  # noqa: F401 - the last three are fixtures
    SMALL,
    address,
    button,
    chromium,
    expect,
    folder_of,
    open_page,
    page,
    server,
    until,
)

from lab.store import Run

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def part(tab, name: str) -> None:
    tab.get_by_role("radio", name=name, exact=True).first.click()


def sheet(tab):
    return tab.get_by_role("img", name=re.compile("^Your drawing"))


def open_sheet(tab, url: str) -> None:
    open_page(tab, f"{url}/realnvp?dataset=own&{SMALL}")
    part(tab, "Draw")
    sheet(tab).scroll_into_view_if_needed()


def heart(box: dict) -> list[tuple[float, float]]:
    """A heart's corners, in pixels of the page."""
    corners = []
    for t in np.linspace(0, 2 * math.pi, 60):
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        corners.append((0.52 + x / 50, 0.43 - y / 50))
    return [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in corners]


def drawn(tab):
    return tab.get_by_text("5,000 points from your drawing")


def test_a_heart_drawn_with_the_mouse_is_what_realnvp_trains_on(server, page) -> None:  # noqa: F811
    open_sheet(page, server.url)
    first, *rest = heart(sheet(page).bounding_box())
    page.mouse.move(*first)
    page.mouse.down()
    for corner in rest:
        page.mouse.move(*corner)
    page.mouse.up()
    expect(drawn(page)).to_be_visible()
    button(page, "Train").click()
    expect(page.get_by_text("Finished").first).to_be_visible()
    run = Run(folder_of(server, page))
    own = run.own_data()
    assert own.name == "your drawing" and own.array.shape == (5_000, 2)
    x, y = own.array.T
    assert abs(x.mean()) < 0.1, "a heart has two equal halves"
    assert x.min() < -1 and x.max() > 1 and np.hypot(x, y - 0.3).min() > 0.2, "and is hollow"
    expect(page.get_by_text("your drawing").first).to_be_visible()
    part(page, "Take away")
    expect(page.get_by_text(re.compile(r"--data \S*data\.npz"))).to_be_visible()
    # Another page, and back: the drawing is still there.
    page.get_by_test_id("stSidebar").get_by_role("link", name="Theory").click()
    expect(page.get_by_role("heading", name="Theory").first).to_be_visible()
    page.get_by_test_id("stSidebar").get_by_role("link", name="RealNVP").click()
    expect(drawn(page)).to_be_visible()
    expect(page.get_by_role("button", name="Clear")).to_be_enabled()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Nothing is drawn yet")).to_be_visible()


def test_a_drawing_is_kept_when_one_leaves_at_once_and_says_when_it_is_full(server, page) -> None:  # noqa: F811
    open_sheet(page, server.url)
    paint(page, (0.3, 0.3), (0.7, 0.3))
    page.get_by_test_id("stSidebar").get_by_role("link", name="Theory").click()
    expect(page.get_by_role("heading", name="Theory").first).to_be_visible()
    page.get_by_test_id("stSidebar").get_by_role("link", name="RealNVP").click()
    expect(drawn(page)).to_be_visible()
    expect(page.get_by_role("button", name="Clear")).to_be_enabled()
    sheet(page).scroll_into_view_if_needed()
    box = sheet(page).bounding_box()
    for i in range(200):
        page.mouse.click(box["x"] + 60 + i % 20 * 12, box["y"] + 30 + i // 20 * 20)
    full = page.get_by_text("This drawing is full")
    expect(full).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(full).to_be_hidden()
    expect(drawn(page)).to_be_visible()


def test_the_keyboard_alone_draws(server, page) -> None:  # noqa: F811
    open_sheet(page, server.url)
    page.get_by_role("button", name="Letter").focus()
    for _ in range(6):  # past size, weight, eraser and what can be undone
        page.keyboard.press("Tab")
        if sheet(page).evaluate("canvas => canvas === canvas.getRootNode().activeElement"):
            break
    for key in ["ArrowLeft"] * 10 + ["Enter"] + ["ArrowRight"] * 20 + ["Enter"]:
        page.keyboard.press(key)
    expect(page.get_by_text("Pen up at (0.800, 0.000)")).to_be_visible()
    expect(drawn(page)).to_be_visible()
    button(page, "Train").click()
    address(page, "run=")
    x, y = Run(folder_of(server, page)).own_data().array.T
    assert np.abs(y).max() < 0.2 and abs(x.mean()) < 0.05
    assert -1 < x.min() < -0.75 and 0.75 < x.max() < 1
    button(page, "Stop").click()


def test_a_finger_draws_on_a_phone_and_a_second_one_does_not(server, chromium) -> None:  # noqa: F811
    phone = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    tab = phone.new_page()
    tab.set_default_timeout(45_000)
    tab.goto(f"{server.url}/realnvp?dataset=own&{SMALL}")  # nothing to train on yet: no Train
    part(tab, "Draw")
    sheet(tab).scroll_into_view_if_needed()
    box = sheet(tab).bounding_box()
    assert box["width"] > 300 and box["x"] + box["width"] <= 390
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    touch = phone.new_cdp_session(tab)
    u, v = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    fingers = [{"x": u - 80, "y": v, "id": 0}]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": fingers})
    fingers.append({"x": u, "y": v + 90, "id": 1})
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": fingers})
    for way in range(0, 161, 10):
        fingers = [{"x": u - 80 + way, "y": v, "id": 0}, {"x": u, "y": v + 90 - way / 4, "id": 1}]
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": fingers})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(drawn(tab)).to_be_visible()
    button(tab, "Train").click()
    address(tab, "run=")
    x, y = Run(folder_of(server, tab)).own_data().array.T
    assert np.ptp(y) < 0.5 and np.ptp(x) > 1.5, "one line across, and none of the second finger"
    phone.close()


def paint(tab, *corners: tuple[float, float]) -> None:
    """Draw a line with the mouse, its corners at fractions of the sheet's width and height."""
    tab.wait_for_selector('[data-test-script-state="notRunning"]')
    sheet(tab).scroll_into_view_if_needed()
    box = sheet(tab).bounding_box()
    places = [(box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in corners]
    tab.mouse.move(*places[0])
    tab.mouse.down()
    for corner in places[1:]:
        tab.mouse.move(*corner, steps=5)
    tab.mouse.up()


def test_a_digit_drawn_with_the_mouse_is_scored_by_the_autoencoder(server, page) -> None:  # noqa: F811
    open_page(page, f"{server.url}/vae")
    for name in ("Anomalies", "One digit", "Draw"):
        part(page, name)
    paint(page, (0.3, 0.25), (0.7, 0.25), (0.45, 0.8))
    expect(page.get_by_role("combobox", name="Which")).to_have_value("my own digit")
    expect(page.get_by_role("img", name="Image and reconstruction")).to_be_visible()
    page.get_by_role("checkbox", name="Eraser").check()
    paint(page, (0.2, 0.25), (0.8, 0.25))
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()


def test_a_painted_scratch_raises_the_score(server, page) -> None:  # noqa: F811
    open_page(page, f"{server.url}/maf")
    for name in ("Score your own", "Paint a defect"):
        part(page, name)
    expect(page.get_by_text("Nothing is painted yet.")).to_be_visible()
    paint(page, (0.35, 0.4), (0.65, 0.55))
    expect(page.get_by_text(re.compile(r"^\+[\d,.]+ by the paint"))).to_be_visible()
    expect(page.get_by_text(re.compile("^Called defective"))).to_be_visible()

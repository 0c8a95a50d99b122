"""The first screen in a real browser: what it is, what it does now, and what to do next."""

from __future__ import annotations

import re

import pytest
from test_browser import button, chromium, expect, open_page, page, server  # noqa: F401 - fixtures

pytestmark = [pytest.mark.slow, pytest.mark.browser]

DESK = {"width": 1400, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("nice", "Learned density"),
        ("gan", "The duel"),
    ],
)
def test_buttons_stage_history_and_loss_are_on_one_screen(server, page, path, stage) -> None:  # noqa: F811
    page.set_viewport_size(DESK)
    open_page(page, f"{server.url}/{path}")
    shown = [
        button(page, "Train"),
        page.get_by_role("img", name=re.compile(f"^{stage}")).first,
        page.get_by_role("slider", name="History"),
        page.get_by_test_id("stVegaLiteChart").first,
    ]
    for part in shown:
        expect(part).to_be_visible()
        box = part.bounding_box()
        assert box["y"] + 0.8 * box["height"] <= DESK["height"], (box, part)


@pytest.mark.parametrize(
    ("path", "main"), [("nice", "Train"), ("gan", "Train"), ("arena", "Compare")]
)
def test_a_phone_shows_no_dead_button_and_where_the_settings_are(server, page, path, main) -> None:  # noqa: F811
    page.set_viewport_size(PHONE)
    page.goto(f"{server.url}/{path}")
    expect(button(page, main)).to_be_enabled()
    main_menu = page.get_by_test_id("stMainMenuButton").bounding_box()
    assert main_menu["x"] + main_menu["width"] <= PHONE["width"]
    opens = page.get_by_test_id("stExpandSidebarButton")
    says = opens.evaluate("button => getComputedStyle(button, '::after').content")
    assert says == '"Menu and settings"'
    dead = page.locator(".st-key-controls button:disabled")
    assert dead.count() > 0
    assert not any(one.is_visible() for one in dead.all())
    opens.click()
    side = page.get_by_test_id("stSidebar")
    expect(side.get_by_role("link", name="Home")).to_be_in_viewport()


def test_three_plots_stand_side_by_side_on_a_small_desk(server, page) -> None:  # noqa: F811
    page.set_viewport_size({"width": 1100, "height": 900})
    open_page(page, f"{server.url}/nice")
    names = "What there is to learn", "Learned density", "Samples at step"
    panels = [page.get_by_role("img", name=re.compile(f"^{name}")).first for name in names]
    for panel in panels:
        expect(panel).to_be_visible()
    assert len({round(panel.bounding_box()["y"]) for panel in panels}) == 1

"""A reader without the code: from the theory page through three exercises, in one session."""

from __future__ import annotations

import re

import pytest
from test_browser import address, button, chromium, expect, page, server, until  # noqa: F401

from analysis.exercises import Exercise, exercises

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def exercise(title: str) -> Exercise:
    (found,) = (e for e in exercises().values() if e.title == title)
    return found


def set_up(page, chosen: Exercise, heading: str) -> None:  # noqa: F811
    """Go to the theory page by the menu, and press the link of an exercise there."""
    page.get_by_test_id("stSidebar").get_by_role("link", name="Theory").click()
    expect(page.get_by_role("heading", name="Exercises")).to_be_visible()
    page.get_by_role("radio", name=heading, exact=True).click()
    row = page.get_by_test_id("stHorizontalBlock").filter(has_text=f"{chosen.title}.")
    row.last.get_by_role("link", name="Set it up").click()
    expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()


def test_three_exercises_one_after_the_other(server, page) -> None:  # noqa: F811
    page.goto(server.url)
    side = page.get_by_test_id("stSidebar")

    chosen = exercise("Too few layers")
    set_up(page, chosen, "NICE")
    layers = side.get_by_role("slider", name="Coupling layers")
    expect(layers).to_have_value(str(chosen.settings["layers"]))
    button(page, "Train").click()
    trained = page.get_by_role("img", name=re.compile(r"^Learned density at step [1-9]"))
    expect(trained).to_be_visible()
    button(page, "Stop").click()
    expect(page.get_by_text("Stopped").first).to_be_visible()

    set_up(page, exercise("The loss of the first paper"), "GAN")
    loss = side.get_by_test_id("stSelectbox").filter(has_text="Loss").locator("input")
    expect(loss).to_have_value("Original")
    button(page, "Train").click()
    expect(page.get_by_role("img", name=re.compile(r"^The duel at step [1-9]"))).to_be_visible()
    expect(page.get_by_text("the generator minimises log(1 - D(G(z)))").last).to_be_visible()
    button(page, "Stop").click()
    expect(page.get_by_text("Stopped").first).to_be_visible()

    set_up(page, exercise("Between two digits"), "VAE")
    expect(page.get_by_text("Drag the red point:")).to_be_visible()
    said = page.locator("output.point:not([hidden])")
    before = said.inner_text()
    page.get_by_role("img", name=re.compile("^Latent plane, test images")).press("ArrowRight")
    until(lambda: said.inner_text() != before, message="the point was not decoded")

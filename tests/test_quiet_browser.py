"""No page says anything wrong to the browser: while it trains, once stopped, when looked into.

From the home page by clicks: an address that is opened directly makes Streamlit look for its root
below that address first, which is not there.
"""

from __future__ import annotations

import pytest
from test_browser import address, button, chromium, expect, page, server, step_of, until  # noqa: F401
from test_duel_browser import Watched, part, watched  # noqa: F401

from registry import FAMILIES, Family

pytestmark = [pytest.mark.slow, pytest.mark.browser]

CHOICE = {  # what the page of a family calls it
    **dict.fromkeys(("nice", "realnvp", "glow_plane", "maf_plane", "vae_plane", "gan"), "In 2-D"),
    **dict.fromkeys(("nice_images", "realnvp_images", "glow", "maf", "vae"), "On images"),
    "gan_images": "Images, fully connected",
    "dcgan": "Images, DCGAN",
    "cyclegan": "",
}


def go(watched: Watched, name: str, heading: str = "") -> None:  # noqa: F811
    """Go to a page by the menu, and wait until it is drawn."""
    watched.tab.get_by_test_id("stSidebar").get_by_role("link", name=name, exact=True).click()
    title = watched.tab.get_by_role("heading", name=heading or name, exact=True)
    expect(title.first).to_be_visible()
    watched.rest()


def trains(watched: Watched) -> None:  # noqa: F811
    """Press Train, and stop as soon as three different steps were seen."""
    tab = watched.tab
    button(tab, "Train").click()
    address(tab, "run=")
    expect(button(tab, "Stop")).to_be_enabled()
    steps: set[int] = set()
    until(lambda: steps.add(step_of(tab)) or len(steps) > 2, 120, "fewer than three updates")
    button(tab, "Stop").click()
    expect(tab.get_by_text("Stopped").first).to_be_visible()
    watched.rest()


def looks_into_all(watched: Watched) -> None:  # noqa: F811
    """Open every part of what was trained, and the lesson above it."""
    sections = watched.tab.get_by_role("radiogroup", name="What was trained").get_by_role("radio")
    for name in sections.all_inner_texts():
        part(watched.tab, name)
        watched.rest()
    watched.tab.get_by_text("How it works").first.click()
    watched.rest()


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_training_is_quiet(server, watched, family: Family) -> None:  # noqa: F811
    watched.tab.set_default_timeout(180_000)  # what was stopped is scored first: MAF takes a minute
    watched.tab.goto(server.url)
    go(watched, FAMILIES[family.page].title)
    if choice := CHOICE[family.stem]:
        part(watched.tab, choice)
        watched.rest()
    trains(watched)
    looks_into_all(watched)


def test_what_belongs_to_no_family_is_quiet(server, watched) -> None:  # noqa: F811
    watched.tab.goto(server.url)
    for name, heading in {"Theory": "", "Arena": "", "Runs": "", "Home": "Generative Lab"}.items():
        go(watched, name, heading)

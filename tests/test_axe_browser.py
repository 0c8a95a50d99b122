"""axe finds nothing serious on any page: WCAG 2.2 AA, in both themes, and while a model trains."""

from __future__ import annotations

import importlib.resources

import pytest
from test_browser import (  # noqa: F401 - fixtures
    ROOT,
    Server,
    address,
    button,
    chromium,
    open_page,
    page,
    server,
    sync_api,
)
from test_rest_browser import ALL

axe = pytest.importorskip("axe_playwright_python")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect

SCRIPT = (importlib.resources.files(axe) / "axe.min.js").read_text(encoding="utf-8")
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RUN = "levels => axe.run(document, {runOnly: {type: 'tag', values: levels}})"


def serious(page) -> list[str]:  # noqa: F811
    """What axe calls serious or critical, with the first place of each."""
    page.evaluate(SCRIPT)
    found = page.evaluate(RUN, LEVELS)["violations"]
    return [
        f"{one['help']}: {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_fault(server, page, scheme):  # noqa: F811
    page.emulate_media(color_scheme=scheme)
    found = {}
    for stem, title in ALL.items():
        page.goto(f"{server.url}/{stem}")
        expect(page.get_by_role("heading", name=title, exact=True).first).to_be_visible()
        page.wait_for_selector('[data-test-script-state="notRunning"]')
        if faults := serious(page):
            found[stem or "home"] = faults
    assert not found


def test_nor_has_one_on_which_a_model_trains(server, page):  # noqa: F811
    page.goto(f"{server.url}/realnvp?iterations=5000")
    button(page, "Train").click()
    expect(button(page, "Pause")).to_be_enabled()
    assert not serious(page)
    button(page, "Stop").click()
    expect(button(page, "Train")).to_be_enabled()
    assert not serious(page)

"""A run whose name is HTML and Markdown, in a real browser: it is text, and nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from test_browser import Server, chromium, expect, page  # noqa: F401
from test_runs_browser import tick

from lab.driver import drive
from lab.runs.notes import MAX_NAME
from lab.store import Run, Status
from registry import FAMILIES

pytestmark = [pytest.mark.slow, pytest.mark.browser]

# One name holds sixty characters.
NAMES = {
    "html": "<b>bold</b><img src=x onerror=alert(1)><script>alert(2)",
    "picture": "![x](http://evil.example/x.png)",
    "link": "[x](javascript:alert(3)) www.evil.example",
    "streamlit": ":material/home: :red[r] $x^2$ `c` **b** ~~s~~ -> :tada:",
}
LEAKS = (
    "a[href*='evil'], a[href^='javascript'], img[src*='evil'], img[src='x'], script:text('alert')"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A short training for each name, the same name in its message."""
    folder = tmp_path_factory.mktemp("runs")
    family = FAMILIES["nice"]
    for number, (key, name) in enumerate(NAMES.items()):
        assert len(name) <= MAX_NAME
        run = Run.create(folder / key, family, family.training.config(layers=2, hidden=32))
        steps = iter([None] * 8)
        drive(run, device="cpu", send=lambda _: None, receive=lambda _, s=steps: next(s, ("stop",)))
        run.notes.rename(name)
        run.write_status(
            Status("stopped", 8, 2000, message=f"Saving failed ({name})", created=1e9 - number)
        )
    return folder


@pytest.fixture(scope="module")
def server(folder):
    server = Server(folder)
    yield server
    server.close()


def test_a_hostile_name_is_text_on_every_page(server, folder, page) -> None:  # noqa: F811
    asked, dialogs = [], []
    page.on("request", lambda request: asked.append(urlsplit(request.url)))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))

    page.goto(server.url)
    expect(page.get_by_text("Latest runs")).to_be_visible()
    assert page.locator(LEAKS).count() == 0

    page.goto(f"{server.url}/runs")
    expect(page.get_by_text("4 runs,")).to_be_visible()
    for row, name in enumerate(NAMES.values()):
        tick(page, row)
        heading = page.get_by_role("heading", level=3)
        expect(heading).to_have_count(1)
        shown = heading.inner_text().replace("\u2060", "").strip()
        assert shown == name
        expect(page.get_by_text("Saving failed")).to_be_visible()
        assert page.locator(LEAKS).count() == 0
        tick(page, row)  # no longer
        expect(heading).to_have_count(0)

    parameters = "&".join(f"{quote(name)}=1" for name in NAMES.values())
    for key, name in NAMES.items():
        page.goto(f"{server.url}/nice?run={key}&{parameters}")
        expect(page.get_by_text("is not a setting").first).to_be_visible()
        warning = page.get_by_test_id("stAlert").filter(has_text="Saving failed")
        expect(warning).to_be_visible()
        assert name in warning.inner_text().replace("\u2060", "")
        assert page.locator(LEAKS).count() == 0

    assert dialogs == []
    ours = urlsplit(server.url).netloc
    assert {url.netloc for url in asked if url.scheme.startswith("http")} == {ours}

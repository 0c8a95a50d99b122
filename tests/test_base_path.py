"""The lab below a path of its server, alone and behind nginx: every link stays below it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import wait_until
from test_browser import Server, chromium, free_port, page, sync_api  # noqa: F401
from test_compare import TERMS, small

from lab.comparison import Comparison, new_path
from lab.store import RunStore
from registry import PAGES

pytestmark = [pytest.mark.browser]
expect = sync_api.expect

ROOT = Path(__file__).parent.parent
PATH = "/course/lab"
TITLES = {"": "Generative Lab", "theory": "Theory", "arena": "Arena", "runs": "Runs"}
TITLES |= {family.stem: family.title for family in PAGES}
FOLDED = {family.stem: "How it works" for family in PAGES} | {"arena": "Its trainings"}
GUIDE = ROOT / "docs" / "class_server.md"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with a comparison, whose trainings have not begun."""
    store = RunStore(tmp_path_factory.mktemp("runs"))
    made = [replace(e, run=store.create(e.entrant.family, e.config).id) for e in small()]
    Comparison.create(new_path(store), store, TERMS, made)
    return store.root


@pytest.fixture(scope="module")
def server(runs) -> Iterator[Server]:
    server = Server(runs, path=PATH)
    yield server
    server.close()


def place(url: str) -> str:
    """The page that an address names, the front door as nothing."""
    return urlsplit(url).path.removeprefix(PATH).strip("/")


def opened(page, url: str) -> None:  # noqa: F811
    """Open a page that is right where it says."""
    page.goto(url)
    heading = page.get_by_role("heading", name=TITLES[place(url)], exact=True).first
    expect(heading).to_be_visible()
    menu = page.get_by_test_id("stSidebar").get_by_role("link", name=PAGES[-1].title)
    expect(menu).to_be_visible()
    page.wait_for_selector("[data-test-script-state=notRunning]")
    assert page.get_by_text("cannot be used").count() == 0
    assert page.get_by_text("Page not found").count() == 0


def links_of(page, url: str) -> set[str]:  # noqa: F811
    """The links of a page to pages of the lab, as a browser resolves them."""
    opened(page, url)
    if fold := FOLDED.get(place(url)):
        part = page.get_by_test_id("stExpander").filter(has_text=fold).first
        part.locator("summary").click()
        expect(part.locator("a[href]").first).to_be_attached()
    written = "links => links.map(link => [link.getAttribute('href'), link.href])"
    found = page.locator("a[href]").evaluate_all(written)
    inner = {to for href, to in found if not re.match(r"https?:|#|$", href)}
    below = f"{url.split(PATH)[0]}{PATH}/"
    assert not [to for to in inner if not to.startswith(below)]
    return inner


@pytest.mark.slow
def test_links_of_a_lesson_and_of_the_arena_stay_below_the_path(server, page):  # noqa: F811
    for stem in ("realnvp", "arena"):
        own = sorted(link for link in links_of(page, f"{server.url}/{stem}") if "?" in link)
        assert len(own) >= 3
        opened(page, own[0])
    page.get_by_test_id("stSidebar").get_by_role("link", name="Home").click()
    expect(page.get_by_role("heading", name=TITLES[""], exact=True)).to_be_visible()
    page.wait_for_url(f"{server.url}/")


@pytest.fixture
def behind_nginx(server, tmp_path) -> Iterator[str]:
    """The address of the lab behind nginx, as the guide tells to set it up, but without TLS."""
    if not (nginx := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")):
        pytest.skip("no nginx on this machine")
    port, text = free_port(), GUIDE.read_text(encoding="utf-8")
    block = re.search(r"^    server \{.*?^    \}$", text, re.MULTILINE | re.DOTALL)[0]
    block = re.sub(r".*(ssl_certificate|server_name).*\n", "", block)
    for said, here in (
        ("443 ssl", f"127.0.0.1:{port}"),
        ("location / ", f"location {PATH}/ "),
        ("127.0.0.1:8501", f"127.0.0.1:{server.port}"),
        ("= /_stcore", f"= {PATH}/_stcore"),
    ):
        assert said in block
        block = block.replace(said, here)
    who = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(f"{kind}_temp_path {kind};" for kind in ("client_body", "proxy"))
    logs = "error_log error.log; pid pid;"
    beside = "".join(re.findall(r"^    (limit_\w+_zone .*;)$", text, re.MULTILINE))
    conf = f"{who}{logs}daemon off;events {{}}http {{access_log off;{temporary}{beside}{block}}}"
    (tmp_path / "nginx.conf").write_text(conf)
    command = [nginx, "-p", str(tmp_path), "-c", "nginx.conf", "-e", "error.log"]
    process = subprocess.Popen(command)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}{PATH}/_stcore/health"))
        yield f"http://127.0.0.1:{port}{PATH}"
    finally:
        process.terminate()
        process.wait(15)


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


FOLLOWED: set[str] = set()  # by the tests below, which share a server


@pytest.mark.slow
@pytest.mark.parametrize("stem", TITLES)
def test_every_link_of_every_page_leads_to_its_page_below_the_path(stem, server, page):  # noqa: F811
    links = links_of(page, f"{server.url}/{stem}")
    assert len(links) >= len(TITLES) - 1
    for link in sorted(links - FOLLOWED):
        opened(page, link)
    FOLLOWED.update(links)


@pytest.mark.slow
@pytest.mark.parametrize("stem", ["", "nice", "arena"])
def test_behind_nginx_links_lead_to_pages_below_the_path(stem, behind_nginx, page):  # noqa: F811
    for link in sorted(links_of(page, f"{behind_nginx}/{stem}")):
        assert link.startswith(f"{behind_nginx}/")
        opened(page, link)
    assert not answers(f"{behind_nginx}/_stcore/metrics")

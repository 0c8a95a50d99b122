"""Pages at rest: nobody touches anything, so no page may draw itself anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_browser import (  # noqa: F401 - fixtures
    ROOT,
    Server,
    address,
    button,
    chromium,
    open_page,
    page,
    sync_api,
)

from lab.store import Run
from registry import FAMILIES, PAGES

proto = pytest.importorskip("streamlit.proto.ForwardMsg_pb2")
pytestmark = [pytest.mark.browser]
expect = sync_api.expect

QUICK = 6.0  # seconds of rest in the everyday tests
LONG = 20.0
OTHERS = {"": "Generative Lab", "theory": "Theory", "arena": "Arena", "runs": "Runs"}
ALL = {**OTHERS, **{family.stem: family.title for family in PAGES}}
SLOW_NICE = "iterations=5000&layers=12&hidden=256&batch=2048"  # longer than anybody looks


class Tab:
    """A page in a tab of its own, whose whole runs of its script are counted."""

    def __init__(self, context, url: str, title: str) -> None:
        self.runs = 0
        self.page = context.new_page()
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._count))
        self.page.goto(url)
        heading = self.page.get_by_role("heading", name=title, exact=True).first
        expect(heading).to_be_visible()

    def _count(self, frame: bytes | str) -> None:
        if isinstance(frame, bytes):
            message = proto.ForwardMsg.FromString(frame)
            if message.WhichOneof("type") == "script_finished":
                part = proto.ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY
                self.runs += message.script_finished != part


def settled(tabs: dict[str, Tab], wait: Callable[[float], None]) -> None:
    """Wait until no page is at work on its first drawing any more."""
    for _ in range(60):
        before = [tab.runs for tab in tabs.values()]
        wait(2000)
        if all(before) and before == [tab.runs for tab in tabs.values()]:
            return
    pytest.fail(f"still drawing: { {name: tab.runs for name, tab in tabs.items()} }")


def runs_at_rest(page, url: str, stems: dict[str, str], seconds: float) -> dict[str, int]:  # noqa: F811
    """Open pages side by side; return how often each was drawn anew while nobody touched it."""
    tabs = {stem: Tab(page.context, f"{url}/{stem}", title) for stem, title in stems.items()}
    settled(tabs, page.wait_for_timeout)
    before = {stem: tab.runs for stem, tab in tabs.items()}
    page.wait_for_timeout(1000 * seconds)
    return {stem: tab.runs - before[stem] for stem, tab in tabs.items()}


def stale(folder: Path, stem: str = "realnvp") -> Run:
    """Leave a run whose status says that it trains, where nobody trains it."""
    family = FAMILIES[stem]
    run = Run.create(folder / f"{stem}-left", family, family.training.config())
    run.write_status(replace(run.status(), state="running", total=10))
    return run


@pytest.mark.slow
def test_pages_rest_while_a_run_trains_and_another_only_says_so(tmp_path, page):  # noqa: F811
    server = Server(tmp_path)
    try:
        stale(tmp_path)
        open_page(page, f"{server.url}/nice?{SLOW_NICE}")
        button(page, "Train").click()
        address(page, "run=")
        expect(page.get_by_text("Training", exact=True).first).to_be_visible()
        some = {stem: ALL[stem] for stem in ("", "runs", "nice", "glow")}
        assert runs_at_rest(page, server.url, some, QUICK) == dict.fromkeys(some, 0)
    finally:
        server.close()


@pytest.mark.slow
@pytest.mark.parametrize("state", ["nothing", "ended", "trains", "paused", "elsewhere", "stale"])
def test_every_page_rests(tmp_path, page, state):  # noqa: F811
    server, other = Server(tmp_path), None
    try:
        if state == "stale":
            stale(tmp_path)
        if state == "elsewhere":
            command = [sys.executable, "-m", "training", "nice", "--quiet", "--layers", "12"]
            command += ["--iterations", "5000", "--batch", "2048"]
            command += ["--out", str(tmp_path / "elsewhere")]
            other = subprocess.Popen(command, cwd=ROOT, env={**os.environ})
        if state in ("ended", "trains", "paused"):
            open_page(page, f"{server.url}/nice?{SLOW_NICE}")
            button(page, "Train").click()
            address(page, "run=")
            expect(page.get_by_text("Training", exact=True).first).to_be_visible()
        if state != "trains" and state in ("ended", "paused"):
            name, word = {"ended": ("Stop", "Stopped"), "paused": ("Pause", "Paused")}[state]
            button(page, name).click()
            expect(page.get_by_text(word, exact=True).first).to_be_visible()
        pages = dict(ALL)
        if state in ("ended", "trains", "paused"):
            run = re.search(r"run=([\w-]+)", page.url)[1]
            pages[f"nice?run={run}"] = ALL["nice"]
        assert runs_at_rest(page, server.url, pages, LONG) == dict.fromkeys(pages, 0)
    finally:
        if other is not None:
            other.kill()
            other.wait()
        server.close()

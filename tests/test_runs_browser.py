"""The page of all runs in a real browser: tick, rename, compare, delete, import."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_browser import Server, chromium, expect, page  # noqa: F401

from lab.driver import drive
from lab.store import Run
from registry import FAMILIES

pytestmark = [pytest.mark.slow, pytest.mark.browser]

HEAD, ROW = 36, 44  # pixels of the head and of a row of the table


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three short trainings."""
    folder = tmp_path_factory.mktemp("runs")
    family = FAMILIES["nice"]
    for layers in (2, 4, 6):
        run = Run.create(folder / f"nice-{layers}", family, family.training.config(layers=layers))
        steps = iter([None] * 20)
        drive(run, device="cpu", send=lambda _: None, receive=lambda _, s=steps: next(s, ("stop",)))
    return folder


@pytest.fixture(scope="module")
def server(folder):
    server = Server(folder)
    yield server
    server.close()


def tick(page, *rows: int) -> None:  # noqa: F811
    """Click on the boxes before some rows of the table, which is painted and has no elements."""
    table = page.get_by_test_id("stDataFrame").first.locator("canvas").first
    box = table.bounding_box()
    for row in rows:
        page.mouse.click(box["x"] + HEAD / 2, box["y"] + HEAD + ROW * (row + 0.5))


def test_runs_are_renamed_compared_deleted_and_imported(server, folder, page) -> None:  # noqa: F811
    page.goto(f"{server.url}/runs")
    expect(page.get_by_text("3 runs,")).to_be_visible()
    tick(page, 0)
    expect(page.get_by_role("heading", name="NICE on Two moons, coupling layers 6")).to_be_visible()
    name = page.get_by_role("textbox", name="Name")
    name.fill("six <b>layers</b>")
    name.press("Enter")
    expect(page.get_by_role("heading", name="six <b>layers</b>")).to_be_visible()
    assert (folder / "nice-6" / "name.txt").read_text() == "six <b>layers</b>"
    with page.expect_download() as download:
        page.get_by_role("button", name="Download (zip)").click()
    archive = download.value.path()

    tick(page, 1)
    expect(page.get_by_role("heading", name="2 runs side by side")).to_be_visible()
    expect(page.get_by_text("Settings in which they differ")).to_be_visible()
    expect(page.get_by_alt_text("NICE on Two moons, coupling layers 4, step 20")).to_be_visible()

    tick(page, 0)
    expect(page.get_by_role("heading", name="NICE on Two moons, coupling layers 4")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    assert (folder / "nice-4").exists(), "it asks first"
    page.get_by_role("button", name="Yes, delete it").click()
    expect(page.get_by_text("2 runs,")).to_be_visible()
    assert not (folder / "nice-4").exists()

    page.get_by_text("Import a run").click()
    upload = page.locator("input[type=file]")
    upload.set_input_files({"name": "x.zip", "mimeType": "application/zip", "buffer": b"no zip"})
    expect(page.get_by_text("not a zip")).to_be_visible()
    zipped = {"name": "run.zip", "mimeType": "application/zip", "buffer": archive.read_bytes()}
    upload.set_input_files(zipped)
    expect(page.get_by_text("3 runs,")).to_be_visible()
    expect(page.get_by_text("is in the table above")).to_be_visible()

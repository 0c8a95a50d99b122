"""MAF as a person meets it: from opening the page to an anomaly map of a defect."""

from __future__ import annotations

import io
import re
import zipfile

import pytest
from test_browser import (  # noqa: F401 - fixtures are found by their names
    button,
    chromium,
    expect,
    folder_of,
    open_page,
    page,
    server,
    until,
)

from datasets.defects import save_layout
from datasets.rendered_sets import rendered_capsules

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def heat(page):  # noqa: F811
    return page.get_by_role("img", name=re.compile("^Anomaly map of test image"))


def test_the_page_opens_with_results(server, page) -> None:  # noqa: F811
    open_page(page, f"{server.url}/maf")
    expect(page.get_by_text("ships with the lab").first).to_be_visible()
    expect(
        page.get_by_role("img", name=re.compile("^Anomaly maps of synthetic defects"))
    ).to_be_visible()
    expect(page.get_by_role("paragraph").filter(has_text="AUROC of the images")).to_be_visible()
    expect(heat(page).first).to_be_visible()
    expect(heat(page)).to_have_count(8)
    assert page.get_by_text(re.compile(r"Scoring: \d+ of")).count() == 0, "they are scored already"
    tables = page.get_by_role("table")
    before = tables.all_inner_texts()
    slider = page.get_by_role("slider", name="Threshold")
    slider.focus()
    slider.press("Home")
    until(lambda: tables.all_inner_texts() != before, message="the threshold moved nothing")


@pytest.mark.slow
def test_from_opening_the_page_to_an_anomaly_map_of_a_defect(server, page) -> None:  # noqa: F811
    open_page(page, f"{server.url}/maf?epochs=6")
    button(page, "Train").click()
    expect(button(page, "Pause")).to_be_enabled()
    expect(page.get_by_text("Finished").first).to_be_visible(timeout=200_000)
    expect(page.get_by_text("Your run")).to_be_visible()
    expect(heat(page).first).to_be_visible(timeout=200_000)
    run = folder_of(server, page)
    names = {path.name for path in run.iterdir()}
    figures = {"nll_curve.png", "nll_hist_good_defect.png", "roc_curve.png"}
    assert {*figures, "samples", "scores.csv", "detection.json"} <= names
    for part, sign in (
        ("Score your own", "Nothing uploaded yet"),
        ("See inside", "Jacobian, by autograd"),
        ("Sampling", "As it fills"),
    ):
        page.get_by_role("radio", name=part).click()
        expect(page.get_by_text(sign).first).to_be_visible()
    page.get_by_role("radio", name="Score your own").click()
    image = next((run / "samples").iterdir())
    page.locator("input[type=file]").last.set_input_files(image)
    expect(page.get_by_role("img", name=re.compile("and its anomaly map"))).to_be_visible()


def zipped(tmp_path, *, without: str = "", extra: str = "") -> bytes:
    folder = save_layout(rendered_capsules(32, train=6, good=2, each=1), tmp_path / "set")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            name = path.relative_to(folder).as_posix()
            if not (without and name.startswith(without)):
                archive.write(path, name)
        if extra:
            archive.writestr(extra, b"x")
    return data.getvalue()


def test_a_zip_is_checked_before_it_is_used(server, page, tmp_path) -> None:  # noqa: F811
    open_page(page, f"{server.url}/maf?dataset=own")
    bad = {
        "no zip": (b"a text", "not a zip"),
        "no good ones": (zipped(tmp_path, without="train/good"), "no folder train/good"),
    }
    chosen = page.get_by_test_id("stMainBlockContainer").locator("input[type=file]").first
    for name, (content, words) in bad.items():
        file = {"name": f"{name}.zip", "mimeType": "application/zip", "buffer": content}
        chosen.set_input_files(file)
        expect(page.get_by_test_id("stAlert").filter(has_text=words).first).to_be_visible()
        expect(button(page, "Train")).to_be_disabled()
    # A name that leads elsewhere is left out and named; the rest is taken.
    content = zipped(tmp_path, extra="../evil.png")
    file = {"name": "mine.zip", "mimeType": "application/zip", "buffer": content}
    chosen.set_input_files(file)
    expect(page.get_by_text("6 good images to learn from in mine")).to_be_visible()
    expect(page.get_by_text("evil.png")).to_have_count(1)
    expect(button(page, "Train")).to_be_enabled()

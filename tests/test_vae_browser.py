"""The autoencoder's page in a real browser: a press on the latent plane shows a digit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")

from test_browser import (  # noqa: F401 - the last three are fixtures
    address,
    button,
    chromium,
    expect,
    open_page,
    page,
    server,
    until,
)

from lab.store import Run

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def part(tab, name: str) -> None:
    tab.get_by_role("radio", name=name, exact=True).first.click()


def decoded(tab) -> str:
    """Return the pixels of the image that the point on the map is decoded to."""
    image = tab.get_by_role("img", name=re.compile("^The image that the point is decoded to"))
    return image.evaluate("canvas => canvas.toDataURL()")


def press_map(tab, x: float, y: float) -> None:
    """Press on the map at parts of its width and height, and wait for the exact image."""
    # At the end of a training the page is drawn anew, and with it the map.
    tab.wait_for_selector('[data-test-script-state="notRunning"]')
    canvas = tab.get_by_role("img", name=re.compile("^Latent plane, test images"))
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    canvas.click(position={"x": x * box["width"], "y": y * box["height"]})
    expect(tab.locator("output.point:not([hidden])")).to_contain_text("Exact")


def test_a_press_anywhere_on_the_plane_shows_its_digit(server, page) -> None:  # noqa: F811
    open_page(page, f"{server.url}/vae")
    expect(page.get_by_text("ships with the lab").first).to_be_visible()
    expect(page.get_by_text("nearest in latent space to (0.00, 0.00)")).to_be_visible()
    seen = {decoded(page)}
    for x, y in ((0.3, 0.35), (0.8, 0.15), (0.6, 0.7)):  # the second has no data near it
        press_map(page, x, y)
        until(lambda: decoded(page) not in seen, 20, "no other digit came")
        seen.add(decoded(page))
    assert len(seen) == 4
    expect(page.get_by_text("nearest in latent space to (0.00, 0.00)")).to_have_count(0)


def test_weights_from_a_file_become_the_run_of_the_page(server, page) -> None:  # noqa: F811
    open_page(page, f"{server.url}/nice")
    part(page, "Take away")
    page.get_by_text("Load weights from a file").click()
    upload = page.locator("input[type=file]")
    good = Run(ROOT / "assets" / "runs" / "nice").weights.file()
    for name, content, words in (
        ("a.safetensors", b"\x80\x04\x95 no weights", "a pickle"),
        ("b.safetensors", good[:-100], "cut off"),
    ):
        file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        upload.set_input_files(file)
        expect(page.get_by_test_id("stAlert").filter(has_text=words).first).to_be_visible()
    expect(page.get_by_text("ships with the lab").first).to_be_visible()
    file = {"name": "good.safetensors", "mimeType": "application/octet-stream", "buffer": good}
    upload.set_input_files(file)
    expect(page.get_by_text("loaded from good.safetensors")).to_be_visible()
    address(page, "run=nice-")
    part(page, "See inside")
    expect(page.get_by_role("slider", name="Layer", exact=True)).to_be_visible()


@pytest.mark.slow
def test_a_minute_of_training_then_a_press_shows_a_digit(server, page) -> None:  # noqa: F811
    open_page(page, f"{server.url}/vae?latent=2&hidden=256&depth=2&epochs=25&batch=128")
    button(page, "Train").click()
    address(page, "run=")
    expect(page.get_by_text("Finished").first).to_be_visible(timeout=180_000)
    expect(page.get_by_role("img", name=re.compile("^Means of test images"))).to_be_visible()
    before = decoded(page)
    press_map(page, 0.35, 0.4)
    until(lambda: decoded(page) != before, 20, "no other digit came")
    part(page, "Anomalies")
    expect(page.get_by_text("AUROC").first).to_be_visible()

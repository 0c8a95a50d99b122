"""CycleGAN's page in a real browser: an image is translated at once, a training can be watched."""

from __future__ import annotations

import io
import re

import pytest

pytest.importorskip("playwright.sync_api")

from PIL import Image
from test_browser import (  # noqa: F401 - the last three are fixtures
    address,
    button,
    chromium,
    expect,
    open_page,
    page,
    server,
    step_of,
    until,
)

from datasets.rendered.fruits import APPLE, render_fruits

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def part(tab, name: str) -> None:
    tab.get_by_role("radio", name=name, exact=True).first.click()


def apple() -> bytes:
    """An image that the shipped generators have not seen."""
    pixels = render_fruits(APPLE, 1, 128, seed=99).images[0].transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_uploaded_image_is_translated_at_once(server, page) -> None:  # noqa: F811
    open_page(page, f"{server.url}/cyclegan")
    expect(page.get_by_text("ships with the lab").first).to_be_visible()
    as_orange = page.get_by_role("img", name="The image as orange", exact=True)
    expect(as_orange).to_be_visible()
    before = as_orange.get_attribute("src")
    part(page, "Upload")
    expect(page.get_by_text("Nothing to translate yet")).to_be_visible()
    file = {"name": "mine.png", "mimeType": "image/png", "buffer": apple()}
    page.locator("input[type=file]").first.set_input_files(file)
    expect(as_orange).to_be_visible()
    assert as_orange.get_attribute("src") != before
    expect(page.get_by_text(re.compile("What changed"))).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("button", name="The image as orange (PNG)").click()
    assert download.value.suggested_filename == "mine-as-orange.png"
    with Image.open(download.value.path()) as image:
        assert image.size == (64, 64)


@pytest.mark.slow
def test_two_minutes_of_fruits_move_and_outlive_a_change_of_page(server, page) -> None:  # noqa: F811
    open_page(page, f"{server.url}/cyclegan?width=8&discriminator_width=8")
    button(page, "Train").click()
    expect(button(page, "Pause")).to_be_enabled()
    trip = page.get_by_role("img", name=re.compile("^From apple to orange and back")).last
    images: set[str] = set()

    def three_images() -> bool:
        images.add(trip.get_attribute("src"))
        return len(images) > 3  # one may be of the run that ships with the lab

    until(three_images, 120, "fewer than three different images in two minutes")
    seen = step_of(page)
    page.get_by_test_id("stSidebar").get_by_role("link", name="NICE").click()
    expect(page.get_by_role("heading", name="NICE", exact=True)).to_be_visible()
    page.get_by_test_id("stSidebar").get_by_role("link", name="CycleGAN").click()
    expect(button(page, "Pause")).to_be_enabled()
    until(lambda: step_of(page) > seen, message="lost by changing the page")
    address(page, "run=")
    button(page, "Stop").click()
    expect(page.get_by_text("Stopped").first).to_be_visible()

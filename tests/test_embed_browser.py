"""An exercise in a frame of a course page: shown where the class allows it, and nowhere else."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from test_browser import Server, chromium, expect, free_port, page  # noqa: F401 - fixtures

from analysis.exercises.files import exercises
from ui.guide.known import address

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(600)]

ONE = exercises()["nice-1-too-few-layers"]
QUERY = "&".join(f"{key}={value}" for key, value in address(ONE).items())


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Iterator[tuple[Server, str, str]]:
    """A class, and two course pages with its exercise: of a site that it names, and of another."""
    folder = tmp_path_factory.mktemp("course")
    ports = free_port(), free_port()
    allowed, other = (f"http://127.0.0.1:{port}" for port in ports)
    (folder / "class.toml").write_text(f'slots_cpu = 1\nframe_sites = ["{allowed}"]\n')
    server = Server(folder / "runs", {"GENLAB_CONFIG": str(folder / "class.toml")})
    frame = f'<iframe src="{server.url}/nice?{QUERY}&embed=true" width="800" height="700"></iframe>'
    (folder / "lesson.html").write_text(f"<!doctype html><h1>Week 3</h1>{frame}")
    handler = partial(Quiet, directory=str(folder))
    sites = [ThreadingHTTPServer(("127.0.0.1", port), handler) for port in ports]
    for site in sites:
        threading.Thread(target=site.serve_forever, daemon=True).start()
    yield server, allowed, other
    for site in sites:
        site.shutdown()
        site.server_close()
    server.close()


def test_an_exercise_works_in_a_frame_of_a_site_that_the_class_names(course, page) -> None:  # noqa: F811
    _, allowed, _ = course
    page.goto(f"{allowed}/lesson.html")
    frame = page.frame_locator("iframe")
    expect(frame.get_by_text(ONE.question)).to_be_visible(timeout=180_000)
    predict = frame.get_by_role("button", name="Predict", exact=True)
    predict.click()
    expect(frame.get_by_role("button", name="Start over", exact=True)).to_be_visible()
    expect(frame.get_by_role("button", name="Train", exact=True)).to_be_visible()
    assert frame.get_by_test_id("stMainMenuButton").count() == 0, "a frame has no room for it"
    # What was predicted is kept in the frame, too.
    page.reload()
    expect(frame.get_by_role("button", name="Start over", exact=True)).to_be_visible()


def test_a_site_that_the_class_does_not_name_shows_nothing(course, page) -> None:  # noqa: F811
    server, allowed, other = course
    with urllib.request.urlopen(f"{server.url}/nice") as answer:
        said = answer.headers["Content-Security-Policy"]
    assert said == f"frame-ancestors 'self' {allowed}"
    refused = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(f"{other}/lesson.html")
    expect(page.get_by_role("heading", name="Week 3")).to_be_visible()
    expect(page.frame_locator("iframe").get_by_text(ONE.question)).to_have_count(0)
    assert any("frame-ancestors" in text for text in refused)

"""The lab as a person meets it: a real server, a real Chromium, real trainings."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.store import RunStore

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
expect.set_options(timeout=45_000)

ROOT = Path(__file__).parent.parent
CHROMIUM = next(
    (
        p
        for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
        if Path(p).exists()
    ),
    os.environ.get("GENLAB_CHROMIUM"),
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SMALL = "iterations=1000&layers=2&hidden=32&batch=64"
SLOW = "iterations=5000&layers=12"  # long enough to still be running when we look

pytestmark = [pytest.mark.browser]


def _no_browser() -> None:
    reason = "no Chromium found: install it, or set GENLAB_CHROMIUM to its path"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """``streamlit run app.py``, on a port that is free.

    Args:
        runs: the folder of runs.
        env: more of the environment.
        secrets: makes the text of ``secrets.toml`` from the server's address.
        path: that the lab stands below, ``/lab`` say.
    """

    def __init__(
        self,
        runs: Path,
        env: dict[str, str] | None = None,
        secrets: Callable[[str], str] | None = None,
        path: str = "",
    ) -> None:
        self.runs, self.env = runs, {"STREAMLIT_SERVER_BASE_URL_PATH": path, **(env or {})}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{path}"
        self.flags = []
        if secrets is not None:
            file = runs.parent / "secrets.toml"
            file.write_text(secrets(self.url))
            self.flags = ["--secrets.files", str(file)]
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "streamlit", "run", "app.py"]
        command += ["--server.headless", "true", "--server.port", str(self.port), *self.flags]
        env = {**os.environ, "GENLAB_RUNS": str(self.runs), **self.env}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1)
                return
            except OSError:
                assert self.process.poll() is None, self.process.stderr.read().decode()
        raise AssertionError("the server did not come up within a minute")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    if not CHROMIUM:
        _no_browser()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("runs"))
    yield server
    server.close()


@pytest.fixture
def page(chromium) -> Iterator:
    """A fresh visitor; fails the test if anything raised in the browser or on the page."""
    context = chromium.new_context(viewport={"width": 1360, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(45_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    assert not errors
    for tab in context.pages:
        assert tab.get_by_test_id("stException").count() == 0
    context.close()


def button(page, name: str):
    return page.get_by_test_id("stMainBlockContainer").get_by_role(
        "button", name=re.compile(f"{re.escape(name)}$")
    )


def learned(page):
    return page.get_by_role("img", name=re.compile("^Learned density"))


def step_of(page) -> int:
    text = page.get_by_text(re.compile(r"step [\d,]+ of [\d,]+")).first.inner_text()
    return int(re.search(r"step ([\d,]+) of", text)[1].replace(",", ""))


def open_page(page, url: str) -> None:
    page.goto(url)
    expect(button(page, "Train")).to_be_visible()
    expect(page.get_by_test_id("stSlider").first).to_be_visible()


def until(condition, timeout: float = 60.0, message: str = "") -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, message or "it did not happen in time"


def address(page, part: str) -> None:
    """Wait until the address of the page has a part.

    `page.url` alone would never change: Playwright hears of it only while it waits.
    """
    page.wait_for_url(re.compile(re.escape(part)))


def folder_of(server: Server, page) -> Path:
    """Return the folder of the run that a page shows."""
    address(page, "run=")
    return server.runs / re.search(r"run=([\w-]+)", page.url)[1]


def menu(page) -> list[str]:
    return page.get_by_test_id("stSidebar").get_by_test_id("stPageLink").all_inner_texts()


def test_deep_link_on_a_fresh_server_looks_like_a_click_from_home(chromium, tmp_path, page) -> None:
    fresh = Server(tmp_path / "runs")
    try:
        open_page(page, f"{fresh.url}/nice")
        deep = menu(page), page.get_by_role("heading", level=1).inner_text()
        page.goto(fresh.url)
        expect(page.get_by_role("heading", name="Generative Lab")).to_be_visible()
        page.get_by_test_id("stSidebar").get_by_role("link", name="NICE").click()
        expect(button(page, "Train")).to_be_visible()
        assert (menu(page), page.get_by_role("heading", level=1).inner_text()) == deep
        assert page.get_by_test_id("stSidebarNav").count() == 0
    finally:
        fresh.close()


@pytest.mark.slow
def test_a_training_is_watched_left_and_controlled_and_never_lost(server, page) -> None:
    open_page(page, f"{server.url}/nice?{SLOW}")
    button(page, "Train").click()

    snapshots: set[str] = set()

    def five_snapshots() -> bool:
        snapshots.add(learned(page).get_attribute("aria-label"))
        return len(snapshots) >= 5

    expect(button(page, "Pause")).to_be_enabled()
    until(five_snapshots, 60, "fewer than five different snapshots in a minute")

    seen = step_of(page)
    slider = page.get_by_test_id("stSidebar").get_by_role("slider", name="Hidden units")
    slider.focus()
    slider.press("ArrowLeft")
    expect(page.get_by_text("The form has other settings")).to_be_visible()
    until(lambda: step_of(page) > seen, message="a slider stopped the training")

    page.get_by_test_id("stSidebar").get_by_role("link", name="RealNVP").click()
    expect(page.get_by_role("heading", name="RealNVP", exact=True)).to_be_visible()
    page.get_by_test_id("stSidebar").get_by_role("link", name="NICE").click()
    expect(button(page, "Pause")).to_be_enabled()
    until(lambda: step_of(page) > seen, message="lost by changing the page")

    seen = step_of(page)
    address(page, "run=")
    page.reload()
    expect(button(page, "Pause")).to_be_enabled()
    until(lambda: step_of(page) > seen, message="lost by a refresh")

    tab = page.context.new_page()
    open_page(tab, page.url)
    until(lambda: step_of(tab) > seen, message="a second tab does not show it")
    tab.close()

    button(page, "Pause").click()
    expect(button(page, "Resume")).to_be_enabled()
    expect(page.get_by_text("Paused").first).to_be_visible()
    for _ in range(2):
        before = step_of(page)
        button(page, "Step").click()
        until(lambda: step_of(page) != before, message="Step did nothing")  # noqa: B023
        assert step_of(page) == before + 1
        step = re.compile(f"^Learned density at step {before + 1:,}\\b")
        expect(learned(page)).to_have_attribute("aria-label", step)

    before = step_of(page)
    button(page, "Resume").click()
    until(lambda: step_of(page) > before + 5, message="Resume did nothing")
    button(page, "Stop").click()
    expect(page.get_by_text("Stopped").first).to_be_visible()
    expect(button(page, "Train")).to_be_enabled()


@pytest.mark.slow
def test_learning_rate_is_changed_while_it_runs(server, page) -> None:
    open_page(page, f"{server.url}/realnvp?iterations=5000&blocks=12")
    button(page, "Train").click()
    expect(button(page, "Pause")).to_be_enabled()
    page.get_by_test_id("stPopover").get_by_role("button").click()
    slider = page.get_by_role("slider", name="Learning rate, from now on")
    slider.focus()
    slider.press("ArrowLeft")
    done = folder_of(server, page) / "interventions.jsonl"
    until(done.exists, message="the rate did not change")
    until(lambda: '"learning_rate"' in done.read_text() and "0.002" in done.read_text())
    button(page, "Stop").click()
    expect(button(page, "Train")).to_be_enabled()


@pytest.mark.slow
def test_the_end_leaves_snapshots_history_and_downloads(server, page) -> None:
    open_page(page, f"{server.url}/nice?{SMALL}")
    button(page, "Train").click()
    last = page.get_by_role("img", name="Learned density at step 1,000")
    expect(last).to_be_visible(timeout=60_000)
    expect(page.get_by_text("Finished").first).to_be_visible()
    expect(page.get_by_role("img", name="Target and learned density at every ten")).to_be_visible()
    history = page.get_by_role("slider", name="History")
    history.focus()
    history.press("Home")
    expect(learned(page)).to_have_attribute("aria-label", re.compile("^Learned density at step 0"))

    for part in ("Explore", "Check", "The code", "See inside"):
        page.get_by_role("radio", name=part).click()
    expect(page.get_by_role("slider", name="Layer", exact=True)).to_be_visible()
    page.get_by_role("radio", name="Check").click()
    expect(page.get_by_text("Integral of the density")).to_be_visible()
    assert page.get_by_text("not right").count() == 0

    page.get_by_role("radio", name="Take away").click()
    film = Image.open(_download(page, "Film of the training (GIF)"))
    assert film.format == "GIF"
    assert film.n_frames >= 11
    figure = Image.open(_download(page, "Figure, 200 dpi (PNG)"))
    assert figure.width >= 1500
    archive = zipfile.ZipFile(_download(page, "The whole run (zip)"))
    names = {name.split("/")[1] for name in archive.namelist()}
    assert {"config.json", "metrics.csv", "model.safetensors", "snapshots"} <= names


def _download(page, label: str) -> io.BytesIO:
    with page.expect_download() as waiting:
        button(page, label).click()
    return io.BytesIO(Path(waiting.value.path()).read_bytes())


def test_an_address_with_bad_values_gets_a_sentence_and_the_defaults(server, page) -> None:
    open_page(page, f"{server.url}/nice?layers=40&noise=abc&batch=nan&foo=1&seed=3&run=../../etc")
    for words in (
        "layers must be a whole number from 2 to 12",
        "noise must be a number from 0.02 to 0.5",
        "batch must be a whole number from 64 to 2048",
        "'foo' is not a setting",
        "does not exist",
    ):
        expect(page.get_by_text(words).first).to_be_visible()
    seed = page.get_by_role("spinbutton", name="Seed")
    expect(seed).to_have_value("3")


@pytest.mark.slow
def test_own_points_are_trained_on(server, page) -> None:
    rng = np.random.default_rng(0)
    table = "x,y\n" + "\n".join(f"{a:.3f},{b:.3f}" for a, b in rng.normal(size=(200, 2)))
    open_page(page, f"{server.url}/nice?{SMALL}&dataset=own")
    expect(button(page, "Train")).to_be_disabled()
    _upload(page, "points.csv", table.encode())
    expect(page.get_by_text("200 points from points.csv")).to_be_visible()
    button(page, "Train").click()
    expect(page.get_by_text("Nobody knows the true density")).to_be_visible()
    expect(page.get_by_text("Finished").first).to_be_visible(timeout=60_000)


BAD_FILES = {
    "text.csv": (b"x,y\n" + b"1,2\n" * 30 + b"three,4\n", "line 32"),
    "nan.csv": (b"1,2\n3,4\n" * 20 + b"nan,1\n", "line 41"),
    "column.csv": (b"1\n2\n3\n" * 20, "two"),
    "not.png": (b"this is a text and no image", "not a PNG"),
    "huge.png": (None, "megapixels"),
}


def test_bad_files_get_a_sentence_and_the_lab_goes_on(server, page) -> None:
    open_page(page, f"{server.url}/nice?dataset=own")
    for name, (content, words) in BAD_FILES.items():
        _upload(page, name, content if content is not None else _header_of_a_huge_png())
        expect(page.get_by_test_id("stAlert").filter(has_text=words).first).to_be_visible()
        expect(button(page, "Train")).to_be_disabled()
    assert urllib.request.urlopen(f"{server.url}/_stcore/health").status == 200


def _upload(page, name: str, content: bytes) -> None:
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    page.locator("input[type=file]").set_input_files(file)


def _header_of_a_huge_png() -> bytes:
    """A PNG of 100 bytes that claims 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


@pytest.mark.slow
def test_a_killed_server_leaves_no_process_and_the_run_resumes(chromium, tmp_path, page) -> None:
    server = Server(tmp_path / "runs")
    try:
        open_page(page, f"{server.url}/nice?{SLOW}")
        button(page, "Train").click()
        expect(button(page, "Pause")).to_be_enabled()
        until(lambda: step_of(page) > 0)
        run = folder_of(server, page)
        server.kill()
        until(lambda: not _processes_on(run), 20, "a worker outlived its server")
        server.start()
        page.goto(server.url)
        expect(page.get_by_text("Interrupted").first).to_be_visible()
        page.get_by_test_id("stMainBlockContainer").get_by_role(
            "link", name="NICE: Two moons"
        ).click()
        expect(button(page, "Resume")).to_be_enabled()
        before = step_of(page)
        button(page, "Resume").click()
        until(lambda: step_of(page) > before, message="the run did not go on")
        button(page, "Stop").click()
        expect(button(page, "Train")).to_be_enabled()
    finally:
        server.close()


SMALL_GLOW = "iterations=1000&steps=4&hidden=32&batch=32"


def samples(page):
    return page.get_by_role("img", name=re.compile("^Samples at step"))


def sample_step(page) -> int:
    return int(samples(page).get_attribute("alt").rsplit(" ", 1)[1])


@pytest.mark.slow
def test_glow_shows_samples_at_once_and_its_training_outlives_the_server(tmp_path, page) -> None:
    server = Server(tmp_path / "runs")
    try:
        open_page(page, f"{server.url}/glow")
        expect(samples(page)).to_be_visible()
        expect(page.get_by_text("ships with the lab").first).to_be_visible()
        assert sample_step(page) > 1000, "not those of a trained model"

        open_page(page, f"{server.url}/glow?{SMALL_GLOW}")
        button(page, "Train").click()
        expect(button(page, "Pause")).to_be_enabled()
        until(lambda: 0 < sample_step(page) < 1000, message="no snapshot of the training came")
        page.get_by_test_id("stSidebar").get_by_role("link", name="NICE").click()
        expect(page.get_by_role("heading", name="NICE", exact=True)).to_be_visible()
        page.get_by_test_id("stSidebar").get_by_role("link", name="Glow").click()
        expect(button(page, "Pause")).to_be_enabled()
        run = folder_of(server, page)
        until((run / "checkpoint.pt").exists)
        server.kill()
        until(lambda: not _processes_on(run), 20, "a worker outlived its server")
        server.start()
        page.goto(f"{server.url}/glow?run={run.name}")
        expect(button(page, "Resume")).to_be_enabled()
        before = step_of(page)
        assert before > 0
        button(page, "Resume").click()
        until(lambda: step_of(page) > before, message="the run did not go on")
        button(page, "Stop").click()
        expect(button(page, "Train")).to_be_enabled()
    finally:
        server.close()


@pytest.mark.parametrize("path", ["nice", pytest.param("realnvp", marks=pytest.mark.slow)])
def test_a_variant_has_its_own_form_run_and_address(server, page, path) -> None:
    open_page(page, f"{server.url}/{path}?hidden=96")
    page.get_by_role("radio", name="On images").click()
    expect(page.get_by_role("img", name="Real images")).to_be_visible()
    address(page, f"on={path}_images")
    assert "hidden" not in page.url, "the address of the other variant stayed"
    page.get_by_role("radio", name="In 2-D").click()
    expect(learned(page)).to_be_visible()
    address(page, "hidden=96")
    page.wait_for_selector('[data-test-script-state="notRunning"]')
    page.get_by_role("radio", name="On images").click()
    address(page, f"on={path}_images")
    page.reload()
    expect(page.get_by_role("img", name="Real images")).to_be_visible()
    assert page.get_by_text("is not a setting").count() == 0


def test_a_set_that_is_not_here_is_offered_with_its_size_before_training(server, page) -> None:
    open_page(page, f"{server.url}/glow?dataset=cifar10")
    if button(page, "Download it").count() == 0:
        pytest.skip("CIFAR-10 is on this machine")
    expect(page.get_by_text("MB from")).to_be_visible()
    expect(button(page, "Train")).to_be_disabled()


def _processes_on(run: Path) -> list[int]:
    """Return the processes that hold a file of a run open (its lock, above all)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(entry).startswith(str(run)):
                found.append(int(entry.parts[2]))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_server_that_is_stopped_lets_a_training_save_whoever_watches(tmp_path, page):
    server = Server(tmp_path / "runs")
    open_page(page, f"{server.url}/nice?{SLOW}")
    button(page, "Train").click()
    expect(button(page, "Pause")).to_be_enabled()
    (run,) = RunStore(server.runs)
    until(lambda: run.status().step > 0, 30, "the training does not move")
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(30)
    assert run.status().state == "interrupted"
    assert run.path.joinpath("checkpoint.pt").exists()

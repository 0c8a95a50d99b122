"""The stage of GAN and VAE in a real browser: what is touched there asks the server for nothing."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from test_browser import (  # noqa: F401 - fixtures
    address,
    button,
    chromium,
    expect,
    open_page,
    page,
    server,
    until,
)

proto = pytest.importorskip("streamlit.proto.ForwardMsg_pb2")
pytestmark = [pytest.mark.browser]

FINGER = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


class Watched:
    """A tab whose script runs, of the page and of its fragments, are counted."""

    def __init__(self, tab) -> None:
        self.tab, self.runs, self.wrong = tab, 0, []
        tab.on("websocket", lambda socket: socket.on("framereceived", self._count))
        tab.on("pageerror", lambda error: self.wrong.append(str(error)))
        tab.on("console", lambda line: line.type == "error" and self.wrong.append(line.text))
        tab.on("requestfailed", lambda request: self.wrong.append(request.url))
        tab.on("response", self._refused)

    def _count(self, frame: bytes | str) -> None:
        if isinstance(frame, bytes):
            self.runs += proto.ForwardMsg.FromString(frame).WhichOneof("type") == "script_finished"

    def _refused(self, answer) -> None:
        if answer.status >= 400:
            self.wrong.append(f"{answer.status} {answer.url}")

    def open(self, url: str) -> None:
        open_page(self.tab, url)
        self.rest()
        self.wrong.clear()  # an address that is opened directly: Streamlit looks for its root first

    def rest(self) -> None:
        """Wait until the page is drawn and nothing more is on its way."""
        seen = -1
        while seen != self.runs:
            seen = self.runs
            self.tab.wait_for_selector('[data-test-script-state="notRunning"]')
            self.tab.wait_for_timeout(1000)

    def no_run(self, act: Callable[[], None]) -> None:
        """Do something that must not ask the server for anything."""
        before = self.runs
        act()
        self.tab.wait_for_timeout(700)
        assert self.runs == before, "the script ran"

    def one_run(self, act: Callable[[], None]) -> None:
        """Do something after which the server computes once."""
        before = self.runs
        act()
        until(lambda: self.tab.wait_for_timeout(50) or self.runs > before, message="no run")
        self.rest()
        assert self.runs == before + 1

    # -- the stage ---------------------------------------------------------------------------------

    def panel(self, name: str):
        return self.tab.get_by_role("img", name=re.compile(f"^{name}"))

    def pixels(self, name: str) -> str:
        return self.panel(name).evaluate("canvas => canvas.toDataURL()")

    def said(self, words: str) -> None:
        expect(self.tab.locator("output.point:not([hidden])")).to_contain_text(words)

    def place(self, name: str, x: float, y: float) -> tuple[float, float]:
        """Return where on the page a part of the width and height of a panel is."""
        self.panel(name).scroll_into_view_if_needed()
        box = self.panel(name).bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]


@pytest.fixture
def watched(page) -> Watched:  # noqa: F811
    watched = Watched(page)
    yield watched
    assert not watched.wrong


def part(tab, name: str) -> None:
    tab.get_by_role("radio", name=name, exact=True).first.click()


def drags_with_the_mouse(watched: Watched, plane: str, follower: str) -> None:
    """Drag the point in a panel: another follows at once, the server hears of it at the end."""
    mouse = watched.tab.mouse
    watched.said("Exact")
    first = watched.pixels(follower)

    def drag() -> None:
        mouse.move(*watched.place(plane, 0.5, 0.45))
        mouse.down()
        for i in range(1, 6):
            mouse.move(*watched.place(plane, 0.5 - 0.04 * i, 0.45 - 0.02 * i))
        watched.said("Blended from a lattice")
        assert watched.pixels(follower) != first

    watched.no_run(drag)
    watched.one_run(mouse.up)
    watched.said("Exact")


def drags_with_keys(watched: Watched, plane: str, follower: str) -> None:
    keyboard = watched.tab.keyboard
    watched.panel(plane).focus()
    before = watched.pixels(follower)

    def hold() -> None:
        keyboard.down("ArrowRight")
        keyboard.down("ArrowRight")
        watched.said("Blended from a lattice")
        assert watched.pixels(follower) != before

    watched.no_run(hold)
    watched.one_run(lambda: keyboard.up("ArrowRight"))
    watched.said("Exact")


def test_the_duel_is_looked_into_without_the_server(server, watched) -> None:  # noqa: F811
    watched.open(f"{server.url}/gan")
    tab, duel = watched.tab, "The duel"
    expect(watched.panel(duel)).to_have_attribute(
        "aria-label", re.compile("^The duel at step 9,000")
    )

    def switch() -> None:
        for name in ("Discriminator", "Generator", "Real", "Fake", "Gradients"):
            before, chip = watched.pixels(duel), tab.get_by_role("button", name=name, exact=True)
            chip.click()
            expect(chip).to_have_attribute("aria-pressed", "false")
            assert watched.pixels(duel) != before, name
            chip.press("Enter")
            expect(chip).to_have_attribute("aria-pressed", "true")
            assert watched.pixels(duel) == before, name

    def scrub() -> None:
        tab.get_by_role("slider", name="History").press("Home")
        expect(watched.panel(duel)).to_have_attribute("aria-label", re.compile("at step 0"))
        watched.panel(duel).press("ArrowRight")
        expect(watched.panel(duel)).not_to_have_attribute("aria-label", re.compile("at step 0"))
        tab.get_by_role("slider", name="History").press("End")
        expect(watched.panel(duel)).to_have_attribute("aria-label", re.compile("at step 9,000"))

    watched.no_run(switch)
    watched.no_run(scrub)
    drags_with_the_mouse(watched, "The latent plane", "The data plane")
    drags_with_keys(watched, "The latent plane", "The data plane")
    expect(tab.get_by_text("The discriminator takes that for real")).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "parts", "plane", "image"),
    [
        ("vae", [], "Latent plane, test images", "The image that the point is decoded to"),
        (
            "gan?on=gan_images",
            ["Explore", "Drag two directions"],
            "The plane of two directions",
            "The image at the point",
        ),
    ],
)
def test_latents_are_decoded_as_one_moves(server, watched, path, parts, plane, image) -> None:  # noqa: F811
    watched.open(f"{server.url}/{path}")
    for name in parts:
        part(watched.tab, name)
    expect(watched.panel(image)).to_be_visible()
    watched.rest()
    drags_with_the_mouse(watched, plane, image)
    drags_with_keys(watched, plane, image)


@pytest.mark.slow
def test_a_saved_image_does_not_move_what_the_mouse_points_at(server, watched) -> None:  # noqa: F811
    watched.open(f"{server.url}/gan")
    readout = watched.tab.locator("output.readout:not([hidden])")
    watched.tab.mouse.move(*watched.place("The latent plane", 0.4, 0.4))
    before = readout.inner_text()
    stage = watched.tab.locator("section.stage").filter(has=watched.panel("The latent plane"))
    with watched.tab.expect_download() as waiting:
        stage.get_by_role("button", name="Save image").press("Enter")
    assert waiting.value.suggested_filename.endswith(".png")
    watched.tab.mouse.move(*watched.place("The latent plane", 0.3, 0.3))
    watched.tab.mouse.move(*watched.place("The latent plane", 0.4, 0.4))
    assert readout.inner_text() == before


@pytest.mark.slow
def test_a_finger_does_the_same_on_a_phone(chromium, server) -> None:  # noqa: F811
    context = chromium.new_context(**FINGER)
    watched = Watched(context.new_page())
    tab = watched.tab
    watched.open(f"{server.url}/gan")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    finger = context.new_cdp_session(tab)

    def touch(kind: str, *at: float) -> None:
        points = [dict(zip("xy", at, strict=True))] if at else []
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def drag() -> None:
        before = watched.pixels("The data plane")
        touch("touchStart", *watched.place("The latent plane", 0.5, 0.5))
        for i in range(1, 6):
            touch("touchMove", *watched.place("The latent plane", 0.5 - 0.03 * i, 0.5))
        watched.said("Blended from a lattice")
        assert watched.pixels("The data plane") != before

    def switch() -> None:
        chip = tab.get_by_role("button", name="Gradients", exact=True)
        chip.scroll_into_view_if_needed()
        chip.tap()
        expect(chip).to_have_attribute("aria-pressed", "false")

    watched.no_run(switch)
    watched.no_run(drag)
    watched.one_run(lambda: touch("touchEnd"))
    watched.said("Exact")
    assert not watched.wrong
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("gan?iterations=1000&batch=64&hidden=32", "The duel at step 1,000"),
        ("vae?on=vae_plane&iterations=1000&batch=64&hidden=32", "Samples at step 1,000"),
        ("vae?latent=2&epochs=1&hidden=64", "Means of test images in the latent plane at step"),
    ],
)
def test_a_training_is_watched_without_an_error(server, watched, path, name) -> None:  # noqa: F811
    watched.open(f"{server.url}/{path}")
    button(watched.tab, "Train").click()
    address(watched.tab, "run=")
    expect(watched.tab.get_by_text("Finished").first).to_be_visible(timeout=120_000)
    expect(watched.panel(name)).to_be_visible()
    watched.rest()

"""A student at the keyboard: the five stations, six exercises to *done*, and one that fails."""

from __future__ import annotations

import re

import pytest
from test_browser import chromium, expect, page, server  # noqa: F401 - fixtures

from analysis.exercises.files import Exercise, exercises
from registry import FAMILIES, PAGES
from ui.guide.known import address
from ui.lab_pages.first_visit import PATH

pytestmark = [pytest.mark.slow, pytest.mark.browser]

FURTHEST = 250  # presses of the tabulator until something has to be reached
PATIENT = 120_000  # milliseconds: machines have other things to do
TRAINED = 600_000  # until a small training has to be at its end


class Student:
    """Somebody with a keyboard and no mouse, in one session."""

    def __init__(self, page) -> None:  # noqa: F811
        self.page = page

    def reach(self, what) -> None:
        """Go to something by the tabulator."""
        expect(what).to_be_visible(timeout=PATIENT)
        expect(what).to_be_enabled(timeout=PATIENT)
        for _ in range(FURTHEST):
            if what.evaluate("(element) => element === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        pytest.fail(f"the keyboard does not reach {what}")

    def press(self, name: str, role: str = "button", key: str = "Enter") -> None:
        self.reach(self.page.get_by_role(role, name=name, exact=True).first)
        self.page.keyboard.press(key)

    def move(self, name: str, steps: int) -> None:
        """Move a slider."""
        self.reach(self.page.get_by_role("slider", name=name).first)
        for _ in range(abs(steps)):
            self.page.keyboard.press("ArrowRight" if steps > 0 else "ArrowLeft")
            self.page.wait_for_timeout(30)

    def sets(self, slider: str, steps: int, one: Exercise, name: str, value: int) -> None:
        """Move a slider of the form, and wait until the form has it: a key is reported later."""
        moved = self.page.get_by_role("slider", name=slider).first
        for _ in range(3 * abs(steps)):  # a key that comes while the page is drawn anew is lost
            if moved.input_value() == str(value):
                break
            self.move(slider, 1 if steps > 0 else -1)
            self.page.wait_for_timeout(500)
        default = getattr(one.family.training.config(), name)
        wanted = f"{name}={value}" if value != default else f"^(?!.*[?&]{name}=)"
        expect(self.page).to_have_url(re.compile(wanted), timeout=PATIENT)

    def open(self, one: Exercise) -> None:
        """Go to the list of exercises, and open one there."""
        self.press("Theory", "link")
        title = FAMILIES[one.family.page].title
        chosen = self.page.get_by_role("radio", name=title, exact=True)
        expect(chosen).to_be_visible(timeout=PATIENT)
        # The choice of a family is one stop of the tabulator; arrows move within it.
        names = [family.title for family in PAGES]
        self.reach(self.page.get_by_role("radio", name=names[0], exact=True))
        for _ in range(names.index(title)):
            self.page.keyboard.press("ArrowRight")
        self.page.keyboard.press("Space")
        expect(chosen).to_be_checked()
        self.press(one.title, "link")
        self.is_at(one)

    def is_at(self, one: Exercise) -> None:
        task = self.page.locator(".st-key-exercise_task")
        expect(task).to_contain_text(one.title, timeout=PATIENT)
        expect(self.page.get_by_text(one.question, exact=False).first).to_be_visible()

    def choose(self, one: Exercise, answer: str) -> None:
        """Predict one of some choices."""
        self.reach(self.page.get_by_role("radio", name=one.choices[0], exact=True))
        self.page.keyboard.press("Space")
        for _ in range(one.choices.index(answer)):
            self.page.keyboard.press("ArrowDown")
        self.predict()

    def predict(self) -> None:
        self.press("Predict")
        expect(self.page.get_by_role("button", name="Start over", exact=True)).to_be_visible()

    def trains(self) -> None:
        """Train to the end."""
        self.press("Train")
        pause = self.page.get_by_role("button", name="Pause", exact=True)
        expect(pause).to_be_enabled(timeout=PATIENT)
        check = self.page.get_by_role("button", name="Check my run")
        expect(check).to_be_enabled(timeout=TRAINED)

    def passes(self) -> None:
        self.press("Check my run")
        expect(self.page.get_by_text("All that was asked holds")).to_be_visible(timeout=PATIENT)
        expect(self.page.locator(".st-key-exercise_task").get_by_text("done")).to_be_visible()


@pytest.mark.timeout(900)
def test_five_stations_by_keyboard_alone(server, page) -> None:  # noqa: F811
    known = exercises()
    page.goto(server.url)
    student = Student(page)
    # Those that train are only begun here.
    for station in PATH:
        one = known[station.exercise]
        student.press("Home", "link")
        student.press(station.title, "link")
        student.is_at(one)
        assert one.answer[:30] not in page.locator(".st-key-exercise_work").inner_text()
        if one.choices:
            student.choose(one, one.right)
            expect(page.get_by_text("That is right.")).to_be_visible()
        else:
            student.predict()
    student.press("Where to look")
    expect(page.get_by_role("radio", name="Latent space", exact=True)).to_be_focused()
    student.press("Home", "link")
    expect(page.get_by_role("link", name="The arena", exact=True)).to_be_visible()
    done = page.locator("[class*=st-key-station]").get_by_text("done", exact=True)
    expect(done).to_have_count(3)


@pytest.mark.timeout(2400)
def test_six_exercises_by_keyboard_alone(server, page) -> None:  # noqa: F811
    known = exercises()
    page.goto(server.url)
    student = Student(page)

    # One that fails and says why, then passes.
    one = known["nice-1-too-few-layers"]
    student.open(one)
    student.move("KL to the truth [nats]", -20)
    student.predict()
    student.trains()
    student.press("Check my run")
    expect(page.get_by_text(re.compile(r"KL to the truth is 1\.\d+; asked is"))).to_be_visible(
        timeout=PATIENT
    )
    student.sets("Coupling layers", 6, one, "layers", 8)
    student.trains()
    student.passes()

    # A refresh finds all of it again.
    page.reload()
    student.is_at(one)
    expect(page.get_by_text("All that was asked holds")).to_be_visible()

    one = known["realnvp-1-two-blocks"]
    student.open(one)
    student.sets("Blocks", 6, one, "blocks", 8)
    student.trains()
    student.passes()

    student.open(known["vae-4-a-bound"])
    student.predict()
    student.trains()
    student.passes()

    one = known["nice-4-the-shape-of-learning"]
    student.open(one)
    student.reach(page.get_by_role("slider", name=re.compile("^Sketch of the curve")))
    for _ in range(16):
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
    student.predict()
    student.press("Train")
    expect(page.get_by_text("Your sketch is off by")).to_be_visible(timeout=TRAINED)

    one = known["gan-1-one-side-alone"]
    student.open(one)
    student.press("Train")
    student.press("Pause")
    for name in ("Step discriminator",) * 3 + ("Step generator",) * 2:
        student.press(name)
        page.wait_for_timeout(1200)
    student.press("Stop")
    student.passes()

    one = known["nice-2-areas-are-kept"]
    student.open(one)
    student.choose(one, one.right)
    student.press("Theory", "link")
    expect(page.get_by_text(re.compile(r"^6 of \d+ done$"))).to_be_visible()


def test_the_task_stays_in_view_and_the_controls_are_on_the_first_screen(server, page) -> None:  # noqa: F811
    page.set_viewport_size({"width": 1400, "height": 900})
    one = exercises()["glow-1-what-the-levels-hold"]
    query = "&".join(f"{key}={value}" for key, value in address(one).items())
    page.goto(f"{server.url}/glow?{query}")
    train = page.get_by_role("button", name="Train", exact=True)
    expect(train).to_be_in_viewport(ratio=1)
    page.get_by_role("radio", name=one.right, exact=True).check(force=True)
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.get_by_text("That is right.")).to_be_visible()
    expect(train).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Where to look").click()
    levels = page.get_by_role("radio", name="Levels", exact=True)
    expect(levels).to_be_checked()
    expect(levels).to_be_in_viewport()
    expect(page.locator(".st-key-exercise_task")).to_be_in_viewport(ratio=1)
    expect(train).to_be_in_viewport(ratio=1)
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator(".st-key-exercise_task")).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

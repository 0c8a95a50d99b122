"""Two people and a teacher, signed in through a real provider, in real browsers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")

from provider import Provider
from test_browser import (  # noqa: F401 - chromium is a fixture
    SLOW,
    Server,
    button,
    chromium,
    expect,
    open_page,
    step_of,
    until,
)

from analysis.exercises.files import exercises
from lab.store import RunStore
from ui.guide.known import address

pytestmark = [pytest.mark.slow, pytest.mark.browser]

RULES = """
sign_in = true
admins = ["teacher@school.example"]
slots_cpu = 2
running = 1
"""


@pytest.fixture(scope="module")
def school(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("school")
    (folder / "class.toml").write_text(RULES)
    provider = Provider(("ann", "ben", "teacher"))
    server = Server(
        folder / "runs", {"GENLAB_CONFIG": str(folder / "class.toml")}, provider.secrets_toml
    )
    yield server
    server.close()
    provider.close()


@pytest.fixture
def enter(school, chromium):  # noqa: F811
    """Return a function that opens a browser and signs somebody in."""
    contexts = []

    def sign_in(who: str):
        context = chromium.new_context(viewport={"width": 1360, "height": 1000})
        context.set_default_timeout(45_000)
        contexts.append(context)
        tab = context.new_page()
        tab.goto(school.url)
        tab.get_by_role("button", name="Sign in").click()
        tab.get_by_role("link", name=who, exact=True).click()
        expect(tab.get_by_text(f"{who}@school.example")).to_be_visible()
        return tab

    yield sign_in
    for context in contexts:
        for tab in context.pages:
            assert tab.get_by_test_id("stException").count() == 0
        context.close()


@pytest.mark.parametrize("path", ["", "/nice", "/runs", "/admin", "/theory", "/glow?run=x"])
def test_a_stranger_sees_the_door_and_nothing_else(school, chromium, path):  # noqa: F811
    context = chromium.new_context()
    tab = context.new_page()
    tab.goto(f"{school.url}{path}")
    expect(tab.get_by_role("button", name="Sign in")).to_be_visible()
    assert tab.get_by_role("button", name="Train").count() == 0
    assert tab.get_by_test_id("stException").count() == 0
    context.close()


def test_nobody_reaches_the_run_of_another(school, enter):
    ann, ben, teacher = enter("ann"), enter("ben"), enter("teacher")
    open_page(ann, f"{school.url}/nice?{SLOW}")
    button(ann, "Train").click()
    expect(button(ann, "Pause")).to_be_enabled()
    (run,) = RunStore(school.runs)

    # By its address: no such run for Ben, and nothing that could stop it.
    open_page(ben, f"{school.url}/nice?run={run.id}")
    expect(ben.get_by_text("The run it names does not exist")).to_be_visible()
    expect(button(ben, "Stop")).to_be_disabled()
    ben.goto(f"{school.url}/runs")
    expect(ben.get_by_text("There are no runs yet")).to_be_visible()
    ben.goto(school.url)
    expect(ben.get_by_text("1 more of others is at work")).to_be_visible()
    assert run.id not in ben.content()

    # The teacher sees it and can stop it; Ben has no such page.
    ben.goto(f"{school.url}/admin")
    expect(ben.get_by_text("This page is for who runs the lab")).to_be_visible()
    teacher.goto(f"{school.url}/admin")
    expect(teacher.get_by_text("of ann@")).to_be_visible()

    # Shared, Ben sees it move and can still not touch it.
    run.notes.set_access(replace(run.notes.access(), shared=True))
    open_page(ben, f"{school.url}/nice?run={run.id}")
    expect(ben.get_by_text("A run of ann@")).to_be_visible()
    seen = step_of(ben)
    until(lambda: step_of(ben) > seen, 30, "a shared run does not move")
    for name in ("Pause", "Stop", "Step", "Resume"):
        expect(button(ben, name)).to_be_disabled()

    teacher.get_by_role("button", name="Stop").click()
    until(lambda: run.status().state == "stopped", 30, "the teacher could not stop it")


def test_the_teacher_sees_who_has_done_what_and_students_only_their_own(school, enter):
    one = exercises()["nice-0-where-it-is-steep"]
    query = "&".join(f"{key}={value}" for key, value in address(one).items())
    ann, ben, teacher = enter("ann"), enter("ben"), enter("teacher")
    ann.goto(f"{school.url}/theory?{query}")
    ann.get_by_role("radio", name=one.right, exact=True).check(force=True)
    ann.get_by_role("button", name="Predict", exact=True).click()
    expect(ann.get_by_text("That is right.")).to_be_visible()

    # Ben has none of it, whatever his browser claims, and no page that shows it.
    ben.goto(f"{school.url}/theory?{query}")
    expect(ben.get_by_role("button", name="Predict", exact=True)).to_be_visible()
    claim = """localStorage.setItem('genlab.exercise.gan-1-one-side-alone', '{"passed": true}')"""
    ben.evaluate(claim)
    ben.reload()
    expect(ben.get_by_role("button", name="Predict", exact=True)).to_be_visible()
    expect(ben.get_by_text(re.compile(r"^0 of \d+ done$"))).to_be_visible()
    ben.goto(f"{school.url}/admin")
    expect(ben.get_by_text("This page is for who runs the lab")).to_be_visible()
    assert ben.get_by_role("button", name="Answers (CSV)").count() == 0

    # The teacher has the table, and takes it away.
    teacher.goto(f"{school.url}/admin")
    expect(teacher.get_by_role("heading", name="Exercises")).to_be_visible()
    with teacher.expect_download() as waiting:
        teacher.get_by_role("button", name="Answers (CSV)").click()
    lines = Path(waiting.value.path()).read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["ann@school.example"]
    assert f",{one.name},done,{one.right}," in lines[1]
    ann.goto(f"{school.url}/theory?{query}")
    expect(ann.get_by_text("That is right.")).to_be_visible()


def test_signing_out_closes_the_door(school, enter):
    ann = enter("ann")
    ann.get_by_role("button", name="Sign out").click()
    expect(ann.get_by_role("button", name="Sign in")).to_be_visible()
    ann.goto(f"{school.url}/runs")
    expect(ann.get_by_role("button", name="Sign in")).to_be_visible()

"""The duel as a person meets it: a real server, a real Chromium, a real training."""

from __future__ import annotations

import re

import numpy as np
import pytest
from test_browser import (  # noqa: F401
    address,
    button,
    chromium,
    expect,
    folder_of,
    open_page,
    page,
    server,
    step_of,
    until,
)

from lab.store import Run

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def duel(page):  # noqa: F811
    return page.get_by_role("img", name=re.compile("^The duel at step"))


def run_of(server, page) -> Run:  # noqa: F811
    return Run(folder_of(server, page))


def take(page, run: Run, name: str) -> tuple[dict, dict]:  # noqa: F811
    """Press a step button; return the plots before and after as arrays."""
    before = step_of(page)
    press(page, run, name)
    return run.snapshots.load(before), run.snapshots.load(before + 1)


def press(page, run: Run, name: str) -> None:  # noqa: F811
    """Press a step button and wait for the snapshot of the step."""
    before = step_of(page)
    button(page, name).click()
    until(lambda: step_of(page) > before, message="no step was taken")
    step = step_of(page)
    expect(duel(page)).to_have_attribute("aria-label", re.compile(rf"^The duel at step {step:,}\b"))
    until(lambda: step in run.snapshots.steps(), message="no snapshot of the step was kept")


def same(before: dict, after: dict, name: str) -> bool:
    return np.array_equal(before[name], after[name])


@pytest.mark.slow
def test_one_side_alone_then_another_loss_then_on(server, page) -> None:  # noqa: F811
    open_page(page, f"{server.url}/gan?iterations=30000&batch=64&hidden=32")
    expect(button(page, "Step discriminator")).to_be_disabled()
    button(page, "Train").click()
    expect(button(page, "Pause")).to_be_enabled()
    until(lambda: step_of(page) > 50, message="it did not start")
    button(page, "Pause").click()
    expect(button(page, "Step discriminator")).to_be_enabled()
    expect(page.get_by_text("Paused", exact=True).first).to_be_visible()  # it may end a step later
    run = run_of(server, page)
    press(page, run, "Step")  # a pause may come between two snapshots

    before, after = take(page, run, "Step discriminator")
    assert same(before, after, "samples") and same(before, after, "lattice")
    assert not same(before, after, "realness")
    before, after = take(page, run, "Step generator")
    assert same(before, after, "realness")
    assert not same(before, after, "samples") and not same(before, after, "lattice")
    before, after = take(page, run, "Step")
    assert not any(same(before, after, name) for name in ("samples", "lattice", "realness"))

    here = step_of(page)

    page.get_by_test_id("stPopover").get_by_role("button").click()
    page.get_by_role("combobox", name="Loss, from now on").click()
    page.get_by_role("option", name="Hinge").click()
    expect(page.get_by_text("stops caring about examples beyond").first).to_be_visible()
    button(page, "Resume").click()
    until(lambda: step_of(page) > here + 50, message="it did not go on")
    button(page, "Stop").click()
    expect(button(page, "Train")).to_be_enabled()
    assert run.checkpoints.last()["experiment"]["live"]["loss"] == "hinge"


@pytest.mark.parametrize(
    ("stem", "name", "quality"),
    [
        ("gan_images", "Images, fully connected", "This is not the FID"),
        # CIFAR-10 does not come with the lab: without it the page says what is missing.
        pytest.param(
            "dcgan",
            "Images, DCGAN",
            "This is not the FID|nothing to compare samples with|no classifier",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_variants_show_what_was_trained(server, page, stem, name, quality) -> None:  # noqa: F811
    open_page(page, f"{server.url}/gan")
    expect(duel(page)).to_be_visible()
    page.get_by_role("radio", name=name).click()
    expect(page.get_by_role("img", name=re.compile("^Samples at step"))).to_be_visible()
    address(page, f"on={stem}")
    page.get_by_role("radio", name="Interpolate").click()
    expect(page.get_by_role("img", name=re.compile("^Images between 2"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^A film from sample"))).to_be_visible()
    page.get_by_role("radio", name="Check").click()
    expect(page.get_by_text(re.compile(quality))).to_be_visible()

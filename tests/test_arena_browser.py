"""The arena in a real browser: started, left, found again, stopped, taken to its end."""

from __future__ import annotations

import json
import re

import pytest
from test_browser import Server, address, button, chromium, expect, page  # noqa: F401

from analysis.comparison_results import rows_of
from cli.train import main
from lab.comparison import comparisons_in
from lab.store import RunStore

pytestmark = [pytest.mark.slow, pytest.mark.browser]

LONG = 240_000  # milliseconds


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("runs"))
    yield server
    server.close()


def choose(page, *names: str) -> None:  # noqa: F811
    """Have exactly these models compared."""
    bar = page.get_by_test_id("stSidebar")
    for name in ("RealNVP", "Glow"):
        bar.get_by_role("button", name=name, exact=True).click()
    for name in names:
        bar.get_by_role("button", name=name, exact=True).click()


def set_least(page, *labels: str, plan: str) -> None:  # noqa: F811
    """Move sliders to their left ends; wait until the page tells this plan.

    A slider that is moved by a key tells the server a moment later: who presses Compare before
    that compares what was set before. The plan tells seeds, steps and batch.
    """
    for label in labels:
        knob = page.get_by_role("slider", name=label)
        knob.focus()
        knob.press("Home")
    expect(page.get_by_text(plan)).to_be_visible()


def test_a_comparison_is_started_left_found_again_and_stopped(server, page):  # noqa: F811
    page.goto(f"{server.url}/arena")
    expect(page.get_by_text("It ships with the lab")).to_be_visible()
    choose(page, "GAN")
    set_least(page, "Seeds", plan="1 training of 2,500 steps of 320 points each")
    button(page, "Compare").click()
    expect(page.get_by_text(re.compile("GAN: 0 of 1 seeds"))).to_be_visible()
    address(page, "comparison=")
    expect(page.get_by_role("img", name=re.compile("^Samples of each model"))).to_be_visible()

    page.get_by_role("link", name="Theory").first.click()
    expect(page.get_by_role("heading", name="Theory", exact=True)).to_be_visible()
    page.get_by_role("link", name="Arena").first.click()
    expect(page.get_by_text(re.compile("GAN: . of 1 seeds"))).to_be_visible()
    expect(button(page, "Stop")).to_be_enabled()
    button(page, "Stop").click()
    expect(button(page, "Resume")).to_be_enabled()
    page.reload()
    expect(page.get_by_text(re.compile("GAN: 0 of 1 seeds"))).to_be_visible()
    expect(page.get_by_role("cell", name="no likelihood").first).to_be_visible()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_to_the_end_with_the_numbers_of_the_command_line(
    tmp_path,
    chromium,  # noqa: F811
    page,  # noqa: F811
    capsys,
):
    server = Server(tmp_path / "runs")
    try:
        page.goto(f"{server.url}/arena")
        choose(page, "RealNVP", "GAN")
        least = ("Seeds", "Optimiser steps", "Batch size")
        set_least(page, *least, plan="2 trainings of 1,000 steps of 64 points each")
        button(page, "Compare").click()
        expect(page.get_by_text("GAN: 1 of 1 seeds")).to_be_visible(timeout=LONG)
        expect(page.get_by_text("RealNVP: 1 of 1 seeds")).to_be_visible(timeout=LONG)
        expect(page.get_by_text("Result", exact=True)).to_be_visible(timeout=LONG)
        for label, start in (("NLL curves (PDF)", b"%PDF"), ("Table (CSV)", b"entrant,")):
            with page.expect_download() as download:
                button(page, label).click()
            assert download.value.path().read_bytes().startswith(start)
    finally:
        server.close()
    flags = ["--families", "realnvp", "gan", "--seeds", "1", "--steps", "1000", "--batch", "64"]
    assert main(["compare", *flags, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    told = {run["entrant"]: run for run in json.loads(capsys.readouterr().out)["runs"]}
    (comparison,) = comparisons_in(RunStore(tmp_path / "runs"))
    for row in rows_of(comparison):
        for name in ("nll_test", "kl_to_truth", "kl_samples", "modes", "nll_split_test", "steps"):
            assert getattr(row, name) == told[row.entrant][name], (row.entrant, name)


@pytest.mark.timeout(300)
def test_a_comparison_goes_on_after_the_server_was_killed(tmp_path, chromium, page):  # noqa: F811
    server = Server(tmp_path / "runs")
    try:
        page.goto(f"{server.url}/arena")
        choose(page, "GAN")
        set_least(page, "Seeds", plan="1 training of 2,500 steps of 320 points each")
        button(page, "Compare").click()
        address(page, "comparison=")
        expect(page.get_by_role("img", name=re.compile("^Samples of each model"))).to_be_visible()
        server.kill()
        server.start()
        page.reload()
        expect(button(page, "Resume")).to_be_enabled(timeout=90_000)
        button(page, "Resume").click()
        expect(button(page, "Stop")).to_be_enabled()
        expect(page.get_by_text(re.compile("GAN: 1 of 1 seeds"))).to_be_visible(timeout=LONG)
    finally:
        server.close()

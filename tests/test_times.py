"""Times are told in the zone of who looks, and so named."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest

from lab.comparison import ENTRANTS, CompareConfig, Comparison, Entry, Terms, new_path
from lab.lab import Lab
from lab.rules import Rules
from lab.store import Status
from paths import ROOT
from registry import FAMILIES
from ui.common.lab import _lab as cached

NOON = 1_795_780_800  # 27 November 2026, 12:00 UTC
SAID = {
    "Asia/Tokyo": "27 Nov 2026, 21:00 JST",
    "America/New_York": "27 Nov 2026, 07:00 EST",
    "Asia/Kathmandu": "27 Nov 2026, 17:45 +0545",
    "": "27 Nov 2026, 12:00 UTC",
    "Europe/Atlantis": "27 Nov 2026, 12:00 UTC",
    "../../etc/passwd": "27 Nov 2026, 12:00 UTC",
    "Europe": "27 Nov 2026, 12:00 UTC",
}


def _page() -> None:
    import streamlit as st

    from ui.common.run_words import clock

    for seconds in st.session_state["times"]:
        st.text(clock(seconds))


def told(zone: str, *times: float) -> list[str]:
    app = AppTest.from_function(_page)
    app.session_state["times"] = times
    app.context = {"timezone": zone}
    return [text.value for text in app.run().text]


@pytest.mark.parametrize("zone", SAID)
def test_a_time_is_told_in_the_zone_of_the_browser_or_in_utc(zone):
    assert told(zone, NOON) == [SAID[zone]]


def test_in_summer_it_is_summer_time():
    assert told("Europe/Berlin", NOON - 150 * 86_400) == ["30 Jun 2026, 14:00 CEST"]


def test_times_of_a_damaged_file_are_told_too():
    early, late = told("Asia/Tokyo", -1e12, 1e12)
    assert early == "1 Jan 1970, 09:00 JST"
    assert late.endswith("2242, 21:56 JST")


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Iterator[Lab]:
    lab = Lab(tmp_path, ["cpu"])
    monkeypatch.setitem(sys.__dict__, "_generative_lab", lab)
    cached.clear()
    yield lab
    lab.close()
    cached.clear()


def at(page: str, zone: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.switch_page(f"pages/{page}.py")
    app.context = {"timezone": zone}
    return app


def test_the_page_of_runs_has_the_zone_of_who_looks(lab, monkeypatch):
    family = FAMILIES["nice"]
    for created in (NOON, 0.0, 1e12):
        run = lab.store.create(family, family.training.config())
        run.write_status(Status(state="finished", created=created))
        run.notes.announce_leaving(NOON)
    monkeypatch.setattr("ui.lab_pages.desk.rules", lambda: Rules(runs=1))
    for zone, said in (("Asia/Tokyo", "27 Nov 2026, 21:00 JST"), ("", "27 Nov 2026, 12:00 UTC")):
        app = at("runs", zone).run()
        assert not app.exception
        assert f"leave from {said} on" in app.warning[0].value
        times = app.dataframe[0].value["created"]
        assert str(times.dt.tz) == (zone or "UTC")
        assert f"{times[1]:%H:%M}" == said[13:18]


def test_a_comparison_is_told_by_its_time_and_not_by_that_of_the_server(lab):
    entries = [Entry(ENTRANTS["nice"], 0, None, "gone")]
    terms = Terms(("nice",), CompareConfig(seeds=1, steps=1000))
    path = Comparison.create(new_path(lab.store), lab.store, terms, entries).path
    path.write_text(re.sub(r'("created": )[\d.]+', rf"\g<1>{NOON}", path.read_text()))
    app = at("arena", "America/New_York").run()
    assert any("1 seed (27 Nov 2026, 07:00 EST)" in text.value for text in app.markdown)

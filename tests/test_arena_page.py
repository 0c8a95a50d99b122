"""The page of the arena as Streamlit draws it, over small trainings."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from test_compare import TERMS, small

from lab.comparison import Comparison, new_path
from lab.driver import drive
from lab.lab import Lab
from ui.arena import terms
from ui.common.lab import _lab as cached

ROOT = Path(__file__).parent.parent


@pytest.fixture
def ships_nothing(tmp_path, monkeypatch) -> Iterator[None]:
    """No comparison ships with the lab."""
    monkeypatch.setattr(terms, "SHIPPED", tmp_path / "nothing")
    terms._shipped.clear()
    yield
    terms._shipped.clear()


def test_the_arena_opens_with_a_finished_comparison_that_can_only_be_looked_at(lab):
    app = opened()
    words = " ".join(text.value for text in (*app.markdown, *app.caption))
    assert "It ships with the lab" in words
    assert re.search(r"RealNVP (is|wins|comes|beats)|NLL on 20,000 fresh points: RealNVP", words), (
        words
    )
    table = next(text.value for text in app.markdown if "Test NLL [nats]" in text.value)
    row = next(line for line in table.splitlines() if line.startswith("| 10,000 samples"))
    assert not re.search(r"\d\.\d", row), "times of another machine are not shown"
    states = {b.key: b.disabled for b in app.button if b.key and b.key.startswith("arena.")}
    assert states["arena.stop"] and states["arena.resume"] and not states["arena.compare"]


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Iterator[Lab]:
    lab = Lab(tmp_path / "runs", ["cpu"])
    monkeypatch.setitem(sys.__dict__, "_generative_lab", lab)
    cached.clear()
    yield lab
    lab.close()
    cached.clear()


def opened() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.switch_page("pages/arena.py").run()
    assert not app.exception
    return app


def test_an_empty_arena_invites_and_its_form_says_what_it_would_do(lab, ships_nothing):
    app = opened()
    assert "Classic" in app.info[0].value
    states = {b.key: b.disabled for b in app.button if b.key and b.key.startswith("arena.")}
    assert not states["arena.compare"]
    assert not states["arena.classic"]
    assert states["arena.stop"]
    assert states["arena.resume"]
    assert any("1,000 epochs" in caption.value for caption in app.caption)
    next(s for s in app.slider if s.key == "arena.seeds").set_value(1)
    app.run()
    assert any("2 trainings of 2,500 steps" in caption.value for caption in app.caption)
    app.session_state["arena.entrants"] = []
    app.run()
    assert not app.exception
    assert next(b for b in app.button if b.key == "arena.compare").disabled


def compared(lab: Lab) -> Comparison:
    """A comparison whose trainings say after some steps that they are finished."""
    made = []
    for entry in small():
        run = lab.store.create(entry.entrant.family, entry.config)
        left = iter([None] * 60)
        drive(run, device="cpu", send=lambda _: None, receive=lambda _, x=left: next(x, ("stop",)))
        run.write_status(replace(run.status(), state="finished"))
        run.metrics.save_summary(run.experiment().summary())
        made.append(replace(entry, run=run.id))
    return Comparison.create(new_path(lab.store), lab.store, TERMS, made)


def test_a_comparison_is_shown_with_what_each_can_answer(lab, ships_nothing):
    compared(lab)
    app = opened()
    assert not app.error
    words = [m.value for m in app.markdown]
    table = next(text for text in words if "Test NLL [nats]" in text)
    row = next(line for line in table.splitlines() if line.startswith("| Test NLL"))
    assert row.count("no likelihood") == 1
    assert row.count("≤") == 1
    assert any("RealNVP, VAE, GAN on Mixture of 5, 1,000 steps, 1 seed" in text for text in words)
    assert any("GAN: no likelihood, no curve." in caption.value for caption in app.caption)
    assert any("python -m training compare" in code.value for code in app.code)
    next(b for b in app.button if b.label == "Yes, delete it").click().run()
    assert not app.exception
    assert "Classic" in app.info[0].value
    assert not list(lab.store)

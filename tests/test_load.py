"""Visitors without browsers: what they press raises nothing, and nothing is mixed up."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks import load
from benchmarks.load import _a_class, _class_table, _clicks
from benchmarks.serving import server


@pytest.mark.slow
def test_presses_at_random_on_all_pages_raise_nothing(tmp_path):
    with server(tmp_path / "runs", GENLAB_SLOTS="2") as lab:
        table = asyncio.run(_clicks(lab, actions=150, seed=1))
    assert "Pages that raised: 0." in table.notes[1], table.notes


@pytest.mark.slow
def test_a_small_class_is_served_and_nothing_is_mixed_up(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "STARTERS", 2)
    with server(tmp_path / "runs", GENLAB_SLOTS="1") as lab:
        result = asyncio.run(_a_class(lab, tmp_path / "runs", 5))
    assert result.states == ["finished", "finished"]
    assert result.errors == [] and result.mixed == []
    assert len(result.updates("tick")) > 10
    assert _class_table(result).rows

"""The page of exercises: nothing is told before a prediction, and one's own run stands beside."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest
from test_driver import go

from analysis.exercises import exercises, measured_values
from lab.answers import Answers
from lab.lab import Lab
from lab.runs.access import Person
from lab.store import Run
from paths import ROOT
from ui.common.lab import _lab as cached

ONE = exercises()["nice-1-too-few-layers"]
LOOK = exercises()["glow-2-black-is-likelier"]
NAME = f"exercise.{ONE.name}"


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Iterator[Lab]:
    lab = Lab(tmp_path / "runs", ["cpu"])
    monkeypatch.setitem(sys.__dict__, "_generative_lab", lab)
    cached.clear()
    yield lab
    lab.close()
    cached.clear()


def opened() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.switch_page("pages/theory.py")
    return healthy(app)


def healthy(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    return "\n".join(text.value for text in (*app.markdown, *app.success, *app.info))


def press(app: AppTest, button: str) -> AppTest:
    app.button(f"{NAME}.{button}").click()
    return healthy(app)


def test_the_answer_is_hidden_until_it_is_predicted_and_then_all_stands_side_by_side(lab):
    app = opened()
    assert ONE.question in words(app)
    assert ONE.answer not in words(app)
    app.slider(f"{NAME}.guess").set_value(0.9)
    app = press(healthy(app), "predict")
    assert ONE.answer in words(app)
    asked = measured_values(ONE)
    assert "| Your prediction | 0.9 |" in words(app)
    assert "| Your run | train it to see |" in words(app)
    assert f"{min(asked):.3g} to {max(asked):.3g}" in words(app)
    assert f"0 of {len(exercises())} done" in str(app.get("progress")[0].proto)
    app = press(app, "over")
    assert ONE.answer not in words(app)
    assert ONE.answer in words(press(app, "show"))


@pytest.mark.slow
def test_ones_own_run_stands_beside_the_guess_and_is_checked(lab):
    config = ONE.config(solved=True, seed=1)
    app = press(opened(), "predict")
    assert "train one first" in words(press(app, "check"))
    run = Run.create(lab.store.new_path(ONE.family), ONE.family, config)
    go(run)
    app = press(app, "check")
    value = run.metrics.rows()[-1]["kl_to_truth"]
    assert f"kl_to_truth < 1.2 ({value:.4g})" in words(app).replace("\\", "")
    assert f"1 of {len(exercises())} done" in str(app.get("progress")[0].proto)
    assert "train it to see" in words(app), "that run is not as the exercise sets it up"
    asked = Run.create(lab.store.new_path(ONE.family), ONE.family, ONE.config(seed=3))
    go(asked)
    value = asked.metrics.rows()[-1]["kl_to_truth"]
    assert f"| Your run | {value:.3g} |" in words(healthy(app))


def test_a_choice_is_told_right_or_wrong(lab):
    app = opened()
    app.segmented_control("exercises.family").set_value("glow")
    healthy(app)
    name = f"exercise.{LOOK.name}"
    assert app.button(f"{name}.predict").disabled
    app.radio(f"{name}.guess").set_value("noise")
    healthy(app)
    app.button(f"{name}.predict").click()
    assert f"Right is: **{LOOK.right}**" in words(healthy(app))


def test_answers_are_kept_for_each_person_and_nobody_reads_those_of_another(tmp_path):
    ann, bob = (Answers(tmp_path, Person(f"issuer {name}")) for name in ("ann", "bob"))
    ann.save({"a": {"guess": 1.5, "passed": True}})
    assert Answers(tmp_path, Person("issuer ann")).load() == {"a": {"guess": 1.5, "passed": True}}
    assert bob.load() == {}
    for damaged in ("[1, 2", "[1, 2]", "7", "null", '{"a": 7}'):
        (tmp_path / ".answers").glob("*").__next__().write_text(damaged)
        assert ann.load() == {}

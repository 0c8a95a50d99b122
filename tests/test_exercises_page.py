"""The strip of an exercise: nothing is said before a prediction, and one's run stands beside."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest
from test_driver import go

from analysis.exercises.files import COLUMNS, exercises, measured_curves, measured_values
from lab.answers import Answers, answers_of_all
from lab.lab import Lab
from lab.runs.access import Person
from lab.store import Run
from paths import ROOT
from ui.common.lab import _lab as cached
from ui.guide.answers import _clean
from ui.guide.known import address
from ui.guide.sketch import distance

ONE = exercises()["nice-1-too-few-layers"]
LOOK = exercises()["glow-2-black-is-likelier"]
SKETCH = exercises()["nice-4-the-shape-of-learning"]


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Iterator[Lab]:
    lab = Lab(tmp_path / "runs", ["cpu"])
    monkeypatch.setitem(sys.__dict__, "_generative_lab", lab)
    cached.clear()
    yield lab
    lab.close()
    cached.clear()


def opened(one) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    return visit(app, one)


def visit(app: AppTest, one, **more: str) -> AppTest:
    app.switch_page(f"pages/{one.page}.py")
    for name, value in {**address(one), **more}.items():
        app.query_params[name] = value
    return healthy(app)


def healthy(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    return "\n".join(text.value for text in (*app.markdown, *app.success, *app.info))


def rows(app: AppTest) -> str:
    """What the chart says, as those hear it who cannot see it."""
    return " ".join(str(chart.proto) for chart in app.get("vega_lite_chart"))


def press(app: AppTest, button: str) -> AppTest:
    app.button(f"exercise.{button}").click()
    return healthy(app)


def test_the_answer_is_hidden_until_it_is_predicted_or_asked_for(lab):
    app = opened(ONE)
    assert ONE.question in words(app)
    assert ONE.answer not in words(app)
    assert not rows(app)
    app.slider(f"exercise.{ONE.name}.guess").set_value(0.9)
    app = press(healthy(app), "predict")
    asked = measured_values(ONE)
    for said in ("Your prediction: 0.9", f"{min(asked):.3g} to {max(asked):.3g}", "none yet"):
        assert said in rows(app)
    assert ONE.answer not in words(app), "the task is still to do"
    assert f"layers {ONE.solution['layers']}" not in rows(app)
    app = press(app, "show")
    assert ONE.answer in words(app)
    assert f"Measured with layers {ONE.solution['layers']}" in rows(app)
    app = press(app, "over")
    assert ONE.answer not in words(app)
    assert not rows(app)


def test_it_accompanies_until_it_is_left_and_comes_back(lab):
    app = press(opened(ONE), "predict")
    app.switch_page("pages/gan.py")
    assert ONE.question not in words(healthy(app))
    app.switch_page("pages/nice.py")
    assert ONE.question in words(healthy(app))
    assert app.query_params["exercise"] in (ONE.name, [ONE.name]), "a refresh finds it again"
    app = press(app, "leave")
    assert ONE.question not in words(app)
    assert "exercise" not in app.query_params
    app.switch_page("pages/theory.py")
    assert ":gray-badge[predicted]" in words(healthy(app))
    app.button("exercises.over").click()
    assert "badge[predicted]" not in words(healthy(app))


def test_an_exercise_that_is_not_there_gets_a_sentence(lab):
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.switch_page("pages/nice.py")
    app.query_params["exercise"] = "no *such* thing"
    app.run()
    assert "There is no exercise" in app.error[0].value
    assert not app.exception


@pytest.mark.slow
def test_ones_own_run_stands_beside_the_guess_and_is_checked(lab):
    asked = Run.create(lab.store.new_path(ONE.family), ONE.family, ONE.config(seed=3))
    go(asked)
    app = press(opened(ONE), "predict")
    value = asked.metrics.rows()[-1]["kl_to_truth"]
    assert f"Your run: {value:.3g}" in rows(app), "the newest run that is as the link sets it up"
    app = press(app, "check")
    assert "asked is kl" in words(app).replace("\\", "")
    config = ONE.config(solved=True, seed=1)
    run = Run.create(lab.store.new_path(ONE.family), ONE.family, config)
    go(run)
    visit(app, ONE, run=run.id)
    assert f"Your run: {value:.3g}" in rows(app), "it is remembered"
    app = press(app, "check")
    value = run.metrics.rows()[-1]["kl_to_truth"]
    assert f"kl_to_truth < 1.2 ({value:.4g})" in words(app).replace("\\", "")
    assert f"Your run with layers {config.layers}: {value:.3g}" in rows(app)
    assert ONE.answer in words(app)
    app.switch_page("pages/theory.py")
    assert f"1 of {len(exercises())} done" in str(healthy(app).get("progress")[0].proto)


def test_a_choice_is_told_right_or_wrong(lab):
    app = opened(LOOK)
    assert app.button("exercise.predict").disabled
    app.radio(f"exercise.{LOOK.name}.guess").set_value("noise")
    healthy(app)
    assert f"Right is: **{LOOK.right}**" in words(press(app, "predict"))
    assert LOOK.answer in words(app)


def test_a_sketch_is_compared_with_a_run_step_by_step():
    (curve, *_) = measured_curves(SKETCH)
    flat = [1.0] * COLUMNS
    assert distance(SKETCH, flat, [(20, 1.5), (1000, 1.5)]) == pytest.approx(0.5)
    assert distance(SKETCH, flat, [(20, 1.0), (1000, 3.0)]) == pytest.approx(1, abs=0.1)
    assert distance(SKETCH, flat, curve) > 0
    assert not SKETCH.done({"guess": flat}), "it is done when the run is there"
    assert SKETCH.done({"guess": flat, "mine": 0.4})


# -- what is kept ----------------------------------------------------------------------------------


def test_answers_are_kept_for_each_person_and_nobody_reads_those_of_another(tmp_path):
    ann, bob = (Answers(tmp_path, Person(f"issuer {name}", name)) for name in ("ann", "bob"))
    ann.save({"a": {"guess": 1.5, "passed": True}})
    assert Answers(tmp_path, Person("issuer ann")).load() == {"a": {"guess": 1.5, "passed": True}}
    assert bob.load() == {}
    ((who, found),) = answers_of_all(tmp_path)
    assert (who.id, who.name, found) == ("issuer ann", "ann", ann.load())
    for damaged in ("[1, 2", "[1, 2]", "7", "null", '{"a": 7}', '{".who": {"id": 3}}'):
        (tmp_path / ".answers").glob("*").__next__().write_text(damaged)
        assert ann.load() == {}
        assert [found for _, found in answers_of_all(tmp_path)] == [{}]


@pytest.mark.parametrize(
    "kept",
    [
        {"guess": "much"},
        {"guess": float("nan")},
        {"guess": [1.0] * COLUMNS},
        {"guess": {"a": 1}, "passed": "yes", "said": 7, "mine": "x", "shown": 1},
        {"passed": None},
        7,
        [],
    ],
)
def test_what_a_browser_says_is_read_with_care(lab, kept):
    found = _clean({ONE.name: kept, "no-such": {"guess": 1}})
    assert found in ({}, {ONE.name: {}})


def test_what_a_browser_keeps_comes_back_as_it_was(lab):
    flat = [0.5] * COLUMNS
    said = {
        ONE.name: {"guess": 1.5, "mine": 1.4, "passed": True, "said": "All holds.", "when": 1.0},
        LOOK.name: {"guess": LOOK.choices[0], "shown": True},
        SKETCH.name: {"guess": flat},
    }
    assert _clean(json.loads(json.dumps(said))) == said
    assert _clean({SKETCH.name: {"guess": [9.0] * COLUMNS}}) == {SKETCH.name: {}}

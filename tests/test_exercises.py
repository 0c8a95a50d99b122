"""Exercises are files that say how they are checked, and a run is checked by its weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from test_driver import go

from analysis.exercises.checks import Forged, check
from analysis.exercises.files import (
    NUMBERS,
    Exercise,
    ExerciseError,
    exercises,
    load,
    measured_curves,
    measured_values,
    parse,
)
from cli.train import main
from lab.runs.files import read_json, write_json
from lab.store import Run
from paths import ROOT
from registry import PAGES

GOOD = """---
family: nice
title: Mine
settings: dataset=two_moons layers=2 hidden=32 batch=64 iterations=1000
question: What is the KL?
number: kl_to_truth
guess: 0 to 3
passes: dataset = two_moons and layers <= 4 and kl_to_truth < 2
---

Train.

## Hint

More layers.

## Answer

As you saw.
"""
EASY = parse("mine", GOOD)
HARD = parse("mine", GOOD.replace("kl_to_truth < 2", "kl_to_truth < 0.001"))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Run:
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("exercise") / "run"
    run = Run.create(path, EASY.family, EASY.config())
    go(run)
    return run


@pytest.fixture
def run(made, tmp_path) -> Run:
    shutil.copytree(made.path, tmp_path / "run")
    return Run(tmp_path / "run")


# -- files -----------------------------------------------------------------------------------------


def test_every_family_has_three_and_there_are_twenty_four_or_more():
    found = exercises().values()
    assert len(found) >= 24
    for page in PAGES:
        assert sum(one.family.page == page.stem for one in found) >= 3, page.stem


@pytest.mark.parametrize("one", exercises().values(), ids=lambda one: one.name)
def test_what_is_claimed_of_an_exercise_was_measured(one: Exercise):
    if one.choices:
        assert one.right in one.choices
        return
    low, high = one.guess
    if one.curve:
        curves = measured_curves(one)
        assert len(curves) >= 3, "python -m benchmarks exercises"
        assert all(low <= value <= high for curve in curves for _, value in curve)
        return
    asked, solved = measured_values(one), measured_values(one, solved=True)
    assert len(asked) >= 3, "python -m benchmarks exercises"
    assert all(low <= value <= high for value in asked), "it can be guessed"
    limits = [term for term in one.passes if term.name == one.number]
    if one.solution:
        assert len(solved) >= 3
        assert all(term.holds(value) for term in limits for value in solved)
        config = one.config(solved=True).model_dump()
        assert all(
            term.holds(config[t.name]) for t in one.passes if t.name in config for term in [t]
        )
    else:
        assert all(term.holds(value) for term in limits for value in asked)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("---\nfamily", "family", "does not begin with a header"),
        ("family: nice", "family: nicer", "family must be one of nice, realnvp"),
        ("title: Mine", "name: Mine", "has no place for 'name: Mine'"),
        ("title: Mine\n", "", "lacks title"),
        ("layers=2", "layers=99", "layers must be a whole number from 2 to 12; '99' is not"),
        ("layers=2", "layers", "written name=value; 'layers' is not"),
        ("number: kl_to_truth", "number: luck", "number must be one of kl_to_truth"),
        ("guess: 0 to 3", "guess: much", "as in `guess: 0 to 3`"),
        ("guess: 0 to 3", "guess: 3 to 0", "begin with the smaller"),
        ("guess: 0 to 3", "guess: 0 to inf", "neither be infinite"),
        ("number: kl_to_truth\nguess: 0 to 3\n", "", "either number or curve, with guess"),
        ("number: kl_to_truth", "curve: luck", "curve must be one of nll"),
        ("number: kl_to_truth", "curve: nll\nnumber: modes", "either number or curve"),
        ("title: Mine", "title: Mine\npage: gan", "page must be nice or theory"),
        ("number: kl_to_truth\nguess: 0 to 3\n", "choices: a | b\nright: c\n", "right must be one"),
        ("kl_to_truth < 2", "kl_to_truth ~ 2", "comparisons joined by `and`"),
        ("kl_to_truth < 2", "__import__ = os", "asks for '__import__'"),
        ("kl_to_truth < 2", "kl_to_truth < two", "with 'two', no number"),
        ("dataset = two_moons", "dataset < two_moons", "only compare dataset by = or !="),
        ("## Hint", "## Secret", "a section 'Secret'"),
        ("## Answer", "## Hint", "a section `## Answer`"),
        ("Train.", "", "a task below the header"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, before, after, told):
    assert before in GOOD
    path = tmp_path / "lesson.md"
    path.write_text(GOOD.replace(before, after, 1))
    with pytest.raises(ExerciseError) as error:
        load(path)
    assert told in str(error.value)
    assert str(error.value).startswith("lesson: ")


def test_a_curve_is_sketched_over_iterations():
    lines = "settings: dataset=two_moons layers=2 hidden=32 batch=64 iterations=1000\n"
    images = GOOD.replace("family: nice", "family: vae").replace(lines, "")
    images = images.replace("number: kl_to_truth", "curve: bound")
    with pytest.raises(ExerciseError, match="a curve needs iterations, which vae does not have"):
        parse("mine", images)


def test_exercises_of_ones_own_stand_beside_those_of_the_lab(tmp_path):
    with pytest.raises(ExerciseError, match="no Markdown file"):
        exercises(str(tmp_path / "nowhere"))
    (tmp_path / "mine.md").write_text(GOOD)
    found = exercises(str(tmp_path))
    assert found["mine"].own
    assert len(found) == len(exercises()) + 1
    assert not any(one.own for one in exercises().values())
    exercises.cache_clear()
    (tmp_path / "nice-1-too-few-layers.md").write_text(GOOD)
    with pytest.raises(ExerciseError, match="is called so already"):
        exercises(str(tmp_path))


@pytest.fixture
def of_the_docs(tmp_path) -> Path:
    """The folder of exercises that the docs describe."""
    text = (ROOT / "docs" / "classroom.md").read_text()
    folder = tmp_path / "exercises"
    folder.mkdir()
    (folder / "two_moons_well.md").write_text(
        text.partition("```markdown\n")[2].partition("```")[0]
    )
    return folder


def test_the_example_of_the_docs_is_an_exercise(of_the_docs):
    one = exercises(str(of_the_docs))["two_moons_well"]
    assert one.config(solved=True).layers == 8
    assert [str(term) for term in one.passes][-1] == "kl_to_truth < 0.3"
    assert one.look == ("Training",)
    assert one.hint
    assert one.answer


@pytest.mark.slow
def test_the_solution_of_the_example_passes_and_its_beginning_does_not(of_the_docs, tmp_path):
    file = of_the_docs / "two_moons_well.md"
    one = load(file)
    for solved, status in ((True, 0), (False, 1)):
        run = Run.create(tmp_path / f"run{solved}", one.family, one.config(solved=solved))
        go(run)
        assert main(["check", str(file), str(run.path)]) == status


# -- runs ------------------------------------------------------------------------------------------


def test_a_run_passes_or_is_told_by_how_much_it_does_not(run):
    verdict = check(EASY, run)
    assert verdict.passed
    assert "kl_to_truth < 2" in verdict.reason
    verdict = check(HARD, run)
    assert not verdict.passed
    said = run.metrics.rows()[-1]["kl_to_truth"]
    assert verdict.reason == f"KL to the truth is {said:.4g}; asked is kl_to_truth < 0.001."
    other = parse("other", GOOD.replace("dataset = two_moons", "dataset = ring"))
    assert check(other, run).reason == "Dataset is two_moons; asked is dataset = ring."


def test_the_command_has_the_status_of_the_verdict(run, tmp_path, capsys):
    lesson = tmp_path / "lesson.md"
    lesson.write_text(GOOD)
    assert main(["check", str(lesson), str(run.path)]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["passed"] is True
    lesson.write_text(GOOD.replace("kl_to_truth < 2", "kl_to_truth < 0.001"))
    assert main(["check", str(lesson), str(run.path)]) == 1
    assert "asked is kl_to_truth < 0.001" in capsys.readouterr().err
    assert main(["check", "glow-2-black-is-likelier", str(run.path)]) == 2
    assert main(["check", "no-such", str(run.path)]) == 2
    assert main(["check", str(lesson), str(tmp_path / "nothing")]) == 2
    assert main(["check", str(tmp_path / "none.md"), str(run.path)]) == 2
    assert capsys.readouterr().err.count("\n") == 4


def better_table(run: Run) -> None:
    """Have the table claim a better end."""
    path = run.path / "metrics.csv"
    lines = path.read_text().splitlines()
    place = lines[0].split(",").index("kl_to_truth")
    cells = lines[-1].split(",")
    cells[place] = "0.0001"
    path.write_text("\n".join([*lines[:-1], ",".join(cells)]) + "\n")


def other_settings(run: Run) -> None:
    """Have it claim another width of data."""
    values = read_json(run.path / "config.json")
    values["config"]["seed"] = 5
    write_json(run.path / "config.json", values)


def more_steps(run: Run) -> None:
    """Have it claim fewer steps than its weights have seen."""
    values = read_json(run.path / "status.json")
    write_json(run.path / "status.json", {**values, "step": 500})


def other_weights(run: Run) -> None:
    """Give it weights that no training of its settings has left."""
    path = run.path / "model.safetensors"
    with safetensors.safe_open(path, "pt") as file:
        said = file.metadata()
    weights = {k: v * 1.1 for k, v in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(weights, path, said)


def other_beginning(run: Run) -> None:
    """Give it a table whose first losses are those of another training."""
    path = run.path / "metrics.csv"
    head, *lines = path.read_text().splitlines()
    place = head.split(",").index("nll")
    rows = [line.split(",") for line in lines]
    for row in rows[:3]:
        row[place] = row[place] and str(float(row[place]) * 2)
    path.write_text("\n".join([head, *(",".join(row) for row in rows)]) + "\n")


def no_table(run: Run) -> None:
    """Leave its table away."""
    (run.path / "metrics.csv").unlink()


@pytest.mark.parametrize(
    "forge",
    [better_table, other_settings, more_steps, other_weights, other_beginning, no_table],
    ids=lambda forge: forge.__name__,
)
def test_a_forged_run_is_refused(run, capsys, forge):
    forge(run)
    with pytest.raises(Forged):
        check(EASY, run)


def test_a_run_of_an_earlier_version_is_not_taken_for_forged(run):
    """Its weights do not say of which settings they are."""
    path = run.path / "model.safetensors"
    step = str(run.status().step)
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {"step": step})
    assert check(EASY, run).passed


def test_checking_changes_neither_the_run_nor_the_random_numbers_of_others(run):
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    state = torch.random.get_rng_state()
    check(EASY, run)
    assert torch.equal(state, torch.random.get_rng_state())
    assert before == {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def test_numbers_have_a_name_for_people():
    assert all(title and title == title.strip() for title, _ in NUMBERS.values())

"""The list of mutations keeps up with the code; ``python scripts/mutate.py`` tries them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.mutate import Lost, find, run_tests, sources
from scripts.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parent.parent


def test_every_mutation_is_in_one_place_and_leaves_python_behind():
    texts = sources(ROOT)
    for mutation in MUTATIONS:
        place = find(mutation, texts)
        broken = place.text[: place.start] + mutation.new + place.text[place.end :]
        compile(broken, str(place.path), "exec")
        assert broken != place.text, mutation.name
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 40


def test_the_tests_that_must_notice_are_there_and_are_no_golden_losses():
    for name in {name for mutation in MUTATIONS for name in mutation.tests}:
        file, _, test = name.partition("::")
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert f"def {test}" in text
        assert "golden" not in file


def test_a_text_that_is_not_there_or_there_twice_is_lost():
    texts = {Path("a.py"): "def f():\n    return 1 +\\\n 2\n", Path("b.py"): "x = 1 + 2\n"}
    assert find(Mutation("", "f", "return 1", "", ()), texts).words == "a.py:2"
    for within, old in (("", "1 +"), ("f", "x = 1"), ("g", "1 +")):
        with pytest.raises(Lost):
            find(Mutation("", within, old, "", ()), texts)


def test_only_a_test_that_fails_catches(tmp_path):
    (tmp_path / "tests").mkdir()
    texts = {
        "good": "def test(): assert 1",
        "bad": "def test(): assert 0",
        "none": "import no.where",
    }
    for name, text in texts.items():
        (tmp_path / "tests" / f"test_{name}.py").write_text(text)
    assert [run_tests([f"test_{name}.py"], tmp_path)[0] for name in texts] == [0, 1, 2]

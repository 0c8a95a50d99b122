"""What `docs/add_a_family.md` says works: its files make a family, and one entry is all else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "add_a_family.md"
STEM = "planar"
FILES = {
    "models/planar.py",
    "training/planar.py",
    "docs/theory/planar.md",
    "pages/planar.py",
    "tests/test_planar.py",
}
ENTRY = "registry.py"


def blocks() -> dict[str, str]:
    """What stands in the guide below a line that names a file, by that name."""
    named = re.compile(r"^\*\*`([^`]+)`\*\*\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return dict(named.findall(GUIDE.read_text(encoding="utf-8")))


def with_entry(registry: str, entry: str) -> str:
    """The registry with the entry as the last one."""
    head, end, tail = registry.partition("\n    )\n}\n")
    assert end, "the registry has another form"
    return f"{head}\n{entry.rstrip()}{end}{tail}"


def call(project: Path, *words: str, timeout: float = 240) -> str:
    """Run Python in the project; return what it said."""
    env = {**os.environ, "GENLAB_DEVICE": "cpu", "GENLAB_RUNS": str(project / "runs")}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the files of the guide and the entry, and no other change."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the files of the project are known to git only, and it does not answer")
    copy = tmp_path_factory.mktemp("project")
    for name in told.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    for name, text in blocks().items():
        if name != ENTRY:
            assert not (copy / name).exists(), f"{name} is a new file"
            (copy / name).write_text(text, encoding="utf-8")
    registry = copy / ENTRY
    text = with_entry(registry.read_text(encoding="utf-8"), blocks()[ENTRY])
    registry.write_text(text, encoding="utf-8")
    return copy


def test_the_guide_brings_five_files_and_one_entry():
    assert blocks().keys() == FILES | {ENTRY}
    assert blocks()[ENTRY].count("Family(") == 1
    assert STEM not in (ROOT / ENTRY).read_text(encoding="utf-8")
    words = GUIDE.read_text(encoding="utf-8")
    table = re.findall(r"^\| `([^`]+)` \|", words, re.MULTILINE)
    assert set(table) == FILES | {ENTRY}


def test_its_files_are_as_the_house_writes_them(project):
    names = sorted(name for name in (*FILES, ENTRY) if name.endswith(".py"))
    call(project, "-m", "ruff", "check", "--quiet", *names)
    call(project, "-m", "ruff", "format", "--check", "--quiet", *names)


def test_the_family_passes_its_own_tests(project):
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    told = call(project, *words, "tests/test_planar.py")
    assert re.search(r"\b4 passed", told)


@pytest.mark.slow
def test_the_tests_of_all_families_hold_for_it(project):
    files = ["architecture", "cli", "config", "docstrings", "links", "pages", "weights"]
    told = call(
        project,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "", "-k"),
        f"{STEM} or architecture or home or menu or families",
        *(f"tests/test_{name}.py" for name in files),
        timeout=600,
    )
    passed = re.search(r"(\d+) passed", told)
    assert passed
    assert int(passed[1]) > 100
    assert "failed" not in told


@pytest.mark.slow
def test_it_is_trained_by_the_command_line(project):
    out = project / "runs" / "demo"
    words = ("-m", "training", STEM, "--layers", "4", "--batch", "64", "--iterations", "1000")
    told = json.loads(call(project, *words, "--out", str(out), "--quiet"))
    assert (told["state"], told["step"], told["family"]) == ("finished", 1000, STEM)
    assert 0 < told["kl_to_truth"] < 2
    assert json.loads((out / "config.json").read_text())["family"] == STEM


OPENS = """
import sys
from streamlit.testing.v1 import AppTest

app = AppTest.from_file("app.py", default_timeout=120).run()
assert not app.exception, app.exception
told = [text.value for text in app.markdown]
assert any("one direction per layer" in text for text in told), told
links = [link.proto.page for link in app.get("page_link")]
assert sum("planar" in link for link in links) >= 2, links  # in the menu and on its card
app.switch_page("pages/planar.py")
app.query_params["layers"] = "6"
app.run()
assert not app.exception, app.exception
assert not app.error
assert [title.value for title in app.title] == ["Planar flow"]
assert app.slider(key="planar.layers").value == 6
app.button(key="planar.train").click().run()
assert not app.exception, app.exception
from lab.lab import get_lab

assert len(get_lab().active()) == 1
get_lab().close()
"""


@pytest.mark.slow
def test_menu_home_and_page_know_it_and_train_starts_a_training(project):
    call(project, "-c", OPENS)


@pytest.mark.slow
def test_the_docs_know_it(project):
    pytest.importorskip("sphinx", reason="`pip install -r requirements-docs.txt`")
    words = ("-m", "sphinx", "-b", "html", "-W", "--keep-going", "-n", "-q", "docs")
    call(project, *words, str(project / "docs" / "_build" / "html"), timeout=600)
    html = project / "docs" / "_build" / "html"
    assert "one direction at a time" in (html / "theory" / "planar.html").read_text("utf-8")
    assert "models.planar.Planar" in (html / "api" / "models.planar.html").read_text("utf-8")

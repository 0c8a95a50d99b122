"""The documentation is built from what is there, and without a warning."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from lab.store import Run
from registry import FAMILIES, PAGES

ROOT = Path(__file__).parent.parent
NEEDS = ("sphinx", "myst_parser", "furo", "sphinx_copybutton", "latex2mathml")


@pytest.fixture(scope="module")
def conf() -> ModuleType:
    """The settings of Sphinx, as a module."""
    for name in NEEDS:
        pytest.importorskip(name, reason="make docs installs it")
    spec = importlib.util.spec_from_file_location("docs_conf", ROOT / "docs" / "conf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_setting_of_every_family_is_on_the_page_of_settings(conf):
    page = conf.settings_page()
    for family in FAMILIES.values():
        part = page.split(f"## {family.title}\n")[1].split("\n## ")[0]
        for knob in family.training.config.knobs():
            assert f"`--{knob.name.replace('_', '-')}`" in part
            assert knob.range in part
        rows = [line for line in part.splitlines() if line.startswith("| `--")]
        assert len(rows) == len(family.training.config.knobs())


def test_every_module_has_a_page_and_every_family_its_theory(conf):
    for package in conf.PACKAGES:
        listed = conf.package_page(package, "").split()
        for path in (ROOT / package).glob("*.py"):
            assert path.stem.startswith("_") or f"{package}.{path.stem}" in listed
    page = conf.families_page()
    assert all(f"../theory/{family.stem}.md" in page for family in PAGES)


def test_links_to_the_lab_and_names_of_the_code_are_adapted(conf):
    text = ["[x](/nice?layers=2), [y](https://a.org/b) and `models.flow.Flow.log_prob`"]
    conf.adapt_theory(None, "theory/nice", text)
    assert text[0].startswith("[x](http://localhost:8501/nice?layers=2), [y](https://a.org/b)")
    assert text[0].endswith("{py:obj}`models.flow.Flow.log_prob`")


@pytest.mark.slow
def test_the_documentation_is_built_without_a_warning(conf, tmp_path):
    words = ["-b", "html", "-W", "--keep-going", "-n", "-q", "-d", str(tmp_path / "trees")]
    html = tmp_path / "html"
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, "docs", str(html)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for family in PAGES:
        text = (html / "theory" / f"{family.stem}.html").read_text(encoding="utf-8")
        assert "<math" in text
        assert "Where in the code" in text
    assert "AdditiveCoupling" in (html / "api" / "models.blocks.layers.html").read_text("utf-8")


def test_the_drawing_of_the_architecture_is_what_its_script_draws():
    spec = importlib.util.spec_from_file_location("drawing", ROOT / "docs" / "architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    assert module.drawing() == drawn


def test_the_lab_can_be_cited():
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert told["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= told.keys(), "what CFF 1.2 demands"
    assert all("name" in author or "family-names" in author for author in told["authors"])
    assert told["license"] == "MIT"
    known = {"abstract", "authors", "cff-version", "keywords", "license", "message", "title"}
    assert told.keys() <= known | {"type", "version", "date-released", "url", "repository-code"}


def test_the_changelog_has_the_form_it_names():
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# Changelog"
    headings = [line for line in lines if line.startswith("## ")]
    assert headings[0] == "## Unreleased"
    kinds = {line.removeprefix("### ") for line in lines if line.startswith("### ")}
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_numbers_of_the_shipped_vae_are_the_same_wherever_they_stand():
    # Measured once, by `python -m benchmarks vae`; the run's own metrics have its ELBO too.
    def row(path: str, start: str) -> str:
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith(start))

    measured = row("docs/numbers.md", "| The run that ships (2 latent units").split("|")
    negative_elbo, bound = measured[2].strip(), measured[6].strip()
    said = row("assets/README.md", "| `runs/vae/`")
    assert f"−ELBO {negative_elbo} nats" in said
    assert f"({bound} by the bound with 200 importance-weighted draws" in said
    last = Run(ROOT / "assets" / "runs" / "vae").metrics.rows()[-1]
    assert f"{-last['elbo_test']:.1f}" == negative_elbo

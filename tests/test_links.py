"""Every link leads somewhere, and every file or function that prose names is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from registry import FAMILIES
from ui.common.page import resolve

ROOT = Path(__file__).parent.parent
PROSE = [
    *sorted(ROOT.glob("*.md")),
    ROOT / "assets" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "theory").glob("*.md")),
]
SOURCES = [path for room in ("ui", "pages") for path in sorted((ROOT / room).rglob("*.py"))]
LAB = "http://localhost:8501"
MADE_BY_SPHINX = {"settings", "families", "registry"}
MADE_BY_SPHINX |= {"models", "datasets", "metrics", "training", "lab", "analysis", "cli"}


@dataclass(frozen=True)
class Link:
    """A link and where it stands."""

    path: Path
    target: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}: {self.target}"


def plain(text: str) -> str:
    """The text without blocks of code and without words in backticks."""
    text = re.sub(r"^(`{3,})[^\n]*\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


@cache
def links_of(path: Path) -> list[Link]:
    text = plain(path.read_text(encoding="utf-8"))
    found = re.findall(r"\]\(([^()\s]+(?:\([^()\s]*\))?)\)", text)
    return [Link(path, target) for target in found + re.findall(r'(?:src|href)="([^"]+)"', text)]


ALL = [link for path in PROSE for link in links_of(path)]
OUTER = [x for x in ALL if x.target.startswith("http") and not x.target.startswith(LAB)]
TO_PAGES = [x for x in ALL if x.target.startswith(("/", LAB))]
INSIDE = [x for x in ALL if x not in OUTER and x not in TO_PAGES]


def anchors(path: Path) -> set[str]:
    """The anchors of a Markdown file's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    slugs = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {slug.strip().replace(" ", "-") for slug in slugs}


@pytest.mark.parametrize("link", INSIDE, ids=str)
def test_a_link_to_a_file_leads_to_it(link: Link) -> None:
    name, _, anchor = link.target.partition("#")
    path = (link.path.parent / name).resolve() if name else link.path
    if path.parent == ROOT / "docs" / "api":
        room, _, module = path.stem.partition(".")
        assert path.stem in MADE_BY_SPHINX or (ROOT / room / f"{module}.py").exists()
        return
    assert path.exists()
    assert path.is_relative_to(ROOT)
    if anchor:
        assert anchor in anchors(path)


@pytest.mark.parametrize("link", TO_PAGES, ids=str)
def test_a_link_to_a_page_sets_up_what_can_be_set(link: Link) -> None:
    parts = urlsplit(link.target)
    page = parts.path.strip("/")
    if not page:
        return
    assert (ROOT / "pages" / f"{page}.py").exists()
    values = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    family = FAMILIES[values.pop("on", page)]
    assert family.page == page
    family.training.config.parse(values)


@pytest.mark.parametrize("link", OUTER, ids=str)
def test_a_link_to_the_world_has_the_form_of_one(link: Link) -> None:
    parts = urlsplit(link.target)
    assert parts.scheme == "https"
    assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc)
    if parts.netloc == "arxiv.org":
        assert re.fullmatch(r"/abs/\d{4}\.\d{4,5}", parts.path)


def test_papers_are_called_by_the_number_that_they_link_to() -> None:
    told = 0
    for path in PROSE:
        text = path.read_text(encoding="utf-8")
        for number, linked in re.findall(
            r"\[arXiv[: ](\d{4}\.\d{4,5})\]\(https://arxiv\.org/abs/([^)]+)\)", text
        ):
            assert number == linked, path.name
            told += 1
    assert told > 20


# Names in backticks that look like files of the project, or like its functions.
FILE = re.compile(
    r"`((?:models|datasets|training|ui|pages|tests|docs|assets|benchmarks|scripts)/[\w./-]+)`"
)
DOTTED = re.compile(r"`((?:models|datasets|training|ui)\.[a-z_]+(?:\.\w+)*)`")
GUIDE = ROOT / "docs" / "add_a_family.md"  # its files are made while one reads it
NAMED = [
    Link(path, name)
    for path in PROSE
    if path != GUIDE
    for name in dict.fromkeys(FILE.findall(path.read_text(encoding="utf-8")))
]
FUNCTIONS = [
    Link(path, name)
    for path in PROSE
    if path != GUIDE
    for name in dict.fromkeys(DOTTED.findall(path.read_text(encoding="utf-8")))
]
MADE_LATER = ("docs/_build", "docs/api")


@pytest.mark.parametrize("link", NAMED, ids=str)
def test_a_file_that_is_named_exists(link: Link) -> None:
    assert link.target.startswith(MADE_LATER) or (ROOT / link.target).exists()


@pytest.mark.parametrize("link", FUNCTIONS, ids=str)
def test_a_function_that_is_named_exists(link: Link) -> None:
    if link.target.count(".") == 1:
        assert (ROOT / (link.target.replace(".", "/") + ".py")).exists()
    else:
        assert resolve(link.target) is not None


def test_the_guide_names_what_is_there_beside_its_own_files() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    names = [name for name in FILE.findall(text) if "planar" not in name]
    assert names
    assert not [name for name in names if not (ROOT / name).exists()]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_pages_that_the_app_links_to_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r'"((?:pages/\w+|app)\.py)"', text):
        assert (ROOT / name).exists(), name
    for target in re.findall(r"\]\((https?:[^)\s]+)\)", text):
        assert "{" in target or urlsplit(target).netloc, target
    for page, query in re.findall(r"\]\(/(\w+)(?:\?([^)\s\"]+))?\)", text):
        test_a_link_to_a_page_sets_up_what_can_be_set(Link(path, f"/{page}?{query}".rstrip("?")))


def test_the_search_finds_links_of_every_kind() -> None:
    assert len(OUTER) > 30
    assert len(TO_PAGES) > 30
    assert len(INSIDE) > 10
    assert len(FUNCTIONS) > 50

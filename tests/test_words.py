"""Code, docstrings, pages and docs use the field's words: see the glossary in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("models", "datasets", "metrics", "training", "lab", "analysis", "figures", "cli", "ui")
SOURCES = [
    *(ROOT / name for name in ("app.py", "registry.py", "paths.py")),
    *(path for room in (*ROOMS, "pages") for path in sorted((ROOT / room).rglob("*.py"))),
]
DOCS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "theory").glob("*.md")),
]

# In prose, comments and what pages say: a pattern, and the word in its place.
PROSE = {
    r"rectif(y|ied|iers?)": "ReLU",
    r"with(out)? (a )?history": "detached",
    r"by heart": "overfits",
    r"in the plane": "2-D",
    r"shares? of (the |all )?(samples|images|pixels|batch|rows|time|range)": "fraction",
    r"in shares of": "percentage",
    r"gradients? of [\w ]+ by the": "with respect to",
    r"(is|are|was|were|been) told(?! (apart|from))": "logged, said, shown",
    r"rivals?|forgers?": "discriminator, generator",
    r"(the|a|its) judges?": "discriminator",
    r"pictures?": "image",
    r"unlikeness|how unlike|far and usual": "anomaly score",
    r"(learned|noise's) width|width of (the|its|a) (gaussian|noise|set's)": "standard deviation",
}
# Parts of identifiers.
NAMES = {
    "judge": "discriminator",
    "rival": "discriminator",
    "forger": "generator",
    "descent": "optimiser",
    "rectifier": "relu",
    "told": "logged",
    "picture": "image",
    "pictures": "image",
    "shares": "fractions",
    "unlike": "anomaly",
    "looking": "eval_generator",
}
# What may stand all the same, by file ("": in all), and why.
ALLOWED = {
    ("", "assets/pictures/"): "a folder of screenshots, linked from outside",
    ("datasets/own.py", "picture"): "saved data of a user says so; runs have it",
    (
        "training/core/config.py",
        "judge",
    ): "what old runs and addresses may call it",
}


def parts(name: str) -> list[str]:
    """The words of an identifier, snake or camel case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "arg", "asname"):
            if isinstance(name := getattr(node, field, None), str):
                yield getattr(node, "lineno", 0), name


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Comments and strings of a module, parts of f-strings too; neighbours are one text."""
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    line, found = 0, []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds:
            line = line if found else token.start[0]
            found.append(token.string.strip("#\"'rf"))
        elif token.type not in (tokenize.NL, tokenize.NEWLINE) and found:
            yield line, " ".join(found)
            found = []
    yield line, " ".join(found)


def banned(text: str, path: Path = ROOT) -> list[str]:
    for file, allowed in ALLOWED:
        if str(path).endswith(file):
            text = text.replace(allowed, "")
    text = re.sub(r"\s+", " ", text)
    return [
        f"{match[0]!r}: say {better}"
        for pattern, better in PROSE.items()
        if (match := re.search(rf"\b(?:{pattern})\b", text, re.IGNORECASE))
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_identifiers_are_the_fields_words(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = {(n, name) for n, name in identifiers(tree) if NAMES.keys() & set(parts(name))}
    assert not wrong


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_comments_docstrings_and_pages_are_in_the_fields_words(path):
    text = path.read_text(encoding="utf-8")
    assert not [(line, found) for line, words in prose(text) for found in banned(words, path)]


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_docs_are_in_the_fields_words(path):
    assert not banned(path.read_text(encoding="utf-8"))


def test_what_is_banned_is_found_and_what_is_not_passes():
    assert parts("PlaneGAN_judgeWidth") == ["plane", "gan", "judge", "width"]
    assert next(prose('x = "in the"  # a\ny = 1\n')) == (1, "in the  a")
    for text in ("Points in the\nplane.", "a share of the samples", "learned By heart", "pictures"):
        assert len(banned(text)) == 1, text
    assert not banned("picture", ROOT / "datasets" / "own.py")
    for text in ("what a run shares", "told apart", "[x](assets/pictures/a.webp)"):
        assert not banned(text), text


def test_the_glossary_names_what_there_is():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]*) \|$", text.split("## Words")[1], re.M)[2:]
    assert len(rows) > 20
    assert len({term for term, _, _ in rows}) == len(rows)
    for _, _, where in rows:
        for path in re.findall(r"`([\w/]+\.py)`", where):
            assert (ROOT / path).is_file(), path

"""Pages whose address, or whose runs, somebody made who means harm: shown as text, or refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile.pages import MARK

from registry import PAGES
from ui.common.plain import plain

ROOT = Path(__file__).parent.parent
MB = 2**20
# Characters that a page may show of what an address asks for.
SHOWN = 5_000
PATIENCE = 800  # seconds; a quarter of a minute on a quiet machine
ADDRESS = {
    MARK: MARK,
    "dataset": MARK,
    "iterations": "9" * 5000,
    "seed": "nan",
    "run": "../" * 1000,
    "x" * 5000: "x" * 5000,
    **{f"unknown{i}": "1" for i in range(300)},
}
# Streamlit itself drops what is longer than it takes an address to be.
ENDLESS = {"x" * MB: "x" * MB, "seed": "9" * 10 * MB, **{f"y{i}": "1" for i in range(9000)}}
HARMED = (
    *("damaged-config", "nested-config", "endless-status", "html-status", "flat-rows"),
    *(
        "endless-rows",
        "strange-0",
        "strange-1",
        "lost-status",
        "below-status",
        "honest",
        "\0",
        "x" * 5000,
        "x" * MB,
    ),
)
EVERYDAY = [
    ("app.py", {}),
    ("pages/runs.py", {}),
    ("pages/nice.py", ADDRESS),
    ("pages/nice.py", ENDLESS),
    ("pages/nice.py", {**ADDRESS, "on": "../../etc/passwd"}),
    *(("pages/nice.py", {"run": run}) for run in HARMED),
]
OTHERS = [("app.py", ADDRESS), ("pages/runs.py", ADDRESS), ("pages/theory.py", ADDRESS)]
OTHERS += [(f"pages/{family.page}.py", ADDRESS) for family in PAGES if family.stem != "nice"]

pytestmark = [pytest.mark.timeout(PATIENCE)]


def visited(folder: Path, addresses: list) -> list[dict]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "hostile" / "pages.py"), str(folder)],
        input=json.dumps(addresses),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(told: dict) -> None:
    assert told["raised"] == []
    text = "\n".join(told["shown"])
    for token in ("![x]", "<img", ":red[", ":material/x", "://127.0.0.1"):
        assert token not in text, "Markdown would take it for more than text"
    assert "x" * 200 not in text
    assert "9" * 200 not in text


@pytest.fixture(scope="module")
def everyday(tmp_path_factory) -> list[dict]:
    return visited(tmp_path_factory.mktemp("runs"), EVERYDAY)


def test_runs_that_cannot_be_read_are_listed_with_the_reason(everyday):
    told = everyday[EVERYDAY.index(("pages/runs.py", {}))]
    assert any("Runs that cannot be read: 3" in text for text in told["shown"])
    text = "\n".join(told["shown"])
    for name in ("damaged-config", "nested-config", "lost-config"):
        assert name in text
    assert "no config.json" in text.replace("\\", "")


def named(visit: tuple[str, dict]) -> str:
    page, address = visit
    return f"{page} {address.get('run', '')[:20]!r}, {len(address)}"


@pytest.mark.parametrize("number", range(len(EVERYDAY)), ids=map(named, EVERYDAY))
def test_a_page_takes_nothing_for_more_than_text(everyday, number):
    told = everyday[number]
    check(told)
    address = EVERYDAY[number][1]
    run = address.get("run", "")
    warned = [text for text in told["shown"] if text.startswith("The address of this page")]
    if address == ADDRESS:
        assert len(warned[0]) < SHOWN
        assert "iterations must be" in warned[0]
    if run in ("damaged-config", "nested-config", "\0", "x" * 5000, ADDRESS["run"]):
        assert "on" in address or "does not exist" in warned[0]
    if run.startswith("strange"):
        assert any("came from a file" in text for text in told["shown"])


@pytest.mark.slow
def test_no_page_takes_an_address_for_more_than_text(tmp_path):
    for told in visited(tmp_path, OTHERS):
        check(told)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("flow of Tuesday_2, 12 % off: fine.", "flow of Tuesday_2, 12 % off: fine."),
        ("a\n# b\tc", "a \\# b c"),
        ("1. x", "1\\. x"),
        ("- x", "\\- x"),
        ("[a](b)", "\\[a\\](b)"),
        ("&lt;b&gt;", "\\&lt;b\\&gt;"),
        ("_a_ b_c", "\\_a\\_ b_c"),
        (":red[x]", ":\u2060red\\[x\\]"),
    ],
)
def test_text_stays_text(text, shown):
    assert plain(text) == shown

"""Hostile input, at every door that takes a file, an address or a name: refused, or harmless.

The corpus is in ``hostile/cases.py``. It runs in a process of its own with limits, which watches
what each case opens, starts and holds.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hostile.cases import CASES, DOORS

ROOT = Path(__file__).parent.parent
# Bytes that a door may hold while it looks at a file, the file itself left out: 40 megapixels of
# 16 bits, or the 7 million cells of a table of 20 MB.
MEMORY = 320 * 2**20
# A run may bring data along, which are as large as they are.
BROUGHT = {"run: data of 390 MB": 2**30}
PATIENCE = 800  # seconds; ten on a quiet machine
TYPED = ("DataError", "RunError", "ConfigError")
LIGHT = [name for name, case in CASES.items() if not case.heavy]
HEAVY = [name for name, case in CASES.items() if case.heavy]

pytestmark = [
    pytest.mark.timeout(PATIENCE),
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures with /proc"),
]


def carried_out(folder: Path, names: list[str]) -> dict[str, dict]:
    """Carry out cases; return what came of each."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "hostile" / "worker.py"), str(folder)],
        input=json.dumps(names),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
             "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"},
        timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    told = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0, f"ended after {list(told)[-1:]}: {done.stderr[-2000:]}"
    return told


def check(name: str, told: dict) -> None:
    case, message = CASES[name], told["message"]
    if told["error"]:
        assert told["error"] in TYPED, told["where"]
        assert message.endswith(".")
        assert "\n" not in message
        assert len(message) < 800
    assert re.search(case.says, message), message or "it was taken"
    assert not told["canary"], "it ran code"
    assert told["seen"] == [], "it reached for what is not its own"
    if told["error"] and case.door in ("run", "weights"):
        assert told["left"] == [], "something refused was left behind"
    assert told["bytes"] <= BROUGHT.get(name, MEMORY), f"{told['bytes'] / 2**20:.0f} MB"


@pytest.fixture(scope="module")
def light(tmp_path_factory) -> dict[str, dict]:
    return carried_out(tmp_path_factory.mktemp("light"), LIGHT)


@pytest.fixture(scope="module")
def heavy(tmp_path_factory) -> dict[str, dict]:
    return carried_out(tmp_path_factory.mktemp("heavy"), HEAVY)


@pytest.mark.parametrize("name", LIGHT)
def test_what_is_hostile_does_no_harm(light, name):
    check(name, light[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", HEAVY)
def test_what_is_hostile_and_large_does_no_harm(heavy, name):
    check(name, heavy[name])


def test_the_watch_sees_what_it_should(tmp_path):
    # Otherwise all that is above would pass whatever happened.
    told = carried_out(tmp_path, ["control: a pickle", "control: a file", "control: memory"])
    assert told["control: a pickle"]["canary"]
    assert any("pickle" in seen for seen in told["control: a pickle"]["seen"])
    assert any("wrote" in seen for seen in told["control: a file"]["seen"])
    assert told["control: memory"]["bytes"] > MEMORY


def test_every_door_is_tried():
    assert len(CASES) >= 300
    for door in DOORS:
        assert door == "control" or sum(case.door == door for case in CASES.values()) >= 3

"""What ships passes the lab's own Check: pages open on runs that are worth looking at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assets.runs.checks import CHECKS, FILE, check, fingerprint, passed
from lab.store import Run

SHIPPED = FILE.parent
RECORD = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("stem", RECORD)
def test_the_weights_that_ship_are_those_that_passed(stem):
    found = RECORD[stem]
    assert found["weights"] == fingerprint(Run(SHIPPED / stem))
    assert found["checks"]
    assert not [c for c in found["checks"] if c["passed"] is False]


@pytest.mark.parametrize("stem", ["nice", "gan", "vae_plane", "cyclegan"])
def test_what_was_written_down_is_found_again(stem):
    names = [c["name"] for c in RECORD[stem]["checks"]]
    checks = check(Run(SHIPPED / stem))
    assert [c.name for c in checks] == names
    assert passed(checks)


def test_every_run_that_ships_has_a_check_and_no_other():
    folders = {path.name for path in SHIPPED.iterdir() if (path / "config.json").exists()}
    assert folders == set(CHECKS) == set(RECORD)


def test_a_run_that_its_discriminator_has_won_does_not_pass(tmp_path: Path):
    shipped = SHIPPED / "gan"
    for file in shipped.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    run = Run(tmp_path)
    rows = run.metrics.rows()
    names = list(rows[-1])
    run.metrics.start(names, 0)
    for row in rows:
        run.metrics.append(names, {**row, "d_real": 0.97, "d_fake": 0.02})
    assert not passed(check(run))

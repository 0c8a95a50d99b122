"""The process that is kept ready for the next run: used once, never outdated, never left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import wait_until

from benchmarks.kills import is_alive
from lab import workers
from lab.lab import Lab
from lab.memory import is_out_of_memory
from lab.rules import Rules
from registry import FAMILIES

NICE = FAMILIES["nice"]
LONG = NICE.training.config(layers=2, hidden=32, batch=64, iterations=5000)


@pytest.fixture
def lab(tmp_path) -> Iterator[Lab]:
    lab = Lab(tmp_path / "runs", ["cpu", "cpu"])
    yield lab
    lab.close()


def spare_of(lab: Lab) -> workers.Spare:
    return wait_until(lambda: lab._workers._spare)


def test_a_run_is_given_to_the_process_that_waits_and_another_takes_its_place(lab):
    first = spare_of(lab)
    run_id = lab.submit(NICE, LONG)
    assert lab._workers[run_id].process is first.process
    assert spare_of(lab).process is not first.process


def test_one_waits_also_while_all_places_are_taken(lab):
    """A click may come right after the run that held the place has ended."""
    runs = [lab.submit(NICE, LONG) for _ in range(2)]
    wait_until(lambda: all(lab.view(run_id).status.step for run_id in runs))
    assert spare_of(lab).process.is_alive()


def test_one_that_has_died_is_not_given_a_run(lab):
    first = spare_of(lab)
    first.process.kill()
    first.process.join()
    run_id = lab.submit(NICE, LONG)
    wait_until(lambda: lab.view(run_id).status.step)


def test_one_that_knows_the_code_of_before_an_edit_is_sent_away(lab, tmp_path, monkeypatch):
    first = spare_of(lab)
    code = tmp_path / "code" / "training" / "nice.py"
    code.parent.mkdir(parents=True)
    code.touch()
    os.utime(code, (time.time() + 60,) * 2)
    monkeypatch.setattr(workers, "ROOT", tmp_path / "code")
    run_id = lab.submit(NICE, LONG)
    assert lab._workers[run_id].process is not first.process
    wait_until(lambda: not first.process.is_alive())


def test_edits_are_looked_for_in_all_that_a_worker_imports():
    """Else a run would be trained by code that is no longer there."""
    folders = {Path(name).parts[0] for name in _imported_by_a_worker()}
    assert folders - {"registry.py", "paths.py"} <= set(workers.TRAINS)


def test_a_closed_lab_leaves_none(lab):
    pid = spare_of(lab).process.pid
    lab.close()
    wait_until(lambda: not is_alive(pid))


def test_a_run_that_asks_for_more_memory_than_allowed_ends_alone(tmp_path):
    lab = Lab(tmp_path / "runs", ["cpu", "cpu"], Rules(run_memory_mb=150))
    try:
        greedy = FAMILIES["realnvp"].training.config(blocks=12, hidden=256, batch=2048)
        large, small = lab.submit(FAMILIES["realnvp"], greedy), lab.submit(NICE, LONG)
        wait_until(lambda: not lab.view(large).status.active)
        status = lab.view(large).status
        assert status.state == "failed"
        assert "more memory than there is for it" in status.message
        seen = lab.view(small).status.step
        wait_until(lambda: lab.view(small).status.step > seen)
        assert lab.view(small).status.state == "running"
    finally:
        lab.close()


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")],
    ids=["python", "device"],
)
def test_an_error_that_means_memory_is_told_as_one(error):
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def _imported_by_a_worker() -> list[str]:
    code = (
        "import sys, lab.worker\n"
        "from registry import FAMILIES\n"
        "[family.training for family in FAMILIES.values()]\n"
        "files = [m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)]\n"
        "print('\\n'.join(files))"
    )
    root = workers.ROOT
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    files = [Path(line) for line in done.stdout.splitlines()]
    ours = [file.relative_to(root) for file in files if file.is_relative_to(root)]
    return [str(file) for file in ours if file.parts[0] != ".venv"]

"""A disk that is full, really: a small tmpfs. Nothing that was not saved may be called done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lab.store import Run

ROOT = Path(__file__).parent.parent
NICE = ["nice", "--iterations", "1000", "--layers", "2", "--hidden", "32", "--batch", "64"]

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path) -> Iterator[Mount]:
    """Mount a small disk, or give the one there is another size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def sized(size: str) -> Path:
        options = f"size={size}" + (",remount" if os.path.ismount(folder) else "")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        return folder

    try:
        yield sized
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    finally:
        if os.path.ismount(folder):
            subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


def command_line(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "training", *words, "--quiet", "--device", "cpu"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )


def weights(run: Run) -> dict[str, torch.Tensor]:
    experiment = run.experiment()
    assert run.weights.load_into(experiment.model) == 1000
    return experiment.model.state_dict()


@pytest.mark.parametrize("size", [pytest.param("120k", marks=pytest.mark.slow), "156k"])
def test_what_a_full_disk_did_not_take_is_not_finished(mount, tmp_path, size):
    path = mount(size) / "run"
    full = command_line(*NICE, "--out", str(path))
    assert full.returncode == 1, full.stderr
    assert "Saving failed (No space left on device)" in full.stderr
    assert "resume" in full.stderr
    final = json.loads(full.stdout)
    assert (final["state"], final["step"]) == ("failed", 1000)
    assert Run(path).status().state != "finished"

    mount("50m")
    again = command_line("resume", str(path))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["state"] == "finished"
    assert Run(path).status().state == "finished"
    straight = command_line(*NICE, "--out", str(tmp_path / "straight"))
    assert straight.returncode == 0
    one, two = weights(Run(path)), weights(Run(tmp_path / "straight"))
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_a_disk_that_is_full_at_once_is_a_sentence(mount):
    path = mount("8k") / "run"
    full = command_line(*NICE, "--out", str(path))
    assert full.returncode in (1, 2)
    assert full.stderr.count("\n") == 1
    assert "No space left on device" in full.stderr


@pytest.mark.slow
def test_a_comparison_that_was_not_saved_is_not_done(mount, tmp_path):
    folder = mount("1m") / "comparison"
    words = ["compare", "--families", "nice", "--seeds", "1", "--steps", "1000", "--batch", "64"]
    full = command_line(*words, "--dataset", "ring", "--out", str(folder))
    assert full.returncode in (1, 2), full.stdout
    assert "No space left on device" in full.stderr
    assert "Traceback" not in full.stderr


def test_a_run_that_cannot_be_written_is_not_resumed(mount):
    disk = mount("50m")
    done = command_line(*NICE, "--out", str(disk / "run"))
    assert done.returncode == 0
    run = Run(disk / "run")
    run.write_status(replace(run.status(), state="stopped"))
    (run.path / ".lock").unlink(missing_ok=True)
    mount("50m,ro")
    refused = command_line("resume", str(run.path))
    assert refused.returncode == 2
    assert (refused.stdout, refused.stderr.count("\n")) == ("", 1)
    assert "Read-only file system" in refused.stderr

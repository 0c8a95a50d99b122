"""A folder of runs that is copied while trainings write to it can be restored, and goes on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import wait_until
from test_lab import NICE, is_training, long, short

from lab.lab import Lab

REMOVED = 1  # exit status of tar when a file has changed or vanished under it
TAR = shutil.which("tar")


@pytest.mark.skipif(not TAR, reason="no tar on this machine")
def test_a_backup_taken_while_two_train_opens_elsewhere_and_goes_on(tmp_path):
    lab = Lab(tmp_path / "runs", ["cpu", "cpu"])
    try:
        finished = lab.submit(NICE, short())
        wait_until(lambda: lab.view(finished).status.state == "finished")
        running = [lab.submit(NICE, long(seed=seed)) for seed in (1, 2)]
        wait_until(lambda: all(is_training(lab, run_id) for run_id in running))
        wait_until(lambda: all(lab.store.get(r).checkpoints.last() for r in running))
        copied = _copy(tmp_path / "runs", tmp_path / "elsewhere")
    finally:
        lab.close()

    restored = Lab(copied, ["cpu", "cpu"])
    try:
        states = {run.id: run.status().state for run in restored.store}
        assert states == {finished: "finished", **dict.fromkeys(running, "interrupted")}
        for run_id in running:
            run = restored.store.get(run_id)
            at = run.checkpoints.last()["experiment"]["step"]
            restored.resume(run_id)
            wait_until(lambda: is_training(restored, run_id, beyond=at))  # noqa: B023
            steps = [row["step"] for row in run.metrics.rows()]
            assert steps == sorted(set(steps))
    finally:
        restored.close()


def _copy(folder: Path, into: Path) -> Path:
    """Archive a folder with what backs folders up, and unpack it."""
    archive = into.with_suffix(".tar")
    done = subprocess.run(
        [TAR, "--create", "--file", archive, "--directory", folder, "."],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, REMOVED), done.stderr
    into.mkdir()
    subprocess.run([TAR, "--extract", "--file", archive, "--directory", into], check=True)
    return into

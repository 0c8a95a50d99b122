"""torchvision works through the one place that imports it, whatever its compiled half says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from datasets import vision
from datasets.vision import datasets, transforms, utils

ROOT = Path(__file__).parents[1]


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_transform_runs():
    pipeline = transforms.Compose(
        [transforms.Resize(8), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
    )
    out = pipeline(Image.new("L", (16, 16), 255))
    assert torch.equal(out, torch.ones(1, 8, 8))
    assert utils.make_grid(torch.zeros(4, 1, 8, 8), padding=0, nrow=2).shape == (3, 16, 16)


def test_a_data_set_reads_pictures(tmp_path):
    (tmp_path / "black").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "black" / "0.png")
    folder = datasets.ImageFolder(tmp_path, transform=transforms.ToTensor())
    image, label = folder[0]
    assert (image.shape, label) == ((3, 4, 4), 0)


def test_it_recovers_from_an_import_that_failed_before():
    out = in_a_fresh_process(
        "try:\n    import torchvision\nexcept RuntimeError:\n    pass\n"
        "from datasets.vision import transforms\n"
        "import torchvision, torch\n"
        "print(torchvision.transforms is transforms)"
    )
    assert out.strip() == "True"


def test_nothing_is_declared_where_a_plain_import_works():
    # By now torchvision is imported, so that the plain import does work.
    assert vision._import_torchvision() is None


def test_an_unknown_failure_is_passed_on(monkeypatch):
    def fail(name: str) -> None:
        raise RuntimeError("the disk is on fire")

    kept = {k: v for k, v in sys.modules.items() if k.partition(".")[0] == "torchvision"}
    monkeypatch.setattr(vision.importlib, "import_module", fail)
    try:
        with pytest.raises(RuntimeError, match="on fire"):
            vision._import_torchvision()
        assert "torchvision" not in sys.modules
    finally:
        sys.modules.update(kept)

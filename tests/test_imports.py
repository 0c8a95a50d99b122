"""Runs that travel as zips: they arrive whole, and nothing else gets in with them."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from datasets.own import DataError
from datasets.own_images import OwnImages
from lab.driver import drive
from lab.imports.run_import import import_run
from lab.imports.unpacking import MAX_FILES
from lab.runs.notes import clean_name
from lab.store import Run, RunStore
from registry import FAMILIES

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    family = FAMILIES["nice"]
    config = family.training.config(layers=2, hidden=32, batch=64)
    run = Run.create(tmp_path_factory.mktemp("runs") / "one", family, config)
    steps = iter([None] * 30)
    drive(run, device="cpu", send=lambda _: None, receive=lambda _: next(steps, ("stop",)))
    run.notes.rename("My first\nflow")
    return run


@pytest.fixture
def store(tmp_path) -> RunStore:
    (tmp_path / "store").mkdir()
    return RunStore(tmp_path / "store")


def packed(run: Run, **changes: bytes | None) -> bytes:
    """Return a run as zip, with some files replaced, added, or (``None``) left out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(run.zipped())) as old, zipfile.ZipFile(buffer, "w") as new:
        files = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
        for name, content in {**files, **changes}.items():
            if content is not None:
                new.writestr(f"a-run/{name}", content)
    return buffer.getvalue()


def arrays(**values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **values)
    return buffer.getvalue()


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_run_arrives_with_all_but_its_checkpoint(trained, store):
    run = import_run(store, trained.zipped())
    assert run.id != trained.id
    assert store.get(run.id) is not None
    assert (run.family, run.config) == (trained.family, trained.config)
    assert run.notes.name() == "My first flow"
    assert run.metrics.rows() == trained.metrics.rows()
    assert run.snapshots.steps() == trained.snapshots.steps()
    assert run.snapshots.target().keys() == trained.snapshots.target().keys()
    model = run.family.training.model(run.config)
    assert run.weights.load_into(model) == trained.status().step
    assert not (run.path / "checkpoint.pt").exists()
    assert run.status().state == "stopped"
    assert "Imported" in run.status().message
    assert [path.name for path in store.root.iterdir()] == [run.id]


def test_an_imported_run_can_be_trained_from_its_beginning(trained, store):
    run = import_run(store, trained.zipped())
    steps = iter([None] * 5)
    status = drive(run, device="cpu", send=lambda _: None, receive=lambda _: next(steps, ("stop",)))
    assert (status.state, status.step) == ("stopped", 5)


HUGE = np.lib.format.magic(1, 0) + (118).to_bytes(2, "little")
HUGE += b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + b"\n"


def npz_of(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("density.npy", content)
    return buffer.getvalue()


BAD = {
    "no settings": ({"config.json": None}, "config.json"),
    "settings of no family": ({"config.json": b'{"family": "gpt", "config": {}}'}, "settings"),
    "settings out of range": (
        {"config.json": json.dumps({"family": "nice", "config": {"layers": 10**6}}).encode()},
        "layers must be",
    ),
    "settings that are no JSON": ({"config.json": b"[" * 50_000}, "settings"),
    "settings of megabytes": ({"config.json": b" " * 10**6}, "larger"),
    "objects among the arrays": (
        {"target.npz": arrays(box=np.array([{"a": 1}], dtype=object))},
        "numbers",
    ),
    "an array that lies about its size": ({"snapshots/00000000.npz": npz_of(HUGE)}, "size"),
    "points of a snapshot for an image": (
        {"snapshots/00000000.npz": arrays(samples=np.zeros((2**16, 2), np.float32))},
        "larger",
    ),
    "a target that fills the memory": (
        {"target.npz": arrays(box=np.zeros((2**9, 2**9), np.uint8))},
        "larger than 0.25 MB",
    ),
    "thousands of images of one pixel, each with a frame": (
        {"snapshots/00000000.npz": arrays(samples=np.zeros((2000, 1, 1, 1), np.uint8))},
        "more than a page draws",
    ),
    "no array, and a long one": (
        {"target.npz": arrays(samples=np.zeros((0, 2**40), np.float32))},
        "more than a page draws",
    ),
    "an image that is none": ({"snapshots/00000000.npz": b"not arrays"}, "damaged"),
    "weights that are a pickle": ({"model.safetensors": b"\x80\x04K\x01."}, "pickle"),
    "weights cut off": ({"model.safetensors": b"\x10\x00\x00\x00\x00\x00\x00\x00{"}, "cut off"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_refused_in_a_sentence(trained, store, name):
    changes, word = BAD[name]
    with pytest.raises(DataError, match=word) as refusal:
        import_run(store, packed(trained, **changes))
    assert "\n" not in str(refusal.value)
    assert not everything(store.root), "a refused run leaves nothing behind"


def test_weights_of_other_settings_are_refused(trained, store):
    config = json.loads((trained.path / "config.json").read_text())
    config["config"]["layers"] = 4
    with pytest.raises(DataError, match="not of the model"):
        import_run(store, packed(trained, **{"config.json": json.dumps(config).encode()}))


@pytest.mark.parametrize("name", ["../out.npz", "/tmp/out.npz", "..\\out.npz", "C:\\out", "x\0y"])
def test_names_that_lead_elsewhere_are_left_in_the_zip(trained, store, tmp_path, name):
    buffer = io.BytesIO(packed(trained))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"out")
    run = import_run(store, buffer.getvalue())
    assert everything(tmp_path) == {store.root, run.path, *everything(run.path)}


def test_a_snapshot_that_is_no_number_is_left_in_the_zip(trained, store):
    run = import_run(store, packed(trained, **{"snapshots/٠٠٠٠٠٠٠١.npz": arrays(a=np.zeros(1))}))
    assert run.snapshots.steps() == trained.snapshots.steps()


def test_a_target_that_says_other_images_than_the_weights_is_refused(store):
    """Of its shape pages make the model for the weights, and of 512 pixels that is a large one."""
    shipped = Run(ROOT / "assets" / "runs" / "vae")
    target = {**shipped.snapshots.target(), "shape": np.array([3, 512, 512])}
    with pytest.raises(DataError, match="not of a model of the images"):
        import_run(store, packed(shipped, **{"target.npz": arrays(**target)}))


def test_an_imported_run_that_begins_anew_draws_its_own_target(trained, store):
    strange = {"target.npz": arrays(box=np.array([9.0, 9.0])), "model.safetensors": None}
    run = import_run(store, packed(trained, **strange))
    drive(run, device="cpu", send=lambda _: None, receive=lambda _: ("stop",))
    np.testing.assert_equal(run.snapshots.target(), trained.snapshots.target())


def test_a_snapshot_is_measured_before_it_is_loaded(trained, tmp_path):
    (tmp_path / "snapshots").mkdir()
    large = io.BytesIO()
    np.savez_compressed(large, a=np.zeros(17 * 2**20, np.uint8))
    (tmp_path / "snapshots" / "00000005.npz").write_bytes(large.getvalue())
    with pytest.raises(DataError, match="larger"):
        Run(tmp_path).snapshots.load(5)


def test_other_files_of_a_run_are_left_in_the_zip(trained, store):
    extra = {"checkpoint.pt": b"\x80\x04", "error.txt": b"x", "run.py": b"import os"}
    run = import_run(store, packed(trained, **extra))
    assert not [path for path in everything(run.path) if path.name in extra]


def test_no_zip_a_bomb_and_a_crowd(store):
    with pytest.raises(DataError, match="not a zip"):
        import_run(store, b"hello")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("snapshots/00000000.npz", bytes(17 * 2**20))
    with pytest.raises(DataError, match="larger"):
        import_run(store, bomb.getvalue())
    crowd = io.BytesIO()
    with zipfile.ZipFile(crowd, "w") as archive:
        for i in range(5 * MAX_FILES):
            archive.writestr(f"{i}", b"")
    with pytest.raises(DataError, match=f"more than {4 * MAX_FILES} files"):
        import_run(store, crowd.getvalue())
    assert not everything(store.root)


def test_a_status_that_says_it_trains_is_not_believed(trained, store):
    status = {"state": "running", "step": 10**9, "total": 1000, "message": "**hi**"}
    run = import_run(store, packed(trained, **{"status.json": json.dumps(status).encode()}))
    assert run.status().state == "stopped"
    assert run.status().step == 1000
    assert "hi" not in run.status().message


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("  moons,  wide ", "moons, wide"),
        ("a\nb\tc\x00d", "a b c d"),
        ("\u202egnirts", "gnirts"),
        ("x" * 500, "x" * 60),
        ("", ""),
    ],
)
def test_names_are_one_line_of_letters(given, kept):
    assert clean_name(given) == kept


SHIPPED = [p.parent for p in sorted((ROOT / "assets" / "runs").glob("*/config.json"))]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_what_ships_and_is_taken_away_can_be_brought_in(path, store):
    shipped = Run(path)
    run = import_run(store, shipped.zipped())
    assert (run.family, run.config) == (shipped.family, shipped.config)
    assert run.weights.version()
    assert run.status().state == shipped.status().state
    assert len(run.id.rpartition("-")[2]) == 16, "64 random bits"


def test_a_run_that_unpacks_to_gigabytes_costs_the_lab_nothing(trained, store):
    """What 2 kB unpack to is checked, and not held, by a process with limits."""
    images = np.lib.format.magic(1, 0) + (118).to_bytes(2, "little")
    shape = (300, 3, 640, 640)
    images += f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode()
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.npy", images + b"\n" + bytes(math.prod(shape)))
    with pytest.raises(DataError, match=r"too much memory|larger|damaged"):
        import_run(store, packed(trained, **{"data.npz": bomb.getvalue()}))
    assert not everything(store.root)


def test_data_that_arrive_packed_stay_in_their_file_until_they_are_used(store):
    family = FAMILIES["glow"]
    images = np.random.default_rng(0).integers(0, 256, (100, 1, 32, 32), np.uint8)
    classes = np.arange(100) % 2
    own = OwnImages(images, classes, np.arange(100) // 2 % 5 == 0, ("a", "b"), "mine", ())
    run = Run.create(store.root / "run", family, family.training.config(dataset="own"), own)
    packed_data = io.BytesIO()
    np.savez_compressed(packed_data, **dict(np.load(run.path / "data.npz")))
    found = import_run(store, packed(run, **{"data.npz": packed_data.getvalue()})).own_data()
    assert isinstance(found.images, np.memmap) == (os.name == "posix")
    np.testing.assert_array_equal(found.images, images)

"""Bytes from outside are read in a process with limits; what it cannot do becomes a sentence."""

from __future__ import annotations

import io
import os
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hostile.files import png, with_scans
from PIL import Image

from datasets.files import apart
from datasets.files.apart import SET, SINGLE, Bounds, Busy, Whole, call_apart, turn
from datasets.files.errors import DataError
from datasets.own import OwnData, read_own
from datasets.own_images import OwnImages, read_uploads
from datasets.own_pairs import OwnPairs, read_two_sets

READ_ONE = "datasets.defects:read_one"


def image_file(path: Path, size=(32, 32), mode: str = "RGB", seed: int = 0, **options) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], len(mode)), np.uint8)
    Image.fromarray(pixels.squeeze()).save(path, **options)
    return path


def zip_of_images(path: Path, count: int = 30) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            one = image_file(path.with_name("one.png"), seed=number)
            archive.write(one, f"{'ab'[number % 2]}/{number}.png")
    return path


# -- what comes back -----------------------------------------------------------------------------


def test_points_are_what_they_are_here(tmp_path):
    table = tmp_path / "points.csv"
    table.write_text("\n".join(f"{i % 17},{i % 13}" for i in range(200)))
    found = call_apart("datasets.own:read_own", Whole(table), "p.csv", load=OwnData.load)
    expected = read_own(table.read_bytes(), "p.csv")
    assert (found.array == expected.array).all() and found.name == expected.name


def test_images_are_what_they_are_here_and_stay_in_a_file(tmp_path):
    files = [("set.zip", zip_of_images(tmp_path / "set.zip", 40))]
    found = call_apart(
        "datasets.own_images:read_uploads", files, 64, 3,
        load=lambda path: OwnImages.load(path, mapped=True), folder=tmp_path,
    )  # fmt: skip
    expected = read_uploads(files, 64, 3)
    assert (found.images == expected.images).all() and found.classes == ("a", "b")
    assert (found.held_out == expected.held_out).all()
    assert isinstance(found.images, np.memmap)
    assert not [*tmp_path.glob(".reading-*")], "nothing with a name is left"


def test_two_sets_are_what_they_are_here(tmp_path):
    a = [("a.zip", zip_of_images(tmp_path / "a.zip"))]
    b = [(f"{i}.png", image_file(tmp_path / f"{i}.png", seed=i)) for i in range(12)]
    found = call_apart("datasets.own_pairs:read_two_sets", a, b, 32, load=OwnPairs.load)
    expected = read_two_sets(a, b, 32)
    for name in ("train_a", "train_b", "test_a", "test_b"):
        assert (getattr(found, name) == getattr(expected, name)).all()


def test_what_is_wrong_with_a_file_is_said_as_here(tmp_path):
    (tmp_path / "x").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"^a\.png: The file is not a PNG"):
        call_apart(READ_ONE, Whole(tmp_path / "x"), 64, "a.png", load=np.load)


def test_the_process_knows_nothing_of_the_servers_surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLAB_SECRET", "hush")
    (tmp_path / "module_of_test.py").write_text(
        "import os, sys, numpy as np\n"
        "def ask():\n"
        "    return np.array(['GENLAB_SECRET' in os.environ, 'torch' in sys.modules,\n"
        "                     os.path.realpath('.') == os.environ['TMPDIR']])\n"
    )
    monkeypatch.setattr(apart, "ROOT", f"{tmp_path}{os.pathsep}{apart.ROOT}")
    assert call_apart("module_of_test:ask", load=np.load).tolist() == [False, False, True]


# -- limits --------------------------------------------------------------------------------------


def test_a_small_file_of_many_pixels_is_too_much_memory(tmp_path):
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(8000, 5000, 6))
    assert bomb.stat().st_size < 200_000
    with pytest.raises(DataError, match="too much memory to open: bring smaller images"):
        call_apart(READ_ONE, Whole(bomb), 64, "bomb.png", load=np.load, bounds=SINGLE)


def test_an_ordinary_image_fits_whatever_its_kind(tmp_path):
    for colour in (0, 2, 6):  # grey, RGB, transparent
        large = tmp_path / f"{colour}.png"
        large.write_bytes(png(4000, 4000, colour))
        pixels = call_apart(READ_ONE, Whole(large), 64, "", load=np.load, bounds=SINGLE)
        assert pixels.shape == (3, 64, 64)


def test_a_jpeg_of_many_scans_is_given_up_in_time(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (4000, 3900), "red").save(buffer, "JPEG", progressive=True)
    slow = tmp_path / "slow.jpg"
    slow.write_bytes(with_scans(buffer.getvalue(), 90))
    assert slow.stat().st_size < 3_000_000
    with pytest.raises(DataError, match="too long to open"):
        call_apart(
            "datasets.own:read_own", Whole(slow), "slow.jpg",
            load=OwnData.load, bounds=Bounds(seconds=1),
        )  # fmt: skip


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(22):
            archive.writestr(f"a/{number}.png", bytes(19 * 2**20))
    with pytest.raises(DataError, match="Unpacked, the archive is larger than 400 MB"):
        call_apart(
            "datasets.own_images:read_uploads", [("bomb.zip", bomb)], 64, 3, load=OwnImages.load
        )


def test_what_writes_too_much_or_falls_over_is_told_apart(tmp_path, monkeypatch):
    (tmp_path / "module_of_test.py").write_text(
        "import os, signal, time, numpy as np\n"
        "def write():\n"
        "    return np.zeros(2**21, np.uint8)\n"
        "def hold():\n"
        "    return bytearray(2**30)\n"
        "def die(number):\n"
        "    os.kill(os.getpid(), number)\n"
        "def sleep():\n"
        "    time.sleep(60)\n"
    )
    monkeypatch.setattr(apart, "ROOT", f"{tmp_path}{os.pathsep}{apart.ROOT}")
    for call, words in {
        ("write",): "Unpacked, this is too large",
        ("hold",): "too much memory",
        ("die", 9): "too much memory",
        ("die", 11): "it is damaged",
        ("sleep",): "too long to open",
    }.items():
        with pytest.raises(DataError, match=words):
            call_apart(
                f"module_of_test:{call[0]}", *call[1:],
                load=np.load, bounds=Bounds(seconds=1, disk=2**20),
            )  # fmt: skip


def test_one_reads_at_a_time_and_who_waits_too_long_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(apart, "PATIENCE", 0.05)
    image = image_file(tmp_path / "a.png")
    with turn(), pytest.raises(Busy, match="try again in a minute"):
        call_apart(READ_ONE, Whole(image), 64, "", load=np.load)
    assert call_apart(READ_ONE, Whole(image), 64, "", load=np.load).shape == (3, 64, 64)


def test_many_at_once_are_read_one_after_the_other(tmp_path):
    image, shapes = image_file(tmp_path / "a.png"), []

    def read() -> None:
        shapes.append(call_apart(READ_ONE, Whole(image), 64, "", load=np.load, bounds=SET).shape)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert shapes == [(3, 64, 64)] * 4

"""Folders, zips and downloads in MVTec's layout: read as they are, refused when they are bad."""

from __future__ import annotations

import io
import shutil
import stat
import tarfile
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import capsules as drawing
from datasets import defects
from datasets.capsules import KINDS, render, rendered_capsules, write_capsules
from datasets.defects import (
    GOOD,
    MVTEC_CAPSULE,
    DefectSet,
    Source,
    download,
    find_sets,
    read_folder,
    read_picture,
    read_zip,
    unpack_zip,
)
from datasets.own import DataError
from datasets.synthetic import synthetic_defects


@pytest.fixture(scope="module")
def capsules() -> DefectSet:
    return rendered_capsules(64, train=6, good=3, each=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return write_capsules(tmp_path_factory.mktemp("data") / "pills", 64, train=6, good=3, each=2)


@pytest.fixture
def folder(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "pills"))


def zipped(folder: Path, prefix: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, prefix + path.relative_to(folder).as_posix())
    return buffer.getvalue()


def with_member(name: str, data: bytes = b"x", mode: int | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        if mode is not None:
            info.external_attr = mode << 16
        archive.writestr(info, data)
    return buffer.getvalue()


def same(one: DefectSet, two: DefectSet) -> None:
    assert np.array_equal(one.train, two.train)
    assert np.array_equal(one.test, two.test)
    assert np.array_equal(one.masks, two.masks)
    assert one.kinds == two.kinds
    assert one.masked == two.masked


# -- folders ----------------------------------------------------------------------------------


def test_a_folder_is_read_as_it_was_written(capsules, folder):
    found = read_folder(folder, 64)
    assert found.name == "pills"
    assert found.train.shape == (6, 3, 64, 64)
    assert np.array_equal(found.train, capsules.train)
    assert found.defects == tuple(sorted(KINDS))
    assert found.defective.sum() == 10
    for kind in (GOOD, *KINDS):
        here = [i for i, k in enumerate(found.kinds) if k == kind]
        there = [i for i, k in enumerate(capsules.kinds) if k == kind]
        assert np.array_equal(found.test[here], capsules.test[there])
        assert np.array_equal(found.masks[here], capsules.masks[there])
    assert found.names()[0] == "crack/000.png"
    assert not found.skipped


def test_names_of_defects_are_read_not_wired_in(folder):
    (folder / "test" / "crack").rename(folder / "test" / "made up")
    (folder / "ground_truth" / "crack").rename(folder / "ground_truth" / "made up")
    found = read_folder(folder, 32)
    assert "made up" in found.defects
    assert "crack" not in found.defects
    assert found.masks[[k == "made up" for k in found.kinds]].any((1, 2)).all()
    assert found.train.shape == (6, 3, 32, 32)


def test_broken_files_are_left_out_and_named(folder):
    (folder / "train" / "good" / "001.png").write_bytes(b"not a picture")
    whole = (folder / "test" / "good" / "000.png").read_bytes()
    (folder / "test" / "good" / "000.png").write_bytes(whole[: len(whole) // 2])
    (folder / "ground_truth" / "crack" / "000_mask.png").unlink()
    (folder / "train" / "good" / "notes.txt").write_text("no picture, not named")
    found = read_folder(folder, 64)
    assert len(found.train) == 5
    assert len(found.test) == 12
    assert [s.split(":")[0] for s in found.skipped] == [
        "train/good/001.png",
        "ground_truth/crack/000_mask.png",
        "test/good/000.png",
    ]


def test_mixed_sizes_grey_deep_and_transparent_pictures_become_alike(folder):
    good = folder / "train" / "good"
    Image.new("L", (100, 40), 80).save(good / "001.png")
    Image.fromarray(np.full((30, 30), 20_560, dtype=np.uint16)).save(good / "002.png")
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(good / "003.png")
    Image.new("RGB", (64, 64), (80, 80, 80)).save(good / "006.JPG", quality=100)
    found = read_folder(folder, 64)
    assert found.train.shape == (7, 3, 64, 64)
    assert (found.train[[1, 2, 6]] == 80).all(), found.skipped
    assert (found.train[3] == 255).all()


def test_an_empty_class_is_named_and_no_folder_of_masks_means_no_masks(folder):
    (folder / "test" / "empty").mkdir()
    (folder / "ground_truth").rename(folder / "elsewhere")
    found = read_folder(folder, 64)
    assert any("test/empty" in s for s in found.skipped)
    assert not found.masked
    assert not found.masks.any()


@pytest.mark.parametrize(
    ("gone", "message"),
    [("train/good", "train/good"), ("test", "test"), ("test/good", "test needs")],
)
def test_without_its_parts_a_folder_is_refused(folder, gone, message):
    (folder / gone).rename(folder / "gone")
    with pytest.raises(DataError, match=message):
        read_folder(folder, 64)


def test_too_few_good_pictures_are_refused(folder):
    for path in sorted((folder / "train" / "good").iterdir())[3:]:
        path.unlink()
    with pytest.raises(DataError, match="holds 3 pictures"):
        read_folder(folder, 64)


def test_sets_are_found_under_the_data_roots(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("GENLAB_DATA", str(tmp_path))
    (tmp_path / "other").mkdir()
    assert find_sets()["pills"] == folder
    assert "other" not in find_sets()
    monkeypatch.setenv("GENLAB_DATA", str(tmp_path / "nowhere"))
    assert "pills" not in find_sets()


def test_a_set_saved_and_loaded_is_the_same(capsules, tmp_path):
    capsules.save(tmp_path / "data.npz")
    same(DefectSet.load(tmp_path / "data.npz"), capsules)
    data = (tmp_path / "data.npz").read_bytes()
    (tmp_path / "data.npz").write_bytes(data[:-100])
    with pytest.raises(DataError, match="damaged"):
        DefectSet.load(tmp_path / "data.npz")


def test_a_set_at_another_size_keeps_its_defects(capsules):
    small = capsules.resized(32)
    assert small.train.shape == (6, 3, 32, 32)
    assert small.masks[small.defective].any((1, 2)).all()
    assert abs(float(small.train.mean()) - float(capsules.train.mean())) < 1
    assert capsules.resized(64) is capsules


def test_arrays_that_do_not_fit_are_refused(capsules):
    for wrong in (
        {"train": capsules.train.astype(np.float32)},
        {"masks": capsules.masks[1:]},
        {"kinds": capsules.kinds[1:]},
        {"train": capsules.train[:, :, :32]},
        {"train": capsules.train[:3]},
    ):
        with pytest.raises(DataError):
            replace(capsules, **wrong)


def test_one_picture_from_its_bytes(capsules):
    buffer = io.BytesIO()
    Image.fromarray(capsules.test[0].transpose(1, 2, 0)).save(buffer, "PNG")
    assert np.array_equal(read_picture(buffer.getvalue(), 64), capsules.test[0])
    for bad in (b"", b"GIF89a", buffer.getvalue()[:500]):
        with pytest.raises(DataError):
            read_picture(bad, 64)


def test_a_picture_with_too_many_pixels_is_not_decoded(monkeypatch):
    monkeypatch.setattr(defects, "MAX_PIXELS", 100)
    buffer = io.BytesIO()
    Image.new("L", (11, 10)).save(buffer, "PNG")
    with pytest.raises(DataError, match="megapixels"):
        read_picture(buffer.getvalue(), 8)


# -- zip files --------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "capsule/"])
def test_a_zip_is_read_like_its_folder(folder, prefix):
    same(read_zip(zipped(folder, prefix), 64), read_folder(folder, 64))


@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/evil.png", "C:\\evil.png", "..\\evil.png"]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    with pytest.raises(DataError, match="leads elsewhere"):
        unpack_zip(with_member(name), inside)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_links_are_refused(tmp_path):
    with pytest.raises(DataError, match="link"):
        unpack_zip(with_member("a.png", b"/etc/passwd", stat.S_IFLNK | 0o777), tmp_path)
    assert not list(tmp_path.iterdir())


def test_bombs_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="times its size"):
        unpack_zip(with_member("a.png", bytes(2**23)), tmp_path)
    monkeypatch.setattr(defects, "MAX_UNPACKED", 1000)
    with pytest.raises(DataError, match="unpacks to more"):
        unpack_zip(with_member("a.png", bytes(1001)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path):
    data = bytearray(with_member("a.png", bytes(range(256)) * 100))
    true = (25_600).to_bytes(4, "little")
    while (at := data.find(true)) >= 0:
        data[at : at + 4] = (100).to_bytes(4, "little")
    with pytest.raises(DataError):
        unpack_zip(bytes(data), tmp_path)
    assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) <= 100


def test_too_many_files_are_refused(tmp_path, monkeypatch, folder):
    monkeypatch.setattr(defects, "MAX_FILES", 5)
    with pytest.raises(DataError, match="more than 10 files"):
        unpack_zip(zipped(folder), tmp_path / "out")


def test_what_is_no_zip_is_refused(tmp_path, folder):
    for bad in (b"", b"PK", zipped(folder)[:-200]):
        with pytest.raises(DataError, match="zip"):
            unpack_zip(bad, tmp_path / "out")
    with pytest.raises(DataError, match="train/good"):
        unpack_zip(with_member("a/b/c.png"), tmp_path / "other")


# -- download ---------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=served)) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield served, f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


def test_a_download_is_unpacked_with_progress(folder, server, tmp_path):
    served, url = server
    with tarfile.open(served / "pills.tar.xz", "w:xz") as tar:
        tar.add(folder, "pills")
    told: list[tuple[int, int]] = []
    source = Source("pills", "Pills", url + "pills.tar.xz", 5, "", "", "", "")
    root = tmp_path / "root"
    found = download(source, root, progress=lambda *done: told.append(done))
    assert found == root / "pills"
    same(read_folder(found, 64), read_folder(folder, 64))
    assert told[-1][0] == told[-1][1] == (served / "pills.tar.xz").stat().st_size
    assert [p.name for p in root.iterdir()] == ["pills"]
    (served / "pills.tar.xz").unlink()
    assert download(source, root) == found, "what is there is not fetched again"


@pytest.mark.parametrize("bad", ["missing", "link", "outside", "noise", "checksum"])
def test_a_bad_download_leaves_nothing(bad, server, tmp_path, folder):
    served, url = server
    path = served / "x.tar.xz"
    info = tarfile.TarInfo("../evil" if bad == "outside" else "a/b")
    if bad == "link":
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    if bad == "noise":
        path.write_bytes(b"no archive")
    elif bad != "missing":
        with tarfile.open(path, "w:xz") as tar:
            tar.addfile(info)
    digest = "0" * 64 if bad == "checksum" else ""
    root = tmp_path / "root"
    with pytest.raises(DataError):
        download(Source("x", "X", url + "x.tar.xz", 5, "", "", "", "", digest), root)
    assert list(root.iterdir()) == []
    assert not list(tmp_path.rglob("evil"))


def test_what_to_know_before_a_download():
    assert MVTEC_CAPSULE.megabytes > 100
    assert "CC BY-NC-SA 4.0" in MVTEC_CAPSULE.licence
    assert MVTEC_CAPSULE.url.startswith("https://")


# -- rendered capsules ------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_capsules(capsules):
    same(rendered_capsules(64, train=6, good=3, each=2), capsules)
    other = rendered_capsules(64, train=6, good=3, each=2, seed=1)
    assert not np.array_equal(other.train, capsules.train)
    more = rendered_capsules(64, train=6, good=3, each=3)
    assert np.array_equal(more.train, capsules.train)
    assert np.array_equal(more.test[:5], capsules.test[:5]), "more of a kind leaves the others"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_the_mask_is_where_the_picture_changed(kind, seed):
    """Drawn twice from the same numbers, with and without the defect."""
    rng = np.random.default_rng(seed)
    look = drawing._Look.draw(rng)
    x, y = drawing._places(192, look)
    defect = drawing._defect(kind, 192, rng, look)
    clean, nothing = drawing._scene(x, y, look, drawing._Defect())
    broken, mask = drawing._scene(x, y, look, defect)
    assert not nothing.any()
    change = np.abs(broken - clean).max(-1)
    assert (change[~mask] < 0.25).mean() > 0.998
    if mask.any():
        assert change[mask].mean() > 10 * change[~mask].mean()


@pytest.mark.parametrize("kind", KINDS)
def test_every_defect_shows(kind):
    for seed in range(10):
        picture, mask = render(kind, 64, np.random.default_rng(seed))
        assert picture.shape == (64, 64, 3)
        assert picture.dtype == np.uint8
        assert mask.any()
        assert mask.mean() < 0.15
    assert not render(GOOD, 64, np.random.default_rng(0))[1].any()


def test_good_capsules_vary_and_are_neither_black_nor_white(capsules):
    assert capsules.train.std(0).mean() > 1
    assert 100 < capsules.train.mean() < 220
    assert (capsules.train == 255).mean() < 0.02


# -- synthetic defects ------------------------------------------------------------------------


def test_synthetic_defects_change_each_picture_where_the_mask_says(capsules):
    damaged, masks = synthetic_defects(capsules.train, seed=3)
    change = np.abs(damaged.astype(int) - capsules.train).max(1)
    assert damaged.dtype == np.uint8
    assert masks.any((1, 2)).all()
    assert masks.mean() < 0.1
    assert (change[~masks] <= 9).all()
    assert (change[masks] >= 8).all()
    again, _ = synthetic_defects(capsules.train, seed=3)
    assert np.array_equal(again, damaged)
    other, _ = synthetic_defects(capsules.train, seed=4)
    assert not np.array_equal(other, damaged)


def test_synthetic_defects_work_on_any_picture():
    for flat in (np.zeros((4, 3, 16, 16), np.uint8), np.full((4, 3, 16, 16), 255, np.uint8)):
        damaged, _ = synthetic_defects(flat)
        assert damaged.shape == flat.shape
    assert len(synthetic_defects(np.zeros((0, 3, 8, 8), np.uint8))[0]) == 0

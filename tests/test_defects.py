"""Folders, zips and downloads in MVTec's layout: read as they are, refused when they are bad."""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import tarfile
import threading
import unicodedata
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
from datasets.capsules import render
from datasets.defects import (
    GOOD,
    DefectSet,
    find_sets,
    read_folder,
    read_one,
    read_test_image,
    read_zip,
)
from datasets.files import sources
from datasets.files.images import Limits
from datasets.mvtec import MVTEC_CAPSULE, Source, download
from datasets.own import DataError
from datasets.rendered.capsule_defects import KINDS
from datasets.rendered.synthetic import synthetic_defects
from datasets.rendered_sets import (
    PARTS,
    TEST_GOOD,
    rendered_capsules,
    rendered_set,
    rendered_test_image,
    write_capsules,
)


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
        "test/good/000.png",
        "ground_truth/crack/000_mask.png",
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


def test_without_good_images_to_learn_from_a_folder_is_refused(folder):
    (folder / "train" / "good").rename(folder / "gone")
    with pytest.raises(DataError, match="Expected are the folders train/good, test/good"):
        read_folder(folder, 64)


def moved(folder: Path, **places: str) -> Path:
    """The folder with others of its folders called otherwise, or gone."""
    for old, new in places.items():
        old = folder / old.replace("__", "/")
        if not new:
            shutil.rmtree(old)
            continue
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        old.rename(folder / new)
    return folder


def test_good_images_alone_are_enough(folder, tmp_path):
    whole = read_folder(folder, 32)
    one = read_folder(moved(folder, test__good=""), 32)
    assert (len(one.train), bool(one.defective.all())) == (len(whole.train), True)
    bare = read_folder(moved(folder, test="", ground_truth=""), 32)
    assert (len(bare.train), bare.test.shape) == (len(whole.train), (0, 3, 32, 32))
    flat = moved(folder, train__good="flat") / "flat"
    assert len(read_folder(flat, 32).train) == len(whole.train)
    assert len(read_zip(zipped(flat), 32).train) == len(whole.train)
    assert len(read_zip(zipped(flat, "parts/"), 32).train) == len(whole.train)
    bare.save(tmp_path / "saved.npz")
    assert len(DefectSet.load(tmp_path / "saved.npz").test) == 0


def test_other_names_for_good_and_for_the_parts_are_understood(folder):
    whole = read_folder(folder, 32)
    names = {"train__good": "Training/OK", "test": "Test", "ground_truth": "masks"}
    again = read_folder(moved(folder, **names, Test__good="Test/Normal"), 32)
    assert (again.kinds.count("good"), again.defects) == (whole.kinds.count("good"), whole.defects)
    assert again.masks.sum() == whole.masks.sum()
    assert len(again.train) == len(whole.train)


def test_folders_that_nobody_has_split(folder):
    whole = read_folder(folder, 32)
    moved(folder, train__good="Good", test__good="", **{f"test__{k}": k for k in whole.defects})
    found = read_folder(folder, 32)
    assert found.defects == whole.defects
    assert len(found.train) + found.kinds.count("good") == len(whole.train)
    assert found.kinds.count("good") == len(whole.train) // 5
    assert found.masks.any()
    shutil.rmtree(folder / "Good")
    with pytest.raises(DataError, match="good \\(also called ok or normal\\)"):
        read_folder(folder, 32)


def test_the_layouts_of_visa_and_of_loco(folder, tmp_path):
    whole = read_folder(folder, 32)
    visa = tmp_path / "visa" / "candle" / "Data"
    for old, new in (("train/good", "Images/Normal"), ("test/crack", "Images/Anomaly"),
                     ("ground_truth/crack", "Masks/Anomaly")):  # fmt: skip
        shutil.copytree(folder / old, visa / new)
    for found in (read_folder(visa.parent, 32), read_zip(zipped(visa.parent), 32)):
        assert found.defects == ("Anomaly",)
        assert len(found.train) + found.kinds.count("good") == len(whole.train)
        assert found.known.all()
        assert found.masks[found.defective].any((1, 2)).all()
    loco = moved(folder, train__good="train/good")
    shutil.copytree(loco / "test" / "good", loco / "validation" / "good")
    for mask in sorted((loco / "ground_truth" / "crack").iterdir()):
        inside = mask.with_name(mask.stem.removesuffix("_mask"))
        inside.mkdir()
        half = np.asarray(Image.open(mask)).copy()
        half[: len(half) // 2] = 0
        other = np.asarray(Image.open(mask)).copy()
        other[len(half) // 2 :] = 0
        for number, part in enumerate((half, other)):
            Image.fromarray(part).save(inside / f"{number:03d}.png")
        mask.unlink()
    found = read_folder(loco, 32)
    assert len(found.train) == len(whole.train) + whole.kinds.count("good")
    cracks = np.array(whole.kinds) == "crack"
    assert (found.masks[cracks] == whole.masks[cracks]).mean() > 0.995


def test_too_few_good_pictures_are_refused(folder):
    for path in sorted((folder / "train" / "good").iterdir())[3:]:
        path.unlink()
    with pytest.raises(DataError, match="holds 3 images"):
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
    assert np.array_equal(read_one(buffer.getvalue(), 64), capsules.test[0])
    for bad in (b"", b"GIF89a", buffer.getvalue()[:500]):
        with pytest.raises(DataError):
            read_one(bad, 64)


def test_a_picture_with_too_many_pixels_is_not_decoded(monkeypatch):
    monkeypatch.setattr(defects, "LIMITS", Limits(pixels=100))
    buffer = io.BytesIO()
    Image.new("L", (11, 10)).save(buffer, "PNG")
    with pytest.raises(DataError, match="megapixels"):
        read_one(buffer.getvalue(), 8)


# -- masks ------------------------------------------------------------------------------------

TRUTH = np.zeros((64, 64), bool)
TRUTH[20:37, 11:42] = True


def masked_set(root: Path, *names: str, mask: np.ndarray = TRUTH, image: str = "0.png") -> Path:
    """A set with one defective image and its mask under some names."""
    rng = np.random.default_rng(0)
    for place in [*(f"train/good/{i}.png" for i in range(4)), "test/good/1.png",
                  f"test/crack/{image}"]:  # fmt: skip
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(root / place)
    (root / "ground_truth" / "crack").mkdir(parents=True)
    for name in names:
        Image.fromarray(mask).save(root / "ground_truth" / name)
    return root


@pytest.mark.parametrize("name", [
    "0_mask.png", "0_mask.PNG", "0_mask.bmp", "0_mask.TIF", "0_mask.tiff", "0_mask.gif", "0.bmp",
    "0.PNG", "0_MASK.png", "0_Mask.Bmp", "0_mask.jpg", "0_mask.JPEG", "0.jfif", "0_mask.webp",
])  # fmt: skip
def test_masks_have_any_ending(tmp_path, name):
    mask = TRUTH.astype(np.uint8) * 255
    root = masked_set(tmp_path)
    buffer = io.BytesIO()
    kind = {"jpg": "JPEG", "jpeg": "JPEG", "jfif": "JPEG", "tif": "TIFF"}
    ending = name.rpartition(".")[2].lower()
    Image.fromarray(mask).save(buffer, kind.get(ending, ending))
    (root / "ground_truth" / "crack" / name).write_bytes(buffer.getvalue())
    found = read_folder(root, 64)
    assert found.skipped == ()
    assert found.known.all()
    assert (found.masks[0] != TRUTH).mean() < 0.005
    assert np.array_equal(read_test_image(root, "crack/0.png", 64)[1], found.masks[0])


def test_of_two_masks_the_one_that_says_so_is_taken_and_the_other_named(tmp_path):
    root = masked_set(tmp_path, "crack/0_mask.png", "crack/7_mask.png")
    Image.fromarray(~TRUTH).save(root / "ground_truth" / "crack" / "0.png")
    found = read_folder(root, 64)
    assert np.array_equal(found.masks[0], TRUTH)
    assert [text.split(":")[0] for text in found.skipped] == [
        "ground_truth/crack/7_mask.png",
        "ground_truth/crack/0.png",
    ]


ODD_MASKS = {
    "empty": (np.zeros((64, 64), bool), "Marks nothing", False),
    "full": (np.ones((64, 64), bool), "Marks the whole image", True),
    "half the size": (TRUTH[::2, ::2], "32 × 32 pixels for an image of 64 × 64.*resized", True),
    "twice the size": (TRUTH.repeat(2, 0).repeat(2, 1), "128 × 128 .*resized", True),
    "another shape": (TRUTH[:, :32], "32 × 64 pixels .*not used", False),
}


@pytest.mark.parametrize("case", ODD_MASKS)
def test_odd_masks_are_named(case, tmp_path):
    mask, message, known = ODD_MASKS[case]
    found = read_folder(masked_set(tmp_path, "crack/0_mask.png", mask=mask), 64)
    (text,) = found.skipped
    assert re.match(f"ground_truth/crack/0_mask.png: .*{message}", text)
    assert found.known.tolist() == [known, True]
    assert found.masks[0].any() == (known and bool(mask.any()))
    if known and not mask.all():
        assert (found.masks[0] != TRUTH).mean() < 0.03


def test_a_mask_of_a_good_image_is_named_if_it_marks_anything(tmp_path):
    root = masked_set(tmp_path, "crack/0_mask.png")
    (root / "ground_truth" / "good").mkdir()
    Image.fromarray(TRUTH & False).save(root / "ground_truth" / "good" / "1_mask.png")
    assert read_folder(root, 64).skipped == ()
    Image.fromarray(TRUTH).save(root / "ground_truth" / "good" / "1_mask.png")
    found = read_folder(root, 64)
    assert "a good image" in found.skipped[0]
    assert not found.masks[1].any()
    assert found.known.all()


def test_a_defect_of_a_single_pixel_does_not_vanish(tmp_path):
    mask = np.zeros((64, 64), bool)
    mask[40, 9] = True
    found = read_folder(masked_set(tmp_path, "crack/0_mask.png", mask=mask), 16)
    assert np.argwhere(found.masks[0]).tolist() == [[10, 2]]


def test_what_stands_elsewhere_is_named_and_junk_is_not(tmp_path):
    root = masked_set(tmp_path, "crack/0_mask.png", "0_mask.png")
    for place in ("train/good/day 1/x.png", "test/crack/deep/x.png", "test/loose.png",
                  "train/bad/x.png", "x.png", "ground_truth/crack/deep/0_mask.png"):  # fmt: skip
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / "test" / "good" / "1.png", root / place)
    honest = read_folder(root, 16)
    assert {text.split(":")[0] for text in honest.skipped} == {
        "train/good/day 1/x.png", "test/crack/deep/x.png", "test/loose.png", "train/bad/x.png",
        "x.png", "ground_truth/crack/deep/0_mask.png", "ground_truth/0_mask.png",
    }  # fmt: skip
    whole = read_zip(zipped(root), 16)
    assert {text.split(":")[0] for text in whole.skipped} == {
        "train/good/day 1/x.png", "test/crack/deep/x.png", "test/loose.png", "train/bad/x.png",
        "x.png", "ground_truth/crack/deep/0_mask.png", "ground_truth/0_mask.png",
    }  # fmt: skip
    for junk in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
        for part in ("train", "train/good", "test", "test/crack", "ground_truth", "."):
            (root / part / junk).mkdir()
            shutil.copy(root / "test" / "good" / "1.png", root / part / junk / "0.png")
    (root / "test" / "Thumbs.db").write_bytes(b"")
    (root / "test" / "crack" / "._0.png").write_bytes(b"")
    for found in (read_folder(root, 16), read_zip(zipped(root), 16)):
        same(found, honest)
        assert not any(junk in str(found.skipped) for junk in ("ipynb", "MACOSX", "eaDir", "._"))


def test_names_in_two_forms_of_unicode_belong_together(tmp_path):
    image, mask = (unicodedata.normalize(form, "é_0") for form in ("NFC", "NFD"))
    root = masked_set(tmp_path, f"crack/{mask}_mask.png", image=f"{image}.png")
    found = read_folder(root, 64)
    assert found.known.all()
    assert np.array_equal(found.masks[0], TRUTH)
    (root / "test" / "crack" / f"{image}.png").rename(root / "test" / "crack" / f"{mask}.png")
    assert np.array_equal(read_test_image(root, found.files[0], 64)[1], TRUTH)


def test_a_saved_set_is_for_everyone_to_read_and_remembers_which_masks_are_known(
    tmp_path, capsules
):
    known = capsules.known.copy()
    known[-1] = False
    old = os.umask(0o022)
    try:
        replace(capsules, known=known).save(tmp_path / "data.npz")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "data.npz").stat().st_mode) == 0o644
    assert np.array_equal(DefectSet.load(tmp_path / "data.npz").known, known)


@pytest.mark.parametrize("masked", [True, False])
def test_sets_saved_before_masks_were_known_one_by_one_are_read(tmp_path, capsules, masked):
    capsules.save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as saved:
        arrays = {name: saved[name] for name in saved.files if name != "known"}
    np.savez(tmp_path / "old.npz", masked=np.array(masked), **arrays)
    found = DefectSet.load(tmp_path / "old.npz")
    assert found.masked == masked
    assert np.array_equal(found.known, ~found.defective | masked)


# -- zip files --------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "capsule/"])
def test_a_zip_is_read_like_its_folder(folder, prefix):
    same(read_zip(zipped(folder, prefix), 64), read_folder(folder, 64))


def packed(folder: Path, *more: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    """The zip of a folder with more members."""
    buffer = io.BytesIO(zipped(folder))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for info, data in more:
            archive.writestr(info, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/evil.png", "C:\\evil.png", "..\\evil.png"]
)
def test_names_that_lead_elsewhere_are_named_and_nothing_is_written(
    folder, tmp_path, monkeypatch, name
):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    before = set(tmp_path.rglob("*"))
    found = read_zip(packed(folder, (zipfile.ZipInfo(name), b"x")), 64)
    same(found, read_folder(folder, 64))
    assert [s.split(": ")[1] for s in found.skipped] == ["A path that leads out of the archive."]
    assert set(tmp_path.rglob("*")) == before


def test_links_are_no_images(folder):
    info = zipfile.ZipInfo("train/good/link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    found = read_zip(packed(folder, (info, b"/etc/passwd")), 64)
    same(found, read_folder(folder, 64))
    assert found.skipped[0].startswith("train/good/link.png: The file is not a PNG")


def test_bombs_are_refused(folder, monkeypatch):
    bomb = zipfile.ZipInfo("train/good/bomb.png")
    found = read_zip(packed(folder, (bomb, bytes(70 * 2**20))), 64)
    assert found.skipped == ("train/good/bomb.png: The file has 64 MB, at most 64 MB are taken.",)
    monkeypatch.setattr(defects, "MAX_UNPACKED", 1000)
    with pytest.raises(DataError, match="larger"):
        read_zip(io.BytesIO(zipped(folder)), 64)


def test_a_member_that_lies_about_its_size_is_left_out(folder):
    name = "train/good/x.png"
    data = bytearray(packed(folder, (zipfile.ZipInfo(name), bytes(range(256)) * 100)))
    true = (25_600).to_bytes(4, "little")
    while (at := data.find(true)) >= 0:
        data[at : at + 4] = (100).to_bytes(4, "little")
    assert read_zip(bytes(data), 64).skipped[0].startswith(f"{name}: ")


def test_too_many_files_are_refused(monkeypatch, folder):
    monkeypatch.setattr(sources, "MAX_FILES", 5)
    with pytest.raises(DataError, match="more than 10 files"):
        read_zip(zipped(folder), 64)
    with pytest.raises(DataError, match="At most 5 files"):
        read_folder(folder, 64)


def test_what_is_no_zip_or_no_set_is_refused(folder, tmp_path):
    for bad in (b"", b"PK", zipped(folder)[:-200]):
        with pytest.raises(DataError, match="zip"):
            read_zip(bad, 64)
    with pytest.raises(DataError, match="train/good"):
        read_zip(packed(tmp_path / "none", (zipfile.ZipInfo("a/b/c.png"), b"")), 64)
    twice = zipped(folder, "a/"), zipped(folder, "b/")
    buffer = io.BytesIO(twice[0])
    with zipfile.ZipFile(buffer, "a") as archive, zipfile.ZipFile(io.BytesIO(twice[1])) as other:
        for name in other.namelist():
            archive.writestr(name, other.read(name))
    with pytest.raises(DataError, match="several sets: a, b"):
        read_zip(buffer.getvalue(), 64)


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
    assert told[0][0] <= (served / "pills.tar.xz").stat().st_size < told[-1][1]
    assert told[-1][0] == told[-1][1] == 5 * 2**20
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
    look = drawing.Look.draw(rng)
    x, y = drawing.places(192, look)
    defect = drawing.draw_defect(kind, 192, rng, look)
    clean, nothing = drawing._scene(x, y, look, drawing.Defect())
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


# -- the other rendered parts -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rendered_bottle", "rendered_textile"])
def test_other_parts_are_drawn_with_masks_of_what_changed(name):
    one, same_again = (rendered_set(name, 48, train=4, good=2, each=2) for _ in range(2))
    same(one, same_again)
    assert len(one.defects) == len(PARTS[name].kinds)
    assert one.masks[one.defective].any((1, 2)).all()
    assert not one.masks[~one.defective].any()
    assert one.masks.mean() < 0.1
    assert one.train.std(0).mean() > 1, "no two lie alike"
    image, mask = rendered_test_image(name, TEST_GOOD, 48)
    assert np.array_equal(image, one.test[2])
    assert np.array_equal(mask, one.masks[2])


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

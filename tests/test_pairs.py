"""Two sets without pairs: built in, downloaded or the user's own, whole or refused."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import own_images, own_pairs, pairs
from datasets.files.stacks import parted
from datasets.images import DataMissing
from datasets.own import DataError
from datasets.own_pairs import (
    OwnPairs,
    pair_folders,
    read_pairs_folder,
    read_pairs_zip,
    read_two_folders,
    read_two_sets,
    set_folders,
)
from datasets.pairs import PAIRS, download, is_here, load_pairs

PARTS = ("trainA", "trainB", "testA", "testB")


def image(colour=(200, 40, 30), size=(40, 30), mode="RGB", form="JPEG", **options) -> bytes:
    image = Image.new("RGB", size, colour)
    image.paste((255, 255, 255), (0, 0, size[0] // 2, size[1] // 2))
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def layout(counts=(8, 6, 2, 3), inside="set/") -> dict[str, bytes]:
    """Files of a set in the paper's layout."""
    return {
        f"{inside}{part}/{i}.jpg": image((20 * k, 30 * i % 255, 90))
        for k, (part, count) in enumerate(zip(PARTS, counts, strict=True))
        for i in range(count)
    }


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def written(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root / "set"


def test_rendered_fruits_are_always_there():
    fruits = load_pairs("fruits", 32)
    assert is_here("fruits")
    assert fruits.train_a.shape == fruits.train_b.shape == (pairs.TRAIN, 3, 32, 32)
    assert fruits.test_a.shape == (pairs.TEST, 3, 32, 32)
    assert fruits.masks_a.shape == fruits.masks_b.shape == (pairs.TEST, 32, 32)
    assert fruits.size == 32
    assert load_pairs("fruits", 32).train_a is fruits.train_a


# -- the user's own ----------------------------------------------------------------------------


def test_the_papers_layout_is_read_from_a_folder_and_a_zip(tmp_path):
    files = layout()
    folder = read_pairs_folder(written(tmp_path, files), 32)
    archive = read_pairs_zip(packed(files), "mine.zip", 32)
    for own in (folder, archive):
        counts = [len(part) for part in (own.train_a, own.train_b, own.test_a, own.test_b)]
        assert counts == [8, 6, 2, 3], "the two sets need not have the same size"
        assert own.size == 32
    assert np.array_equal(folder.train_a, archive.train_a)
    assert np.array_equal(folder.test_b, archive.test_b)


def test_without_test_folders_a_fifth_of_each_is_held_out(tmp_path):
    files = layout((10, 15, 0, 0))
    own = read_pairs_folder(written(tmp_path, files), 32)
    assert [len(own.train_a), len(own.test_a)] == [8, 2]
    assert [len(own.train_b), len(own.test_b)] == [12, 3]


TWO = {
    "two folders": ("horse", "zebra"),
    "folders around them": ("a/b/horse", "a/b/zebra"),
    "a part to test on": ("train/horse", "train/zebra", "test/horse", "test/zebra"),
}


@pytest.mark.parametrize("places", TWO.values(), ids=TWO)
def test_any_two_folders_are_two_sets_that_are_called_like_them(places, tmp_path):
    counts = {place: 7 + i for i, place in enumerate(places)}
    files = {
        f"{place}/{i}.png": image((40 * len(place), 30 * i, 90), form="PNG")
        for place, count in counts.items()
        for i in range(count)
    }
    archive = read_pairs_zip(packed(files), "mine.zip", 32)
    written(tmp_path, files)
    folder = read_pairs_folder(tmp_path / ("a/b" if places[0].startswith("a") else ""), 32)
    for own in (archive, folder):
        assert own.domains == ("horse", "zebra")
        counted = [len(part) for part in (own.train_a, own.train_b, own.test_a, own.test_b)]
        assert counted == ([7, 8, 9, 10] if len(places) == 4 else [6, 7, 1, 1])
    assert np.array_equal(archive.train_b, folder.train_b)


def test_two_folders_in_two_places_are_two_sets(tmp_path):
    some = [image((30 * i, 9, 9), form="PNG") for i in range(8)]
    written(tmp_path, {f"x/horse/{i}.png": data for i, data in enumerate(some[:7])})
    written(tmp_path, {f"y/zebra/{i}.png": data for i, data in enumerate(some)})
    (tmp_path / "zebras.zip").write_bytes(
        packed({f"deep/{i}.png": data for i, data in enumerate(some)})
    )
    horse, zebra = tmp_path / "x" / "horse", tmp_path / "y" / "zebra"
    own = read_two_folders(horse, zebra, 32)
    assert own.domains == ("horse", "zebra")
    assert own.name == "horse and zebra"
    other = read_two_folders(tmp_path / "zebras.zip", horse, 32)
    assert other.domains == ("zebras", "horse"), "the first is A"
    assert np.array_equal(other.train_a, own.train_b)
    with pytest.raises(DataError, match=r"no such folder|no file"):
        read_two_folders(horse, tmp_path / "nowhere", 32)


def test_a_and_b_can_be_named_and_are_never_named_alike(tmp_path):
    files = [(f"{i}.jpg", image((20 * i, 0, 90))) for i in range(8)]
    own = read_two_sets(files, files, 32)
    assert own.domains == ("A", "B")
    zips = [[(f"{name}.ZIP", packed(dict(files)))] for name in ("my cats", "dogs")]
    assert read_two_sets(*zips, 32).domains == ("my cats", "dogs")
    assert own.called(" day  light ", "").domains == ("day light", "B")
    assert own.called("dog", "dog").domains == ("dog (A)", "dog (B)")
    assert own.called("ü" * 99, "b").domains == ("ü" * 40, "b")


def exif_rotated() -> bytes:
    image = Image.new("RGB", (40, 30), (0, 0, 200))
    image.paste((255, 255, 0), (0, 0, 40, 15))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, quality=95)
    return buffer.getvalue()


def test_images_of_every_kind_are_taken_and_the_others_named():
    odd = [
        ("grey.png", image(mode="L", form="PNG")),
        ("clear.png", image(mode="RGBA", form="PNG")),
        ("turned.jpg", exif_rotated()),
        ("tall.jpg", image(size=(30, 90))),
    ]
    bad = [
        ("huge.png", image(size=(5000, 4000), form="PNG")),
        ("text.png", b"no image"),
        ("cut.jpg", image(size=(400, 300), quality=95)[:700]),
        ("empty.jpg", b""),
    ]
    more = [(f"{i}.jpg", image((20 * i, 0, 90))) for i in range(6)]
    own = read_two_sets([*odd, *bad, *more], more, 32)
    assert len(own.train_a) + len(own.test_a) == 10
    assert len(own.skipped) == 4
    for name, _ in bad:
        assert sum(name in line for line in own.skipped) == 1
    stack = np.concatenate([own.train_a, own.test_a])
    # The image that is stored upside down is yellow below, blue above, once it stands upright.
    upright = [im for im in stack if im[2, :8].mean() > 150 and im[0, -8:].mean() > 200]
    assert len([im for im in upright if im[0, :8].mean() < 60]) == 1
    # And grey became three equal channels.
    assert any((im[0] == im[1]).all() and (im[1] == im[2]).all() for im in stack)


def test_sets_that_cannot_be_used_are_refused_in_a_sentence(tmp_path):
    good = [(f"{i}.jpg", image((20 * i, 0, 90))) for i in range(8)]
    one = good[:1]
    with pytest.raises(DataError, match=r"Set B has 1 images.*at least 6"):
        read_two_sets(good, one, 32)
    with pytest.raises(DataError, match=r"Set A has 0 .*Left out: a\.png"):
        read_two_sets([("a.png", b"no")], good, 32)
    with pytest.raises(DataError, match=r"two folders.*found: cats, dogs, fish\."):
        three = {f"{name}/1.jpg": image() for name in ("cats", "dogs", "fish")}
        read_pairs_zip(packed(three), "a.zip", 32)
    with pytest.raises(DataError, match=r"two folders.*found: none\."):
        read_pairs_zip(packed({"1.jpg": image(), "2.jpg": image()}), "a.zip", 32)
    with pytest.raises(DataError, match="zip archive"):
        read_pairs_zip(b"PK no archive", "a.zip", 32)
    with pytest.raises(DataError, match="Set A has 1"):
        read_pairs_folder(written(tmp_path, layout((1, 8, 0, 0))), 32)
    with pytest.raises(DataError, match=r"cannot be read|trainA"):
        read_pairs_folder(tmp_path / "nowhere", 32)


def test_own_sets_are_saved_and_checked_again(tmp_path):
    good = [(f"{i}.jpg", image((20 * i, 0, 90))) for i in range(8)]
    own = read_two_sets(good, good, 32)
    path = tmp_path / "data.npz"
    own.save(path)
    again = OwnPairs.load(path)
    assert again.domains == own.domains
    for part in ("train_a", "train_b", "test_a", "test_b"):
        assert np.array_equal(getattr(again, part), getattr(own, part))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="damaged"):
        OwnPairs.load(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_a": np.zeros((8, 1, 32, 32), np.uint8)}, "RGB"),
        ({"train_a": np.zeros((8, 3, 32, 32), np.float32)}, "8 bits"),
        ({"test_b": np.zeros((2, 3, 16, 16), np.uint8)}, "same size"),
        ({"train_b": np.zeros((4, 3, 32, 32), np.uint8)}, "Set B"),
        ({"test_a": np.zeros((0, 3, 32, 32), np.uint8)}, "Set A"),
        ({"domains": ("one",)}, "two sets"),
    ],
)
def test_arrays_that_are_not_two_sets_are_refused(changes, words):
    blank = [np.zeros((n, 3, 32, 32), np.uint8) for n in (8, 8, 2, 2)]
    own = OwnPairs(*blank, ("A", "B"), "mine")
    with pytest.raises(DataError, match=words):
        replace(own, **changes)


def test_own_sets_are_of_the_size_that_is_trained():
    blank = [np.zeros((n, 3, 32, 32), np.uint8) for n in (8, 8, 2, 2)]
    own = OwnPairs(*blank, ("A", "B"), "mine")
    assert load_pairs("own", 32, own).train_a.shape == (8, 3, 32, 32)
    with pytest.raises(DataError, match="32 pixels a side, not 64"):
        load_pairs("own", 64, own)
    with pytest.raises(DataMissing, match="upload"):
        load_pairs("own", 64)
    with pytest.raises(ValueError, match="fruits"):
        load_pairs("cats", 64)


# -- what lies below a data root, and downloads --------------------------------------------------


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A data root of its own, and no others."""
    for module in (pairs, own_pairs, own_images):
        monkeypatch.setattr(module, "data_roots", lambda: [tmp_path])
    pairs._known.cache_clear()
    return tmp_path


def test_a_folder_below_a_root_is_a_set(root):
    with pytest.raises(DataMissing, match=r"78 MB.*GENLAB_DATA"):
        load_pairs("apple2orange", 32)
    assert not is_here("apple2orange")
    written(root, layout(inside="apple2orange/"))
    assert is_here("apple2orange")
    assert pair_folders() == [root / "apple2orange"]
    loaded = load_pairs("apple2orange", 32)
    assert [len(x) for x in (loaded.train_a, loaded.train_b)] == [8, 6]
    assert loaded.domains == ("apple", "orange")
    assert loaded.masks_a is None


def test_any_two_folders_below_a_root_are_offered(root):
    names = ("horse", "zebra", "deep/one", "deep/two", "three/a", "three/b", "three/c")
    for name in (*names, ".hidden/a", "_made/b"):
        written(root, {f"{name}/1.png": image(form="PNG")})
    (root / "empty").mkdir()
    assert pair_folders() == [root / "deep"]
    assert [str(path.relative_to(root)) for path in set_folders()] == [
        "horse",
        "zebra",
        *names[2:],
    ]


def test_images_added_later_are_seen(root):
    written(root, layout(inside="apple2orange/"))
    assert len(load_pairs("apple2orange", 32).train_a) == 8
    first = next((root / "apple2orange" / "trainA").iterdir())
    (first.parent / "later.png").write_bytes(first.read_bytes())
    assert len(load_pairs("apple2orange", 32).train_a) == 9
    assert load_pairs("apple2orange", 32) is load_pairs("apple2orange", 32)


def test_a_set_that_does_not_fit_into_memory_is_thinned_and_says_so(root, monkeypatch):
    written(root, layout(inside="apple2orange/"))
    monkeypatch.setattr(pairs, "MAX_LOADED", 10 * 3 * 32 * 32)
    loaded = load_pairs("apple2orange", 32)
    parts = (loaded.train_a, loaded.train_b, loaded.test_a, loaded.test_b)
    assert sum(map(len, parts)) == 10
    assert all(map(len, parts))
    assert "9 more were left out" in loaded.note


class Server:
    """Serves one file; it may break off, or send something else."""

    def __init__(self, data: bytes) -> None:
        self.data, self.asked, self.whole = data, 0, True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(outer.data)))
                self.end_headers()
                half = len(outer.data) // 2
                self.wfile.write(outer.data if outer.whole else outer.data[:half])

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        serve = self.server.serve_forever
        threading.Thread(target=serve, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    data = packed(layout(inside="apple2orange/"))
    digest = hashlib.sha256(data).hexdigest()
    source = replace(PAIRS["apple2orange"], bytes=len(data), sha256=digest)
    monkeypatch.setitem(PAIRS, "apple2orange", source)
    server = Server(data)
    yield server
    server.close()


def test_a_download_is_read_without_unpacking(root, server):
    told: list[tuple[int, int]] = []
    download("apple2orange", lambda *seen: told.append(seen), into=root, mirrors=[server.url])
    assert told[-1] == (len(server.data), len(server.data))
    assert is_here("apple2orange")
    loaded = load_pairs("apple2orange", 32)
    assert [len(x) for x in (loaded.train_a, loaded.test_b)] == [8, 3]
    assert [path.name for path in root.rglob("*.jpg")] == []
    download("apple2orange", into=root, mirrors=[server.url])
    assert server.asked == 1, "what is there and whole is kept"


def test_a_download_that_breaks_off_leaves_nothing_that_looks_whole(root, server):
    server.whole = False
    with pytest.raises(DataError, match="could not be downloaded"):
        download("apple2orange", into=root, mirrors=[server.url], timeout=5)
    assert not is_here("apple2orange")
    assert list(root.rglob("*.zip")) == []
    server.whole = True
    download("apple2orange", into=root, mirrors=[server.url])
    assert is_here("apple2orange")


def test_another_file_than_expected_is_refused(root, server):
    server.data = server.data[:-1] + b"!"
    with pytest.raises(DataError, match="checksum"):
        download("apple2orange", into=root, mirrors=[server.url])
    assert not is_here("apple2orange")


def test_a_cut_off_archive_that_somebody_left_is_no_set(root, server):
    (root / "cyclegan").mkdir()
    (root / "cyclegan" / "apple2orange.zip").write_bytes(server.data[: len(server.data) // 2])
    assert not is_here("apple2orange")
    download("apple2orange", into=root, mirrors=[server.url])
    assert is_here("apple2orange")


def test_an_image_that_is_damaged_in_the_archive_is_left_out(root, server, monkeypatch):
    download("apple2orange", into=root, mirrors=[server.url])
    path = root / "cyclegan" / "apple2orange.zip"
    data = bytearray(path.read_bytes())
    place = data.find(b"\xff\xd8") + 300
    data[place] ^= 255
    path.write_bytes(data)
    assert len(load_pairs("apple2orange", 32).train_a) == 7


def test_there_is_something_to_read_about_every_set():
    for name, source in PAIRS.items():
        assert source.title
        assert source.about.endswith(".")
        assert source.built_in == (name == "fruits") == (source.sha256 == "")
        assert source.built_in or len(source.sha256) == 64


def test_parts_are_split_within_their_array():
    rng = np.random.default_rng(0)
    for count in (0, 1, 7, 300):
        images, part = rng.normal(size=(count, 3)), rng.integers(0, 4, count)
        expected = [images[part == number] for number in range(4)]
        found = parted(images, part, 4)
        for one, other in zip(expected, found, strict=True):
            assert np.array_equal(one, other)
            assert not len(other) or np.shares_memory(other, images)

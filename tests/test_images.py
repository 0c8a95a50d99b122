"""Sets of images come whole, from where they should, or not at all; nothing is unpickled unseen."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets import images
from datasets.files import sources
from datasets.images import IMAGES, DataMissing, download, is_here, load_images
from datasets.own import DataError
from datasets.own_images import (
    fixed_fifth,
)

REPOSITORY = Path(__file__).resolve().parents[1]
MNIST_FILES = [
    f"{part}-{kind}-ubyte.gz"
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]


@pytest.fixture(scope="module")
def real() -> Path:
    """The folder with MNIST's four original files."""
    for root in os.environ.get("GENLAB_DATA", "").split(os.pathsep):
        folder = Path(root) / "MNIST" / "raw"
        if root and all((folder / file).is_file() for file in MNIST_FILES):
            return folder
    pytest.skip("GENLAB_DATA names no folder with MNIST/raw/*.gz")


def assert_sentence(error: BaseException) -> None:
    text = str(error)
    assert text.endswith(".")
    assert "\n" not in text


# What is built in


@pytest.mark.parametrize(
    "name, shape, sizes",
    [
        ("digits", (1, 28, 28), (4000, 1000)),
        ("digits8", (1, 8, 8), (1438, 359)),
    ],
)
def test_built_in_sets(name, shape, sizes):
    assert is_here(name)
    assert IMAGES[name].built_in
    data = load_images(name)
    assert data.shape == shape
    assert (len(data.train), len(data.test)) == sizes
    assert (len(data.train_labels), len(data.test_labels)) == sizes
    assert data.train.dtype == data.test.dtype == torch.uint8
    assert data.train_labels.dtype == torch.int64
    assert data.train.min() == 0
    assert data.train.max() == 255
    assert data.classes == tuple("0123456789")
    assert data.note
    # The split is stratified, and no test image is in the training part.
    share = data.test_labels.bincount() / (
        data.test_labels.bincount() + data.train_labels.bincount()
    )
    assert share.min() > 0.19
    assert share.max() < 0.21
    train = {image.numpy().tobytes() for image in data.train}
    assert sum(image.numpy().tobytes() in train for image in data.test) == 0
    assert load_images(name) is data


def test_digits_are_mnists_own(real):
    packed = gzip.decompress((real / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((real / "train-labels-idx1-ubyte.gz").read_bytes())[8:]
    known = {packed[784 * i : 784 * (i + 1)]: label for i, label in enumerate(labels)}
    data = load_images("digits")
    found = torch.cat([data.train, data.test]).numpy()
    expected = torch.cat([data.train_labels, data.test_labels]).tolist()
    assert [known[image.tobytes()] for image in found] == expected


def test_digits8_keep_their_17_levels():
    from sklearn.datasets import load_digits

    data = load_images("digits8")
    levels = torch.cat([data.train, data.test]).unique()
    assert len(levels) == 17
    ours = sorted(
        (torch.cat([data.train, data.test]).double() * 16 / 255).round().sum((1, 2, 3)).tolist()
    )
    assert ours == sorted(load_digits().images.sum((1, 2)).tolist())


def test_digits_are_read_once_and_a_damaged_cache_is_made_anew(tmp_path):
    expected = load_images("digits").test
    path = tmp_path / "digits.npz"
    path.write_bytes(b"damaged")
    assert torch.equal(images._digits(tmp_path).test, expected)
    written = path.stat()
    assert written.st_size > 3_900_000
    assert torch.equal(images._digits(tmp_path).test, expected)
    assert path.stat().st_mtime_ns == written.st_mtime_ns


def test_digits_need_no_folder_that_can_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert len(images._digits(tmp_path / "file").train) == 4000


def test_fixed_fifth():
    labels = np.repeat([0, 1, 2], [50, 25, 7])
    held_out = fixed_fifth(labels)
    assert held_out.sum() == 16
    assert np.bincount(labels[held_out]).tolist() == [10, 5, 1]
    assert np.array_equal(held_out, fixed_fifth(labels))


def test_batches_come_from_the_generator_alone():
    data = load_images("digits8")
    x, y = data.batch(5000, torch.Generator().manual_seed(1))
    again, _ = data.batch(5000, torch.Generator().manual_seed(1))
    other, _ = data.batch(5000, torch.Generator().manual_seed(2))
    assert x.shape == (5000, 1, 8, 8)
    assert x.dtype == torch.uint8
    assert torch.equal(x, again)
    assert not torch.equal(x, other)
    label = {image.numpy().tobytes(): int(c) for image, c in zip(data.train, data.train_labels)}
    assert [label[image.numpy().tobytes()] for image in x] == y.tolist()  # test images: KeyError
    assert len({image.numpy().tobytes() for image in x}) > 0.9 * len(data.train)


def test_pad_to():
    data = load_images("digits")
    padded = data.pad_to(32)
    assert padded.shape == (1, 32, 32)
    assert torch.equal(padded.test[:, :, 2:30, 2:30], data.test)
    assert padded.test.sum() == data.test.sum()
    assert torch.equal(padded.train_labels, data.train_labels)
    assert data.pad_to(29, value=255).train[:, :, 28].min() == 255
    assert data.pad_to(28) is data
    with pytest.raises(ValueError, match="at least 28"):
        data.pad_to(27)


def test_to_moves_everything():
    moved = load_images("digits8").to("meta")
    for tensor in (moved.train, moved.train_labels, moved.test, moved.test_labels):
        assert tensor.device.type == "meta"


def test_unknown_names():
    for call in (load_images, is_here, download):
        with pytest.raises(ValueError, match="cifar10"):
            call("cifar11")


# What lies on the disk


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def put_mnist(root: Path, packed: bool = True, folder: str = "MNIST") -> dict[str, np.ndarray]:
    """Lay down four files in torchvision's layout: 12 and 7 images of noise."""
    rng = np.random.default_rng(0)
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    arrays = {}
    for part, n in (("train", 12), ("t10k", 7)):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 28, 28))
        arrays[f"{part}-labels-idx1-ubyte"] = rng.integers(0, 10, n)
    for name, array in arrays.items():
        path = raw / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return arrays


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A folder that GENLAB_DATA names; the project's own comes after it."""
    monkeypatch.setenv("GENLAB_DATA", str(tmp_path))
    return tmp_path


def test_files_that_change_are_read_again(root):
    put_mnist(root, packed=False)
    assert len(load_images("mnist").train) == 12
    assert load_images("mnist") is load_images("mnist")
    raw = root / "MNIST" / "raw"
    (raw / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((9, 28, 28))))
    (raw / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(9)))
    assert len(load_images("mnist").train) == 9


@pytest.mark.parametrize("name, folder", [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
@pytest.mark.parametrize("packed", [True, False])
def test_torchvisions_layout_is_used_as_it_is(root, name, folder, packed):
    arrays = put_mnist(root, packed, folder)
    before = sorted(root.rglob("*"))
    assert is_here(name)
    data = load_images(name)
    assert np.array_equal(data.train[:, 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(data.test[:, 0], arrays["t10k-images-idx3-ubyte"])
    assert np.array_equal(data.train_labels, arrays["train-labels-idx1-ubyte"])
    assert np.array_equal(data.test_labels, arrays["t10k-labels-idx1-ubyte"])
    assert len(data.classes) == 10
    assert sorted(root.rglob("*")) == before


def test_real_mnist(real):
    data = load_images("mnist")
    assert data.train.shape == (60_000, 1, 28, 28)
    assert data.test.shape == (10_000, 1, 28, 28)
    assert data.train_labels.bincount().tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949
    ]  # fmt: skip
    assert (data.train.double() / 255).mean() == pytest.approx(0.1307, abs=1e-4)


DAMAGE = {
    "truncated": ("train-images-idx3-ubyte.gz", lambda data: data[:-30]),
    "empty": ("t10k-labels-idx1-ubyte.gz", lambda data: b""),
    "a web page": ("t10k-images-idx3-ubyte.gz", lambda data: b"<html>not found</html>"),
    "a packed web page": ("t10k-images-idx3-ubyte.gz", lambda data: gzip.compress(b"<html>")),
    "a flipped bit": (
        "t10k-images-idx3-ubyte.gz",
        lambda d: d[:900] + bytes([d[900] ^ 1]) + d[901:],
    ),
    "other labels": ("train-labels-idx1-ubyte.gz", lambda d: gzip.compress(idx(np.zeros(3)))),
    "labels above 9": ("train-labels-idx1-ubyte.gz", lambda d: gzip.compress(idx(np.full(12, 10)))),
    "sizes that lie": (
        "train-images-idx3-ubyte.gz",
        lambda d: gzip.compress(idx(np.zeros((12, 28, 28)))[:-1]),
    ),
    "negative sizes": (
        "train-labels-idx1-ubyte.gz",
        lambda d: gzip.compress(b"\0\0\x08\x01" + b"\xff" * 4),
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files_are_named(root, case):
    name, damage = DAMAGE[case]
    put_mnist(root)
    path = root / "MNIST" / "raw" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"train-|t10k-") as caught:
        load_images("mnist")
    assert str(root) in str(caught.value)
    assert not isinstance(caught.value, DataMissing)
    assert_sentence(caught.value)


def test_a_truncated_unpacked_file_is_named_and_a_packed_one_beside_it_wins(root):
    arrays = put_mnist(root, packed=False)
    path = root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    path.write_bytes(whole[:-500])  # torchvision, killed while unpacking
    with pytest.raises(DataError, match="train-images-idx3-ubyte is damaged"):
        load_images("mnist")
    path.with_suffix(".gz").write_bytes(gzip.compress(whole))
    assert np.array_equal(load_images("mnist").train[:, 0], arrays["train-images-idx3-ubyte"])


def test_a_good_copy_in_a_later_root_is_used(tmp_path, monkeypatch):
    for name in ("first", "second"):
        put_mnist(tmp_path / name)
    roots = (tmp_path / "none", tmp_path / "first", tmp_path / "second")
    monkeypatch.setenv("GENLAB_DATA", os.pathsep.join(map(str, roots)))
    assert sources.data_roots() == [*roots[1:], sources.PROJECT]
    (tmp_path / "first" / "MNIST" / "raw" / MNIST_FILES[0]).write_bytes(b"")
    assert str(tmp_path / "second") in load_images("mnist").note


def missing(name: str) -> None:
    if is_here(name):
        pytest.skip(f"{name} lies in the project's own folder")


@pytest.mark.parametrize("value", ["/nowhere/at/all", "", os.pathsep])
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_missing_sets_say_what_to_do(monkeypatch, value, name):
    monkeypatch.setenv("GENLAB_DATA", value)
    assert sources.data_roots() == [sources.PROJECT]
    missing(name)
    with pytest.raises(DataMissing, match=r"download it \(\d+ MB\).* GENLAB_DATA") as caught:
        load_images(name)
    assert_sentence(caught.value)


@pytest.mark.parametrize("file", MNIST_FILES)
def test_three_of_four_files_are_not_a_set(root, file):
    put_mnist(root)
    (root / "MNIST" / "raw" / file).unlink()
    missing("mnist")
    with pytest.raises(DataMissing):
        load_images("mnist")


# CIFAR-10: pickles


def batch(n: int, seed: int) -> bytes:
    """A batch as Python 2 pickled it, with the old names and integers in numpy's types."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
    pickled = pickle.dumps({"data": data, "labels": rng.integers(0, 10, n).tolist()}, 2)
    old = pickled.replace(b"numpy._core", b"numpy.core")
    return old.replace(b"\x89\x88\x87R", b"K\x00K\x01\x87R")


BATCHES = {f"data_batch_{i}": batch(4, i) for i in range(1, 6)} | {"test_batch": batch(3, 6)}
SUMS = {name: hashlib.md5(data).hexdigest() for name, data in BATCHES.items()}


def put_cifar(root: Path, packed: bool, batches: dict[str, bytes] = BATCHES) -> None:
    if not packed:
        (root / "cifar-10-batches-py").mkdir(parents=True)
        for name, data in batches.items():
            (root / "cifar-10-batches-py" / name).write_bytes(data)
        return
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as archive:
        for name in sorted(batches, reverse=True):  # in the real one they are out of order, too
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(batches[name])
            archive.addfile(member, io.BytesIO(batches[name]))


@pytest.mark.parametrize("packed", [False, True])
def test_cifar_batches(root, packed):
    put_cifar(root, packed)
    assert is_here("cifar10")
    data = images.read_cifar(root, SUMS)
    assert data.train.shape == (20, 3, 32, 32)
    assert data.test.shape == (3, 3, 32, 32)
    third = np.random.default_rng(3)
    pixels = third.integers(0, 256, (4, 3072), dtype=np.uint8)
    assert np.array_equal(data.train[8:12].reshape(4, -1), pixels)
    assert data.train_labels[8:12].tolist() == third.integers(0, 10, 4).tolist()
    assert data.classes[3] == "cat"
    if packed:
        assert not (root / "cifar-10-batches-py").exists()


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("packed", [False, True])
def test_a_pickle_with_another_checksum_is_not_opened(root, packed):
    mark = root / "mark"
    evil = pickle.dumps(Evil(mark))
    pickle.loads(evil)
    assert mark.exists()  # it would have worked
    mark.unlink()
    put_cifar(root, packed, BATCHES | {"data_batch_1": evil})
    for load in (lambda: load_images("cifar10"), lambda: images.read_cifar(root, SUMS)):
        with pytest.raises(DataError, match=r"data_batch_1.*checksum.*not opened") as caught:
            load()
        assert_sentence(caught.value)
    assert not mark.exists()


def test_a_truncated_archive_is_named(root):
    put_cifar(root, packed=True)
    path = root / "cifar-10-python.tar.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"tar\.gz is damaged"):
        load_images("cifar10")


def test_a_whole_archive_stands_in_for_a_damaged_folder(root):
    put_cifar(root, packed=True)
    put_cifar(root, packed=False, batches=BATCHES | {"data_batch_2": b""})
    assert len(images.read_cifar(root, SUMS).train) == 20


# Downloads, from a server on this machine


class Handler(BaseHTTPRequestHandler):
    """Serves files below /good/; elsewhere does what servers do on a bad day."""

    def do_GET(self) -> None:
        _, kind, name = self.path.split("/", 2)
        self.server.asked.append(self.path)
        if kind == "silent":
            self.server.over.wait(30)
            return
        if kind == "none":
            self.send_error(404)
            return
        data = (self.server.folder / name).read_bytes() if kind != "page" else b"<html>busy</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if kind == "cut":
            data = data[: len(data) // 2]
        if kind == "slow":
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.server.over.wait(30)
            return
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving.folder, serving.asked, serving.over = tmp_path, [], threading.Event()
    serving.url = f"http://127.0.0.1:{serving.server_port}"
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield serving
    serving.over.set()
    serving.shutdown()
    serving.server_close()
    thread.join()


@pytest.fixture
def mnist_server(server, real):
    server.folder = real
    return server


def visible(folder: Path) -> list[str]:
    """Names of the files below a folder, but locks."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".lock"))


def test_download(mnist_server, tmp_path, monkeypatch):
    seen: list[tuple[int, int]] = []
    mirrors = [f"{mnist_server.url}/none/", f"{mnist_server.url}/cut/", f"{mnist_server.url}/good/"]
    download("mnist", lambda *pair: seen.append(pair), into=tmp_path, mirrors=mirrors)
    assert visible(tmp_path) == sorted(MNIST_FILES)
    assert {total for _, total in seen} == {11_594_722}
    assert seen[-1][0] == 11_594_722
    assert max(done for done, _ in seen) == 11_594_722
    assert len(seen) > 20

    monkeypatch.setenv("GENLAB_DATA", str(tmp_path))
    assert len(load_images("mnist").train) == 60_000

    mnist_server.asked.clear()
    download("mnist", into=tmp_path, mirrors=mirrors[2:])
    assert mnist_server.asked == []  # all there
    (tmp_path / "MNIST" / "raw" / MNIST_FILES[3]).write_bytes(b"damaged")
    download("mnist", into=tmp_path, mirrors=mirrors[2:])
    assert mnist_server.asked == [f"/good/{MNIST_FILES[3]}"]


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


BAD_MIRRORS = {
    "none": r"127\.0\.0\.1 answered with error 404",
    "page": r"127\.0\.0\.1 sent another file .* wrong checksum",
    "silent": r"127\.0\.0\.1 timed out",
}


@pytest.mark.parametrize("kind", BAD_MIRRORS)
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_bad_mirrors_end_in_a_sentence(server, tmp_path, kind, name):
    with pytest.raises(DataError, match=BAD_MIRRORS[kind]) as caught:
        download(name, into=tmp_path, mirrors=[f"{server.url}/{kind}/"], timeout=0.3)
    assert_sentence(caught.value)
    assert str(caught.value).startswith(f"{IMAGES[name].title} could not be downloaded: ")
    assert visible(tmp_path) == []


@pytest.mark.parametrize("kind", ["cut", "slow"])
def test_a_connection_that_breaks_off_leaves_nothing(mnist_server, tmp_path, kind):
    with pytest.raises(DataError, match=r"127\.0\.0\.1 (sent|broke|timed out)"):
        download("mnist", into=tmp_path, mirrors=[f"{mnist_server.url}/{kind}/"], timeout=0.3)
    assert visible(tmp_path) == []


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    mirrors = [f"http://127.0.0.1:{closed_port()}/", "http://no-such-host.invalid/"]
    with pytest.raises(DataError, match=r"refused the connection; no-such-host\.invalid") as caught:
        download("mnist", into=tmp_path, mirrors=mirrors, timeout=5)
    assert_sentence(caught.value)
    assert visible(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "MNIST").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be saved in") as caught:
        download("mnist", into=tmp_path, mirrors=[])
    assert_sentence(caught.value)


def test_stopping_a_download_leaves_nothing(mnist_server, tmp_path):
    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > 1_000_000:
            raise Stopped

    with pytest.raises(Stopped):
        download("mnist", stop, into=tmp_path, mirrors=[f"{mnist_server.url}/good/"])
    assert visible(tmp_path) == []


KILLED = """
import sys
from pathlib import Path
from datasets.images import download
download("mnist", lambda *p: print(*p, flush=True), into=Path(sys.argv[1]), mirrors=[sys.argv[2]])
"""


def test_a_killed_download_leaves_nothing_that_looks_whole(mnist_server, tmp_path, monkeypatch):
    command = [sys.executable, "-c", KILLED, str(tmp_path), f"{mnist_server.url}/slow/"]
    child = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline()  # bytes have come
        time.sleep(0.1)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    assert all(name.startswith(".") for name in visible(tmp_path))
    monkeypatch.setenv("GENLAB_DATA", str(tmp_path))
    assert not images._lies_in(tmp_path, "mnist")
    download("mnist", into=tmp_path, mirrors=[f"{mnist_server.url}/good/"])
    assert visible(tmp_path) == sorted(MNIST_FILES)  # what was left behind is gone


def test_two_downloads_at_the_same_time(mnist_server, tmp_path):
    errors: list[BaseException] = []

    def run() -> None:
        try:
            download("mnist", into=tmp_path, mirrors=[f"{mnist_server.url}/good/"])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(mnist_server.asked) == 4
    assert visible(tmp_path) == sorted(MNIST_FILES)


def test_the_published_mirrors_and_checksums():
    """What torchvision knows fits what this module knows; nothing is asked for."""
    for name, source in IMAGES.items():
        if not source.built_in:
            sums, mirrors = images._remote(name)
            assert sums.keys() == images._FILES[name][1].keys()
            assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in mirrors)
            assert source.megabytes == round(sum(images._FILES[name][1].values()) / 1e6, 1)

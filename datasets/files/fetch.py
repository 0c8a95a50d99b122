"""Downloads over HTTP that end in a file with the right checksum, or in a sentence."""

from __future__ import annotations

import hashlib
import http.client
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import filelock

from datasets.files import write_atomic
from datasets.files.errors import DataError

__all__ = ["Job", "fetch", "fetch_all", "md5"]


@dataclass(frozen=True)
class Job:
    """One file to download.

    Attributes:
        path: where it goes.
        checksum: of the file, in hexadecimal digits: SHA-256 (64 of them) or MD5 (32). Empty where
            nobody has published one.
        most: the most bytes to take: a server may send without end.
        timeout: seconds of silence after which a mirror is given up.
        tick: called with the bytes that have come; what it raises ends the download.
    """

    path: Path
    checksum: str
    most: int
    timeout: float
    tick: Callable[[int], None]


class _Unreachable(Exception):
    """A mirror did not give the file; the message says why."""


def md5(data: bytes = b"") -> hashlib._Hash:
    """Return a hash object that also works where MD5 is barred from matters of security."""
    return hashlib.md5(data, usedforsecurity=False)


def _hasher(checksum: str) -> Callable[[], hashlib._Hash]:
    return hashlib.sha256 if len(checksum) == 64 else md5


def fetch_all(title: str, lock: Path, jobs: Iterable[Job], mirrors: Sequence[str]) -> None:
    """Download the files of a set, one process at a time; see :func:`fetch`.

    Args:
        title: what the set is called.
        lock: a file in the folder that the set goes into.
        jobs: its files; each is asked for when the one before is there.
        mirrors: addresses that end in a slash, in the order to try.

    Raises:
        DataError: no mirror gave a file with the right checksum, or it cannot be saved; says why.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(lock, timeout=3600):
            for job in jobs:
                fetch(title, job, mirrors)
    except filelock.Timeout as error:
        raise DataError(f"{title} is being downloaded by another process.") from error
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise DataError(f"{title} cannot be saved in {lock.parent}: {why}.") from error


def fetch(title: str, job: Job, mirrors: Sequence[str]) -> None:
    """Download a file from the first mirror that has it; keep one that is there and whole.

    The file appears in one step. Its name is put behind the mirrors' addresses. Only one process at
    a time may do this for a path.

    Args:
        title: what the file belongs to, for messages.
        job: the file.
        mirrors: addresses that end in a slash, in the order to try.

    Raises:
        DataError: no mirror gave the file with the right checksum; says why.
        OSError: it cannot be saved.
    """
    if job.path.is_file():
        with open(job.path, "rb") as file:
            if hashlib.file_digest(file, _hasher(job.checksum)).hexdigest() == job.checksum:
                return
    for left in job.path.parent.glob(f".{job.path.name}.*"):
        left.unlink(missing_ok=True)  # of a download that was killed: this one holds the lock
    reasons: list[str] = []
    for mirror in mirrors:
        try:
            return _fetch_from(mirror + job.path.name, job)
        except _Unreachable as why:
            reasons.append(f"{urlsplit(mirror).hostname} {why}")
    raise DataError(f"{title} could not be downloaded: {'; '.join(reasons)}.")


def _fetch_from(url: str, job: Job) -> None:
    # S310: mirrors are constants of the modules that call this, or torchvision's.
    request = urllib.request.Request(url, headers={"User-Agent": "generative-lab"})  # noqa: S310
    try:
        response = urllib.request.urlopen(request, timeout=job.timeout)  # noqa: S310
    except (OSError, http.client.HTTPException) as error:
        raise _Unreachable(_why(error)) from error
    with response:
        write_atomic(job.path, lambda file: _copy(response, file, job))


def _copy(response: IO[bytes], file: IO[bytes], job: Job) -> None:
    digest, count = _hasher(job.checksum)(), 0
    while count <= job.most:
        # read1: what has come so far, instead of waiting for a whole block.
        try:
            block = response.read1(2**18)  # type: ignore[attr-defined]
        except (OSError, http.client.HTTPException) as error:
            raise _Unreachable(_why(error)) from error
        if not block:
            break
        file.write(block)
        digest.update(block)
        count += len(block)
        job.tick(count)
    if getattr(response, "length", None):  # what the server announced and did not send
        raise _Unreachable(f"broke off after {count:,} bytes")
    if count > job.most:
        raise _Unreachable("sent far more than announced")
    if job.checksum and digest.hexdigest() != job.checksum:
        raise _Unreachable(f"sent another file than expected ({count:,} bytes, wrong checksum)")


def _why(error: Exception) -> str:
    """What kept a mirror from answering, to follow its name in a sentence."""
    if isinstance(error, urllib.error.HTTPError):
        return f"answered with error {error.code}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return "timed out"
    if isinstance(reason, socket.gaierror):
        return "was not found (no network?)"
    if isinstance(reason, ConnectionRefusedError):
        return "refused the connection"
    return f"broke off ({getattr(reason, 'strerror', None) or type(reason).__name__})"

"""Zip archives that a stranger may have made, opened only if reading them can do no harm."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from datasets.errors import DataError

__all__ = ["open_zip"]

_ENTRY = b"PK\x01\x02"  # with which every entry of the table of contents begins
_BLOCK = 2**20
# zipfile unpacks these piece by piece. Of bzip2 and LZMA it unpacks all that a piece holds,
# whatever size was asked for or announced: 350 bytes become gigabytes.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def open_zip(file: bytes | str | Path | IO[bytes], most: int) -> zipfile.ZipFile:
    """Open an archive whose members can be read a piece at a time, none of them before it is asked.

    What is read of a member never exceeds the size that its entry announces.

    Args:
        file: its content, its path, or the open file.
        most: entries that it may have.

    Raises:
        DataError: it is no zip archive, damaged, locked, or packed with more than deflate, or has
            too many entries or one without a name.
    """
    try:
        if _entries(file) > most:
            raise DataError(f"The archive has more than {most:,} files.")
        archive = zipfile.ZipFile(io.BytesIO(file) if isinstance(file, bytes) else file)
    except DataError:
        raise
    # Damage shows as BadZipFile, OSError, struct.error, NotImplementedError and more.
    except Exception as error:
        raise DataError("The file is not a zip archive, or it is damaged.") from error
    if problem := _problem(archive.infolist()):
        archive.close()
        raise DataError(problem)
    return archive


def _problem(members: list[zipfile.ZipInfo]) -> str:
    if not all(member.filename for member in members):
        return "The archive holds a file without a name."
    if any(member.flag_bits & 1 for member in members):
        return "The archive needs a password: pack it without one."
    if any(member.compress_type not in _METHODS for member in members):
        return "The archive is packed in an unusual way: pack it as a plain zip."
    return ""


def _entries(file: bytes | str | Path | IO[bytes]) -> int:
    """Count entries in the bytes: zipfile builds an object for each of millions of them."""
    if isinstance(file, bytes):
        return file.count(_ENTRY)
    if isinstance(file, str | Path):
        with open(file, "rb") as opened:
            return sum(block.count(_ENTRY) for block in _blocks(opened))
    file.seek(0)
    count = sum(block.count(_ENTRY) for block in _blocks(file))
    file.seek(0)
    return count


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield a file in blocks, each with the three bytes before it, in which no entry fits."""
    before = b""
    while block := file.read(_BLOCK):
        yield before + block
        before = block[-len(_ENTRY) + 1 :]

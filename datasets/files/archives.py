"""Zip archives that a stranger may have made, opened only if reading them can do no harm."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from datasets.files.errors import DataError

__all__ = ["ZipInput", "member_names", "open_zip"]

ZipInput = bytes | str | Path | IO[bytes]

_ENTRY = b"PK\x01\x02"  # with which every entry of the table of contents begins
_BLOCK = 2**20
# zipfile unpacks these piece by piece. Of bzip2 and LZMA it unpacks all that a piece holds,
# whatever size was asked for or announced: 350 bytes become gigabytes.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UTF8 = 0x800  # the flag of an entry whose name is UTF-8


def open_zip(file: ZipInput, most: int) -> zipfile.ZipFile:
    """Open an archive whose members can be read a piece at a time, none of them before it is asked.

    What is read of a member never exceeds the size that its entry announces.

    Args:
        file: its content, its path, or the open file.
        most: entries that it may have.

    Raises:
        DataError: it is missing, no zip archive, damaged, locked, or packed with more than
            deflate, or has too many entries or one without a name.
    """
    try:
        if _entries(file) > most:
            raise DataError(f"The archive has more than {most:,} files.")
        archive = zipfile.ZipFile(io.BytesIO(file) if isinstance(file, bytes) else file)
    except (DataError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise DataError(f"There is no file {Path(str(file)).name}.") from error
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


def _entries(file: ZipInput) -> int:
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


def member_names(members: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Return the members' names as whoever packed them saw them, with slashes between folders.

    By the standard a name is UTF-8 if its entry says so, else of code page 437. macOS packs UTF-8
    without saying so, and Windows packs the code page of its country: in Japan 932.
    """
    names = {member.filename for member in members if not member.flag_bits & _UTF8}
    page = _code_page([name.encode("cp437") for name in names if not name.isascii()])
    read = {name: name.encode("cp437").decode(page) for name in names}
    # Only now: in code page 932 a backslash may be half of a letter.
    return [read.get(member.filename, member.filename).replace("\\", "/") for member in members]


def _code_page(names: list[bytes]) -> str:
    """Which encoding names are in that do not say it; they hold more than ASCII."""
    for page in ("utf-8", "cp932"):
        try:
            texts = [name.decode(page) for name in names]
        except UnicodeDecodeError:
            continue
        if page == "utf-8" or _reads_as_japanese(texts):
            return page
    return "cp437"


def _reads_as_japanese(texts: list[str]) -> bool:
    """Whether there is more Japanese than Latin in the parts of paths that hold any.

    Umlauts and accents of code page 437 read as Japanese too, but stand among Latin letters.
    """
    parts = {part.rpartition(".")[0] or part for text in texts for part in text.split("/")}
    letters = [letter for part in parts if not part.isascii() for letter in part]
    latin = sum(letter.isascii() and letter.isalpha() for letter in letters)
    return sum(map(_is_japanese, letters)) > latin


def _is_japanese(letter: str) -> bool:
    """Whether it is kana or a kanji in use (JIS level 1)."""
    code = letter.encode("cp932")
    if len(code) == 1:
        return "\uff66" <= letter <= "\uff9f"
    return "\u3041" <= letter <= "\u9fff" and code[0] < 0x98

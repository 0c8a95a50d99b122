"""Where a user's files come from: a folder, a zip, an upload; each file unread until it is asked.

What systems leave behind is passed over at every door, names are brought to one form (NFC: macOS
writes an é as e and an accent), and what leads out of a folder or an archive is not followed.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from datasets.files.archives import ZipInput, member_names, open_zip
from datasets.files.errors import DataError
from datasets.files.images import MAX_BYTES, SUFFIXES, shown
from paths import ROOT

__all__ = [
    "MAX_FILES",
    "MAX_UNPACKED",
    "MAX_UPLOAD",
    "PROJECT",
    "Place",
    "Source",
    "bare_name",
    "data_roots",
    "folder_sources",
    "folder_state",
    "is_image",
    "is_junk",
    "is_zip",
    "listed",
    "upload_source",
    "zip_sources",
]

PROJECT = ROOT / "datasets"
MAX_FILES = 20_000
# Bytes of one file that is uploaded; `maxUploadSize` in .streamlit/config.toml says the same.
MAX_UPLOAD = 100 * 2**20
MAX_UNPACKED = 400 * 2**20
MAX_DEPTH = 12  # folders in folders of an archive
MAX_NAMED = 200  # how many of the files that were left out are named

# Of macOS, Windows and network drives. Names that begin with a dot are passed over as well:
# .DS_Store, .ipynb_checkpoints, ._photo.jpg.
_JUNK = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "#recycle",
         "$recycle.bin", "system volume information", "lost+found", "__pycache__"}  # fmt: skip

# A file's place below the folder, and how to get its bytes.
Place = tuple[str, ...]
Source = tuple[Place, Callable[[], bytes]]


def data_roots() -> list[Path]:
    """Folders to look for data in: those in GENLAB_DATA that are there, then the project's own."""
    named = os.environ.get("GENLAB_DATA", "").split(os.pathsep)
    roots = [Path(name).expanduser() for name in named if name]
    return [*(root for root in roots if root.is_dir()), PROJECT]


def is_image(name: str) -> bool:
    """Whether a file's name ends like an image's."""
    return name.lower().endswith(SUFFIXES)


def is_zip(name: str) -> bool:
    """Whether a file's name ends like an archive's."""
    return name.lower().endswith(".zip")


def is_junk(*place: str) -> bool:
    """Whether a file or one of the folders around it is none of the user's."""
    return any(part.startswith(".") or part.lower() in _JUNK for part in place)


def bare_name(name: str) -> str:
    """The bare file name, printable and short, from whatever a browser sent."""
    bare = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in bare if c.isprintable())[:80] or "own data"


def listed(skipped: list[str]) -> tuple[str, ...]:
    """Return the reasons for what was left out, the first 200 of them."""
    more = len(skipped) - MAX_NAMED
    return (*skipped[:MAX_NAMED], f"{more:,} more files.") if more > 0 else tuple(skipped)


def _bounded(sources: list[Source]) -> list[Source]:
    if len(sources) > MAX_FILES:
        raise DataError(f"At most {MAX_FILES:,} files are taken, there are more.")
    return sources


# -- folders -----------------------------------------------------------------------------------


def folder_sources(
    root: Path, skipped: list[str], most: int = MAX_BYTES, *, deep: int = 2
) -> list[Source]:
    """Return the files of a folder, unread; names what is left out in ``skipped``.

    Args:
        root: the folder.
        skipped: gets a line for each file and folder that is left out.
        most: bytes of a file; of a longer one so many are read and one more.
        deep: how many folders may lie in one another.

    Raises:
        DataError: the folder is missing or cannot be read.
    """
    if not root.is_dir():
        raise DataError(f"The folder {root} cannot be read: there is no such folder.")
    try:
        found = [*islice(_walk(root.resolve(), (), skipped, deep), MAX_FILES + 1)]
    except (OSError, RuntimeError) as error:
        raise DataError(f"The folder {root} cannot be read.") from error
    return _bounded([(place, _file_reader(file, most)) for place, file in found])


def image_files(path: Path) -> list[Path]:
    """Return the images in a folder and below, sorted; of a single file, that.

    Raises:
        DataError: there are none.
    """
    if path.is_file():
        return [path]
    inside = (Path(at, name) for at, _, names in os.walk(path) for name in names if is_image(name))
    found = sorted(file for file in inside if not is_junk(*file.relative_to(path).parts))
    if not found:
        raise DataError(f"There are no images in {path}.")
    return found


def folder_state(path: Path) -> str:
    """Return a text that changes with the names, sizes and times of the files of a folder.

    What is read from a folder is kept by it, so that images added later are seen.
    """
    digest = hashlib.sha256()
    files = _walk(path.resolve(), (), [], MAX_DEPTH) if path.is_dir() else [((), path)]
    try:
        for place, file in islice(files, MAX_FILES + 1):
            facts = file.stat()
            digest.update(repr((place, facts.st_size, facts.st_mtime_ns)).encode())
    except (OSError, RuntimeError):
        pass  # whoever reads it will say so
    return digest.hexdigest()


def _walk(
    folder: Path, above: Place, skipped: list[str], deep: int
) -> Iterator[tuple[Place, Path]]:
    root = folder.parents[len(above) - 1] if above else folder
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        place = (*above, unicodedata.normalize("NFC", entry.name))
        if is_junk(entry.name):
            continue
        if entry.is_symlink() and not _stays_inside(Path(entry.path), root):
            skipped.append(f"{shown(*place)}: A link that leads out of the folder.")
        elif entry.is_dir():
            yield from _walk_below(folder / entry.name, place, skipped, deep)
        elif entry.is_file():  # and not a device or a pipe, which may never end
            yield place, folder / entry.name


def _walk_below(
    folder: Path, place: Place, skipped: list[str], deep: int
) -> Iterator[tuple[Place, Path]]:
    if len(place) > deep:
        skipped.append(f"{shown(*place)}: A folder inside a class folder.")
        return
    inside = _walk(folder, place, skipped, deep)
    first = next(inside, None)
    if first is None:
        skipped.append(f"{shown(*place)}: No files in this folder.")
    else:
        yield first
        yield from inside


def _stays_inside(link: Path, root: Path) -> bool:
    """Whether a link leads to a file below the root; links to folders may go in circles."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return target.is_relative_to(root) and target.is_file()


def _file_reader(path: Path, most: int) -> Callable[[], bytes]:
    def read() -> bytes:
        with open(path, "rb") as file:
            return file.read(most + 1)

    return read


# -- uploads -----------------------------------------------------------------------------------


def upload_source(name: str, data: bytes | Path, most: int = MAX_BYTES) -> Source:
    """Return a file that was uploaded by itself, as its bytes or as where they are kept."""
    read = _file_reader(data, most) if isinstance(data, Path) else lambda: data
    return (bare_name(name),), read


def zip_sources(
    file: ZipInput,
    skipped: list[str],
    most: int = MAX_BYTES,
    unpacked: int = MAX_UNPACKED,
    *,
    unwrap: bool = True,
) -> list[Source]:
    """Return the files of a zip archive, unread; nothing is ever written to disk.

    Args:
        file: the archive: its content, its path, or the open file.
        skipped: gets a line for each file that is left out.
        most: bytes of a file; of a longer one so many are read and one more.
        unpacked: bytes of all files together; of an upload half as many are taken packed.
        unwrap: whether folders around everything are taken off.

    Raises:
        DataError: it is missing, no archive, damaged, locked or too large.
    """
    if isinstance(file, bytes) and len(file) > unpacked // 2:
        raise DataError(f"At most {unpacked // 2**21} MB are taken, the file is larger.")
    archive = open_zip(file, 2 * MAX_FILES)
    members = [member for member in archive.infolist() if not member.is_dir()]
    if sum(member.file_size for member in members) > unpacked:
        raise DataError(f"Unpacked, the archive is larger than {unpacked // 2**20} MB.")
    sources: list[Source] = []
    for name, member in sorted(zip(member_names(members), members), key=lambda pair: pair[0]):
        place = tuple(part for part in name.split("/") if part != ".")
        if not place or ".." in place or "" in place or ":" in place[0]:
            skipped.append(f"{shown(*place)}: A path that leads out of the archive.")
        elif len(place) > MAX_DEPTH:
            skipped.append(f"{shown(*place)}: More than {MAX_DEPTH} folders deep.")
        elif not is_junk(*place):
            place = tuple(unicodedata.normalize("NFC", part) for part in place)
            sources.append((place, _member_reader(archive, member, most)))
    return unwrapped(_bounded(sources)) if unwrap else _bounded(sources)


def unwrapped(sources: list[Source]) -> list[Source]:
    """Take off folders that stand around all images, but for one that may be a class."""
    images = [place for place, _ in sources if is_image(place[-1])]
    while images and len({place[0] for place in images}) == 1 and min(map(len, images)) > 2:
        images = [place[1:] for place in images]
        sources = [(place[1:] or place, read) for place, read in sources]
    return sources


def _member_reader(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int
) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with archive.open(member) as file:
                return file.read(most + 1)  # whatever size the header claims
        except MemoryError:
            raise
        except Exception as error:  # zipfile, zlib, bz2, lzma: each has its own
            raise OSError("damaged in the archive") from error

    return read

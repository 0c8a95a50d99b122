"""MVTec AD's capsules: their download, and archives in tar's format."""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from datasets.defect_set import GOOD, MAX_UNPACKED, SETS
from datasets.files.errors import DataError
from datasets.files.fetch import Job, fetch
from datasets.files.sources import data_roots

__all__ = ["MVTEC_CAPSULE", "Source", "download"]

MAX_FILES = 10_000

# Names that mean a device to Windows, with any ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d) *(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """A set that can be downloaded, and what to know before.

    Attributes:
        name: of the folder that it becomes.
        title: for people.
        url: of the archive.
        megabytes: of the download, about.
        licence: its name.
        licence_url: its text.
        page: where its makers present it.
        cite: whom to cite.
        sha256: of the archive, or empty where it is not known.
    """

    name: str
    title: str
    url: str
    megabytes: int
    licence: str
    licence_url: str
    page: str
    cite: str
    sha256: str = ""


MVTEC_CAPSULE = Source(
    "mvtec_capsule",
    SETS["mvtec_capsule"],
    "https://www.mydrive.ch/shares/38536/3830184030e49fe74747669442f0f282/download/"
    "420937454-1629951595/capsule.tar.xz",
    385,
    "CC BY-NC-SA 4.0 (not for commercial use)",
    "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    "https://www.mvtec.com/company/research/datasets/mvtec-ad",
    "Bergmann, Fauser, Sattlegger, Steger: MVTec AD, CVPR 2019; "
    "Bergmann, Batzner, Fauser, Sattlegger, Steger: IJCV 129(4), 2021",
)


def download(
    source: Source = MVTEC_CAPSULE,
    root: Path | str | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    timeout: float = 30.0,
) -> Path:
    """Download and unpack a set; return its folder. What is there already is not fetched again.

    Args:
        source: which one.
        root: data root to put it in; by default the project's own.
        progress: called with bytes done and bytes in all, about.
        timeout: seconds without an answer.

    Raises:
        DataError: no connection, or an archive that is not what it should be.
        OSError: the disk is full or not writable.
    """
    root = Path(root) if root is not None else data_roots()[-1]
    target = root / source.name
    if (target / "train" / GOOD).is_dir():
        return target
    root.mkdir(parents=True, exist_ok=True)
    most = source.megabytes * 2**20

    def tick(count: int) -> None:
        if progress is not None:
            progress(min(count, most), most)

    with tempfile.TemporaryDirectory(prefix=f".{source.name}.", dir=root) as work:
        folder, _, file = source.url.rpartition("/")
        archive, unpacked = Path(work) / file, Path(work) / "unpacked"
        fetch(source.title, Job(archive, source.sha256, 3 * most, timeout, tick), [f"{folder}/"])
        tick(most)
        _unpack_tar(archive, unpacked)
        # In place in one step: a download cut short leaves nothing that looks whole.
        shutil.move(_set_below(unpacked), target)
    return target


def _set_below(folder: Path) -> Path:
    found = [*folder.glob("train/good"), *folder.glob("*/train/good")]
    if not found:
        raise DataError(f"There is no folder train/{GOOD} in the archive.")
    return found[0].parent.parent


def _unpack_tar(archive: Path, folder: Path) -> None:
    folder.mkdir()
    try:
        with tarfile.open(archive) as tar:
            total = count = 0
            for member in tar:
                parts = _parts(member.name)
                if member.isdir():
                    continue
                if not member.isfile():
                    raise DataError(f"The archive holds a link or device: {member.name[:60]!r}.")
                total, count = total + member.size, count + 1
                if total > MAX_UNPACKED or count > MAX_FILES:
                    raise DataError("The archive holds far more than announced.")
                target = folder.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with tar.extractfile(member) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
    except (tarfile.TarError, EOFError) as error:
        raise DataError("The archive is damaged.") from error


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a name inside an archive.

    Raises:
        DataError: it leads out of the folder.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    parts = path.parts
    windows = any(":" in part or _DEVICE.fullmatch(part) for part in parts)
    if path.is_absolute() or not parts or ".." in parts or windows:
        raise DataError(f"The archive holds a name that leads elsewhere: {name[:60]!r}.")
    return parts

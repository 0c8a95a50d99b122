"""Pictures of good and defective things in MVTec AD's layout: folders, zip files, download.

``train/good``, ``test/<kind>`` with one kind called ``good``, and
``ground_truth/<kind>/<stem>_mask.png``. Names of defects are read, not wired in. What is wrong with
a user's data ends in a `DataError` whose message is a sentence for that user.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, ClassVar

import numpy as np
from PIL import Image

from datasets.archives import open_zip
from datasets.own import DataError, check_saved, flatten, open_picture

GOOD = "good"
# What the sets that every lab knows are called.
SETS = {"rendered": "Rendered capsules", "mvtec_capsule": "MVTec AD, capsule"}
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

MAX_FILES = 10_000
MAX_UPLOAD = 1 * 2**30  # bytes of an uploaded zip
MAX_UNPACKED = 2 * 2**30
MAX_RATIO = 200  # unpacked to packed bytes of one member above 1 MB
MAX_PIXELS = 40_000_000
MIN_TRAIN = 4

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
# Names that mean a device to Windows, with any ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d) *(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class DefectSet:
    """Good pictures to learn from, and good and defective ones to be told apart.

    Attributes:
        name: where it came from, for titles.
        train: good pictures, shape ``(N, 3, S, S)``, uint8.
        test: pictures of all kinds, shape ``(M, 3, S, S)``, uint8.
        kinds: the kind of each test picture, ``"good"`` or the name of a defect.
        masks: where the defects are, shape ``(M, S, S)``, booleans; none on good pictures.
        files: names of the test pictures, or empty.
        masked: whether the masks are known: without ``ground_truth/`` all of them are empty.
        skipped: files left out, each with the reason.

    Raises:
        DataError: the arrays do not fit together.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    kinds: tuple[str, ...]
    masks: np.ndarray
    files: tuple[str, ...] = ()
    masked: bool = True
    skipped: tuple[str, ...] = ()
    kind: ClassVar[str] = "defects"

    def __post_init__(self) -> None:
        for pictures in (self.train, self.test):
            if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1] != 3:
                raise DataError("Pictures are 8-bit RGB here.")
        side = self.train.shape[2:]
        count = len(self.test)
        if side[0] != side[1] or (count and self.test.shape[2:] != side):
            raise DataError("All pictures have the same size and are square here.")
        if self.masks.shape != (count, *side) or self.masks.dtype != bool:
            raise DataError("There is one mask of the same size for each test picture.")
        if len(self.kinds) != count or (self.files and len(self.files) != count):
            raise DataError("There is one kind and one name for each test picture.")
        if len(self.train) < MIN_TRAIN:
            raise DataError(
                f"train/good holds {len(self.train)} pictures that can be read; "
                f"at least {MIN_TRAIN} are needed."
            )

    @property
    def size(self) -> int:
        """Pixels on each side."""
        return self.train.shape[-1]

    @property
    def defective(self) -> np.ndarray:
        """Which test pictures show a defect, booleans, shape ``(M,)``."""
        return np.array([kind != GOOD for kind in self.kinds], dtype=bool)

    @property
    def defects(self) -> tuple[str, ...]:
        """The names of the defects, sorted."""
        return tuple(sorted({kind for kind in self.kinds if kind != GOOD}))

    def names(self) -> tuple[str, ...]:
        """Return a name for each test picture."""
        return self.files or tuple(f"{kind}/{i:03d}" for i, kind in enumerate(self.kinds))

    def resized(self, size: int) -> DefectSet:
        """Return the same at another size; itself where it has that size already."""
        if size == self.size:
            return self
        masks = [_fitted(m.astype(np.uint8) * 255, size) > 64 for m in self.masks]
        return replace(
            self,
            train=_stack([_fitted(p, size) for p in self.train], size),
            test=_stack([_fitted(p, size) for p in self.test], size),
            masks=np.stack(masks) if masks else np.zeros((0, size, size), dtype=bool),
        )

    def save(self, path: Path | str) -> None:
        """Write an .npz file, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        path = Path(path)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez_compressed(
                    file,
                    kind=np.array(self.kind),
                    train=self.train,
                    test=self.test,
                    masks=np.packbits(self.masks),
                    words=np.array([self.name, *self.kinds]),
                    files=np.array(self.files, dtype=str),
                    skipped=np.array(self.skipped, dtype=str),
                    masked=np.array(self.masked),
                )
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: Path | str) -> DefectSet:
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing, damaged or holds something else.
        """
        try:
            check_saved(path, MAX_UNPACKED)
            with np.load(path, allow_pickle=False) as saved:
                name, *kinds = saved["words"].tolist()
                test = saved["test"]
                shape = (len(test), *test.shape[2:])
                bits = np.unpackbits(saved["masks"], count=int(np.prod(shape)))
                return cls(
                    name=name,
                    train=saved["train"],
                    test=test,
                    kinds=tuple(kinds),
                    masks=bits.reshape(shape).astype(bool),
                    files=tuple(saved["files"].tolist()),
                    masked=bool(saved["masked"]),
                    skipped=tuple(saved["skipped"].tolist()),
                )
        except DataError:
            raise
        # numpy, zipfile and zlib each have their own ways to stumble over a damaged file.
        except Exception as error:
            raise DataError("The saved data cannot be read: the file is damaged.") from error


# -- folders ----------------------------------------------------------------------------------


def data_roots() -> list[Path]:
    """Return the folders that may hold data sets: ``GENLAB_DATA``, then the project's own."""
    given = os.environ.get("GENLAB_DATA", "")
    roots = [Path(part).expanduser() for part in given.split(os.pathsep) if part]
    return [*roots, Path(__file__).parent]


def find_sets(roots: Iterable[Path] | None = None) -> dict[str, Path]:
    """Return the folders in MVTec's layout right below the data roots, by name, first one wins."""
    found: dict[str, Path] = {}
    for root in data_roots() if roots is None else roots:
        for folder in sorted(root.iterdir()) if root.is_dir() else []:
            if (folder / "train" / GOOD).is_dir() and (folder / "test").is_dir():
                found.setdefault(folder.name, folder)
    return found


def read_folder(folder: Path | str, size: int, *, name: str = "") -> DefectSet:
    """Read a folder in MVTec's layout.

    Files that cannot be read are left out and named in ``skipped``; grey pictures become RGB,
    others are fitted to a square without keeping their proportions, as is usual for MVTec AD.

    Args:
        folder: holds ``train/good`` and ``test``; ``ground_truth`` is optional.
        size: pixels on each side of what is returned.
        name: for titles; the folder's own by default.

    Raises:
        DataError: no ``train/good`` with enough pictures, or no ``test`` with good and defective.
    """
    folder = Path(folder)
    if not (folder / "train" / GOOD).is_dir():
        raise DataError(f"There is no folder train/{GOOD} in {name or folder.name}.")
    if not (folder / "test").is_dir():
        raise DataError(f"There is no folder test in {name or folder.name}.")
    skipped: list[str] = []
    train = [p for _, p in _pictures(folder, folder / "train" / GOOD, size, skipped)]
    test, kinds, masks, files = [], [], [], []
    has_masks = (folder / "ground_truth").is_dir()
    for part in sorted(p for p in (folder / "test").iterdir() if p.is_dir()):
        before = len(test)
        for path, picture in _pictures(folder, part, size, skipped):
            mask = np.zeros((size, size), dtype=bool)
            if part.name != GOOD and has_masks:
                mask = _mask(folder, part.name, path.stem, size, skipped)
            test.append(picture)
            kinds.append(part.name)
            masks.append(mask)
            files.append(f"{part.name}/{path.name}")
        if len(test) == before:
            skipped.append(f"test/{part.name}: no picture that can be read")
    if GOOD not in kinds or len(set(kinds)) < 2:
        raise DataError(f"test needs pictures in {GOOD} and in one folder per defect at least.")
    return DefectSet(
        name=name or folder.name,
        train=_stack(train, size),
        test=_stack(test, size),
        kinds=tuple(kinds),
        masks=np.stack(masks),
        files=tuple(files),
        masked=has_masks,
        skipped=tuple(skipped),
    )


def read_test_picture(folder: Path | str, name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Read one test picture as :func:`read_folder` does, and its mask (empty if there is none).

    Args:
        folder: in MVTec's layout.
        name: ``kind/file``, as in ``DefectSet.files``.
        size: pixels on each side.

    Raises:
        DataError: it is not there (any more) or cannot be read.
    """
    kind, _, file = name.partition("/")
    path = Path(folder) / "test" / kind / file
    if not path.is_file():
        raise DataError(f"The test picture {name} is not there any more.")
    picture = read_picture(path, size)
    if kind == GOOD:
        return picture, np.zeros((size, size), dtype=bool)
    return picture, _mask(Path(folder), kind, path.stem, size, [])


def save_layout(data: DefectSet, folder: Path | str) -> Path:
    """Write a set as PNG files in MVTec's layout; return the folder.

    Raises:
        OSError: it cannot be written.
    """
    folder = Path(folder)
    counts: dict[str, int] = {}
    parts = [("train", GOOD, picture, None) for picture in data.train]
    parts += [("test", k, p, m) for k, p, m in zip(data.kinds, data.test, data.masks, strict=True)]
    for part, kind, picture, mask in parts:
        number = counts[part + kind] = counts.get(part + kind, -1) + 1
        path = folder / part / kind / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.transpose(1, 2, 0)).save(path)
        if mask is not None and kind != GOOD and data.masked:
            path = folder / "ground_truth" / kind / f"{number:03d}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return folder


def read_picture(data: bytes | Path, size: int) -> np.ndarray:
    """Read one picture, as :func:`read_folder` does, shape ``(3, size, size)``, uint8.

    Raises:
        DataError: it is no picture, damaged or too large.
    """
    try:
        with open_picture(data, FORMATS, MAX_PIXELS) as image:
            image.draft("RGB", (size, size))
            image = flatten(image).convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
            return np.asarray(image).transpose(2, 0, 1)
    except DataError as error:
        raise DataError(str(error).rstrip(".")) from error  # what follows is the caller's
    # Pillow's decoders raise whatever they trip over: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise DataError("not a picture that can be read") from error


def _pictures(
    folder: Path, part: Path, size: int, skipped: list[str]
) -> Iterator[tuple[Path, np.ndarray]]:
    paths = sorted(p for p in part.iterdir() if p.suffix.lower() in PICTURES)
    for path in paths[:MAX_FILES]:
        try:
            yield path, read_picture(path, size)
        except DataError as error:
            skipped.append(f"{path.relative_to(folder).as_posix()}: {error}")


def _mask(folder: Path, kind: str, stem: str, size: int, skipped: list[str]) -> np.ndarray:
    for name in (f"{stem}_mask.png", f"{stem}.png"):
        path = folder / "ground_truth" / kind / name
        if path.is_file():
            try:
                # A defect of a single pixel must not vanish when the mask shrinks.
                return read_picture(path, size).max(0) > 64
            except DataError as error:
                skipped.append(f"ground_truth/{kind}/{name}: {error}")
                return np.zeros((size, size), dtype=bool)
    skipped.append(f"ground_truth/{kind}/{stem}_mask.png: missing")
    return np.zeros((size, size), dtype=bool)


def _fitted(picture: np.ndarray, size: int) -> np.ndarray:
    """Resize ``(3, H, W)`` or ``(H, W)``, uint8."""
    image = Image.fromarray(picture if picture.ndim == 2 else picture.transpose(1, 2, 0))
    array = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))
    return array if picture.ndim == 2 else array.transpose(2, 0, 1)


def _stack(pictures: list[np.ndarray], size: int) -> np.ndarray:
    if not pictures:
        return np.zeros((0, 3, size, size), dtype=np.uint8)
    return np.ascontiguousarray(np.stack(pictures))


# -- zip files --------------------------------------------------------------------------------


def read_zip(file: bytes | Path | IO[bytes], size: int, *, name: str = "upload") -> DefectSet:
    """Read an uploaded zip of a folder in MVTec's layout, at most one folder deep.

    Raises:
        DataError: no zip, a bomb, names that lead elsewhere, links, or not the layout.
    """
    with tempfile.TemporaryDirectory(prefix="genlab-") as folder:
        return read_folder(unpack_zip(file, folder), size, name=name)


def unpack_zip(file: bytes | Path | IO[bytes], folder: Path | str) -> Path:
    """Unpack the pictures of a zip below ``folder``; return where ``train/good`` begins.

    Nothing is written before all names and sizes have been checked, and never more bytes than the
    zip announces.

    Raises:
        DataError: see :func:`read_zip`.
    """
    try:
        with open_zip(file, 2 * MAX_FILES) as archive:
            members = _checked(archive.infolist())
            for member, parts in members:
                target = Path(folder).joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as sink:
                    _copy(source, sink, member.file_size)
    except DataError:
        raise
    # Damage shows as BadZipFile, zlib.error, EOFError, NotImplementedError or RuntimeError.
    except Exception as error:
        raise DataError("The file is not a zip that can be read.") from error
    return layout_below(folder)


def layout_below(folder: Path | str) -> Path:
    """Return the folder that holds ``train/good``: this one, or the only one below it that does.

    Raises:
        DataError: there is none, or several.
    """
    folder = Path(folder)
    found = [p.parent.parent for p in sorted(folder.glob("train/good"))]
    found += [p.parent.parent for p in sorted(folder.glob("*/train/good"))]
    if not found:
        raise DataError(f"There is no folder train/{GOOD} in it.")
    if len(found) > 1 and found[0] != folder:
        raise DataError("It holds several sets: " + ", ".join(p.name for p in found[:5]) + ".")
    return found[0]


def _checked(members: list[zipfile.ZipInfo]) -> list[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
    """Return the pictures among the members, with the parts of their names."""
    kept, total = [], 0
    for member in members:
        parts = _parts(member.filename)
        mode = member.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DataError(f"The zip holds a link or device: {member.filename[:60]!r}.")
        total += member.file_size
        if total > MAX_UNPACKED:
            raise DataError(f"The zip unpacks to more than {MAX_UNPACKED / 2**30:.0f} GB.")
        packed = max(member.compress_size, 1)
        if member.file_size > 2**20 and member.file_size > MAX_RATIO * packed:
            raise DataError(f"{member.filename[:60]!r} unpacks to {MAX_RATIO} times its size.")
        picture = not member.is_dir() and Path(parts[-1]).suffix.lower() in PICTURES
        if picture and "__MACOSX" not in parts:
            kept.append((member, parts))
    return kept


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


def _copy(source: IO[bytes], sink: IO[bytes], size: int) -> None:
    left = size
    while chunk := source.read(min(2**20, left + 1)):
        left -= len(chunk)
        if left < 0:
            raise DataError("A file in the archive is longer than it says.")
        sink.write(chunk)


# -- MVTec's own download ---------------------------------------------------------------------


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
        progress: is told bytes done and bytes in all (0 where the server does not say).
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
    with tempfile.TemporaryDirectory(prefix=f".{source.name}.", dir=root) as work:
        archive = Path(work) / "archive"
        digest = _fetch(source.url, archive, progress, timeout, limit=3 * source.megabytes * 2**20)
        if source.sha256 and digest != source.sha256:
            raise DataError(f"The download of {source.title} is damaged (wrong checksum).")
        _unpack_tar(archive, Path(work) / "unpacked")
        # In place in one step: a download cut short leaves nothing that looks whole.
        shutil.move(layout_below(Path(work) / "unpacked"), target)
    return target


def _fetch(
    url: str, path: Path, progress: Callable[[int, int], None] | None, timeout: float, limit: int
) -> str:
    digest, done = hashlib.sha256(), 0
    try:
        # S310: the address is a constant of this module.
        request = urllib.request.Request(url, headers={"User-Agent": "generative-lab"})  # noqa: S310
        answer = urllib.request.urlopen(request, timeout=timeout)  # noqa: S310
        with answer, path.open("wb") as sink:
            total = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(2**18):
                done += len(chunk)
                if done > limit:
                    raise DataError("The download is far larger than announced.")
                digest.update(chunk)
                sink.write(chunk)
                if progress is not None:
                    progress(done, total)
            if total and done != total:
                raise DataError(f"The download ended after {done:,} of {total:,} bytes.")
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"The download failed: {error}.") from error
    return digest.hexdigest()


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
                    _copy(source, sink, member.size)
    except (tarfile.TarError, EOFError) as error:
        raise DataError("The archive is damaged.") from error

"""Images of good and defective things in MVTec AD's layout, from folders and zip files.

``train/good``, ``test/<kind>`` with one kind called ``good``, and
``ground_truth/<kind>/<stem>_mask.png``; what people have instead is brought into it by
:mod:`datasets.files.defect_layout`. Good images alone are enough. Names of defects are read, not
wired in. What is wrong with a user's data ends in a `DataError` whose message is a sentence for
that user.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from datasets.defect_set import GOOD, MAX_UNPACKED, SETS, DefectSet, fitted_mask
from datasets.files.archives import ZipInput
from datasets.files.defect_layout import HINT, arranged, in_visa, is_train
from datasets.files.errors import DataError
from datasets.files.images import Limits, read_image, read_mask, shown, squeezed
from datasets.files.sources import (
    Place,
    Source,
    data_roots,
    folder_sources,
    is_image,
    is_junk,
    listed,
    unwrapped,
    zip_sources,
)
from datasets.files.stacks import Read, read_stack

__all__ = [
    "GOOD",
    "SETS",
    "DefectSet",
    "find_sets",
    "read_folder",
    "read_one",
    "read_test_image",
    "read_zip",
    "save_layout",
]

LIMITS = Limits(pixels=40_000_000, bytes=64 * 2**20)  # of an image
_TRAIN = ("train", GOOD)
DEEP = 4  # folders in one another: VisA's, and the masks of MVTec LOCO


def find_sets(roots: Iterable[Path] | None = None) -> dict[str, Path]:
    """Return the folders in MVTec's layout right below the data roots, by name, first one wins."""
    found: dict[str, Path] = {}
    for root in data_roots() if roots is None else roots:
        for folder in sorted(root.iterdir()) if root.is_dir() else []:
            if (folder / "train" / GOOD).is_dir() and not is_junk(folder.name):
                found.setdefault(folder.name, folder)
    return found


def read_folder(folder: Path | str, size: int, *, name: str = "") -> DefectSet:
    """Read a folder in MVTec's layout.

    Files that cannot be read or are not where they should be are left out and named in
    ``skipped``; grey images become RGB, others are fitted to a square without keeping their
    proportions, as is usual for MVTec AD.

    Args:
        folder: holds ``train/good`` and ``test``; ``ground_truth`` is optional.
        size: pixels on each side of what is returned.
        name: for titles; the folder's own by default.

    Raises:
        DataError: too few good images to learn from, or nothing that tells which are good.
    """
    skipped: list[str] = []
    sources = folder_sources(Path(folder), skipped, LIMITS.bytes, deep=DEEP)
    return _read(sources, size, name or Path(folder).resolve().name, skipped)


def read_zip(file: ZipInput, size: int, name: str = "upload") -> DefectSet:
    """Read an uploaded zip of a folder in MVTec's layout; nothing is written to disk.

    Raises:
        DataError: no zip, too large, not the layout, or several sets.
    """
    skipped: list[str] = []
    sources = zip_sources(file, skipped, LIMITS.bytes, MAX_UNPACKED, unwrap=False)
    tops = {place[:i] for place, _ in sources for i in range(len(place) - 1) if is_train(place[i:])}
    if not tops:
        return _read(sources if in_visa(sources) else unwrapped(sources), size, name, skipped)
    if len(tops) > 1:
        names = ", ".join(sorted("/".join(top) or "." for top in tops)[:5])
        raise DataError(f"It holds several sets: {shown(names)}.")
    (top,) = tops
    skipped += [f"{shown(*p)}: Not in the set." for p, _ in sources if p[: len(top)] != top]
    inside = [(p[len(top) :], read) for p, read in sources if p[: len(top)] == top]
    return _read(inside, size, name, skipped)


def read_test_image(folder: Path | str, name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Read one test image as :func:`read_folder` does, and its mask (empty if there is none).

    Args:
        folder: in MVTec's layout.
        name: ``kind/file``, as in ``DefectSet.files``.
        size: pixels on each side.

    Raises:
        DataError: it is not there (any more) or cannot be read.
    """
    sources = arranged(folder_sources(Path(folder), [], LIMITS.bytes, deep=DEEP))
    wanted = ("test", *name.split("/"))
    found = [source for source in sources if source[0] == wanted]
    if not found:
        raise DataError(f"The test image {name} is not there any more.")
    skipped: list[str] = []
    images, read = read_stack(found, size, 3, skipped, cropped=False, limits=LIMITS)
    if not read:
        raise DataError(skipped[0])
    masks, _ = _masks(sources, [wanted], read, size, skipped)
    return images[0], masks[0]


def read_one(data: bytes, size: int, name: str = "") -> np.ndarray:
    """Read one image, as :func:`read_folder` does, shape ``(3, size, size)``, uint8.

    Raises:
        DataError: it is no image, damaged or too large.
    """
    return squeezed(read_image(data, name, 2 * size, limits=LIMITS, least=1), size)


def save_layout(data: DefectSet, folder: Path | str) -> Path:
    """Write a set as PNG files in MVTec's layout; return the folder.

    Raises:
        OSError: it cannot be written.
    """
    folder = Path(folder)
    counts: dict[str, int] = {}
    parts = [("train", GOOD, image, None) for image in data.train]
    marks = (m if known else None for m, known in zip(data.masks, data.known, strict=True))
    parts += [("test", k, i, m) for k, i, m in zip(data.kinds, data.test, marks, strict=True)]
    for part, kind, image, mask in parts:
        number = counts[part + kind] = counts.get(part + kind, -1) + 1
        path = folder / part / kind / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
        if mask is not None and kind != GOOD:
            path = folder / "ground_truth" / kind / f"{number:03d}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return folder


# -- the layout --------------------------------------------------------------------------------


def _read(sources: list[Source], size: int, name: str, skipped: list[str]) -> DefectSet:
    """Read a set whose folders begin with ``train``, ``test`` and ``ground_truth``."""
    sources = arranged(sources)
    chosen = _images_of(sources, skipped)
    images, found = read_stack(chosen, size, 3, skipped, cropped=False, limits=LIMITS)
    places = [chosen[read.index][0] for read in found]
    fit = sum(place[0] == "train" for place in places)
    kinds = [place[1] for place in places[fit:]]
    for kind in sorted({place[1] for place, _ in chosen if place[0] == "test"} - set(kinds)):
        skipped.append(f"test/{shown(kind)}: No image that can be read.")
    masks, known = _masks(sources, places[fit:], found[fit:], size, skipped)
    return DefectSet(
        name=name,
        train=images[:fit],
        test=images[fit:],
        kinds=tuple(kinds),
        masks=masks,
        files=tuple("/".join(place[1:]) for place in places[fit:]),
        known=known,
        skipped=listed(skipped),
    )


def _images_of(sources: list[Source], skipped: list[str]) -> list[Source]:
    """Return the images of both parts, training first; name those that stand elsewhere."""
    if not any(place[:2] == _TRAIN for place, _ in sources):
        raise DataError(HINT)
    images = [source for source in sources if is_image(source[0][-1])]
    train = [source for source in images if source[0][:-1] == _TRAIN]
    test = [source for source in images if source[0][0] == "test" and len(source[0]) == 3]
    taken = {place for place, _ in (*train, *test)}
    for place, _ in images:
        if place not in taken and place[0] != "ground_truth":
            skipped.append(f"{shown(*place)}: Neither in train/{GOOD} nor in a folder of test.")
    return [*train, *test]


# -- masks -------------------------------------------------------------------------------------


def _masks(
    sources: list[Source], places: list[Place], found: list[Read], size: int, skipped: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a mask for each test image ``(M, S, S)``, and which are known ``(M,)``, booleans."""
    by_image = _mask_files(sources, skipped, set(places))
    given = any(place[0] == "ground_truth" for place, _ in sources)
    masks = np.zeros((len(places), size, size), bool)
    known = np.array([place[1] == GOOD for place in places], dtype=bool)
    for number, (place, read) in enumerate(zip(places, found, strict=True)):
        files = by_image.get(_key(place), [])
        if not files:
            if given and not known[number]:
                where = shown("ground_truth", place[1], f"{PurePosixPath(place[2]).stem}_mask.png")
                skipped.append(f"{where}: Missing, so its pixels are not evaluated.")
            continue
        # LOCO has a mask for each defect of an image.
        for source in files:
            mask = _mask(source, read.size, place[1] == GOOD, skipped)
            if mask is not None:
                masks[number] |= fitted_mask(mask, size)
                known[number] = True
    return masks, known


def _mask(
    source: Source, size: tuple[int, int], good: bool, skipped: list[str]
) -> np.ndarray | None:
    """Read the mask of an image of some width and height; say what is odd about it.

    Returns:
        Booleans with shape (H, W), or None where it is of no use.
    """
    place, read = source
    name = shown(*place)
    try:
        mask = read_mask(read(), "/".join(place), limits=LIMITS)
    except (DataError, OSError) as error:
        known = isinstance(error, DataError)
        skipped.append(str(error) if known else f"{name}: The file cannot be read.")
        return None
    (h, w), (width, height) = mask.shape, size
    sizes = f"{w} × {h} pixels for an image of {width} × {height}"
    if abs(w * height / (h * width) - 1) > 0.02:
        skipped.append(f"{name}: {sizes}, so it is not used.")
    elif good and mask.any():
        skipped.append(f"{name}: Marks a defect of a good image, so it is not used.")
    elif not good and not mask.any():
        skipped.append(f"{name}: Marks nothing, so the image's pixels are not evaluated.")
    else:
        if (w, h) != size:
            skipped.append(f"{name}: {sizes}, so it was resized.")
        if mask.all():
            skipped.append(f"{name}: Marks the whole image.")
        return mask
    return None


def _key(place: Place) -> Place:
    """What an image and its mask have in common: the kind, and the name without its ending."""
    stem = place[2] if len(place) == 4 else PurePosixPath(place[2]).stem  # a folder of masks
    return place[1], stem.casefold()


def _mask_files(
    sources: list[Source], skipped: list[str], places: set[Place]
) -> dict[Place, list[Source]]:
    """Return the files of each mask by the key of its image; name those without one."""
    wanted, found = {_key(place) for place in places}, {}
    files = [source for source in sources if source[0][0] == "ground_truth"]
    for place, read in sorted(files, key=lambda source: "_mask" not in source[0][-1].casefold()):
        if not is_image(place[-1]):
            continue
        if len(place) not in (3, 4):
            skipped.append(f"{shown(*place)}: Not in a folder of ground_truth.")
            continue
        kind, stem = _key(place)
        key = (kind, stem.removesuffix("_mask"))
        key = key if key in wanted else (kind, stem)
        alone = len(place) == 3
        if key not in wanted or (alone and key in found):
            skipped.append(f"{shown(*place)}: There is no image to it, or another mask.")
        else:
            found.setdefault(key, []).append((place, read))
    return found

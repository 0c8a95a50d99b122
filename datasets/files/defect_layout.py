"""Folders of good and defective images as people have them, brought into MVTec AD's layout.

``train/good``, ``test/<kind>`` and ``ground_truth/<kind>`` under other names, MVTec LOCO's masks in
folders, VisA's ``Data/Images``, one folder per kind without a split, and good images alone. Only
the places of files change; nothing is read.
"""

from __future__ import annotations

from datasets.files.errors import DataError
from datasets.files.sources import Place, Source, is_image

__all__ = ["GOOD", "HINT", "arranged", "in_visa", "is_train"]

GOOD = "good"
HINT = (
    "There is no folder train/good in it. Expected are the folders train/good, test/good and "
    "test/<kind of defect>; or good (also called ok or normal) beside a folder per kind of defect; "
    "or good images alone."
)
_GOODS = {GOOD, "goods", "ok", "okay", "normal", "fine", "pass", "nominal"}
_PARTS = {
    **dict.fromkeys(("train", "training", "validation", "val"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("ground_truth", "groundtruth", "ground truth", "masks"), "ground_truth"),
}
TEST_EVERY = 5  # of good images that nobody has split: one of so many tests


def is_train(place: Place) -> bool:
    """Return whether a place begins with a folder of good training images."""
    return len(place) > 1 and _part(place[0]) == "train" and (len(place) == 2 or _good(place[1]))


def in_visa(sources: list[Source]) -> bool:
    """Return whether there is VisA's ``Data/Images`` among files."""
    return any(_visa(place) for place, _ in sources)


def arranged(sources: list[Source]) -> list[Source]:
    """Return files with the places that they have in MVTec AD's layout.

    Raises:
        DataError: it cannot be told which images are good.
    """
    if in_visa(sources):
        return _split([(_visa(place), read) for place, read in sources if _visa(place)])
    if any(_part(place[0]) in ("train", "test") for place, _ in sources if len(place) > 1):
        return [(_renamed(place), read) for place, read in sources]
    return _split([(place, read) for place, read in _by_kind(sources)])


def _part(name: str) -> str:
    return _PARTS.get(name.casefold(), name)


def _good(name: str) -> bool:
    return name.casefold() in _GOODS


def _kind(name: str) -> str:
    return GOOD if _good(name) else name


def _renamed(place: Place) -> Place:
    """Return a place with folders called as MVTec AD calls them."""
    if len(place) < 2 or ((part := _part(place[0])) == place[0] and part not in _PARTS.values()):
        return place
    rest = place[1:]
    if part == "train" and len(rest) == 1:
        rest = (GOOD, *rest)
    if place[0].casefold() in ("validation", "val"):
        rest = (*rest[:-1], f"{place[0]} {rest[-1]}")  # not to be taken for one of train
    return (part, _kind(rest[0]) if len(rest) > 1 else rest[0], *rest[1:])


def _visa(place: Place) -> Place:
    """Return a place of VisA by kind, or under ``ground_truth``; empty if it is none."""
    lower = [part.casefold() for part in place]
    for number in range(len(place) - 4, -1, -1):
        if lower[number : number + 2] == ["data", "images"]:
            return (_kind(place[-2]), place[-1])
        if lower[number : number + 2] == ["data", "masks"]:
            return ("ground_truth", *place[-2:])
    return ()


def _by_kind(sources: list[Source]) -> list[Source]:
    """Return files by kind, of folders that nobody has split into parts."""
    folders = {place[0] for place, _ in sources if len(place) > 1 and is_image(place[-1])}
    kinds = {name for name in folders if _part(name) != "ground_truth"}
    loose = any(len(place) == 1 and is_image(place[0]) for place, _ in sources)
    if not kinds or (len(kinds) == 1 and not loose):  # good images alone, however called
        return [((GOOD, place[-1]), read) for place, read in sources if _part(place[0]) == place[0]]
    if not any(map(_good, kinds)):
        raise DataError(HINT)
    renamed = ((_part(place[0]), *place[1:]) for place, _ in sources)
    return [
        ((_kind(place[0]), *place[1:]), read)
        for place, (_, read) in zip(renamed, sources, strict=True)
        if len(place) > 1
    ]


def _split(sources: list[Source]) -> list[Source]:
    """Put kinds into the test; of the good images every fifth, if there are defects."""
    kinds = {place[0] for place, _ in sources} - {"ground_truth"}
    found, seen = [], 0
    for place, read in sources:
        if place[0] == "ground_truth":
            found.append((place, read))
            continue
        seen += place[0] == GOOD and is_image(place[-1])
        held = place[0] != GOOD or (kinds != {GOOD} and seen % TEST_EVERY == 0)
        found.append((("test" if held else "train", *place), read))
    return found

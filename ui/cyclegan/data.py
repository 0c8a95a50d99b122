"""What the page of CycleGAN offers to learn from: rendered fruits, known sets, or one's own two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from datasets.files.images import SUFFIXES
from datasets.files.sources import folder_state
from datasets.own import DataError
from datasets.own_pairs import (
    MAX_NAME,
    OwnPairs,
    pair_folders,
    read_pairs_folder,
    read_two_folders,
    set_folders,
)
from datasets.pairs import FRUITS, HOME, OWN, PAIRS, TEST, TRAIN, download, is_here
from registry import Family
from training.core.config import ConfigError, RunConfig
from ui.common.data import offer, preview
from ui.common.plain import plain, refuse
from ui.common.uploads import read_apart, read_once, take
from ui.common.widgets import KEPT

OWN_KEY = "own_pairs"  # the user's two sets, kept for the session
UPLOAD, ZIP, TWO = "Two uploads", "One zip", "Two folders"


def pair_data(family: Family, config: RunConfig) -> tuple[OwnPairs | None, bool]:
    """Say what the chosen data are, and offer a download or an upload where it is needed.

    Returns:
        The user's own sets and whether there is all that a training needs.
    """
    try:
        family.training.check(config)
    except ConfigError as error:
        refuse(error)
        return None, False
    if config.dataset == OWN:
        own = _own_pairs(config.image_size)
        return own, own is not None
    source = PAIRS[config.dataset]
    if config.dataset == FRUITS:
        st.caption(
            f"**{source.title}**: drawn by this lab, not photographed. {TRAIN} of each to learn "
            f"from and {TEST} of each to test on; the mask and the hue of every fruit are known."
        )
        return None, True
    a, b = source.domains
    if is_here(config.dataset):
        st.caption(f"**{source.title}**: A shows {a}, B shows {b}. {source.about}")
        return None, True
    _offer(family, config.dataset)
    return None, is_here(config.dataset)


def _offer(family: Family, name: str) -> None:
    source = PAIRS[name]
    offer(
        family,
        f"**{source.title} are not on this machine yet.** It is a download of "
        f"{source.megabytes:,.0f} MB from [the authors' server]({HOME}). {source.about}",
        lambda progress: download(name, progress),
        "The rendered fruits need no download: choose them in the form. Or put a folder "
        f"`{name}` with `trainA` and `trainB` below a path named in `GENLAB_DATA`.",
    )


# -- the user's own ------------------------------------------------------------------------------


def _own_pairs(size: int) -> OwnPairs | None:
    with st.container(border=True):
        st.markdown(
            "**Two sets of your own**, A and B: images of two kinds of thing, each set seen the "
            "same way. Nothing has to match. Upload them; or a zip of two folders; or choose "
            "folders below `GENLAB_DATA`. A part to test on may come along in `testA` and `testB`, "
            "beside `trainA` and `trainB`, or in `test`, beside `train`."
        )
        folders = _labelled(pair_folders())
        sets = _labelled(set_folders())
        either = [TWO] if len(sets) > 1 else []
        chosen = st.selectbox("From", [UPLOAD, ZIP, *either, *folders], key="own_pairs.from")
        try:
            if chosen == UPLOAD:
                own = _two_uploads(size)
            elif chosen == ZIP:
                own = _one_zip(size)
            elif chosen == TWO:
                own = _two_folders(sets, size)
            else:
                own = _folder(folders[chosen], size, folder_state(folders[chosen]))
        except DataError as error:
            refuse(error)
            return None
        if own is None:
            st.info("Bring images of both, then press Train.")
            return None
        own = _named(own)
        _describe(own)
        return own


def _labelled(folders: list[Path]) -> dict[str, Path]:
    """Return folders by as much of their path as tells them apart."""
    names = [path.name for path in folders]
    return {path.name if names.count(path.name) == 1 else str(path): path for path in folders}


def _two_folders(sets: dict[str, Path], size: int) -> OwnPairs | None:
    a, b = (
        place.selectbox(f"Images of {letter}", list(sets), index, key=f"own_pairs.folder_{letter}")
        for index, (place, letter) in enumerate(zip(st.columns(2), "AB", strict=True))
    )
    if a == b:
        refuse("A and B are the same folder: choose another for one of them.")
        return None
    return _folders(sets[a], sets[b], size, folder_state(sets[a]) + folder_state(sets[b]))


def _named(own: OwnPairs) -> OwnPairs:
    """Let the visitor say what A and B show; as it is, they are called like their folders."""
    names = [
        place.text_input(
            f"What {letter} shows",
            placeholder=name,
            max_chars=MAX_NAME,
            # Of other images nobody has said yet what they show.
            key=f"own_pairs.name_{letter}.{own.name}.{name}",
            **KEPT,
        )
        for place, letter, name in zip(st.columns(2), "AB", own.domains, strict=True)
    ]
    return own.called(names[0] or "", names[1] or "")


def _two_uploads(size: int) -> OwnPairs | None:
    sets = [
        take(
            f"Images of {letter}, or a zip of them",
            ["zip", *SUFFIXES],
            f"own_pairs.files_{letter}",
            place,
            advice="Pack a larger set into several zips.",
            accept_multiple_files=True,
        )
        for place, letter in zip(st.columns(2), "AB", strict=True)
    ]
    # The files stay, so that another size is read from them anew.
    sets = _files("two", sets if all(sets) else [])
    if not sets:
        return _kept(size)
    a, b = ([(file.name, file.path) for file in files] for files in sets)
    seen = (size, *(file.id for files in sets for file in files))
    return _read_once(seen, "read_two_sets", a, b, size)


def _one_zip(size: int) -> OwnPairs | None:
    files = take(
        "A zip of two folders",
        ["zip"],
        "own_pairs.zip",
        advice="Unpack a larger one into a folder below `GENLAB_DATA`.",
    )
    files = _files("zip", files)
    if not files:
        return _kept(size)
    (file,) = files
    return _read_once((size, file.id), "read_pairs_zip", file.path, file.name, size)


def _files(way: str, files: list) -> list:
    """Return what was uploaded in this way, now or before."""
    key = f"{OWN_KEY}.kept_{way}"
    st.session_state[key] = files or st.session_state.get(key, [])
    return st.session_state[key]


def _read_once(seen: tuple, reader: str, *arguments: object) -> OwnPairs:
    st.session_state[OWN_KEY] = read_once(
        OWN_KEY,
        seen,
        lambda: read_apart(
            f"datasets.own_pairs:{reader}",
            *arguments,
            load=lambda path: OwnPairs.load(path, mapped=True),
        ),
    )
    return st.session_state[OWN_KEY]


def _kept(size: int) -> OwnPairs | None:
    """Return the sets that were read before, if they have this size."""
    kept: OwnPairs | None = st.session_state.get(OWN_KEY)
    return kept if kept is not None and kept.size == size else None


@st.cache_resource(max_entries=2, show_spinner="Reading the images")
def _folder(path: Path, size: int, state: str) -> OwnPairs:
    return read_pairs_folder(path, size)


@st.cache_resource(max_entries=2, show_spinner="Reading the images")
def _folders(a: Path, b: Path, size: int, state: str) -> OwnPairs:
    return read_two_folders(a, b, size)


def _describe(own: OwnPairs) -> None:
    a, b = own.domains
    preview(
        [
            (name, images, np.arange(len(images)), None)
            for name, images in ((a, own.train_a), (b, own.train_b))
        ],
        f"{len(own.train_a):,} images of {plain(a)} (A) and {len(own.train_b):,} of {plain(b)} (B) "
        f"to learn from, {len(own.test_a)} and {len(own.test_b)} to test on.",
        f"the central square of each, at {own.size} x {own.size} pixels",
        own.skipped,
    )

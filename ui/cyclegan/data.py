"""What the page of CycleGAN offers to learn from: rendered fruits, known sets, or one's own two."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from datasets.files.images import SUFFIXES
from datasets.files.sources import folder_state
from datasets.own import DataError
from datasets.own_pairs import OwnPairs
from datasets.pairs import (
    FRUITS,
    HOME,
    OWN,
    PAIRS,
    TEST,
    TRAIN,
    download,
    is_here,
    pair_folders,
    read_pairs_folder,
)
from registry import Family
from training.core.config import ConfigError, RunConfig
from ui.common.offers import offer
from ui.common.plain import code_points, left_out, plain, refuse
from ui.common.uploads import read_apart, read_once, take

OWN_KEY = "own_pairs"  # the user's two sets, kept for the session
UPLOAD, ZIP = "Two uploads", "One zip"


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
            "same way. Nothing has to match. Or a zip, or a folder below `GENLAB_DATA`, with "
            "`trainA` and `trainB` (and `testA` and `testB`, if you have them)."
        )
        folders = {path.name: path for path in pair_folders()}
        chosen = st.selectbox("From", [UPLOAD, ZIP, *folders], key="own_pairs.from")
        try:
            if chosen == UPLOAD:
                own = _two_uploads(size)
            elif chosen == ZIP:
                own = _one_zip(size)
            else:
                own = _folder(folders[chosen], size, folder_state(folders[chosen]))
        except DataError as error:
            refuse(error)
            return None
        if own is None:
            st.info("Upload images of both, then press Train.")
            return None
        _describe(own)
        return own


def _two_uploads(size: int) -> OwnPairs | None:
    sets, names = [], []
    for place, letter in zip(st.columns(2), "AB", strict=True):
        name = place.text_input(
            f"What {letter} shows", letter, max_chars=20, key=f"own_pairs.name_{letter}"
        )
        names.append(name.strip() or letter)
        files = take(
            f"Images of {letter}, or a zip of them",
            ["zip", *SUFFIXES],
            f"own_pairs.files_{letter}",
            place,
            advice="Pack a larger set into several zips.",
            accept_multiple_files=True,
        )
        sets.append(files)
    # The files stay, so that another size is read from them anew.
    sets = _files("two", sets if all(sets) else [])
    if not sets:
        return _kept(size)
    a, b = ([(file.name, file.path) for file in files] for files in sets)
    seen = (size, *names, *(file.id for files in sets for file in files))
    return _read_once(seen, "read_two_sets", a, b, size, names)


def _one_zip(size: int) -> OwnPairs | None:
    files = take(
        "A zip with trainA and trainB in it",
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
            f"datasets.pairs:{reader}",
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


def _describe(own: OwnPairs) -> None:
    a, b = own.domains
    st.caption(
        f"{len(own.train_a):,} images of {plain(a)} and {len(own.train_b):,} of {plain(b)} to "
        "learn from, "
        f"{len(own.test_a)} and {len(own.test_b)} to test on, {own.size} x {own.size} pixels."
    )
    code_points(own.domains)
    left_out(own.skipped)

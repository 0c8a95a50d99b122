"""What a page offers to learn good parts from: rendered capsules, MVTec's, or one's own set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from datasets.defects import GOOD, SETS, DefectSet, find_sets, read_folder
from datasets.files.sources import folder_state
from datasets.mvtec import MVTEC_CAPSULE, download
from datasets.own import DataError
from datasets.plane import OWN
from datasets.rendered_sets import PARTS, TEST_EACH, TEST_GOOD, TRAIN
from registry import Family
from training.core.config import RunConfig
from training.maf import PRESETS
from ui.common.data import offer, preview
from ui.common.form import use_config
from ui.common.plain import plain, refuse
from ui.common.uploads import Upload, read_apart, read_once, take

OWN_KEY = "own_defects"  # the user's set, kept for the session
UPLOAD = "Upload"
# What the models are called; the last two need no training.
NAMES = {
    "both": "Patches and nearest",
    "patches": "Patches",
    "image": "Whole image",
    "nearest": "Nearest good image",
    "gaussian": "Gaussian per pixel",
}


def maf_data(family: Family, config: RunConfig) -> tuple[DefectSet | None, bool]:
    """Offer the two models, and what the chosen data need.

    Returns:
        The user's own set and whether there is all that a training needs.
    """
    _presets(family, config)
    if config.dataset == OWN:
        own = _own_set(config.side)
        return own, own is not None
    if part := PARTS.get(config.dataset):
        st.caption(
            f"**{SETS[config.dataset]}**: drawn by this lab, not photographed. {TRAIN} good images "
            f"to learn from, {TEST_GOOD} good and {len(part.kinds) * TEST_EACH} defective ones to "
            f"test on ({', '.join(part.kinds).replace('_', ' ')}), with exact masks."
        )
        return None, True
    folder = find_sets().get(config.dataset)
    if folder is None:
        _offer(family)
        return None, False
    st.caption(
        f"**{MVTEC_CAPSULE.title}**, from `{folder}`. {MVTEC_CAPSULE.licence}; "
        f"{MVTEC_CAPSULE.cite}."
    )
    return None, True


def _presets(family: Family, config: RunConfig) -> None:
    key = f"{family.stem}.preset"
    st.session_state[key] = config.model
    st.segmented_control(
        "Model",
        list(NAMES),
        format_func=NAMES.get,
        required=True,
        key=key,
        on_change=_take,
        args=(family, config, key),
        label_visibility="collapsed",
    )


def _take(family: Family, config: RunConfig, key: str) -> None:
    """Set the form to where a model starts; a callback."""
    use_config(family, config.replace(**PRESETS[st.session_state[key]]))


def _offer(family: Family) -> None:
    source = MVTEC_CAPSULE
    offer(
        family,
        f"**{source.title} is not on this machine yet.** It is a download of about "
        f"{source.megabytes} MB from [MVTec]({source.page}). Licence: "
        f"[{source.licence}]({source.licence_url}). To be cited: {source.cite}.",
        lambda progress: download(source, progress=progress),
        "The rendered capsules need no download: choose them in the form. Or unpack the archive "
        "yourself into a folder named in `GENLAB_DATA`.",
        digits=0,
    )


# -- the user's own ------------------------------------------------------------------------------


def _own_set(side: int) -> DefectSet | None:
    with st.container(border=True):
        st.markdown(
            "**Your own set**: good images alone are enough. To know how well it does, bring "
            "defective ones, too: in MVTec's layout (`train/good`, `test/good`, one folder "
            "in `test` per kind of defect, and, if there are masks, "
            "`ground_truth/<kind>/<name>_mask.png`), or `good` beside a folder per kind. As a zip, "
            "or as a folder under a path named in `GENLAB_DATA`."
        )
        folders = find_sets()
        chosen = st.selectbox("From", [UPLOAD, *folders], key="own_defects.from")
        try:
            if chosen == UPLOAD:
                data = _uploaded(side)
            else:
                data = _folder(folders[chosen], side, folder_state(folders[chosen]))
        except DataError as error:
            refuse(error)
            return None
        if data is None:
            st.info("Upload a zip, then press Train.")
            return None
        _describe(data)
        return data


def _describe(data: DefectSet) -> None:
    kinds = np.array(data.kinds)
    tested = [
        (kind, data.test, np.flatnonzero(kinds == kind), data.masks)
        for kind in (GOOD, *data.defects)
    ]
    preview(
        [("train", data.train, np.arange(len(data.train)), None), *tested],
        f"{len(data.train):,} good images to learn from in {plain(data.name)}{_tested(data)}.",
        f"squeezed into {data.size} x {data.size} pixels"
        + (", true masks outlined" if data.masked else ""),
        data.skipped,
    )


def _tested(data: DefectSet) -> str:
    """Return what there is to test on, in words."""
    good, bad = int((~data.defective).sum()), int(data.defective.sum())
    if not good + bad:
        return ", none to test on: they give a threshold for new ones, and no AUROC"
    words = f"; to test on {good:,} good and {bad:,} defective"
    if not bad:
        return f"{words}, so there is no AUROC"
    words += f" ({plain(', '.join(data.defects))})"
    if not data.masked:
        return f"{words}, without masks, so no pixel is evaluated"
    unknown = int((~data.known).sum())
    if unknown:
        return f"{words}, with masks but for {unknown}, whose pixels are not evaluated"
    return f"{words}, with masks"


def _uploaded(side: int) -> DefectSet | None:
    files = take(
        "A zip of images",
        ["zip"],
        "own_defects.file",
        advice="Unpack a larger set into a folder under `GENLAB_DATA`.",
    )
    # The file stays, so that another size is read from it anew.
    files = files or st.session_state.get(f"{OWN_KEY}.kept", [])
    if not files:
        return st.session_state.get(OWN_KEY)
    data = read_once(OWN_KEY, (side, files[0].id), lambda: _read(files[0], side))
    st.session_state[OWN_KEY], st.session_state[f"{OWN_KEY}.kept"] = data, files
    return data


def _read(file: Upload, side: int) -> DefectSet:
    return read_apart(
        "datasets.defects:read_zip",
        file.path,
        side,
        Path(file.name).stem,
        load=lambda path: DefectSet.load(path, mapped=True),
    )


@st.cache_resource(max_entries=3, show_spinner="Reading the images")
def _folder(path: Path, side: int, state: str) -> DefectSet:
    return read_folder(path, side)

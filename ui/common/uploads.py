"""Uploads as pages see them: a file on disk, read once, by a process with limits."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from datasets.files.apart import SET, SINGLE, Bounds, Busy, Whole, call_apart
from datasets.files.errors import DataError
from datasets.files.images import MAX_BYTES
from datasets.files.sources import MAX_UPLOAD
from ui.server.uploads import DESK, Stored, Stub

__all__ = [
    "SET",
    "SINGLE",
    "Upload",
    "expect_none",
    "read_apart",
    "read_once",
    "take",
    "take_photo",
    "uploads",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Upload:
    """A file that was uploaded; it stays on disk for as long as this is kept.

    Attributes:
        name: what the browser calls it.
        id: another for each upload.
        file: where it is.
    """

    name: str
    id: str
    file: Stored

    @property
    def path(self) -> Path:
        """Where its bytes are."""
        return self.file.path

    @property
    def whole(self) -> Whole:
        """Its bytes, for :func:`read_apart`."""
        return Whole(self.path)


def expect_none() -> None:
    """Say that the page is drawn anew: files are taken only if an uploader comes."""
    DESK.begin_page(_session())


def take(
    label: str,
    kinds: Sequence[str],
    key: str,
    place: DeltaGenerator | None = None,
    *,
    advice: str = "Save a larger image as JPEG.",
    **options: Any,
) -> list[Upload]:
    """Draw an uploader and say how large a file may be; return what was uploaded.

    Args:
        label: of the uploader.
        kinds: endings of names. What may be a zip or weights may have 100 MB, others 20.
        key: of the widget.
        place: where it stands.
        advice: what to do with a larger file.
        **options: of ``st.file_uploader``.
    """
    large = {"zip", "safetensors"} & set(kinds)
    most = (MAX_UPLOAD if large else MAX_BYTES) // 2**20
    DESK.offer(_session())
    place = place or st.container()
    files = place.file_uploader(label, type=list(kinds), key=key, max_upload_size=most, **options)
    place.caption(f"At most {most} MB a file. {advice}")
    return uploads(files)


def take_photo(label: str, key: str) -> list[Upload]:
    """Draw the visitor's webcam; return the image that was taken."""
    DESK.offer(_session())
    return uploads(st.camera_input(label, key=key))


def uploads(files: UploadedFile | Sequence[UploadedFile] | None) -> list[Upload]:
    """Return what a widget holds, none, one or several files, as a list."""
    if files is None:
        return []
    several = files if isinstance(files, Sequence) else [files]
    return [Upload(file.name, file.file_id, _stored(file)) for file in several]


def _stored(file: UploadedFile) -> Stored:
    """Return where a file is; one that came past the server's door is put there now."""
    context = get_script_run_ctx()
    for record in context.uploaded_file_mgr.get_files(context.session_id, [file.file_id]):
        if isinstance(record.data, Stub):
            return record.data.file
    kept = st.session_state.setdefault("uploads.here", {})
    if file.file_id not in kept:
        kept[file.file_id] = DESK.keep(_session(), io.BytesIO(file.getvalue()))
    return kept[file.file_id]


def _session() -> str:
    return get_script_run_ctx().session_id


# -- reading -------------------------------------------------------------------------------------


def read_once(key: str, seen: object, read: Callable[[], T]) -> T:
    """Return what ``read`` returned, or raise what it raised, when it was called for ``seen``.

    Args:
        key: under which the session keeps it; only the last one is kept.
        seen: what it depends on: ids of uploads, a size.
        read: reads the files.

    Raises:
        DataError: they cannot be used. Whoever was only busy is asked again.
    """
    kept = st.session_state.get(f"{key}.read")
    if kept is None or kept[0] != seen:
        st.session_state.pop(f"{key}.read", None)  # its memory first
        with st.spinner("Reading it"):
            kept = seen, _read(read)
        st.session_state[f"{key}.read"] = kept
    if isinstance(kept[1], DataError):
        raise DataError(str(kept[1]))
    return kept[1]


def _read(read: Callable[[], T]) -> T | DataError:
    try:
        return read()
    except Busy:
        raise
    except DataError as error:
        return error


def read_apart(
    function: str, *arguments: object, load: Callable[[Path], T], bounds: Bounds = SET
) -> T:
    """Have files read by a process with limits; see :func:`~datasets.files.apart.call_apart`.

    What was read stays in a file beside the uploads, and is fetched where it is used.
    """
    folder = DESK.folder()
    return call_apart(function, *arguments, load=load, bounds=bounds, folder=folder)

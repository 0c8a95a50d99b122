"""The door of uploads: they go to a file on disk, and only where a page has an uploader.

Streamlit takes any number of files from whoever has a session, signed in or not, and holds them in
its memory for as long as the tab is open. Here they are written to the folder of runs while they
come, within limits of a session and of all; Streamlit's own list holds an empty text that knows the
file, so that files leave with their session as before.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import secrets
import shutil
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.runtime import get_instance
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.web.server.server_util import is_xsrf_enabled
from streamlit.web.server.starlette.starlette_app_utils import validate_xsrf_token
from streamlit.web.server.starlette.starlette_server_config import XSRF_COOKIE_NAME

from datasets.files.sources import MAX_UPLOAD
from lab.lab import runs_folder

__all__ = ["DESK", "MAX_UPLOAD", "Desk", "Refused", "Stored", "Stub", "Uploads"]

ROUTE = "/_stcore/upload_file/"
PER_SESSION = 4 * MAX_UPLOAD  # bytes of all files of a session
TOTAL = 20 * MAX_UPLOAD  # of all files of all sessions
FILES_PER_SESSION = 1000
AT_ONCE, AT_ONCE_PER_SESSION = 40, 8  # uploads under way
SECONDS = 900  # that an upload may take
PATIENCE, PACE = 30.0, 50_000.0  # seconds, and after these so many bytes in each
MANY = 1000  # sessions after which those without files are forgotten
GRACE = 20.0  # seconds that a page may take until it comes to its uploader
_OVERHEAD = 2**16  # bytes of the form around a file
_BLOCK = 2**20


class Stored:
    """A file that was uploaded: on disk for as long as anybody knows of this object.

    Attributes:
        path: where it is.
        size: its bytes.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        weakref.finalize(self, path.unlink, missing_ok=True)


class Stub(bytes):
    """An empty text that stands for the bytes of a file in Streamlit's list of them."""

    file: Stored


class Refused(Exception):
    """An upload is not taken.

    Attributes:
        status: of HTTP.
        reason: a sentence.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass
class _Session:
    """What is known of a session.

    Attributes:
        drawn: whether its page has an uploader, as far as it has been drawn.
        until: until when the page before this one counts as well.
        files: those that it has, and those that live on in what was read from them.
        coming: the bytes of each upload under way.
    """

    drawn: bool = False
    until: float = 0.0
    files: weakref.WeakSet[Stored] = field(default_factory=weakref.WeakSet)
    coming: list[int] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Bytes of all its files, those under way among them."""
        return sum(file.size for file in self.files) + sum(self.coming)


class Desk:
    """Keeps account of all uploads of this server."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.RLock()

    def begin_page(self, session: str) -> None:
        """Note that a session's page is drawn anew; what stood on it counts for a moment more."""
        with self._lock:
            if len(self._sessions) > MANY:
                self._forget_idle()
            known = self._sessions.setdefault(session, _Session())
            if known.drawn:
                known.drawn, known.until = False, time.monotonic() + GRACE

    def offer(self, session: str) -> None:
        """Note that there is an uploader on a session's page."""
        with self._lock:
            self._sessions.setdefault(session, _Session()).drawn = True

    @contextmanager
    def coming(self, session: str, size: int) -> Iterator[None]:
        """Keep room for an upload of so many bytes while it comes.

        Raises:
            Refused: there is no uploader on the page, or no room.
        """
        with self._lock:
            known = self._sessions.get(session, _Session())
            self._check(known, size)
            known.coming.append(size)
        try:
            yield
        finally:
            with self._lock:
                known.coming.remove(size)

    def _check(self, known: _Session, size: int) -> None:
        if not (known.drawn or time.monotonic() < known.until):
            raise Refused(403, "There is no upload on this page.")
        if known.bytes + size > PER_SESSION or len(known.files) >= FILES_PER_SESSION:
            raise Refused(413, "This tab has brought too much: reload the page to begin anew.")
        if len(known.coming) >= AT_ONCE_PER_SESSION:
            raise Refused(429, "Too many files at once: try again when some have come.")
        others = list(self._sessions.values())
        crowded = sum(len(other.coming) for other in others) >= AT_ONCE
        if crowded or sum(other.bytes for other in others) + size > TOTAL:
            raise Refused(503, "The lab is taking other people's files: try again in a minute.")

    def _forget_idle(self) -> None:
        for key, known in list(self._sessions.items()):
            if not (known.drawn or known.files or known.coming):
                del self._sessions[key]

    @staticmethod
    def folder() -> Path:
        """Return where files are kept: on the disk of the runs, until this process ends.

        Raises:
            OSError: the disk is not writable.
        """
        folder = runs_folder() / f".uploads-{os.getpid()}"
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def keep(self, session: str, source: IO[bytes]) -> Stored:
        """Write an open file to disk, for a session.

        Raises:
            Refused: it is larger than an upload may be.
            OSError: the disk is full or not writable.
        """
        path = self.folder() / secrets.token_hex(16)
        with open(path, "xb") as out:
            stored = Stored(path, 0)
            shutil.copyfileobj(source, out, _BLOCK)
            stored.size = out.tell()
        if stored.size > MAX_UPLOAD:
            raise Refused(413, f"The file is larger than {MAX_UPLOAD // 2**20} MB.")
        with self._lock:
            self._sessions.setdefault(session, _Session()).files.add(stored)
        return stored


DESK = Desk()


# -- what the server answers ---------------------------------------------------------------------


class _Parser(MultiPartParser):
    spool_max_size = 2**16  # bytes of a file that stay in memory until it is there


class _Body:
    """What comes of a request; a browser hears the answer only when it has said all."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._more = receive, True

    async def __call__(self) -> Message:
        message = await self._receive()
        self._more = message.get("more_body", False)
        return message

    async def finish(self) -> None:
        """Hear, and forget, what is still to come of a file that may be taken."""
        count = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(SECONDS / 10):
                while self._more and count <= MAX_UPLOAD:
                    count += len((await self()).get("body", b""))


class Uploads:
    """Takes files in Streamlit's place."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take an upload; pass on all else."""
        if scope["type"] != "http" or scope["method"] != "PUT" or ROUTE not in scope["path"]:
            await self.app(scope, receive, send)
            return
        body = _Body(receive)
        try:
            await _take(Request(scope, body))
            answer = Response(status_code=204)
        except Refused as refused:
            answer = PlainTextResponse(refused.reason, refused.status)
        except (ClientDisconnect, MultiPartException, TimeoutError):
            answer = PlainTextResponse("The file did not come whole.", 400)
        except OSError as error:
            answer = PlainTextResponse(f"The file cannot be kept: {error.strerror}.", 507)
        await body.finish()
        await answer(scope, receive, send)


async def _take(request: Request) -> None:
    """Write an upload to disk and enter it in Streamlit's list."""
    # Not of the URL: that is made with the header `Host`, in which anything may stand.
    session, file_id = request.scope["path"].rstrip("/").split("/")[-2:]
    supplied, cookie = request.headers.get("X-Xsrftoken"), request.cookies.get(XSRF_COOKIE_NAME)
    if is_xsrf_enabled() and not validate_xsrf_token(supplied, cookie):
        raise Refused(403, "The token against forged requests is missing or wrong.")
    runtime = get_instance()
    if not runtime.is_active_session(session):
        raise Refused(400, "There is no such tab.")
    said = request.headers.get("content-length", "")
    most = MAX_UPLOAD + _OVERHEAD
    size = int(said) if said.isascii() and said.isdigit() and len(said) < 16 else most
    if size > most:
        raise Refused(413, f"The file is larger than {MAX_UPLOAD // 2**20} MB.")
    with DESK.coming(session, size):
        file = await _received(request, size)
        try:
            stored = await asyncio.to_thread(DESK.keep, session, file.file)
        finally:
            await file.close()
    kind, stub = file.content_type or "application/octet-stream", Stub()
    stub.file = stored
    runtime.uploaded_file_mgr.add_file(
        session, UploadedFileRec(file_id, file.filename or "", kind, stub)
    )


async def _received(request: Request, most: int) -> UploadFile:
    """Return the one file of a form, of at most so many bytes.

    Raises:
        TimeoutError: it comes slower than anybody's does who does not want to keep others out.
    """

    async def blocks() -> AsyncGenerator[bytes, None]:
        count = 0
        async for block in request.stream():
            count += len(block)
            if count > most:
                raise Refused(413, "The file is larger than was said.")
            limit.reschedule(began + min(PATIENCE + count / PACE, SECONDS))
            yield block

    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(PATIENCE) as limit:
        try:
            form = await _Parser(request.headers, blocks(), max_files=1, max_fields=0).parse()
        except (LookupError, ValueError) as error:  # headers that a browser does not send
            raise Refused(400, "That is no form with a file.") from error
    files = [value for value in form.values() if isinstance(value, UploadFile)]
    if len(files) != 1:
        raise Refused(400, "One file is taken at a time.")
    return files[0]

"""The server around the pages: it starts with a whole lab or not at all, and guards its doors."""

from __future__ import annotations

import logging
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import streamlit as st
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from analysis.exercises.files import ExerciseError, exercises
from lab.lab import get_lab
from lab.rules import Rules, RulesError, load_rules
from lab.store import RunError
from lab.telemetry import faults, serve_as_ruled
from ui.server.secrets import auth_section, check_secrets
from ui.server.uploads import Uploads

logger = logging.getLogger(__name__)

WRONG_SETTINGS = 2  # exit status, as that of the command line
METRICS = "/_stcore/metrics"  # Streamlit's own: sessions, memory, caches
HEALTH = "/healthz"


def open_lab() -> None:
    """Make the lab, or end the process with a sentence that says what is not set up.

    A visit would be too late: nobody would look at the log, and until then no metrics would be
    served and no run of before marked as interrupted.
    """
    try:
        allowed = load_rules()
        if allowed.sign_in:
            check_secrets()
        if allowed.exercises:
            exercises(allowed.exercises)
        get_lab(serve_as_ruled)
    except RulesError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(WRONG_SETTINGS)
    except ExerciseError as error:
        sys.stderr.write(f"The exercises of this class cannot be used. {error}\n")
        sys.exit(WRONG_SETTINGS)
    except RunError as error:  # another lab in this folder, say: pages show it, and try again
        logger.error("%s", error)


@asynccontextmanager
async def life(_: st.App) -> AsyncIterator[None]:
    """Open the browser; at the end let trainings write a checkpoint.

    uvicorn ends the process with the signal that it was sent, so nothing comes after this.
    """
    if not st.get_option("server.headless"):
        threading.Thread(target=webbrowser.open, args=[_address()], daemon=True).start()
    yield
    if lab := sys.__dict__.get("_generative_lab"):
        lab.close()


def _address() -> str:
    port = st.get_option("server.port")
    return f"http://{st.get_option('browser.serverAddress')}:{port}{_base()}/"


def _base() -> str:
    """Return the path below which the lab is reached: empty, or with a slash in front."""
    path = st.get_option("server.baseUrlPath").strip("/")
    return f"/{path}" if path else ""


def health() -> JSONResponse:
    """Say whether the lab does its work, for a monitor: 200, or 503 and what is wrong."""
    found = faults(sys.__dict__.get("_generative_lab"))
    answer = {"status": "unwell" if found else "ok", "problems": found}
    return JSONResponse(answer, 503 if found else 200, {"Cache-Control": "no-store"})


class Guard:
    """Marks cookies *Secure* under TLS, closes Streamlit's metrics, says who may frame a class.

    Behind a web server every request comes from this machine, so none can be told by its address.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        auth = auth_section()
        uri = auth.get("redirect_uri") if isinstance(auth, Mapping) else None
        self.tls = str(uri).startswith("https://")
        allowed = load_rules()
        # Who works alone may look at their lab in the window of an editor; a class names its sites.
        self.frames = frames_of(allowed) if allowed.is_class else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer that there is no such page."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"].rstrip("/").endswith(METRICS):
            await Response(status_code=404)(scope, receive, send)
        elif scope["path"] == f"{_base()}{HEALTH}":
            await health()(scope, receive, send)
        else:
            await self.app(scope, receive, self._sealed(send, self._by_tls(scope)))

    def _by_tls(self, scope: Scope) -> bool:
        forwarded = dict(scope["headers"]).get(b"x-forwarded-proto", b"")
        return self.tls or scope["scheme"] == "https" or forwarded.strip() == b"https"

    def _sealed(self, send: Send, tls: bool) -> Send:
        async def seal(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [_secure(*header) if tls else header for header in message["headers"]]
                frames = [(b"content-security-policy", self.frames)] if self.frames else []
                message["headers"] = [*headers, *frames]
            await send(message)

        return seal


def frames_of(allowed: Rules) -> bytes:
    """Return the header that says which sites may show the lab in a frame (CSP level 2)."""
    return " ".join(["frame-ancestors 'self'", *allowed.frame_sites]).encode()


def _secure(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    open_cookie = name.lower() == b"set-cookie" and b"; secure" not in value.lower()
    return name, value + b"; Secure" if open_cookie else value


LAYERS = [Middleware(Guard), Middleware(Uploads)]

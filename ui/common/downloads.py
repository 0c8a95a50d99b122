"""Downloads of a run: snapshots, film, numbers, weights, folder, the command that repeats it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from datasets.plane import OWN
from figures.images import curves_report, telling
from lab.code.notebook import notebook_of, python_of
from lab.store import Run
from lab.view import View
from ui.common.lab import lab
from ui.common.page import theme
from ui.common.plain import refuse

logger = logging.getLogger(__name__)
_failed: dict[str, str] = {}  # session: what its last click came to
_at_work: dict[str, Making] = {}  # session: what is being made for it
SLOW = 1.0  # seconds after which the page says what is being made
TICK = 0.5  # seconds between two looks at it

Make = Callable[[], bytes | str]

MIME = {
    "gif": "image/gif",
    "png": "image/png",
    "pdf": "application/pdf",
    "csv": "text/csv",
    "zip": "application/zip",
    "py": "text/x-python",
    "ipynb": "application/x-ipynb+json",
}

# Ending of the file to its name on the button and what makes it from a run and a theme.
Files = Mapping[str, tuple[str, Callable[[Run, str], bytes]]]


@dataclass
class Making:
    """A download while it is made: its name on the button, and how many images are done."""

    what: str
    done: int = 0

    def tell(self, done: int) -> None:
        """Take note of how many images are done."""
        self.done = done


def take_away(view: View, files: Files) -> None:
    """Draw the download buttons of a run. What costs time is made when it is asked for."""
    run, shade = view.run, theme()
    if view.snapshot is None:
        st.info("There is nothing to take away yet.")
        return
    columns = st.columns(3)
    weights = run.path / "model.safetensors"
    buttons = [
        *((ending, label, partial(make, run, shade)) for ending, (label, make) in files.items()),
        ("curves.pdf", "Curves (PDF)", partial(_curves, run)),
        ("csv", "Metrics (CSV)", (run.path / "metrics.csv").read_bytes),
        ("safetensors", "Weights (safetensors)", run.weights.file),
        ("py", "Code (Python)", partial(python_of, run)),
        ("ipynb", "Notebook (ipynb)", partial(notebook_of, run)),
        ("zip", "The whole run (zip)", run.zipped),
    ]
    for i, (ending, label, data) in enumerate(buttons):
        columns[i % 3].download_button(
            label,
            deferred(data, label),
            f"{run.id}.{ending}",
            MIME.get(ending.rpartition(".")[2], "application/octet-stream"),
            on_click="ignore",
            icon=":material/download:",
            width="stretch",
            key=f"{run.id}.{ending}",
            disabled=ending == "safetensors" and not weights.exists(),
        )
    say_what_becomes_of(*(label for _, label, _ in buttons))
    columns[len(buttons) % 3].caption(
        f"The run is the folder `{run.path.name}` and opens without the lab."
    )
    show_command(run)


def _curves(run: Run) -> bytes:
    title = f"{run.family.title}, {run.id}"
    return curves_report(run.metrics.rows(), title)


def show_command(run: Run) -> None:
    """Draw the command line that repeats a run, and where it is typed."""
    here = not lab().signed_in  # a lab that people sign in to runs on another machine than theirs
    words = "The same training from the command line, in the folder of the lab"
    if not here and run.config.dataset == OWN:
        words += " into which the whole run (zip) has been unpacked"
    st.caption(f"{words}:")
    st.code(run.command(here=here), language="bash", wrap_lines=True)


# -- while one is made ---------------------------------------------------------------------------


def deferred(make: Make, what: str) -> Make:
    """Return what makes a download; if it takes long or fails, the page is drawn anew and says so.

    Streamlit makes it outside of any script, of which the browser hears nothing until it is there.

    Args:
        make: makes the file.
        what: its name on the button.
    """
    context = get_script_run_ctx()
    session = context.session_id if context is not None else ""

    def made() -> bytes | str:
        try:
            with _shown(session, what):
                return make()
        except Exception as error:
            logger.exception("%s could not be made", what)
            _failed[session] = f"{what} could not be made: {error or type(error).__name__}"
            _draw_anew(session)
            raise

    return made


@contextmanager
def _shown(session: str, what: str) -> Iterator[None]:
    """Have the page of a session say what is being made inside, if that takes long."""
    making = _at_work[session] = Making(what)
    late = threading.Timer(SLOW, _draw_anew, (session,))
    late.daemon = True
    late.start()
    try:
        with telling(making.tell):
            yield
    finally:
        late.cancel()
        if _at_work.get(session) is making:
            del _at_work[session]


def say_what_becomes_of(*labels: str) -> None:
    """Draw how far the download of this visitor is, or why it failed.

    Args:
        labels: names on the buttons beside which it is drawn.
    """
    context = get_script_run_ctx()
    if context is None:
        return
    session = context.session_id
    if words := _failed.pop(session, ""):
        refuse(words)
    making = _at_work.get(session)
    if making is not None and making.what in labels:
        ticking = st.fragment(run_every=TICK)
        ticking(_say_how_far)(session)


def _say_how_far(session: str) -> None:
    making = _at_work.get(session)
    if making is None:
        st.rerun()  # it is there: nothing has to tick any more
    so_far = f": {making.done:,} images so far" if making.done else ""
    st.caption(f":material/hourglass_top: **{making.what}** is being made{so_far}.")


def _draw_anew(session: str) -> None:
    if not runtime.exists():
        return
    # There is no public way to have a page drawn from another thread.
    info = runtime.get_instance()._session_mgr.get_active_session_info(session)
    if info is not None:
        info.session.request_rerun(info.session._client_state)

"""Downloads that are made when they are asked for: what goes wrong then is told on the page."""

from __future__ import annotations

import logging
from collections.abc import Callable

from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from ui.common.plain import refuse

logger = logging.getLogger(__name__)
_failed: dict[str, str] = {}  # session: what its last click came to

Make = Callable[[], bytes | str]


def deferred(make: Make, what: str) -> Make:
    """Return what makes a download; if it fails, the page is drawn anew and says so.

    Streamlit makes it outside of any script, and of an error there tells the browser nothing.

    Args:
        make: makes the file.
        what: its name on the button.
    """
    context = get_script_run_ctx()
    session = context.session_id if context is not None else ""

    def made() -> bytes | str:
        try:
            return make()
        except Exception as error:
            logger.exception("%s could not be made", what)
            _failed[session] = f"{what} could not be made: {error or type(error).__name__}"
            _draw_anew(session)
            raise

    return made


def say_what_failed() -> None:
    """Draw why the last download of this visitor failed, if it did."""
    context = get_script_run_ctx()
    if context is not None and (words := _failed.pop(context.session_id, "")):
        refuse(words)


def _draw_anew(session: str) -> None:
    if not runtime.exists():
        return
    # There is no public way to have a page drawn from another thread.
    info = runtime.get_instance()._session_mgr.get_active_session_info(session)
    if info is not None:
        info.session.request_rerun(info.session._client_state)

"""Downloads that are made on demand: what goes wrong reaches who clicked."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from ui.common import downloads


def page() -> None:
    import streamlit as st

    from ui.common.downloads import deferred, say_what_failed

    say_what_failed()

    def make() -> bytes:
        raise ValueError("ZIP does not support timestamps before 1980")

    st.session_state["made"] = deferred(make, "The zip")


def test_what_fails_is_told_once_on_the_page(monkeypatch):
    drawn = []
    monkeypatch.setattr(downloads, "_draw_anew", drawn.append)
    app = AppTest.from_function(page, default_timeout=60).run()
    assert not app.error
    with pytest.raises(ValueError, match="1980"):
        app.session_state["made"]()
    assert len(drawn) == 1
    app.run()
    assert "The zip could not be made" in app.error[0].value
    app.run()
    assert not app.error

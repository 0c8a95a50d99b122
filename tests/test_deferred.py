"""Downloads that are made on demand: what goes wrong reaches who clicked."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
from conftest import wait_until
from PIL import Image
from streamlit.testing.v1 import AppTest

from figures.images import gif
from ui.common import downloads


def page() -> None:
    import streamlit as st

    from ui.common.downloads import deferred, say_what_becomes_of

    say_what_becomes_of("The zip")

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


def slow_page() -> None:
    import streamlit as st

    from ui.common.downloads import deferred, say_what_becomes_of

    if "made" not in st.session_state:
        st.session_state["made"] = deferred(st.session_state["make"], "The film")
    say_what_becomes_of("Another film")
    say_what_becomes_of("The film")


def test_a_page_says_how_far_a_slow_download_is_and_then_no_more(monkeypatch):
    drawn, go_on = [], threading.Event()
    monkeypatch.setattr(downloads, "_draw_anew", drawn.append)
    monkeypatch.setattr(downloads, "SLOW", 0.05)

    def frames():
        for grey in (10, 20, 30):
            yield Image.new("L", (8, 8), grey).convert("RGB")
        assert go_on.wait(20)
        yield Image.new("RGB", (8, 8), "red")

    app = AppTest.from_function(slow_page, default_timeout=60)
    app.session_state["make"] = lambda: gif(frames())
    app.run()
    assert not app.caption, "nothing is being made"
    films: list[bytes] = []
    make = app.session_state["made"]
    worker = threading.Thread(target=lambda: films.append(make()))
    worker.start()
    wait_until(lambda: drawn)
    app.run()
    assert [caption.value for caption in app.caption] == [
        ":material/hourglass_top: **The film** is being made: 3 images so far."
    ]
    go_on.set()
    worker.join(20)
    app.run()
    assert not app.caption
    with Image.open(io.BytesIO(films[0])) as film:
        assert film.n_frames == 4


def test_a_quick_download_draws_nothing_anew(monkeypatch):
    drawn = []
    monkeypatch.setattr(downloads, "_draw_anew", drawn.append)
    assert downloads.deferred(lambda: b"made", "The table")() == b"made"
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert all(timer.finished.is_set() for timer in timers)
    assert not drawn
    assert not downloads._at_work


def test_a_film_keeps_its_colours():
    ramp = np.linspace(0, 255, 200, dtype=np.uint8)
    smooth = np.stack(np.broadcast_arrays(ramp[None], ramp[:, None], np.uint8(90)), -1)
    busy = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    for pixels, most in ((smooth, 6), (busy, 20)):
        with Image.open(io.BytesIO(gif([Image.fromarray(pixels)] * 2))) as film:
            shown = np.asarray(film.convert("RGB")).astype(int)
        assert np.abs(shown - pixels).mean() < most

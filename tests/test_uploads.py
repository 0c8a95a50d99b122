"""Uploads go to disk, where a page has an uploader, within limits, and are read once."""

from __future__ import annotations

import asyncio
import gc
import io
import tomllib
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from conftest import wait_until
from provider import AUTH, section
from starlette.requests import Request
from streamlit.testing.v1 import AppTest
from test_start import CLASS

from benchmarks.serving import Served, server
from benchmarks.visitors import Visitor
from datasets.files.images import MAX_BYTES
from datasets.files.sources import MAX_UPLOAD
from ui.server.uploads import AT_ONCE_PER_SESSION, PER_SESSION, Desk, Refused, _received

ROOT = Path(__file__).parent.parent
POINTS = "\n".join(f"{i % 17},{i % 13}" for i in range(200)).encode()


# -- one limit -----------------------------------------------------------------------------------


def test_streamlit_takes_what_the_lab_takes():
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert settings["server"]["maxUploadSize"] * 2**20 == MAX_UPLOAD > 86e6
    assert (
        f"client_max_body_size {MAX_UPLOAD // 2**20 + 1}m"
        in (ROOT / "docs" / "class_server.md").read_text()
    )


def test_every_uploader_says_how_large_a_file_may_be():
    for path in (ROOT / "ui").rglob("*.py"):
        if path.name != "uploads.py":
            assert ".file_uploader(" not in path.read_text(), path
    tester = AppTest.from_function(_uploaders, default_timeout=60).run()
    assert not tester.exception
    limits = [widget.proto.max_upload_size_mb for widget in tester.file_uploader]
    assert limits == [MAX_UPLOAD // 2**20, MAX_BYTES // 2**20]
    for limit, caption in zip(limits, tester.caption, strict=True):
        assert caption.value.startswith(f"At most {limit} MB a file. ")


def _uploaders() -> None:
    from ui.common.uploads import take

    take("A set", ["zip", ".png"], "set")
    take("An image", [".png"], "image")


# -- read once -----------------------------------------------------------------------------------


def _reads() -> None:
    import streamlit as st

    from datasets.files.apart import Busy
    from datasets.files.errors import DataError
    from ui.common.uploads import read_once, take

    files = take("A file", ["txt"], "file")
    size = st.selectbox("Size", [1, 2, 3])
    st.button("Anything")

    def read() -> int:
        st.session_state["reads"] = st.session_state.get("reads", 0) + 1
        text = files[0].path.read_text()
        if text == "bad":
            raise DataError("It is bad.")
        if text == "busy":
            raise Busy("Others first.")
        return len(text) * size

    if files:
        try:
            st.text(read_once("x", (size, files[0].id), read))
        except DataError as error:
            st.error(str(error))


def test_an_upload_is_read_once_and_again_for_another_size():
    tester = AppTest.from_function(_reads, default_timeout=60).run()
    tester.file_uploader[0].upload("a.txt", b"four", "text/plain").run()
    for _ in range(3):
        tester.button[0].click().run()
    assert (tester.session_state["reads"], tester.text[0].value) == (1, "4")
    tester.selectbox[0].set_value(2).run()
    assert (tester.session_state["reads"], tester.text[0].value) == (2, "8")


@pytest.mark.parametrize(("content", "reads"), [(b"bad", 1), (b"busy", 4)])
def test_what_is_refused_is_not_read_again_unless_others_were_first(content, reads):
    tester = AppTest.from_function(_reads, default_timeout=60).run()
    tester.file_uploader[0].upload("a.txt", content, "text/plain").run()
    for _ in range(3):
        tester.button[0].click().run()
        assert tester.error
    assert not tester.exception
    assert tester.session_state["reads"] == reads


# -- the desk ------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Desk:
    monkeypatch.setenv("GENLAB_RUNS", str(tmp_path))
    return Desk()


def enter(desk: Desk, session: str, size: int = 1) -> None:
    with desk.coming(session, size):
        pass


def test_files_are_taken_only_where_a_page_has_an_uploader(desk, monkeypatch):
    with pytest.raises(Refused, match="no upload on this page"):
        enter(desk, "a")
    desk.begin_page("a")
    desk.offer("a")
    enter(desk, "a")
    with pytest.raises(Refused):
        enter(desk, "b")
    desk.begin_page("a")  # a moment, until its uploader is drawn again
    enter(desk, "a")
    monkeypatch.setattr("ui.server.uploads.GRACE", 0.0)
    desk.offer("a")
    desk.begin_page("a")
    with pytest.raises(Refused):
        enter(desk, "a")


def test_a_file_is_on_disk_for_as_long_as_somebody_knows_it(desk, tmp_path):
    kept = desk.keep("a", io.BytesIO(b"content"))
    assert kept.path.read_bytes() == b"content" and kept.path.is_relative_to(tmp_path)
    path, size = kept.path, kept.size
    assert size == 7
    del kept
    gc.collect()
    assert not path.exists()


def test_a_session_has_room_for_so_much_and_gets_it_back(desk):
    desk.offer("a")
    with desk.coming("a", PER_SESSION), pytest.raises(Refused, match="too much"):
        enter(desk, "a")
    enter(desk, "a", PER_SESSION)
    with pytest.raises(Refused, match="too much"):
        enter(desk, "a", PER_SESSION + 1)


def test_so_many_come_at_once(desk):
    desk.offer("a")

    def nested(depth: int) -> None:
        with desk.coming("a", 1):
            nested(depth + 1)

    with pytest.raises(Refused, match="Too many files at once"):
        nested(0)
    enter(desk, "a")
    assert AT_ONCE_PER_SESSION > 1


def test_all_together_have_room_for_so_much(desk, monkeypatch):
    monkeypatch.setattr("ui.server.uploads.TOTAL", 100)
    for session in "ab":
        desk.offer(session)
    with desk.coming("a", 60), pytest.raises(Refused, match="other people's"):
        enter(desk, "b", 60)


# -- a real server -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with server(tmp_path_factory.mktemp("uploads") / "runs") as found:
        yield found


def files_of(served: Served) -> list[Path]:
    return [*served.log.parent.rglob(".uploads-*/*")]


def test_a_file_arrives_on_disk_and_leaves_with_its_tab(served):
    async def visit() -> None:
        async with Visitor(served.url) as visitor:
            await visitor.open("nice", "dataset=own")
            await visitor.upload("A CSV", {"points.csv": POINTS})
            assert any("200 points from points.csv" in text for text in visitor.texts())
            assert [file.stat().st_size for file in files_of(served)] == [len(POINTS)]
            await visitor.press("Train")
            assert not any("could not" in text for text in visitor.texts())

    asyncio.run(visit())
    # Streamlit keeps a closed tab for two minutes; its files go with it, or with the server.
    assert len(files_of(served)) <= 1


def test_where_no_uploader_is_nothing_is_taken(served):
    async def visit() -> list[int]:
        async with Visitor(served.url) as visitor:
            await visitor.open("")
            answers = [(await visitor.put(b"x" * 2**20))[1] for _ in range(3)]
            visitor.session = "somebody-else"
            return [*answers, (await visitor.put(b"x"))[1]]

    assert asyncio.run(visit()) == [403, 403, 403, 400]


def test_who_has_not_signed_in_brings_nothing(tmp_path):
    (tmp_path / "class.toml").write_text(CLASS)
    (tmp_path / "secrets.toml").write_text(section(AUTH))
    flags = ["--secrets.files", str(tmp_path / "secrets.toml")]
    config = str(tmp_path / "class.toml")

    async def visit(url: str) -> int:
        async with Visitor(url) as visitor:
            await visitor.open("nice", "dataset=own")
            return (await visitor.put(b"x" * 2**20))[1]

    with server(tmp_path / "lab" / "runs", flags, GENLAB_CONFIG=config) as served:
        assert asyncio.run(visit(served.url)) == 403
        assert not files_of(served)


NAMES = ["../../x.csv", "/tmp/x.csv", "x\0.csv", "\u202ex.csv", "x" * 3000 + ".csv"]


@pytest.mark.parametrize("name", [*NAMES, "x" * 10_000 + ".csv"])
def test_the_name_of_a_file_is_a_name_and_no_place(served, name):
    async def visit() -> int:
        async with Visitor(served.url) as visitor:
            await visitor.open("nice", "dataset=own")
            before = set(served.log.parent.parent.rglob("*"))
            status = (await visitor.put(POINTS, name))[1]
            fresh = set(served.log.parent.parent.rglob("*")) - before
            held = [path for path in fresh if path.is_file() and path.read_bytes() == POINTS]
            assert {path.parent.name.partition("-")[0] for path in held} <= {".uploads"}
            return status

    assert asyncio.run(visit()) == (204 if name in NAMES else 400)


FORM = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n1\r\n--b--\r\n'


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": "multipart/form-data; boundary=b; charset=undefined"},
        {"Content-Type": "multipart/form-data; boundary=other"},
        {"Content-Type": "multipart/form-data; boundary=" + "b" * 9000},
    ],
)
def test_headers_that_no_browser_sends_are_refused(served, headers):
    async def visit() -> list[int]:
        async with Visitor(served.url) as visitor:
            await visitor.open("nice", "dataset=own")
            path = f"/_stcore/upload_file/{visitor.session}/an-id"
            good = {"Content-Type": "multipart/form-data; boundary=b", "Host": "a?b"}
            return [
                (
                    await visitor._http.put(path, content=FORM, headers=told | visitor._token())
                ).status_code
                for told in (headers, good)
            ]

    bad, good = asyncio.run(visit())
    assert bad == 400
    assert good in (204, 400), "whatever host it names"


def test_who_sends_slowly_does_not_keep_others_out(monkeypatch):
    monkeypatch.setattr("ui.server.uploads.PATIENCE", 0.2)

    async def receive() -> dict:
        blocks.append(1)
        if len(blocks) > 3:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": FORM[:-12] if len(blocks) == 1 else b"1"} | more

    async def visit() -> None:
        kind = (b"content-type", b"multipart/form-data; boundary=b")
        await _received(Request({"type": "http", "headers": [kind]}, receive), 2**20)

    blocks: list[int] = []
    more = {"more_body": True}
    with pytest.raises(TimeoutError):
        asyncio.run(visit())


def test_an_upload_that_breaks_off_leaves_nothing(served):
    async def half():
        yield FORM[:-12] + bytes(2**20)
        raise httpx.WriteError("gone")

    async def visit() -> int:
        async with Visitor(served.url) as visitor:
            await visitor.open("nice", "dataset=own")
            path = f"/_stcore/upload_file/{visitor.session}/an-id"
            told = {"Content-Type": "multipart/form-data; boundary=b", **visitor._token()}
            for _ in range(2 * AT_ONCE_PER_SESSION):
                with suppress(httpx.TransportError):
                    await visitor._http.put(path, content=half(), headers=told)
            return (await visitor.put(POINTS))[1]

    before = len(files_of(served))
    assert asyncio.run(visit()) == 204, "there is room again"
    assert len(files_of(served)) <= before + 1


def test_a_forged_request_and_one_too_large_are_refused(served):
    async def visit() -> tuple[int, int]:
        async with Visitor(served.url) as visitor:
            await visitor.open("nice", "dataset=own")
            large = (await visitor.put(bytes(MAX_UPLOAD + 2**20)))[1]
            visitor._http.cookies.clear()
            return large, (await visitor.put(b"x"))[1]

    assert asyncio.run(visit()) in ((413, 403), (0, 403))
    wait_until(lambda: all(file.stat().st_size < 2**20 for file in files_of(served)))

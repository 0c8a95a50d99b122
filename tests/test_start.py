"""A lab that is not set up well does not start; one that starts is whole before the first visit."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from conftest import wait_until
from provider import AUTH, section
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.testing.v1 import AppTest
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value
from test_lab import NICE, short
from websockets.asyncio.client import connect

from benchmarks.serving import server
from lab.lab import Lab
from lab.rules import Rules, RulesError, load_rules
from lab.store import RunStore
from lab.telemetry import faults
from ui.server.start import Guard, open_lab

ROOT = Path(__file__).parent.parent
CLASS = 'sign_in = true\nadmins = ["teacher@school.edu"]\n'


def start(folder: Path, rules: str, secrets: str | None) -> subprocess.CompletedProcess[str]:
    """Start the lab as `make class` does, and wait for it to give up."""
    (folder / "class.toml").write_text(rules)
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
    command += ["--server.port", "0", "--secrets.files", str(folder / "secrets.toml")]
    if secrets is not None:
        (folder / "secrets.toml").write_text(secrets)
    env = {"GENLAB_CONFIG": str(folder / "class.toml"), "GENLAB_RUNS": str(folder / "runs")}
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the sentence with which a lab gave up, and nothing but a sentence."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("The ")]
    return line


def test_a_broken_rule_is_refused_at_the_start_with_file_line_and_name(tmp_path):
    line = refused(start(tmp_path, "# mine\nqueue = 5\nrunning = 'two'\n", None))
    assert str(tmp_path / "class.toml") in line and "line 3" in line and "running" in line


@pytest.mark.parametrize(
    ("secrets", "words"),
    [
        (section({**AUTH, "cookie_secret": ""}), "cookie_secret"),
        (None, "[auth]"),
        ("[auth\n", "line 1"),
    ],
    ids=["empty secret", "no file", "no TOML"],
)
def test_sign_in_that_is_not_set_up_is_refused_at_the_start(tmp_path, secrets, words):
    line = refused(start(tmp_path, CLASS, secrets))
    assert str(tmp_path / "secrets.toml") in line and words in line


def test_the_example_of_secrets_is_refused_until_it_is_filled_in(tmp_path):
    example = (ROOT / "deploy" / "secrets.toml").read_text()
    assert "cookie_secret" in refused(start(tmp_path, CLASS, example))


# -- a lab that has started -------------------------------------------------------------------


def shown(url: str, secret: str, page: str = "admin", **claims: object) -> str:
    """Return what a page shows to a browser that comes with a cookie signed with this secret."""
    says = {"origin": url, "is_logged_in": True, "iss": "https://id", "sub": "42"}
    says |= {"email": "teacher@school.edu", "email_verified": True, **claims}
    cookie = create_signed_value(secret, "_streamlit_user", json.dumps(says)).decode()
    with urllib.request.urlopen(f"{url}/_stcore/health", timeout=20) as answer:
        token = SimpleCookie(answer.headers["Set-Cookie"])["_streamlit_xsrf"].value
    headers = {"Cookie": f"_streamlit_user={cookie}; _streamlit_xsrf={token}"}
    return asyncio.run(_visit(url.replace("http", "ws"), url, token, headers, page))


async def _visit(url: str, origin: str, token: str, headers: dict[str, str], page: str) -> str:
    protocols = ["streamlit", token]
    async with connect(
        f"{url}/_stcore/stream",
        origin=origin,
        subprotocols=protocols,
        additional_headers=headers,
        max_size=None,
    ) as socket:
        await socket.send(BackMsg(rerun_script={"page_name": page}).SerializeToString())
        words = []
        while True:
            message = ForwardMsg.FromString(await asyncio.wait_for(socket.recv(), 60))
            words.append(str(message))
            if message.WhichOneof("type") == "script_finished":
                return "".join(words)


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    """A class with sign-in, a run that the last server left behind, and a port for metrics."""
    folder = tmp_path_factory.mktemp("school")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (folder / "class.toml").write_text(f"{CLASS}metrics_port = {port}\n")
    (folder / "secrets.toml").write_text(section(AUTH))
    runs = folder / "lab" / "runs"
    run = RunStore(runs).create(NICE, short())
    run.write_status(type(run.status())(state="running"))
    flags = ["--secrets.files", str(folder / "secrets.toml")]
    with server(runs, flags, GENLAB_CONFIG=str(folder / "class.toml")) as served:
        yield served, runs, port


def test_the_lab_is_there_before_the_first_visit(school):
    _, runs, port = school
    (run,) = RunStore(runs)
    assert run.status().state == "interrupted"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        assert b"genlab_slots" in answer.read()


def test_a_cookie_opens_admin_only_if_the_lab_has_signed_it(school):
    url = school[0].url
    assert "Slots taken" in shown(url, AUTH["cookie_secret"]), "the attack as such works"
    for secret in ("", "x", "cookie_secret"):
        words = shown(url, secret)
        assert "Slots taken" not in words and "Sign in" in words


def test_a_secret_that_is_emptied_later_opens_nothing(school):
    served, runs, _ = school
    file = runs.parent.parent / "secrets.toml"
    try:
        file.write_text(section({**AUTH, "cookie_secret": ""}))
        wait_until(lambda: "not in order" in shown(served.url, AUTH["cookie_secret"]))
        assert "Slots taken" not in shown(served.url, "")
        assert "cookie_secret in [auth] is empty" in served.log.read_text()
    finally:
        file.write_text(section(AUTH))
        wait_until(lambda: "Slots taken" in shown(served.url, AUTH["cookie_secret"]))


def test_who_is_no_admin_yet_is_told_the_key_that_would_make_them_one(school):
    words = shown(school[0].url, AUTH["cookie_secret"], email_verified=False)
    assert "Slots taken" not in words
    assert "https://id 42" in words
    assert Rules(admins=("https://id 42",)).is_admin(["https://id 42"])


def test_behind_tls_every_cookie_is_for_tls_only(school, tmp_path):
    with urllib.request.urlopen(f"{school[0].url}/_stcore/health", timeout=20) as answer:
        cookies = answer.headers.get_all("Set-Cookie")
    assert cookies and all("; secure" in cookie.lower() for cookie in cookies)
    with server(tmp_path / "runs") as own:
        plain = urllib.request.Request(f"{own.url}/_stcore/health")
        by_tls = urllib.request.Request(plain.full_url, headers={"X-Forwarded-Proto": "https"})
        for request, secure in ((plain, False), (by_tls, True)):
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert ("; secure" in answer.headers["Set-Cookie"].lower()) is secure


@pytest.mark.parametrize("path", ["_stcore/metrics", "_stcore/metrics/", "_stcore/%6Detrics"])
def test_nobody_reads_the_metrics_of_streamlit(school, path):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{school[0].url}/{path}", timeout=20)


def test_the_server_says_that_it_is_well(school):
    def well() -> dict | None:  # its first process may be on its way
        try:
            with urllib.request.urlopen(f"{school[0].url}/healthz", timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            problems = json.load(error)["problems"]
            assert problems == [p for p in problems if p.startswith("No training can be started")]
            return None

    assert wait_until(well) == {"status": "ok", "problems": []}


def test_a_server_whose_runs_belong_to_another_says_what_is_wrong(tmp_path):
    claim = RunStore(tmp_path / "runs").claim()
    with claim, server(tmp_path / "runs") as second:
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"{second.url}/healthz", timeout=20)
        assert refusal.value.code == 503
        answer = json.load(refusal.value)
    assert answer["status"] == "unwell"
    assert len(answer["problems"]) == 1 and str(tmp_path) not in answer["problems"][0]


def test_a_lab_that_nobody_listens_in_or_whose_disk_is_full_is_unwell(tmp_path, monkeypatch):
    lab = Lab(tmp_path / "runs", ["cpu"])
    wait_until(lambda: lab.can_start)
    assert faults(lab) == []
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=120_000_000))
    assert faults(lab) == ["The disk of the runs has 120 MB left."]
    lab.close()
    wait_until(lambda: not lab.listens)
    assert len(faults(lab)) == 2


def test_a_visitor_sees_neither_what_an_error_says_nor_where(monkeypatch):
    monkeypatch.chdir(ROOT)

    def page():
        raise ValueError("/srv/lab/secret.txt")

    tester = AppTest.from_function(page).run()
    (shown_error,) = tester.exception
    assert "ValueError" in str(shown_error.proto)
    assert "/srv/lab" not in str(shown_error.proto) and ".py" not in str(shown_error.proto)


# -- exercises and frames of a class ---------------------------------------------------------------


def test_a_broken_exercise_is_refused_at_the_start_in_a_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "week_3.md").write_text("---\nfamily: nicer\ntitle: A\nquestion: B\n---\n")
    (tmp_path / "class.toml").write_text('exercises = "mine"\n')
    monkeypatch.setenv("GENLAB_CONFIG", str(tmp_path / "class.toml"))
    with pytest.raises(SystemExit) as end:
        open_lab()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("The exercises of this class cannot be used. week_3: family must be one")


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("", None),
        ("slots_cpu = 1", "frame-ancestors 'self'"),
        (
            'frame_sites = ["https://a.edu", "https://*.b.edu:8443"]',
            "'self' https://a.edu https://*",
        ),
    ],
)
def test_who_may_frame_a_class_stands_in_each_answer(tmp_path, monkeypatch, rules, said):
    (tmp_path / "class.toml").write_text(rules)
    monkeypatch.setenv("GENLAB_CONFIG", str(tmp_path / "class.toml"))

    async def page(_scope, _receive, send) -> None:
        headers = [(b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    sent = []

    async def send(message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/nice", "scheme": "http", "headers": []}
    asyncio.run(Guard(page)(scope, None, send))
    found = dict(sent[0]["headers"]).get(b"content-security-policy")
    assert (found is None) if said is None else said in found.decode()


@pytest.mark.parametrize(
    "site", ["https://a.edu; script-src *", "*", "a.edu", "https://a.edu/path"]
)
def test_what_is_no_site_is_refused(tmp_path, site):
    path = tmp_path / "class.toml"
    path.write_text(f'frame_sites = ["{site}"]')
    with pytest.raises(RulesError, match="line 1: frame_sites cannot be"):
        load_rules(path)

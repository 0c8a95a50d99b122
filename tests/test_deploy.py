"""What docs/class_server.md says to do: every step that this machine allows, in a folder apart."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import wait_until
from provider import AUTH, section

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "deploy" / "generative-lab.service"
USER = "genlab"
EXPOSED = 3.0  # of 10, as `systemd-analyze security` counts


def tool(name: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"no {name} on this machine")
    return found


def settings(name: str) -> list[str]:
    """The values of a setting of the unit."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_the_unit_gives_little_away():
    command = [tool("systemd-analyze"), "security", "--offline=true", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.skip(f"systemd-analyze: {done.stderr.strip()}")
    (level,) = re.findall(r"exposure level for \S+ ([\d.]+)", done.stdout)
    assert float(level) < EXPOSED


def test_the_unit_has_no_word_that_systemd_does_not_know():
    command = [tool("systemd-analyze"), "verify", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in done.stderr.splitlines() if UNIT.name in line]
    # The project is not installed here; anything else is a slip.
    assert [line for line in said if "streamlit is not executable" not in line] == []


def test_the_service_stops_as_the_lab_wants_and_does_not_try_again_what_it_refused():
    assert settings("RestartPreventExitStatus") == ["2"]
    assert not settings("KillSignal"), "on SIGTERM the lab ends well, on SIGINT with an error"


class Installed:
    """The lab as the head of the unit says, with /opt, /etc and /var/lib below one folder."""

    def __init__(self, below: Path) -> None:
        self.below = below
        for folder in ("opt", "var/lib", "etc/systemd/system"):
            (below / folder).mkdir(parents=True)
        self.project = below / "opt" / "generative-lab"
        self.etc = below / "etc" / "generative-lab"
        self.state = below / "var" / "lib" / "generative-lab"
        listed = subprocess.check_output([tool("git"), "ls-files", "-z"], cwd=ROOT, text=True)
        for name in filter(None, listed.split("\0")):
            (self.project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.project / name)
        self._environment()

    def _environment(self) -> None:
        """Make .venv with the libraries of this one, and a Python that another user may start."""
        python, venv = self.below / "opt" / "python", self.project / ".venv"
        library = Path(os.__file__).parent
        without = shutil.ignore_patterns("test", "site-packages", "__pycache__", "config-*")
        shutil.copytree(library, python / "lib" / library.name, ignore=without)
        for shared in Path(sys.base_prefix, "lib").glob("libpython*"):
            shutil.copy(shared, python / "lib", follow_symlinks=False)
        for folder in (python / "bin", venv / "bin", venv / "lib" / library.name):
            folder.mkdir(parents=True)
        shutil.copy(Path(sys.executable).resolve(), python / "bin" / "python3")
        (venv / "bin" / "python").symlink_to(python / "bin" / "python3")
        (venv / "pyvenv.cfg").write_text(f"home = {python / 'bin'}\n")
        packages = venv / "lib" / library.name / "site-packages"
        packages.symlink_to(Path(pytest.__file__).parent.parent)
        script = venv / "bin" / "streamlit"
        run = "import sys\nfrom streamlit.web.cli import main\nsys.exit(main())\n"
        script.write_text(f"#!{venv}/bin/python\n{run}")
        script.chmod(0o755)

    def here(self, text: str) -> str:
        return re.sub(r"(?<![\w/])/(opt|etc|var/lib)(?=/)", rf"{self.below}/\1", text)

    def steps(self) -> list[str]:
        """The commands in the head of the unit."""
        head = UNIT.read_text().split("[Unit]")[0]
        return [line[4:] for line in head.splitlines() if line.startswith("#   ")]

    def follow(self) -> None:
        """Do all steps but those that need systemd or the network."""
        for step in self.steps():
            if not step.startswith(("systemctl", "make")):
                subprocess.run(shlex.split(self.here(step)), cwd=self.project, check=True)

    def as_user(self, *command: str, **env: str) -> list[str]:
        """A command as the unit starts it: that user, no rights beyond it, a clean environment."""
        rights = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--init-groups"]
        clean = {"HOME": str(self.state), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", **env}
        clean["LD_LIBRARY_PATH"] = str(self.below / "opt" / "python" / "lib")
        return [
            *("setpriv", f"--reuid={USER}", f"--regid={USER}", *rights),
            *("env", "-i", *(f"{name}={value}" for name, value in clean.items())),
            *command,
        ]

    def start(self) -> subprocess.Popen[str]:
        """Run the very ExecStart, on a free port."""
        for folder in settings("StateDirectory")[0].split():  # as systemd does
            where = self.below / "var" / "lib" / folder
            where.mkdir(mode=0o750, exist_ok=True)
            shutil.chown(where, USER, USER)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        env = dict(self.here(line).split("=", 1) for line in settings("Environment"))
        command = [*shlex.split(self.here(settings("ExecStart")[0])), "--server.port"]
        return subprocess.Popen(
            self.as_user(*command, str(self.port), **env),
            cwd=self.project,
            umask=int(settings("UMask")[0], 8),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def may(self, test: str, path: Path) -> bool:
        """Tell whether the service's user may read (-r) or write (-w) something."""
        return subprocess.run(self.as_user("test", test, str(path)), check=False).returncode == 0

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/_stcore/health") as answer:
                return answer.status == 200
        except OSError:
            return False


@pytest.fixture
def installed() -> Iterator[Installed]:
    for name in ("useradd", "setpriv", "install"):
        tool(name)
    if os.geteuid() != 0:
        pytest.skip("only root can add a user")
    if USER in (entry.pw_name for entry in pwd.getpwall()):
        pytest.skip(f"this machine has a user {USER}")
    below = Path(tempfile.mkdtemp())  # not of pytest, whose folders nobody else may enter
    below.chmod(0o755)
    try:
        yield Installed(below)
    finally:
        subprocess.run([tool("userdel"), USER], capture_output=True, check=False)
        shutil.rmtree(below)


@pytest.mark.slow
def test_the_steps_lead_to_a_service_that_starts(installed):
    installed.follow()
    refused = installed.start()
    said = refused.communicate(timeout=60)[0]
    assert refused.returncode == 2, said
    assert f"{installed.etc}/secrets.toml: cookie_secret in [auth] is empty" in said

    (installed.etc / "secrets.toml").write_text(section(AUTH))
    server = installed.start()
    try:
        wait_until(lambda: installed.answers() or server.poll() is not None)
        assert server.poll() is None, server.communicate()[0]
        for name in ("class.toml", "secrets.toml"):
            assert (installed.etc / name).stat().st_mode & 0o777 == 0o640
            assert installed.may("-r", installed.etc / name)
            assert not installed.may("-w", installed.etc / name)
        assert not installed.may("-w", installed.project)
        assert not installed.may("-w", installed.project / "app.py")
        assert (installed.state / "runs").owner() == USER
    finally:
        server.send_signal(signal.SIGTERM)
        said = server.communicate(timeout=float(settings("TimeoutStopSec")[0]))[0]
    assert "Traceback" not in said

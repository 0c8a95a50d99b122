"""Look the installed packages up among the known holes: ``python scripts/audit.py``.

pip-audit runs from an environment of its own, so it adds nothing to the lab's. It asks PyPI, which
a build machine may not reach, and a mirror may know packages but not their holes. So it is first
asked for a version that is known to have some; where it has none to tell, nothing was audited, and
that is said. Exit code: 1 for holes found, 0 otherwise.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

TOOL = "pip-audit==2.10.1"
CONTROL = "jinja2==2.4.1"  # CVE-2014-1402 and more
PATIENCE = 300  # seconds


def main() -> int:
    """Audit the environment of this interpreter; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="genlab-audit-") as folder:
        root = Path(folder)
        try:
            tool = _install(root)
            control = root / "control.txt"
            control.write_text(CONTROL + "\n")
            known = _ask(tool, "-r", str(control), "--no-deps", "--disable-pip")
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return _left_out(f"pip-audit cannot be run ({type(error).__name__})")
        if not holes(known):
            return _left_out(f"PyPI tells no hole of {CONTROL}, which has some")
        found = _ask(tool, "--path", sysconfig.get_path("purelib"))
    print(f"{sum('skip_reason' not in d for d in found)} packages looked up.")
    unknown = [d["name"] for d in found if "skip_reason" in d]
    if unknown:
        print(f"Not known to PyPI: {', '.join(unknown)}.")
    for line in holes(found):
        print(line)
    return int(bool(holes(found)))


def holes(found: Sequence[dict]) -> list[str]:
    """Return a line per hole, from the dependencies that pip-audit lists."""
    return [
        f"{entry['name']} {entry['version']}: {hole['id']}, mended in "
        f"{', '.join(hole['fix_versions']) or 'no version yet'}"
        for entry in found
        for hole in entry.get("vulns", [])
    ]


def _install(root: Path) -> Path:
    venv.create(root / "venv", with_pip=True)
    python = root / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", TOOL]
    subprocess.run(command, check=True, timeout=PATIENCE, capture_output=True)
    return python


def _ask(python: Path, *arguments: str) -> list[dict]:
    command = [python, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    # Its exit code is 1 for holes and for failures alike: only what it prints tells them apart.
    done = subprocess.run(
        [*command, *arguments], check=False, timeout=PATIENCE, capture_output=True, text=True
    )
    return json.loads(done.stdout)["dependencies"]


def _left_out(why: str) -> int:
    print(f"No package was looked up: {why}. The floors in tests/test_requirements.py still hold.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

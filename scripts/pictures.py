"""Make the pictures of the README with the lab itself: ``python scripts/pictures.py``.

Screenshots come from a real server in a headless Chromium (``requirements-dev.txt``; set
``GENLAB_CHROMIUM`` where it is not found), the film from a run that ships with the lab.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Page, sync_playwright  # noqa: E402

from training.store import Run  # noqa: E402
from ui.plane import film_of  # noqa: E402

PICTURES = ROOT / "assets" / "pictures"
SHOTS = {
    "home": ("", "light"),
    "nice": ("nice", "light"),
    "realnvp": ("realnvp", "light"),
    "realnvp-dark": ("realnvp", "dark"),
}


def main() -> None:
    """Write all pictures to ``assets/pictures``."""
    PICTURES.mkdir(exist_ok=True)
    film = film_of(Run(ROOT / "assets" / "runs" / "realnvp"), "light")
    (PICTURES / "training.gif").write_bytes(film)
    chromium = os.environ.get("GENLAB_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as runs, sync_playwright() as playwright:
        server, url = start_server(runs)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            for name, (path, scheme) in SHOTS.items():
                page = browser.new_page(
                    viewport={"width": 1400, "height": 1000}, color_scheme=scheme
                )
                shoot(page, f"{url}/{path}", PICTURES / f"{name}.png")
                page.close()
        finally:
            browser.close()
            server.terminate()
            server.wait()


def start_server(runs: str) -> tuple[subprocess.Popen, str]:
    """Start the lab on a free port, its runs in ``runs``; return the process and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
    command += ["--server.port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "GENLAB_RUNS": runs})
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=1)
            return server, url
        except OSError:
            time.sleep(0.2)
    server.kill()
    raise RuntimeError("the server did not come up within a minute")


def shoot(page: Page, url: str, path: Path) -> None:
    """Save a page, from its top to its end, once it has been drawn."""
    page.goto(url)
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_function(
        "document.querySelector('[data-test-script-state]')?.dataset.testScriptState != 'running'"
    )
    page.wait_for_load_state("networkidle")
    height = page.get_by_test_id("stMainBlockContainer").evaluate("e => e.scrollHeight")
    page.set_viewport_size({"width": 1400, "height": min(int(height), 2600)})
    page.wait_for_load_state("networkidle")
    page.screenshot(path=path)


if __name__ == "__main__":
    main()

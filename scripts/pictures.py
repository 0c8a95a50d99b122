"""Make the pictures of the README with the lab itself: ``python scripts/pictures.py``.

Screenshots come from a real server in a headless Chromium (``requirements-dev.txt``; set
``GENLAB_CHROMIUM`` where it is not found), the film from a run that ships with the lab.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

from lab.comparison import CompareConfig, Comparison, Terms, compare, entries_for, new_path  # noqa: E402
from lab.store import Run, RunStore  # noqa: E402
from registry import PAGES  # noqa: E402
from ui.plane_flows.live import film_of  # noqa: E402

PICTURES = ROOT / "assets" / "pictures"
QUALITY = 82  # of WebP
# name: (address, theme)
SHOTS = {
    "home": ("", "light"),
    "theory": ("theory", "light"),
    "arena": ("arena", "light"),
    "realnvp-dark": ("realnvp", "dark"),
    **{family.stem: (family.stem, "light") for family in PAGES},
}


def main() -> None:
    """Write all pictures to ``assets/pictures``."""
    PICTURES.mkdir(exist_ok=True)
    film = film_of(Run(ROOT / "assets" / "runs" / "realnvp"), "light")
    (PICTURES / "training.gif").write_bytes(film)
    chromium = os.environ.get("GENLAB_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as runs, sync_playwright() as playwright:
        fill_arena(RunStore(runs))
        server, url = start_server(runs)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            for name, (path, scheme) in SHOTS.items():
                page = browser.new_page(
                    viewport={"width": 1400, "height": 1000}, color_scheme=scheme
                )
                shoot(page, f"{url}/{path}", PICTURES / f"{name}.webp")
                page.close()
        finally:
            browser.close()
            server.terminate()
            server.wait()


def fill_arena(store: RunStore) -> None:
    """Train a small comparison, so that the arena has something to show."""
    terms = Terms(
        ("realnvp", "glow", "vae", "gan"), CompareConfig(dataset="ring", seeds=2, steps=1000)
    )
    entries = []
    for entry in entries_for(terms):
        run = store.create(entry.entrant.family, entry.config)
        run.notes.rename(f"Arena: {entry.entrant.title}, seed {entry.seed}")
        entries.append(replace(entry, run=run.id))
    for _ in compare(Comparison.create(new_path(store), store, terms, entries)):
        pass


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
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")
    height = page.get_by_test_id("stMainBlockContainer").evaluate("e => e.scrollHeight")
    page.set_viewport_size({"width": 1400, "height": min(int(height), 2600)})
    page.wait_for_load_state("networkidle")
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").save(path, quality=QUALITY, method=6)


if __name__ == "__main__":
    main()

"""The lab as a person meets it: a real server, a real browser, a RealNVP of 12 blocks.

Protocol: a server of its own with an empty folder of runs, and a headless Chromium; one run is
started and stopped before anything counts. Then

1. seven times: from the click on Train to the first frame in which the new run's snapshot is there,
   by the browser's own clock (the click is a real one, its time that of the event). The run
   before has then shown a later snapshot: all first ones are equal, a flow starts as the identity;
2. alternately: the bare generator with its default snapshots and metrics, one thread, while the
   browser shows an empty page; and the same config in the lab with the page open. Steps over
   seconds from the first event to the last, for the lab from the run's ``metrics.csv``. A round is
   the lab between two bare ones, its ratio the lab's rate over the mean of the two;
3. with a finished run on the page: arrow keys on a slider, from the key to the frame in which the
   page's address has the new value and the server has no script left to run; the ticks of the live
   part while a run trains; and the page's script alone, without server and browser (``AppTest``).
"""

from __future__ import annotations

import contextlib
import csv
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from benchmarks.machine import load, torch_threads
from benchmarks.options import Options, Unavailable
from benchmarks.serving import server
from benchmarks.tables import Table, reached, spread
from benchmarks.turns import log_progress
from lab.store import Run
from paths import ROOT
from training.core.config import RunConfig
from training.core.loop import train
from training.realnvp import TRAINING, RealNVPConfig

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGE = "pages/realnvp.py"
SNAPSHOT = 'canvas[aria-label^="Learned density at step"]'  # the live snapshot of a run
LATER_SNAPSHOT = f'{SNAPSHOT}:not([aria-label*=" step 0."])'
SCRIPT_STATE = "data-test-script-state"  # set by Streamlit on its root element
SLIDER = "Hidden units"

CLICK_GOAL, RATE_GOAL, RERUN_GOAL = 0.8, 0.9, 0.2  # seconds, ratio, seconds
BLOCKS = 12
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Both return a promise in window.measured. Frames are asked one by one: what counts is what a
# person could see.
WATCH_CLICK = """([selector, patience]) => {
  const key = (canvas) => canvas.ariaLabel;
  const inside = (root) => [...root.querySelectorAll("*")].filter((each) => each.shadowRoot);
  const snapshots = () => inside(document)
    .flatMap(({ shadowRoot }) => [...shadowRoot.querySelectorAll(selector)]);
  const before = new Set(snapshots().map(key));
  const fresh = (canvas) => canvas.width > 0 && !before.has(key(canvas));
  window.measured = new Promise((resolve, reject) => {
    document.addEventListener("click", (event) => {
      const look = (now) => {
        if (snapshots().some(fresh)) resolve((now - event.timeStamp) / 1000);
        else if (now - event.timeStamp > patience * 1000) reject("no snapshot came");
        else requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    }, { capture: true, once: true });
  });
}"""
WATCH_KEY = """([attribute, patience]) => {
  const address = location.href;
  const idle = () =>
    document.querySelector(`[${attribute}]`).getAttribute(attribute) === "notRunning";
  window.measured = new Promise((resolve, reject) => {
    document.addEventListener("keydown", (event) => {
      const look = (now) => {
        if (location.href !== address && idle()) resolve((now - event.timeStamp) / 1000);
        else if (now - event.timeStamp > patience * 1000) reject("the page did not answer");
        else requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    }, { capture: true, once: true });
  });
}"""
WATCH_TICKS = """(attribute) => {
  let since = null;
  window.ticks = [];
  const watch = (mutations) => {
    for (const { target } of mutations) {
      const running = target.getAttribute(attribute) === "running";
      if (!running && since !== null) window.ticks.push((performance.now() - since) / 1000);
      since = running ? performance.now() : null;
    }
  };
  const options = { subtree: true, attributes: true, attributeFilter: [attribute] };
  new MutationObserver(watch).observe(document.body, options);
}"""


@dataclass(frozen=True, slots=True)
class Amounts:
    """How often and how long to measure."""

    clicks: int = 7
    rounds: int = 4
    iterations: int = 1500
    keys: int = 20
    script_runs: int = 20


QUICK = Amounts(clicks=3, rounds=1, iterations=1000, keys=6, script_runs=6)


def run(options: Options) -> Iterator[Table]:
    """Yield three tables: click to snapshot, steps per second, reruns.

    Raises:
        Unavailable: there is no browser, no Playwright, or no app.
    """
    amounts = QUICK if options.quick else Amounts()
    browser = find_browser()
    before = load()
    with tempfile.TemporaryDirectory(prefix="genlab-bench-") as folder:
        runs = Path(folder) / "runs"
        with server(runs) as lab, open_browser(browser) as page:
            visit = Visit(page, lab.url, runs)
            log_progress("warming up")
            visit.open(iterations=5000)
            visit.click_train()
            visit.stop()
            yield _clicks(visit, amounts, before)
            table, run_id = _rates(visit, amounts)
            yield table
            keys, ticks = _reruns_seen(visit, run_id, amounts)
        log_progress("page script alone")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            arguments = (str(runs), run_id, amounts.script_runs)
            alone = pool.submit(script_runs, *arguments).result()
        log_progress("")
        yield _rerun_table(keys, ticks, alone)


# -- the three measurements ------------------------------------------------------------------------


def _clicks(visit: Visit, amounts: Amounts, before: str) -> Table:
    seconds = []
    for i in range(amounts.clicks):
        log_progress(f"click {i + 1} of {amounts.clicks}")
        seconds.append(visit.click_train())
        visit.stop()
    log_progress("")
    table = Table(
        "lab: from the click on Train to the first snapshot in the page",
        ("warm server", "clicks", "s", "min-max", "goal", "reached"),
        notes=[f"Load before {before}, after {load()}."],
    )
    median = statistics.median(seconds)
    verdict = f"{CLICK_GOAL:.2f}", reached(median, CLICK_GOAL)
    table.rows.append(("click to snapshot", str(len(seconds)), *spread(seconds), *verdict))
    return table


def _rates(visit: Visit, amounts: Amounts) -> tuple[Table, str]:
    """Measure the table of steps per second; return it with the id of the last run."""
    config = RealNVPConfig(blocks=BLOCKS, iterations=amounts.iterations)
    visit.close()
    bare, lab = [bare_rate(config)], []
    for i in range(amounts.rounds):
        log_progress(f"round {i + 1} of {amounts.rounds}")
        visit.open(iterations=amounts.iterations)
        visit.click_train()
        run = visit.finish()
        if run.config != config:
            raise RuntimeError(f"The lab trained {run.config}, not {config}.")
        lab.append(rate_of(run))
        visit.close()
        bare.append(bare_rate(config))
    log_progress("")
    ratios = [2 * ours / (a + b) for ours, a, b in zip(lab, bare[:-1], bare[1:], strict=True)]
    goal = f"{RATE_GOAL:.2f}", reached(statistics.median(ratios), RATE_GOAL, at_least=True)
    columns = ("trained", "runs", "steps/s", "min-max", "of bare", "min-max", "goal", "reached")
    title = f"lab: RealNVP, {BLOCKS} blocks, batch {config.batch}, {config.iterations:,} steps"
    table = Table(title, columns, notes=[f"Load after {load()}."])
    table.rows.append(("bare generator", str(len(bare)), *spread(bare, 0), *[""] * 4))
    ours = *spread(lab, 0), *spread(ratios), *goal
    table.rows.append(("in the lab, page open", str(len(lab)), *ours))
    return table, run.id


def bare_rate(config: RunConfig) -> float:
    """Train in this process, one thread; return steps/s between the first event and the last."""
    with torch_threads(1):
        events = train(TRAINING.build(config))
        next(events)
        start = time.perf_counter()
        steps = sum(1 for _ in events)
        return steps / (time.perf_counter() - start)


def rate_of(run: Run) -> float:
    """Return steps/s of a finished run between the first row of its metrics and the last."""
    with (run.path / "metrics.csv").open(newline="") as file:
        rows = [(float(row["step"]), float(row["seconds"])) for row in csv.DictReader(file)]
    (first, start), (last, end) = rows[0], rows[-1]
    return (last - first) / (end - start)


def _reruns_seen(visit: Visit, run_id: str, amounts: Amounts) -> tuple[list[float], list[float]]:
    """Return seconds from key to settled page, and seconds of the ticks while a run trains."""
    visit.open(iterations=amounts.iterations, run=run_id)
    keys = []
    for i in range(amounts.keys):
        log_progress(f"key {i + 1} of {amounts.keys}")
        # There and back again, so that the slider never meets its end.
        keys.append(visit.press("ArrowLeft" if i % 2 else "ArrowRight"))
    visit.page.evaluate(WATCH_TICKS, SCRIPT_STATE)
    visit.click_train()
    visit.page.evaluate("window.ticks = []")  # the click's own rerun is not a tick
    visit.page.wait_for_timeout(1000 * (3 if amounts is QUICK else 8))
    ticks = visit.page.evaluate("window.ticks")
    visit.stop()
    return keys, ticks


def script_runs(runs: str, run_id: str, count: int) -> list[float]:
    """Return seconds of the page's script alone, with a slider moved each time.

    For a process of its own: Streamlit and the lab hold state of the whole process.
    """
    os.environ["GENLAB_RUNS"] = runs
    logging.disable(logging.WARNING)  # Streamlit warns that there is no server
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    from streamlit.testing.v1 import AppTest

    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    app.switch_page(PAGE)
    app.query_params["run"] = run_id
    app.run()
    seconds = []
    for i in range(count + 1):
        slider = next(s for s in app.slider if s.label == SLIDER)
        slider.set_value(slider.max if i % 2 else slider.min)
        start = time.perf_counter()
        app.run()
        seconds.append(time.perf_counter() - start)
        if app.exception:
            raise RuntimeError(f"{PAGE} raised: {app.exception[0].value}")
    return seconds[1:]


def _rerun_table(keys: list[float], ticks: list[float], alone: list[float]) -> Table:
    table = Table(
        "lab: reruns of the page, a finished run on it",
        ("rerun", "times", "ms", "min-max", "goal", "reached"),
        notes=[
            "Key to settled page: slider, network, script, drawing. A tick: the live part alone, "
            "while a run trains on one of the cores.",
            f"Load after {load()}.",
        ],
    )
    kinds = {
        "slider key to settled page, browser": keys,
        "tick while a run trains, browser": ticks,
        "the page's script alone, AppTest": alone,
    }
    for name, seconds in kinds.items():
        if not seconds:
            table.rows.append((name, "0", "-", "-", "-", "-"))
            continue
        verdict = f"{1000 * RERUN_GOAL:.0f}", reached(statistics.median(seconds), RERUN_GOAL)
        cells = spread([1000 * s for s in seconds], 0)
        table.rows.append((name, str(len(seconds)), *cells, *verdict))
    return table


# -- server, browser, page -------------------------------------------------------------------------


class Visit:
    """A person on the RealNVP page.

    Args:
        page: the browser's page.
        address: of the server.
        runs: the server's folder of runs.
    """

    PATIENCE = 60.0  # seconds for anything that should take one

    def __init__(self, page: Page, address: str, runs: Path) -> None:
        self.page, self.address, self.runs = page, address, runs
        page.set_default_timeout(1000 * self.PATIENCE)

    def open(self, **settings: object) -> None:
        """Open the page, with settings that are not the default in its address."""
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        self.page.goto(f"{self.address}/realnvp?blocks={BLOCKS}&{query}")
        self._wait_for("Train")
        self._settle()

    def close(self) -> None:
        """Leave the page, so that the browser has nothing to do."""
        self.page.goto("about:blank")

    def click_train(self) -> float:
        """Click on Train; return the seconds until the new run's snapshot is there."""
        self.page.evaluate(WATCH_CLICK, [SNAPSHOT, self.PATIENCE])
        self._button("Train").click()
        return self.page.evaluate("() => window.measured")

    def press(self, key: str) -> float:
        """Press a key on the slider; return the seconds until the page has settled."""
        self._settle()
        self.page.get_by_role("slider", name=SLIDER).focus()
        self.page.evaluate(WATCH_KEY, [SCRIPT_STATE, self.PATIENCE])
        self.page.keyboard.press(key)
        return self.page.evaluate("() => window.measured")

    def stop(self) -> None:
        """Once it has learned something, click on Stop; wait until Train can be clicked again."""
        self.page.wait_for_selector(LATER_SNAPSHOT)
        self._button("Stop").click()
        self._wait_for("Train")
        self._settle()

    def finish(self) -> Run:
        """Wait until the run on the page has ended; return it."""
        (run_id,) = parse_qs(urlsplit(self.page.url).query)["run"]
        run = Run(self.runs / run_id)
        deadline = time.monotonic() + 300
        while run.status().active:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{run.status()} after five minutes.")
            self.page.wait_for_timeout(300)
        if run.status().state != "finished":
            raise RuntimeError(f"The run ended as {run.status().state}: {run.status().message}")
        return run

    def _button(self, name: str):
        # Streamlit's own header has a Stop too, while a script runs.
        main = self.page.get_by_test_id("stMainBlockContainer")
        return main.get_by_role("button", name=name, exact=True)

    def _wait_for(self, name: str) -> None:
        """Wait until a button is there and can be clicked."""
        self._button(name).click(trial=True)

    def _settle(self) -> None:
        """Wait until the server has nothing left to run, and a moment more."""
        self.page.wait_for_selector(f'[{SCRIPT_STATE}="notRunning"]')
        self.page.wait_for_timeout(700)


def find_browser() -> str:
    """Return the path of the browser.

    Raises:
        Unavailable: there is no browser, no Playwright, or no app.
    """
    for needed in ("app.py", PAGE):
        if not (ROOT / needed).exists():
            raise Unavailable(f"There is no {needed}.")
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        raise Unavailable("It needs playwright (requirements-dev.txt).") from None
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise Unavailable(f"It needs a browser, one of {', '.join(BROWSERS)}.")
    return found


@contextlib.contextmanager
def open_browser(browser: str) -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=ARGUMENTS)
        try:
            yield chromium.new_page(viewport={"width": 1400, "height": 1000})
        finally:
            chromium.close()

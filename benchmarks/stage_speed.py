"""A live update of a flow in 2-D: painted by the server, as it was, and drawn by the browser.

Protocol:

1. in one process, alternately: what an update costs the server. *Painted*: the learned density and
   the samples of a snapshot as two PNG images of 384 pixels, as the lab sent them before it had the
   stage (the target was painted once a run). *Stage*: all that the stage is sent, in one block;
2. a server of its own and a headless Chromium on the same cores, a RealNVP of 12 blocks at work:
   new snapshots in the page per second, and frames per second while points glide. A frame counts
   where a canvas was painted in it; gaps of more than 120 ms are rests between two updates.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from benchmarks.lab_speed import Visit, find_browser, open_browser
from benchmarks.machine import load
from benchmarks.options import Options
from benchmarks.serving import server
from benchmarks.tables import Table, reached, spread
from benchmarks.turns import log_progress
from figures.images import density_image, peak_of, png
from lab.store import Run
from lab.view import view_of
from paths import ASSETS
from ui.common.history import Moment
from ui.plane_flows.live import panels
from ui.plane_flows.points import paint_points
from ui.stage.encode import encode
from ui.stage.scene import Scene, Timeline

RATIO_GOAL = 1 / 3  # of the milliseconds of a painted update
FRAMES_GOAL = 30.0  # a second, while something glides
WATCHED = 12.0  # seconds

WATCH = """(selector) => {
  const set = CanvasRenderingContext2D.prototype.setTransform;
  let painted = false;
  CanvasRenderingContext2D.prototype.setTransform = function (...all) {
    painted = true;
    return set.apply(this, all);
  };
  const inside = () => [...document.querySelectorAll("*")].filter((each) => each.shadowRoot)
    .map(({ shadowRoot }) => shadowRoot.querySelector(selector)).find((found) => found);
  const canvas = inside();
  window.seen = { frames: [], labels: [] };
  const look = (now) => {
    if (painted) window.seen.frames.push(now);
    painted = false;
    const label = canvas.ariaLabel;
    if (window.seen.labels.at(-1) !== label) window.seen.labels.push(label);
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""


def run(options: Options) -> Iterator[Table]:
    """Yield two tables: the server's work for an update, and what the browser makes of it.

    Raises:
        Unavailable: there is no browser, no Playwright, or no app.
    """
    browser = find_browser()
    yield _server_table(20 if options.quick else 200)
    with tempfile.TemporaryDirectory(prefix="genlab-bench-") as folder:
        runs = Path(folder) / "runs"
        with server(runs) as lab, open_browser(browser) as page:
            yield _browser_table(Visit(page, lab.url, runs), 1 if options.quick else 3)


def _server_table(rounds: int) -> Table:
    moment = _moment()
    ways: dict[str, Callable[[Moment], int]] = {"painted": painted, "stage": staged}
    times = {name: [] for name in ways}
    sizes = {name: make(moment) for name, make in ways.items()}
    for _ in range(rounds):
        for name, make in ways.items():
            start = time.process_time()
            make(moment)
            times[name].append(1000 * (time.process_time() - start))
    ratios = [new / old for new, old in zip(times["stage"], times["painted"], strict=True)]
    columns = ("an update", "times", "CPU ms", "min-max", "kB", "of painted", "goal", "reached")
    table = Table("stage: the server's work for an update", columns, notes=[f"Load {load()}."])
    median = statistics.median(ratios)
    for name in ways:
        cells = name, str(rounds), *spread(times[name], 1), f"{sizes[name] / 1000:.0f}"
        verdict = f"{median:.2f}", f"{RATIO_GOAL:.2f}", reached(median, RATIO_GOAL)
        table.rows.append((*cells, *(verdict if name == "stage" else ("", "", ""))))
    return table


def _moment() -> Moment:
    run = Run(ASSETS / "runs" / "realnvp")
    view = view_of(run)
    return Moment(view, view.step, view.snapshot, run.snapshots.target(), "light", False)


def painted(moment: Moment) -> int:
    """Paint density and samples as PNG; return the bytes."""
    density, box = moment.snapshot["density"], moment.target["box"]
    peak = peak_of(moment.target["density"])
    images = (
        density_image(density, peak, moment.shade),
        paint_points(moment.snapshot["samples"], box, "model", moment.shade),
    )
    return sum(len(png(image)) for image in images)


def staged(moment: Moment) -> int:
    """Write the scene of an update as a block; return the bytes."""
    line = Timeline([f"step {moment.step:,}"], [moment.step], "History", moment.run.id, False)
    return len(encode(Scene(panels(moment, [moment.snapshot]), moment.shade, line)))


def _browser_table(visit: Visit, rounds: int) -> Table:
    updates, frames = [], []
    for i in range(rounds):
        log_progress(f"training {i + 1} of {rounds}")
        visit.open(iterations=5000)
        visit.click_train()
        visit.page.evaluate(WATCH, 'canvas[aria-label^="Learned density at step"]')
        visit.page.wait_for_timeout(1000 * WATCHED)
        seen = visit.page.evaluate("() => window.seen")
        visit.stop()
        updates.append((len(seen["labels"]) - 1) / WATCHED)
        frames.append(gliding(seen["frames"]))
    log_progress("")
    table = Table(
        "stage: in the browser, while a RealNVP of 12 blocks trains on the same cores",
        ("a second", "times", "median", "min-max", "goal", "reached"),
        notes=[f"Load after {load()}."],
    )
    met = reached(statistics.median(frames), FRAMES_GOAL, at_least=True)
    table.rows.append(("new snapshots", str(rounds), *spread(updates, 1), "", ""))
    row = "frames while gliding", str(rounds), *spread(frames, 0), f"{FRAMES_GOAL:.0f}", met
    table.rows.append(row)
    return table


def gliding(times: list[float], rest: float = 120.0) -> float:
    """Return frames per second, of times in milliseconds; gaps beyond ``rest`` do not count."""
    gaps = [b - a for a, b in pairwise(times) if b - a <= rest]
    return 1000 * len(gaps) / sum(gaps) if gaps else 0.0

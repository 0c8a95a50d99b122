"""A class of forty on one server: who waits how long, and does anything get mixed up.

Protocol: a server of its own with two slots and an empty folder of runs; visitors that speak
Streamlit's own protocol (``benchmarks.visitors``), without browsers.

1. Forty sessions come within a few seconds. Eight press Train, each a NICE with a number of steps
   of its own; the others open one of these eight runs by its address. All keep watching until all
   eight have finished. An update is a tick of the live part, from the message that asks for it to
   the one that ends it. Each page is searched for any other run's number of steps.
2. One visitor opens each page and each part of it once. Then several press widgets at random, Train
   and Stop among them, on all pages: no page may raise. The memory of the server is read every
   fifty presses; at first is the mean of the first fifth of the readings, at the end that of the
   last. Hours pass in minutes there, so the server forgets a closed tab after 3 seconds, not 120.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.machine import load
from benchmarks.options import Options
from benchmarks.serving import Served, server
from benchmarks.tables import Table, reached
from benchmarks.visitors import PageError, Update, Visitor
from lab.store import RunStore
from lab.telemetry import resident
from registry import FAMILIES, PAGES

SESSIONS, STARTERS, SLOTS = 40, 8, 2
ACTIONS, CLICKERS = 2000, 4
STEPS_LEAST = 2000  # the default of the page
TAB_KEPT = 3  # seconds that the server remembers a closed tab, where time is compressed
HOUR = 600  # presses of one person, at ten a minute
SAMPLE = 50  # presses between two readings of the memory
UPDATE_GOAL, MEMORY_GOAL = 1.5, 0.10  # seconds (95th percentile), share
PATIENCE = 600.0  # seconds until all runs must have finished
# Each run shows its own number of steps on every page that shows it.
STEPS = re.compile(r"step \*\*[\d,]+\*\* of ([\d,]+)")


@dataclass
class Class_:
    """What forty people met.

    Attributes:
        visitors: they, with their updates.
        seconds: from the first click to the end of the last run.
        states: of the runs, at the end.
        mixed: pages on which a number of another run stood.
        errors: what pages raised.
    """

    visitors: list[Visitor]
    seconds: float = 0.0
    states: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def updates(self, kind: str) -> list[Update]:
        return [u for visitor in self.visitors for u in visitor.updates if u.kind == kind]


def run(options: Options) -> Iterator[Table]:
    """Yield the tables; raise nothing that a page raised, but count it."""
    sessions = 10 if options.quick else SESSIONS
    actions = 200 if options.quick else ACTIONS
    seeds = options.seeds or (0,)
    with tempfile.TemporaryDirectory(prefix="genlab-load-") as folder:
        with server(Path(folder) / "class", GENLAB_SLOTS=str(SLOTS)) as lab:
            yield _class_table(asyncio.run(_a_class(lab, Path(folder) / "class", sessions)))
        for seed in seeds:
            runs = Path(folder) / f"clicks-{seed}"
            slots, kept = str(SLOTS), str(TAB_KEPT)
            short = {"STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL": kept}
            with server(runs, GENLAB_SLOTS=slots, **short) as lab:
                yield asyncio.run(_clicks(lab, actions, seed))


# -- forty people ------------------------------------------------------------------------------


async def _a_class(lab: Served, runs: Path, sessions: int) -> Class_:
    starters = min(STARTERS, sessions // 2)
    result = Class_([])
    began = time.perf_counter()
    totals = [STEPS_LEAST + 100 * i for i in range(starters)]
    begun: list[asyncio.Future[str]] = [asyncio.get_running_loop().create_future() for _ in totals]
    done = asyncio.Event()

    async def person(number: int) -> None:
        which = number % starters
        total = f"{totals[which]:,}"

        def look(text: str) -> None:
            found = set(STEPS.findall(text))
            # Until the first run is there, a page shows the one that ships with the lab.
            if found - {total} and (number >= starters or begun[which].done()):
                result.mixed.append(f"{found} instead of {total}: {text}")

        async with Visitor(lab.url, watch=look) as visitor:
            result.visitors.append(visitor)
            try:
                await _watch(visitor, number < starters, which)
            except (PageError, OSError) as error:
                result.errors.append(str(error))

    async def _watch(visitor: Visitor, starts: bool, which: int) -> None:
        if starts:
            query = f"iterations={totals[which]}&layers=4&hidden=64&seed={which}"
            await visitor.open("nice", query)
            await visitor.press("Train")
            begun[which].set_result(re.search(r"run=([\w-]+)", visitor.query).group(1))
        else:
            await visitor.open("nice", f"run={await begun[which]}")
        while not done.is_set():
            await asyncio.sleep(1)
            if error := visitor.failed():
                raise error

    async def finish() -> None:
        store = RunStore(runs)
        while time.perf_counter() - began < PATIENCE:
            states = [run.status().state for run in store]
            if len(states) == starters and not any(run.status().active for run in store):
                break
            await asyncio.sleep(1)
        result.states = [run.status().state for run in store]
        result.seconds = time.perf_counter() - began
        await asyncio.sleep(3)  # pages see the end, too
        done.set()

    await asyncio.gather(finish(), *(person(number) for number in range(sessions)))
    return result


def _class_table(result: Class_) -> Table:
    table = Table(
        f"{len(result.visitors)} sessions, {len(result.states)} runs on {SLOTS} slots",
        ("asked for", "updates", "median s", "95th percentile s", "longest s", "kB"),
    )
    for kind, name in (("page", "a page"), ("click", "a click on Train"), ("tick", "a tick")):
        updates = result.updates(kind)
        if not updates:
            continue
        seconds = [u.seconds for u in updates]
        size = statistics.median(u.bytes for u in updates) / 1e3
        cells = [statistics.median(seconds), float(np.quantile(seconds, 0.95)), max(seconds)]
        table.rows.append((name, str(len(seconds)), *(f"{c:.2f}" for c in cells), f"{size:.0f}"))
    ticks = [u.seconds for u in result.updates("tick")] or [0.0]
    slow = float(np.quantile(ticks, 0.95))
    finished = result.states.count("finished")
    table.notes += [
        f"95th percentile of a tick {slow:.2f} s, goal {UPDATE_GOAL}: "
        f"{reached(slow, UPDATE_GOAL)}.",
        f"{finished} of {len(result.states)} runs finished, {result.seconds:.0f} s after the first "
        f"visitor came; pages that raised: {len(result.errors)}; pages with another run's steps: "
        f"{len(result.mixed)}. Visitors and server share the machine; load {load()}.",
        *result.errors[:3],
        *result.mixed[:3],
    ]
    return table


# -- at random ---------------------------------------------------------------------------------


async def _open_everything(lab: Served) -> int:
    """Open each page, and each part of it, once: what it shows is read and computed then."""
    plain = [(page, "") for page in ("", "theory", "runs", "admin")]
    opened = 0
    for page, query in [*plain, *((f.page, f"on={f.stem}") for f in FAMILIES.values())]:
        async with Visitor(lab.url) as visitor:
            await visitor.open(page, query)
            opened += 1 + await visitor.press_all_parts()
    return opened


async def _clicks(lab: Served, actions: int, seed: int) -> Table:
    memory: list[float] = []
    counts = {"presses": 0}
    errors: list[str] = []
    pages = ["", "theory", "runs", "admin", *(family.stem for family in PAGES)]
    opened = await _open_everything(lab)

    async def clicker(number: int) -> None:
        rng = np.random.default_rng((seed, number))
        while counts["presses"] < actions:
            async with Visitor(lab.url) as visitor:
                page = pages[int(rng.integers(len(pages)))]
                last = "open"
                try:
                    await visitor.open(page)
                    for _ in range(int(rng.integers(5, 40))):
                        if counts["presses"] >= actions:
                            break
                        last = await visitor.press_anything(rng)
                        _count()
                except (PageError, OSError) as error:
                    errors.append(f"/{page}, {last}: {error}")
                    print(f"{errors[-1]}\n{lab.stacks()}", file=sys.stderr, flush=True)

    def _count() -> None:
        counts["presses"] += 1
        if counts["presses"] % SAMPLE == 0:
            memory.append(resident(lab.pid) / 1e6)
            print(f"{counts['presses']} presses, {memory[-1]:.0f} MB", file=sys.stderr, flush=True)

    began = time.perf_counter()
    await asyncio.gather(*(clicker(number) for number in range(CLICKERS)))
    seconds = time.perf_counter() - began
    fifth = max(len(memory) // 5, 1)
    start, end = statistics.fmean(memory[:fifth]), statistics.fmean(memory[-fifth:])
    hour = memory[HOUR // SAMPLE - 2 : HOUR // SAMPLE + 1]  # the readings around it
    after = {f"{HOUR} presses, an hour's worth": statistics.fmean(hour)} if hour else {}
    after[f"{counts['presses']} presses, {counts['presses'] / HOUR:.1f} hours' worth"] = end
    when, then = next(iter(after.items()))
    grown = then / start - 1
    return Table(
        f"{counts['presses']} presses at random on {len(pages)} pages, seed {seed}",
        ("resident memory after", "MB at first", "MB", "grown"),
        [
            (name, f"{start:.0f}", f"{mb:.0f}", f"{mb / start - 1:+.1%}")
            for name, mb in after.items()
        ],
        [
            f"After {when}, grown by {grown:.1%}, goal at most {MEMORY_GOAL:.0%}: "
            f"{reached(grown, MEMORY_GOAL)}.",
            f"Before, {opened} parts of pages were opened once. Pages that raised: "
            f"{len(errors)}. It took {seconds:.0f} s. An hour's worth: of one person at ten a "
            "minute.",
            *errors[:5],
        ],
    )

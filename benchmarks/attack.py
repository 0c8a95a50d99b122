"""Twenty visitors who try to fill the server's memory through what takes files.

Protocol: for each row a server of its own, and visitors that speak Streamlit's own protocol, each
with a tab on the page in question. At rest is the median of ten readings with these tabs open. Then
all of them bring their files at once. Memory is that of the server and of all processes that it
starts, read five times a second: pages that several of them share count once (the proportional set
size of Linux, without file pages that were only read), the sum of the resident set sizes stands
beside it. Answered are those who heard from the page, be it a refusal.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import re
import statistics
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.options import Options
from benchmarks.serving import Served, server
from benchmarks.tables import Table, reached
from benchmarks.visitors import PageError, Visitor

MB = 2**20
ATTACKERS = (1, 5, 20)
EVERY = 0.2  # seconds between two readings
GOAL = 300.0  # MB that the server may take beyond rest
FILE = 19 * MB  # bytes of a file that is only sent
PATIENCE = 400.0  # seconds; twenty wait for each other


@dataclass(frozen=True)
class Attack:
    """One way to fill a server.

    Attributes:
        what: it is, for the table.
        page: that is opened, and its query.
        label: beginning of the label of the uploader; without one files are sent, and no more.
        make: makes the files.
    """

    what: str
    page: tuple[str, str]
    label: str
    make: Callable[[], dict[str, bytes]]


@dataclass
class Readings:
    """The memory of a server and its processes over time, in MB.

    Attributes:
        shared_once: anonymous and dirty memory, what is shared counted once.
        resident: sums of resident set sizes.
    """

    shared_once: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)


def run(options: Options) -> Iterator[Table]:
    """Carry out each attack by one, five and twenty at once."""
    yield measure_attacks((20,) if options.quick else ATTACKERS)


def measure_attacks(counts: tuple[int, ...]) -> Table:
    """Return how much memory the server took under each attack, for so many attackers."""
    columns = [
        "attack",
        "visitors",
        "at rest",
        "peak above",
        f"< {GOAL:g}",
        "RSS above",
        "answered",
    ]
    result = Table("Memory of the server under attack [MB]", columns)
    for attack in ATTACKS:
        for count in counts:
            rest, peak, answered, seconds = _carried_out(attack, count)
            above = max(peak.shared_once) - rest[0]
            result.rows.append(
                (
                    f"{attack.what} ({seconds:.0f} s)",
                    str(count),
                    f"{rest[0]:.0f}",
                    f"{above:.0f}",
                    reached(above, GOAL),
                    f"{max(peak.resident) - rest[1]:.0f}",
                    f"{answered} of {count}",
                )
            )
            print(result.rows[-1], flush=True)
    result.notes.append(str(__doc__).partition("\n\n")[2].replace("\n", " "))
    return result


def _carried_out(attack: Attack, count: int) -> tuple[tuple[float, float], Readings, int, float]:
    """Return memory at rest and during an attack, how many were answered, and its seconds."""
    with tempfile.TemporaryDirectory() as folder, server(Path(folder) / "runs") as served:
        return asyncio.run(_attack(served, attack, count))


async def _attack(
    served: Served, attack: Attack, count: int
) -> tuple[tuple[float, float], Readings, int, float]:
    files = attack.make()
    visitors = [Visitor(served.url, patience=PATIENCE) for _ in range(count)]
    for visitor in visitors:
        await visitor.__aenter__()
        await visitor.open(*attack.page)
    await asyncio.sleep(2)  # what opening has left to do
    rest = Readings()
    for _ in range(10):
        _read(served.pid, rest)
        await asyncio.sleep(EVERY)
    peak, over = Readings(), threading.Event()
    watch = threading.Thread(target=_watch, args=(served.pid, peak, over))
    watch.start()
    began = time.monotonic()
    heard = await asyncio.gather(*(_bring(visitor, attack, files, count) for visitor in visitors))
    seconds = time.monotonic() - began
    over.set()
    watch.join()
    for visitor in visitors:
        with suppress(Exception):
            await visitor.__aexit__()
    at_rest = statistics.median(rest.shared_once), statistics.median(rest.resident)
    return at_rest, peak, sum(heard), seconds


async def _bring(visitor: Visitor, attack: Attack, files: dict[str, bytes], count: int) -> bool:
    """Bring the files; return whether there was an answer."""
    try:
        if attack.label:
            await visitor.upload(attack.label, files)
        else:
            for content in files.values():
                for _ in range(max(6, 40 // count)):
                    await visitor.put(content)
    except PageError as error:
        print(f"{attack.what}: {error}", flush=True)
        return False
    return True


# -- memory --------------------------------------------------------------------------------------


def _watch(pid: int, readings: Readings, over: threading.Event) -> None:
    while not over.wait(EVERY):
        _read(pid, readings)


def _read(pid: int, readings: Readings) -> None:
    """Add a reading of all processes of the session that the server leads."""
    shared_once = resident = 0.0
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):  # one that has just ended
            if not folder.name.isdigit() or _session_of(folder) != pid:
                continue
            said = (folder / "smaps_rollup").read_text()
            shared_once += _kilobytes(said, "Pss_Dirty") / 1024
            resident += _kilobytes(said, "Rss") / 1024
    readings.shared_once.append(shared_once)
    readings.resident.append(resident)


def _session_of(folder: Path) -> int:
    return int((folder / "stat").read_text().rpartition(")")[2].split()[3])


def _kilobytes(said: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", said, re.MULTILINE)
    return int(found[1]) if found else 0


# -- what is brought -----------------------------------------------------------------------------


def _noise() -> dict[str, bytes]:
    return {"noise.zip": np.random.default_rng(0).bytes(FILE)}


def _scans() -> dict[str, bytes]:
    """A progressive JPEG of 16 megapixels in 90 scans: each is decoded."""
    buffer = io.BytesIO()
    Image.new("RGB", (4000, 3900), "red").save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    start = data.rindex(b"\xff\xda")
    return {"scans.jpg": data[:start] + data[start:-2] * 80 + data[-2:]}


def _pixels() -> dict[str, bytes]:
    """A transparent PNG of 16 megapixels, which has some 70 kB."""
    buffer = io.BytesIO()
    Image.new("RGBA", (4000, 4000)).save(buffer, "PNG")
    return {"pixels.png": buffer.getvalue()}


def _many() -> dict[str, bytes]:
    """As many images as are taken, in two classes."""
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(20_000):
            one = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).save(one, "PNG")
            archive.writestr(f"{number % 2}/{number}.png", one.getvalue())
    return {"many.zip": buffer.getvalue()}


def _run() -> dict[str, bytes]:
    """A run of 2 kB with data of its own that unpack to 390 MB."""
    sides = (31_000, 1, 112, 112)
    data, buffer = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in {
            "kind": "images",
            "name": "x",
            "classes": "[]",
            "skipped": "[]",
        }.items():
            archive.writestr(f"{name}.npy", _npy(np.array(array)))
        for name, kind in {"labels": np.int64, "held_out": bool}.items():
            archive.writestr(f"{name}.npy", _npy(np.zeros(sides[0], kind)))
        with archive.open("images.npy", "w") as member:
            np.lib.format.write_array_header_1_0(
                member, {"descr": "|u1", "fortran_order": False, "shape": sides}
            )
            for _ in range(sides[0]):
                member.write(bytes(math.prod(sides[1:])))
    config = {"family": "glow", "config": {"dataset": "own"}}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("data.npz", data.getvalue())
    return {"run.zip": buffer.getvalue()}


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


OWN_POINTS = ("nice", "dataset=own")
ATTACKS = (
    Attack("files of 19 MB where no uploader is", ("", ""), "", _noise),
    Attack("files of 19 MB where one is", OWN_POINTS, "", _noise),
    Attack("a run that unpacks to 390 MB", ("runs", ""), "A run", _run),
    Attack("a JPEG of 80 scans", OWN_POINTS, "A CSV", _scans),
    Attack("a PNG of 16 megapixels", OWN_POINTS, "A CSV", _pixels),
    Attack("20,000 images", ("glow", "dataset=own"), "A zip", _many),
)

"""The corpus: what is brought to which door, to be refused or taken without harm."""

from __future__ import annotations

import importlib
import io
import json
import pickle
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from hostile.files import (
    DEVICE,
    EPS,
    FITS,
    LINK,
    MB,
    NAMES,
    SVG,
    XPM,
    Entry,
    bmp,
    chunk,
    crowd,
    encoded,
    entry,
    filled,
    huge_dictionary,
    metadata,
    noise,
    npy,
    npy_header,
    npy_pickle,
    npz,
    other_method,
    overlapping,
    pickled,
    png,
    safetensors,
    tar_of,
    tiff,
    webp,
    zeros,
    zip_of,
)
from PIL import Image

from datasets import defects, mvtec
from datasets.files.images import read_image
from datasets.own import OwnData, read_own
from datasets.own_images import read_image_zip
from datasets.own_pairs import read_pairs_zip
from lab.driver import drive
from lab.imports.run_import import import_run
from lab.imports.weights_import import read_weights, run_from_weights
from lab.store import Run, RunError, RunStore
from registry import FAMILIES
from training.core.config import ConfigError

NICE = FAMILIES["nice"]
SMALL = {"layers": 2, "hidden": 32, "batch": 64, "iterations": 1000}


class Context:
    """What cases are made from: a place for a canary, and a run that was trained for a moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.canary = folder / "canary"

    @cached_property
    def run(self) -> Run:
        run = Run.create(self.folder / "honest", NICE, NICE.training.config(**SMALL))
        steps = iter([None] * 10)
        drive(run, device="cpu", send=lambda _: None, receive=lambda _: next(steps, ("stop",)))
        return run

    @cached_property
    def weights(self) -> bytes:
        return (self.run.path / "model.safetensors").read_bytes()

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The files of the run by their names in its folder."""
        with zipfile.ZipFile(io.BytesIO(self.run.zipped())) as archive:
            return {n.partition("/")[2]: archive.read(n) for n in archive.namelist()}

    def packed(self, *more: Entry, **changes: bytes | None) -> bytes:
        """The run as zip, with some files replaced, added, or (``None``) left out."""
        files = {**self.files, **{name.replace("__", "."): c for name, c in changes.items()}}
        return zip_of(
            *(Entry(f"a-run/{n}".encode(), c) for n, c in files.items() if c is not None), *more
        )

    def settings(self, **values: object) -> bytes:
        return json.dumps({"family": "nice", "config": {**SMALL, **values}}).encode()


# -- doors: bytes and an empty folder in, a sentence or something useful out ------------------


def _resumed(data: bytes, folder: Path) -> None:
    run = Run.create(folder / "run", NICE, NICE.training.config(**SMALL))
    (run.path / "checkpoint.pt").write_bytes(data)
    status = drive(run, device="cpu", send=lambda _: None, receive=lambda _: ("stop",))
    if status.state == "failed":
        raise RunError(status.message)


def _opened(data: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(data)
    Run(folder).experiment()


def _shown(data: bytes, folder: Path) -> str:
    (folder / "status.json").write_bytes(data)
    status = Run(folder).status()
    return f"{status.step:,} {status.total:d} {round(status.seconds)} {int(status.created)}"


def _saved(data: bytes, folder: Path) -> object:
    (folder / "data.npz").write_bytes(data)
    return OwnData.load(folder / "data.npz")


def _downloaded(data: bytes, folder: Path) -> None:
    (folder / "archive").write_bytes(data)
    mvtec._unpack_tar(folder / "archive", folder / "unpacked")


def _address(data: bytes, folder: Path) -> None:
    """All settings of all families from one text, as the address of a page brings it."""
    text = data.decode()
    for family in FAMILIES.values():
        config = family.training.config
        for name in (*config.model_fields, text):
            with suppress(ConfigError):
                config.parse({name: text})
    config.parse({f"{text[:5]}{i}": text for i in range(2000)})


def _found(data: bytes, folder: Path) -> None:
    store = RunStore(folder / "runs")
    Run.create(folder / "secret", NICE, NICE.training.config())
    Run.create(store.root / "good", NICE, NICE.training.config())
    if store.get(data.decode()) is None:
        raise RunError("There is no such run.")


def _harmed(data: bytes, folder: Path) -> object:
    if data == b"memory":
        return bytearray(b"x") * (400 * MB)
    if data:
        return pickle.loads(data)
    return (folder.parent / "outside").write_text("x")


def call_here(function: str, *arguments: object) -> None:
    """Do in this process, which is watched, what the lab has one of its own do."""
    module, _, name = function.partition(":")
    getattr(importlib.import_module(module), name)(*arguments)


DOORS: dict[str, Callable[[bytes, Path], object]] = {
    "points": lambda data, folder: read_own(data, "![x](http://127.0.0.1:1).csv"),
    "picture": lambda data, folder: read_own(data, "../../x.png"),
    "image": lambda data, folder: read_image(data, "<b>x</b>.png"),
    "part": lambda data, folder: defects.read_one(data, 32),
    "images": lambda data, folder: read_image_zip(data, "x.zip", 12, 3),
    "pairs": lambda data, folder: read_pairs_zip(data, "x.zip", 32),
    "defects": lambda data, folder: defects.read_zip(data, 32),
    "download": _downloaded,
    "run": lambda data, folder: import_run(RunStore(folder), data, call_here),
    "weights": lambda data, folder: run_from_weights(
        RunStore(folder), read_weights(data), "x.safetensors"
    ),
    "data": _saved,
    "checkpoint": _resumed,
    "settings": _opened,
    "status": _shown,
    "address": _address,
    "id": _found,
    "control": _harmed,
}


@dataclass(frozen=True)
class Case:
    """Something hostile.

    Attributes:
        door: where it is brought.
        make: makes it.
        says: a pattern of the refusal; empty where it may be taken as well, without harm.
        heavy: it takes seconds to make or to refuse.
    """

    door: str
    make: Callable[[Context], bytes]
    says: str = ""
    heavy: bool = False


# What a door that is open would look like: shows that it would be seen.
CONTROLS = {
    "control: a pickle": Case("control", lambda c: pickled(c.canary)),
    "control: a file": Case("control", lambda c: b""),
    "control: memory": Case("control", lambda c: b"memory"),
}
CASES: dict[str, Case] = {}


def case(
    name: str,
    doors: str,
    make: Callable[[Context], bytes],
    says: str = "",
    heavy: bool = False,
) -> None:
    for door in doors.split():
        key = f"{door}: {name}"
        if key in CASES:
            raise ValueError(key)
        CASES[key] = Case(door, make, says, heavy)


# -- tables -----------------------------------------------------------------------------------

case("20 MB of empty lines", "points", lambda c: b"\n" * (20 * MB), "1,000,000 lines", True)
case(
    "millions of lines",
    "points",
    lambda c: b"12,13\n" * (3 * MB),
    "1,000,000 lines",
    True,
)
case("thousands of columns", "points", lambda c: (b"12," * 3300 + b"1\n") * 2000, "columns", True)
case("21 MB", "points", lambda c: bytes(21 * MB), "at most 20 MB")
case("a line of 20 MB", "points", lambda c: b"1" * (20 * MB), "10,000 characters")
case("a number of 9,000 digits", "points", lambda c: (b"9" * 9000 + b",1\n") * 30, "infinite")
case("an open quote", "points", lambda c: b'1,"2\n' * 100_000)
case("NUL bytes", "points", lambda c: b"1,2\n\0" * 100, "not a text")
case("half of a surrogate", "points", lambda c: b"\xed\xa0\x80,1\n" * 30, "UTF-8|the table has 1")
case("not numbers", "points", lambda c: b"nan,1\n" * 30, "infinite")
case("Markdown", "points", lambda c: b"1,2\n" * 30 + b"![x](http://127.0.0.1:1/x),2\n", "Line 31")
case("a formula", "points", lambda c: b"1,2\n" * 30 + b"=cmd|'/C calc'!A1,2\n", "Line 31")
case("a zip", "points", lambda c: zip_of(Entry(b"x", b"1,2\n" * 30)), "text file|UTF-8")
case("a pickle", "points", lambda c: pickled(c.canary, 0))

# -- pictures ---------------------------------------------------------------------------------

PICTURES = "picture image part"
case("EPS", PICTURES, lambda c: EPS, "not a PNG")
case("FITS", PICTURES, lambda c: FITS, "not a PNG")
case("SVG", PICTURES, lambda c: SVG, "not a PNG")
case("XPM", PICTURES, lambda c: XPM, "not a PNG")
case("a GIF", PICTURES, lambda c: encoded(Image.new("L", (20, 20)), "GIF"))
case("a PDF", PICTURES, lambda c: encoded(Image.new("L", (20, 20)), "PDF"), "not a PNG")
case("a pickle", PICTURES, lambda c: pickled(c.canary), "not a PNG")
case("900 megapixels", PICTURES, lambda c: png(30_000, 30_000, 0, rows=9), "megapixels")
case("2^31 pixels wide", PICTURES, lambda c: png(2**31 - 1, 1, rows=0), "megapixels|cannot|damaged")
case("a WebP of 268 megapixels", PICTURES, lambda c: webp(16_383, 16_383), "megapixels")
case("16 megapixels of 64 bits", PICTURES, lambda c: png(4000, 4000, 6, 16), heavy=True)
case("16 megapixels of 16 bits", PICTURES, lambda c: png(4000, 4000, 0, 16), heavy=True)
case("40 megapixels of 16 bits", "part", lambda c: png(6300, 6300, 0, 16), heavy=True)
case("an empty PNG", PICTURES, lambda c: png(4000, 4000, rows=0), "damaged|cannot|can be read")
case("half a PNG", PICTURES, lambda c: png(400, 400)[:200], "damaged|cannot|can be read")
case("half a JPEG", PICTURES, lambda c: encoded(Image.new("RGB", (400, 400)), "JPEG")[:300])
case(
    "text of 100 MB in a PNG",
    PICTURES,
    lambda c: png(20, 20, extra=chunk(b"zTXt", b"a\0\0" + _packed(100 * MB))),
)
case(
    "a colour profile of 100 MB",
    PICTURES,
    lambda c: png(20, 20, extra=chunk(b"iCCP", b"a\0\0" + _packed(100 * MB))),
)
case(
    "a million chunks",
    PICTURES,
    lambda c: png(20, 20, extra=chunk(b"teXt", b"") * 500_000),
    heavy=True,
)
case(
    "EXIF that leads in circles",
    PICTURES,
    lambda c: encoded(Image.new("L", (20, 20)), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0"
                      + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8)),
)  # fmt: skip
case("a TIFF of 3,600 megapixels", PICTURES, lambda c: tiff(60_000, 60_000))
case("a TIFF with a strip of 2 GB", PICTURES, lambda c: tiff(6000, 6000))
case("a BMP of 900 megapixels", PICTURES, lambda c: bmp(30_000, 30_000), "megapixels")
case("a BMP of less than nothing", PICTURES, lambda c: bmp(-20, -20))
for mode in ("F", "I"):
    case(
        f"16 megapixels of {mode} in a TIFF",
        PICTURES,
        lambda c, m=mode: encoded(Image.new(m, (4000, 4000)), "TIFF", compression="tiff_deflate"),
        heavy=True,
    )
case(
    "a GIF of 900 megapixels",
    PICTURES,
    lambda c: encoded(Image.new("L", (20, 20)), "GIF").replace(
        b"a\x14\0\x14\0", b"a\x30\x75\x30\x75"
    ),
    "megapixels",
)
case("a JPEG of 500 scans", PICTURES, lambda c: noise_jpeg() + b"\xff\xda" * 500, "scans")
case("no bytes", PICTURES, lambda c: b"")


def noise_jpeg() -> bytes:
    return encoded(Image.open(io.BytesIO(noise())), "JPEG")


@cache
def _packed(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


# -- archives ---------------------------------------------------------------------------------


def images(*more: Entry) -> bytes:
    return zip_of(*(Entry(f"cat/{i}.png".encode(), noise(i)) for i in range(20)), *more)


def pairs(*more: Entry) -> bytes:
    places = [f"train{side}/{i}.png".encode() for side in "AB" for i in range(7)]
    return zip_of(*(Entry(place, noise(i)) for i, place in enumerate(places)), *more)


def parts_of(*more: Entry) -> bytes:
    places = ["train/good/0.png", "train/good/1.png", "train/good/2.png", "train/good/3.png"]
    places += ["test/good/0.png", "test/bad/0.png"]
    return zip_of(*(Entry(p.encode(), noise(i)) for i, p in enumerate(places)), *more)


GOOD: dict[str, Callable[..., Callable[[Context], bytes]]] = {
    "images": lambda *more: lambda c: images(*more),
    "pairs": lambda *more: lambda c: pairs(*more),
    "defects": lambda *more: lambda c: parts_of(*more),
    "run": lambda *more: lambda c: c.packed(*more),
}
FIRST = {
    "images": "cat/x.png",
    "pairs": "trainA/x.png",
    "defects": "train/good/x.png",
    "run": "config.json",
}
ARCHIVES = " ".join(GOOD)

for door, good in GOOD.items():
    for name, raw in NAMES.items():
        case(f"name, {name}", door, good(Entry(raw, noise())))
    first = FIRST[door]
    case("a link", door, good(Entry(b"l.png", b"/etc/passwd", mode=LINK)))
    case("a device", door, good(Entry(b"d.png", b"", mode=DEVICE)))
    case("a name twice", door, good(*[Entry(first.encode(), noise())] * 2))
    case("a wrong checksum", door, good(Entry(f"a/{first}".encode(), noise(), crc=1)))
    case("longer than it says", door, good(Entry(f"{first}".encode(), noise(), 8, claims=10)))
    case("shorter than it says", door, good(Entry(first.encode(), b"x", claims=2**31)))
    case("a password", door, good(Entry(first.encode(), b"x", flags=1)), "password")
    case(
        "a bzip2 bomb",
        door,
        lambda c, f=first: other_method(zipfile.ZIP_BZIP2, f, 16 * MB, 1000),
        "unusual",
    )
    case(
        "an LZMA bomb",
        door,
        lambda c, f=first: other_method(zipfile.ZIP_LZMA, f, 16 * MB, 1000),
        "unusual",
    )
    case("a dictionary of 4 GB", door, lambda c, f=first: huge_dictionary(f), "unusual")
    case(
        "a bomb of 400 MB",
        door,
        lambda c, f=first: zeros(f, 400 * MB),
        "no folder test|at least 4|larger|20 MB|trainA|config.json",
    )

case("two hundred thousand entries", ARCHIVES, lambda c: crowd(200_000), "more than")
case("entries that overlap", ARCHIVES, lambda c: overlapping(b"cat/x.png", 1500, 20 * MB))
case("no zip", ARCHIVES, lambda c: b"hello", "not a zip")
case("only an end", ARCHIVES, lambda c: b"PK\x05\x06" + bytes(18))
case("a zip in a zip", ARCHIVES, lambda c: zip_of(Entry(b"a/x.zip", images())))
case("a pickle", ARCHIVES, lambda c: pickled(c.canary), "not a zip")
case(
    "thousands of deep names",
    "images pairs defects",
    lambda c: zip_of(*[Entry(b"a/" * 20_000 + b"%d.png" % i) for i in range(200)]),
    heavy=True,
)
for kind, names in {
    tarfile.SYMTYPE: ("x", "/etc/passwd"),
    tarfile.LNKTYPE: ("x", "/etc/passwd"),
    tarfile.CHRTYPE: ("x", ""),
    tarfile.FIFOTYPE: ("x", ""),
}.items():
    says = "link or device"
    case(f"type {kind!r}", "download", lambda c, k=kind, n=names: tar_of(k, *n), says)
for name in ("../x", "/x", "a/../../x", "C:\\x", "..\\x", "//server/x", "con.png"):
    says = "leads elsewhere"
    case(f"name {name!r}", "download", lambda c, n=name: tar_of(tarfile.REGTYPE, n), says)
case("no tar", "download", lambda c: b"hello", "damaged")

# -- runs -------------------------------------------------------------------------------------


def of_run(
    name: str, says: str = "", heavy: bool = False, **changes: Callable[[Context], bytes | None]
) -> None:
    def make(c: Context) -> bytes:
        return c.packed(**{file: change(c) for file, change in changes.items()})

    case(name, "run", make, says, heavy)


of_run("nested settings", "settings", config__json=lambda c: b"[" * 60_000)
of_run("settings said twice", config__json=lambda c: c.settings()[:-1] + b', "family": "vae"}')
of_run("a family that is a path", "settings", config__json=lambda c: b'{"family": "../nice"}')
of_run("no settings", "config.json", config__json=lambda c: None)
of_run(
    "thousands of settings",
    "more are wrong",
    config__json=lambda c: c.settings(**{f"x{i}": 1 for i in range(2000)}),
)
of_run("seconds without end", status__json=lambda c: b'{"state": "finished", "seconds": Infinity}')
of_run("steps beyond count", status__json=lambda c: b'{"step": 1%s, "total": 7}' % (b"0" * 4000))
of_run("a status in HTML", status__json=lambda c: b'{"state": "<script>", "message": "![](x)"}')
of_run("rows without end", "rows", metrics__csv=lambda c: b"step\n" + b"1\n" * 9_000_000)
of_run("rows of one column", "rows", metrics__csv=lambda c: b"step," * 60 + b"\n1\n")
of_run("rows that do not grow", metrics__csv=lambda c: b"step,nll\n" + b"5,1\n" * 1000)
of_run("a name of HTML", name__txt=lambda c: b"<img src=x onerror=alert(1)>\n![](http://x)\0")
of_run("a name of a megabyte", "larger", name__txt=lambda c: b"x" * MB)
of_run("arrays that are pickles", "numbers", target__npz=lambda c: npz({"a": npy_pickle(c.canary)}))
of_run(
    "arrays of a terabyte",
    "lies",
    target__npz=lambda c: npz({"a": npy_header("{'descr': '<f8', 'fortran_order': False, "
                                               "'shape': (99999999999,), }")}),
)  # fmt: skip
of_run(
    "a header that is code",
    "damaged",
    target__npz=lambda c: npz({"a": npy_header("__import__('os').system('touch canary')")}),
)
of_run(
    "arrays in bzip2",
    "unusual",
    target__npz=lambda c: npz({"a": np.zeros(MB)}, zipfile.ZIP_BZIP2),
)
of_run(
    "arrays of 300 MB",
    "larger",
    True,
    target__npz=lambda c: npz({"a": np.zeros(300 * MB, np.uint8)}, zipfile.ZIP_DEFLATED),
)
of_run(
    "data of 390 MB",
    heavy=True,
    data__npz=lambda c: npz(
        {
            "kind": np.array("defects"),
            "train": np.zeros((130, 3, 1000, 1000), np.uint8),
            "test": np.zeros((1, 3, 1000, 1000), np.uint8),
            "masks": np.zeros(125_000, np.uint8),
            "words": np.array(["x", "good"]),
            "files": np.array([], "U1"),
            "skipped": np.array([], "U1"),
            "masked": np.array(True),
        },
        zipfile.ZIP_DEFLATED,
    ),
)
of_run("a thousand arrays", "files", target__npz=lambda c: npz({f"{i}": b"" for i in range(999)}))
of_run("weights that are a pickle", "pickle", model__safetensors=lambda c: pickled(c.canary))
of_run("a checkpoint that is a pickle", checkpoint__pt=lambda c: pickled(c.canary))
of_run("code", run__py=lambda c: b"import os; os.system('touch canary')")
of_run(
    "data that are a pickle",
    "numbers",
    data__npz=lambda c: npz({"kind": npy_pickle(c.canary)}),
)

# -- the user's data as it is saved -------------------------------------------------------------

case("a pickle", "data", lambda c: npz({"kind": npy_pickle(c.canary)}), "damaged")
case("bzip2", "data", lambda c: npz({"kind": npy(np.zeros(9))}, zipfile.ZIP_BZIP2), "unusual")
case(
    "points that are no numbers",
    "data",
    lambda c: npz(
        {"kind": np.array("points"), "name": np.array("x"), "array": np.full((30, 2), np.nan, "f4")}
    ),
    "missing, infinite",
)
case(
    "a picture of other shape",
    "data",
    lambda c: npz(
        {"kind": np.array("picture"), "name": np.array("x"), "array": np.ones((9, 9, 9), "f4")}
    ),
    "not a table",
)
case("no kind", "data", lambda c: npz({"array": np.ones((9, 9))}), "damaged")

# -- weights ----------------------------------------------------------------------------------

case("a pickle", "weights", lambda c: pickled(c.canary), "pickle")
case("a zip", "weights", lambda c: images(), "zip file")
case("a length of 2^63", "weights", lambda c: safetensors({}, length=2**63), "header")
case("a length beyond the file", "weights", lambda c: safetensors({}, length=1000), "cut off")
case("a header of 5 MB", "weights", lambda c: safetensors(b" " * 5 * MB), "header")
case("a nested header", "weights", lambda c: safetensors(b"[" * 3 * MB), "JSON")
case(
    "a header of empty lists",
    "weights",
    lambda c: safetensors(b'{"a":[' + b"[]," * MB + b"1]}"),
    heavy=True,
)
EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
case("a name twice", "weights", lambda c: safetensors(b'{"a": 1, "a": 2}'), "JSON")
case(
    "20,000 tensors",
    "weights",
    lambda c: safetensors(dict.fromkeys(map(str, range(20_000)), EMPTY)),
    "tensors",
)
case("a number of 5,000 digits", "weights", lambda c: safetensors(b'{"a": %s}' % (b"9" * 5000)))
case("a shape of 10^30", "weights", lambda c: entry(c.weights, shape=[10**30]), "damaged")
case("another shape", "weights", lambda c: entry(c.weights, shape=[1, 2, 3]), "damaged")
case("another type", "weights", lambda c: entry(c.weights, dtype="F8_E4M3"), "damaged")
case("another place", "weights", lambda c: entry(c.weights, data_offsets=[0, 2**39]), "damaged")
case("not numbers", "weights", lambda c: filled(c.weights, float("nan")), "finite")
case("infinite", "weights", lambda c: filled(c.weights, float("inf")), "finite")
case("the largest numbers", "weights", lambda c: filled(c.weights, 3e38))
case("cut off", "weights", lambda c: c.weights[:-1], "cut off")
case("family of a path", "weights", lambda c: metadata(c.weights, family="../../x"), "which model")
case("settings of 60 KB", "weights", lambda c: metadata(c.weights, config="[" * 60_000), "damaged")
case(
    "thousands of settings",
    "weights",
    lambda c: metadata(c.weights, config=json.dumps({f"x{i}": 1 for i in range(4000)})),
    "more are wrong",
)
case("a step in HTML", "weights", lambda c: metadata(c.weights, step="<b>9</b>"), "which step")

# -- checkpoints ------------------------------------------------------------------------------


def checkpoint(change: Callable[[dict], object]) -> Callable[[Context], bytes]:
    def make(c: Context) -> bytes:
        state = torch.load(c.run.path / "checkpoint.pt", weights_only=True)
        buffer = io.BytesIO()
        torch.save(change(state), buffer)
        return buffer.getvalue()

    return make


def _other_shapes(state: dict) -> dict:
    model = {name: torch.zeros(7, 7) for name in state["experiment"]["model"]}
    return {**state, "experiment": {**state["experiment"], "model": model}}


case("a pickle", "checkpoint", lambda c: pickled(c.canary, 2), "damaged")
case(
    "cut off", "checkpoint", lambda c: (c.run.path / "checkpoint.pt").read_bytes()[:999], "damaged"
)
case("no bytes", "checkpoint", lambda c: b"", "damaged")
case("a list", "checkpoint", checkpoint(lambda state: [state]), "does not fit")
case("another model", "checkpoint", checkpoint(_other_shapes), "does not fit")
case("nothing inside", "checkpoint", checkpoint(lambda state: {}), "does not fit")

# -- settings, status, addresses, ids -----------------------------------------------------------

case("nested", "settings status", lambda c: b"[" * 200_000)
case("a number of 5,000 digits", "settings status", lambda c: b'{"step": %s}' % (b"9" * 5000))
case("not numbers", "status", lambda c: b'{"state": "x", "seconds": NaN, "created": 1e300}')
case("text for numbers", "status", lambda c: b'{"state": 1, "step": "1e9999"}')
case("settings of 10 MB", "settings", lambda c: c.settings(dataset="x" * 10 * MB), "dataset must")

for name, text in {
    "10 MB": "x" * 10 * MB,
    "10 MB of digits": "9" * 10 * MB,
    "Markdown": "![x](http://127.0.0.1:1/x.png) $x$ :material/home: <b>b</b>",
    "not a number": "nan",
    "without end": "-inf",
    "NUL": "\0",
    "other digits": "٣",
    "JSON": json.dumps({"a": [1] * 9}),
    "nested": "[" * 100_000,
}.items():
    case(name, "address", lambda c, t=text: t.encode(), "not a setting", "MB" in name)
for text in ("../secret", "/etc", "..\\secret", "\0", "secret\n", "%2e%2e/secret", "x" * MB, ""):
    case(repr(text[:12]), "id", lambda c, t=text: t.encode(), "no such run")


def clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

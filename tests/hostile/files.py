"""Files as somebody would make them who means harm. All of them are made here, none is kept."""

from __future__ import annotations

import io
import json
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

MB = 2**20

# -- code that must not run -------------------------------------------------------------------


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


def pickled(canary: Path, protocol: int = 4) -> bytes:
    return pickle.dumps({"weights": Evil(canary)}, protocol)


# -- zip files --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A member of a zip file, with a name of any bytes and what its entry says of it.

    Attributes:
        name: as it stands in the file.
        data: unpacked.
        method: 0 (stored) or 8 (deflated).
        claims: unpacked bytes that the entry says it has; the true number if left out.
        mode: of the file: a link, say.
        flags: 1 for a password.
        crc: the checksum; the true one if left out.
    """

    name: bytes
    data: bytes = b""
    method: int = 0
    claims: int | None = None
    mode: int = 0
    flags: int = 0
    crc: int | None = None


def zip_of(*entries: Entry, comment: bytes = b"") -> bytes:
    body, table = io.BytesIO(), io.BytesIO()
    for e in entries:
        packed = deflated(e.data) if e.method == 8 else e.data
        size = len(e.data) if e.claims is None else e.claims
        crc = zlib.crc32(e.data) if e.crc is None else e.crc
        start = body.tell()
        facts = struct.pack("<HHHHIIIHH", e.flags, e.method, 0, 33, crc, len(packed), size,
                            len(e.name), 0)  # fmt: skip
        body.write(b"PK\x03\x04" + struct.pack("<H", 20) + facts + e.name + packed)
        tail = struct.pack("<HHHII", 0, 0, 0, e.mode << 16, start)
        table.write(b"PK\x01\x02" + struct.pack("<HH", 0x314, 20) + facts + tail + e.name)
    end = struct.pack("<HHHHIIH", 0, 0, len(entries) % 2**16, len(entries) % 2**16, table.tell(),
                      body.tell(), len(comment))  # fmt: skip
    return body.getvalue() + table.getvalue() + b"PK\x05\x06" + end + comment


def zeros(name: str, count: int) -> bytes:
    """A zip of one file of zeros, packed as tightly as deflate can."""
    packed, crc = _packed_zeros(count)
    stored = bytearray(zip_of(Entry(name.encode(), packed, 0, count, crc=crc)))
    for magic, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", stored, stored.index(magic) + place, 8)
    return bytes(stored)


@cache
def _packed_zeros(count: int) -> tuple[bytes, int]:
    packer, crc, packed = zlib.compressobj(9, zlib.DEFLATED, -15), 0, []
    for _ in range(count // MB):
        packed.append(packer.compress(bytes(MB)))
        crc = zlib.crc32(bytes(MB), crc)
    return b"".join([*packed, packer.flush()]), crc


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


@cache
def other_method(method: int, name: str, size: int, claims: int) -> bytes:
    """A zip of ``size`` zeros, packed with bzip2 or LZMA, that says it holds ``claims`` bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, bytes(size))
    data = bytearray(buffer.getvalue())
    for magic, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.index(magic) + place, claims)
    return bytes(data)


def huge_dictionary(name: str) -> bytes:
    """A zip that asks LZMA for a dictionary of 4 GB."""
    data = bytearray(other_method(zipfile.ZIP_LZMA, name, 1000, 1000))
    struct.pack_into("<I", data, 30 + len(name) + 5, 2**32 - 1)
    return bytes(data)


def crowd(count: int) -> bytes:
    """A zip whose table lists one file of no bytes so many times over."""
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<HHHHHII", 1, 0, 0, 0, 0, 0, 0) + b"a"
    table = entry * count
    head = b"PK\x03\x04" + bytes(26)
    end = struct.pack("<HHHHIIH", 0, 0, count % 2**16, count % 2**16, len(table), len(head), 0)
    return head + table + b"PK\x05\x06" + end


def overlapping(name: bytes, count: int, size: int) -> bytes:
    """A zip of many entries that all point at the same packed bytes."""
    one = zip_of(Entry(name, bytes(size), 8))
    start = one.index(b"PK\x01\x02")
    table = one[start : one.index(b"PK\x05\x06")] * count
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(table), start, 0)
    return one[:start] + table + b"PK\x05\x06" + end


# Names that lead elsewhere, mean something to a system, or to whoever shows them.
NAMES = {
    "parent": b"../../canary.png",
    "parent inside": b"a/../../canary.png",
    "absolute": b"/tmp/canary.png",
    "backslash": b"..\\..\\canary.png",
    "drive": b"C:\\canary.png",
    "drive, relative": b"C:canary.png",
    "UNC": b"\\\\server\\share\\canary.png",
    "UNC with slashes": b"//server/share/canary.png",
    "NUL byte": b"a.png\0.exe",
    "only NUL": b"\0",
    "device": b"aux/con.png",
    "device with ending": b"NUL.png",
    "stream": b"a.png:evil.exe",
    "very long": b"x" * 60_000 + b".png",
    "very deep": b"a/" * 30_000 + b"x.png",
    "new line and bell": b"a\n# b\a\x1b[31m.png",
    "right to left": "a\u202egnp.exe.png".encode(),
    "not UTF-8": b"\xff\xfe\x80.png",
    "Markdown": b"![x](http://127.0.0.1:1/x.png) :material/home: $x$ <b>b</b>.png",
    "home": b"~/canary.png",
    "variable": b"$HOME/%PATH%/canary.png",
    "dots and spaces": b" . /.. ./ canary.png ",
    "a folder": b"a/",
    "empty": b"",
}
LINK, HARD, DEVICE = stat.S_IFLNK | 0o777, stat.S_IFREG | 0o644, stat.S_IFCHR | 0o600


# -- tar files --------------------------------------------------------------------------------


def tar_of(kind: bytes, name: str, target: str = "", size: int = 0) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, target, size
        tar.addfile(member, io.BytesIO(bytes(size)))
    return buffer.getvalue()


# -- pictures ---------------------------------------------------------------------------------


@cache
def noise(seed: int = 0, size: tuple[int, int] = (12, 12)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, colour: int = 2, depth: int = 8, *,
        rows: int | None = None, extra: bytes = b"") -> bytes:  # fmt: skip
    """A black PNG; of colour 0 (grey), 2 (RGB) or 6 (RGBA), with fewer rows than it says."""
    rows = height if rows is None else rows
    row = bytes(1 + width * {0: 1, 2: 3, 6: 4}[colour] * depth // 8) if rows else b""
    packer = zlib.compressobj(9)
    packed = [packer.compress(row) for _ in range(rows)]
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = b"".join([*packed, packer.flush()])
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + extra
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 10 10
%%EndComments
(/tmp/genlab-canary) (w) file closefile
(%pipe%touch /tmp/genlab-canary) (w) file closefile
showpage
%%EOF
"""
FITS = b"".join(
    line.encode().ljust(80)
    for line in (
        "SIMPLE  =                    T",
        "BITPIX  =                  -64",
        "NAXIS   =                    2",
        "NAXIS1  =               100000",
        "NAXIS2  =               100000",
        "END",
    )
).ljust(2880)
SVG = b"""<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><text>&x;</text></svg>"""
XPM = b'/* XPM */\nstatic char * x[] = {\n"100000 100000 1 1",\n"a c #000000",\n'


def webp(width: int, height: int) -> bytes:
    """A lossless WebP that says it is so large and holds next to nothing."""
    bits = (width - 1) | (height - 1) << 14
    data = b"\x2f" + struct.pack("<I", bits) + bytes(8)
    body = b"WEBPVP8L" + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(width: int, height: int) -> bytes:
    """A TIFF of one byte that says it is so large."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8),
            (277, 3, 1), (278, 4, height), (279, 4, 2**31)]  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + table + bytes(8)


def bmp(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 2**31 - 1, 0, 0, 54) + head


# -- arrays -----------------------------------------------------------------------------------


def npz(arrays: Mapping[str, bytes | np.ndarray], method: int = zipfile.ZIP_STORED) -> bytes:
    """An .npz file of arrays, or of what stands in their place."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, value in arrays.items():
            archive.writestr(f"{name}.npy", value if isinstance(value, bytes) else npy(value))
    return buffer.getvalue()


def npy(array: np.ndarray, **options: bool) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def npy_header(header: str, data: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return np.lib.format.magic(1, 0) + struct.pack("<H", len(text)) + text + data


def npy_pickle(canary: Path) -> bytes:
    return npy(np.array([Evil(canary)], dtype=object), allow_pickle=True)


# -- weights ----------------------------------------------------------------------------------


def safetensors(header: object, numbers: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + numbers


def parts(data: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def metadata(data: bytes, **values: str) -> bytes:
    """The same weights with other metadata."""
    header, numbers = parts(data)
    return safetensors({**header, "__metadata__": {**header["__metadata__"], **values}}, numbers)


def entry(data: bytes, **values: object) -> bytes:
    """The same weights with another description of the first one."""
    header, numbers = parts(data)
    name = next(name for name in header if name != "__metadata__")
    return safetensors({**header, name: {**header[name], **values}}, numbers)


def filled(data: bytes, value: float) -> bytes:
    """The same weights with all numbers replaced."""
    header, numbers = parts(data)
    return safetensors(header, np.full(len(numbers) // 4, value, np.float32).tobytes())


def with_scans(jpeg: bytes, count: int) -> bytes:
    """Repeat the last scan of a progressive JPEG: decoders go over all pixels for each."""
    start = jpeg.rindex(b"\xff\xda")
    return jpeg[:start] + jpeg[start:-2] * count + jpeg[-2:]

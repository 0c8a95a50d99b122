"""One door for images: each format, depth and layer of a file is taken at every reader, or told."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.defects import read_folder, read_one, read_zip
from datasets.files.images import SUFFIXES, read_image, read_mask
from datasets.own import DataError, read_own
from datasets.own_images import read_image_files, read_image_folder, read_image_zip
from datasets.own_pairs import read_pairs_folder, read_two_sets

KINDS = {
    ".png": "PNG",
    ".PNG": "PNG",
    ".jpg": "JPEG",
    ".jfif": "JPEG",
    ".jpe": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".TIFF": "TIFF",
}
RAMP = np.tile(np.arange(256, dtype=np.uint8), (32, 1))  # (32, 256)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey(data: bytes) -> np.ndarray:
    return np.asarray(read_image(data, "x").convert("L")).astype(int)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(levels: np.ndarray) -> bytes:
    """A PNG of 16 bits per channel: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA."""
    colour = {2: 0, 3: 2, 4: 6}[levels.shape[-1] if levels.ndim == 3 else 2]
    head = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff(levels: np.ndarray, sample_format: int, photometric: int = 1, order: str = "<") -> bytes:
    """An uncompressed TIFF of any sample type: 1 unsigned, 2 signed, 3 floating point."""
    h, w, *channels = levels.shape
    bits, count = 8 * levels.itemsize, channels[0] if channels else 1
    data = levels.astype(levels.dtype.newbyteorder(order)).tobytes()
    tags = [(256, 4, w), (257, 4, h), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
            (273, 4, 0), (277, 3, count), (278, 4, h), (279, 4, len(data)),
            (339, 3, sample_format)]  # fmt: skip
    extra, start = b"", 10 + 12 * len(tags) + 4
    if count > 1:  # one number of bits for each channel stands elsewhere
        extra = struct.pack(f"{order}{count}H", *[bits] * count)
    table = b""
    for tag, kind, value in tags:
        number = count if tag == 258 else 1
        value = start if tag == 258 and count > 1 else value
        value = start + len(extra) if tag == 273 else value
        small = struct.pack(f"{order}HH", value, 0) if kind == 3 and number == 1 else None
        table += struct.pack(f"{order}HHI", tag, kind, number)
        table += small or struct.pack(f"{order}I", value)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}IH", 8, len(tags)) + table + bytes(4) + extra + data


# -- depth -------------------------------------------------------------------------------------

F, I32, U32 = np.float32, np.int32, np.uint32
DEEP: dict[str, bytes] = {
    "float 0 to 1": encoded(Image.fromarray(RAMP.astype(F) / 255), "TIFF"),
    "float 0 to 255": encoded(Image.fromarray(RAMP.astype(F)), "TIFF"),
    "float 0 to 65535": encoded(Image.fromarray(RAMP.astype(F) * 257), "TIFF"),
    "float -1 to 1": encoded(Image.fromarray(RAMP.astype(F) / 127.5 - 1), "TIFF"),
    "float 0 to 0.001": encoded(Image.fromarray(RAMP.astype(F) / 255_000), "TIFF"),
    "float, other bytes first": tiff(RAMP.astype(F) / 255, 3, order=">"),
    "32 bits 0 to 255": encoded(Image.fromarray(RAMP.astype(I32)), "TIFF"),
    "32 bits 0 to 65535": encoded(Image.fromarray(RAMP.astype(I32) * 257), "TIFF"),
    "32 bits, whole": encoded(Image.fromarray(RAMP.astype(I32) * (2**31 // 256 - 1)), "TIFF"),
    "32 bits without sign": tiff(RAMP.astype(U32) * 16_843_009, 1),
    "signed 16 bits": tiff(RAMP.astype(np.int16) * 16, 2),
    **{f"{bits} bits in 16": png16(RAMP.astype(int) * (2**bits - 1) // 255)
       for bits in (8, 10, 12, 14, 16)},
    **{f"{bits} bits in a TIFF": tiff((RAMP.astype(int) * (2**bits - 1) // 255).astype("u2"), 1)
       for bits in (10, 12, 14, 16)},
    "white is 0": tiff(((255 - RAMP.astype(int)) * 257).astype("u2"), 1, photometric=0),
    **{f"{bits} bits of RGB": png16(np.stack([RAMP.astype(int) * (2**bits - 1) // 255] * 3, -1))
       for bits in (12, 16)},
    "12 bits of RGB in a TIFF": tiff(np.stack([RAMP.astype("u2") * 16] * 3, -1), 1, 2),
    "12 bits of RGB, other bytes first": tiff(np.stack([RAMP.astype("u2") * 16] * 3, -1), 1, 2,
                                              ">"),
    "12 bits of RGBA": png16(np.concatenate(
        [np.stack([RAMP.astype(int) * 4095 // 255] * 3, -1), np.full((32, 256, 1), 65_535)], -1)),
}  # fmt: skip


@pytest.mark.parametrize("case", DEEP)
def test_whatever_the_depth_black_is_black_and_white_is_white(case):
    assert np.abs(grey(DEEP[case]) - RAMP).max() <= 2
    for data in (read_one(DEEP[case], 256), read_own(DEEP[case], "x.tif").array * -255 + 255):
        assert data.max() > 240
        assert 110 < data.mean() < 145


def test_numbers_that_are_none_are_black():
    levels = RAMP.astype(F) / 255
    levels[0, :9] = [np.nan, np.inf, -np.inf] * 3
    assert np.abs(grey(encoded(Image.fromarray(levels), "TIFF"))[1:] - RAMP[1:]).max() <= 1


def test_a_dark_image_of_a_deep_set_stays_dark(tmp_path):
    for number in range(24):
        levels = np.random.default_rng(number).integers(0, 4096, (16, 16))
        dark = levels // 8 if number == 7 else levels  # below 1023, which 10 bits would hold
        (tmp_path / f"{number:02}.png").write_bytes(png16(dark))
    images = read_image_folder(tmp_path, 16, 1).images
    assert images[7].max() < 40
    assert images[6].max() > 240


# -- formats and layers ------------------------------------------------------------------------


def noise(seed: int, side: int = 24) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (side // 4, side // 4, 3), np.uint8)
    return Image.fromarray(pixels.repeat(4, 0).repeat(4, 1))


def files(suffix: str, count: int = 24) -> list[tuple[str, bytes]]:
    return [(f"{i}{suffix}", encoded(noise(i), KINDS[suffix])) for i in range(count)]


def put(root: Path, suffix: str, folders: dict[str, int]) -> Path:
    for number, (folder, count) in enumerate(folders.items()):
        (root / folder).mkdir(parents=True)
        for name, data in files(suffix, count + number)[number:]:
            (root / folder / name).write_bytes(data)
    return root


def zipped(root: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(root))
    return file.getvalue()


LAYOUT = {"train/good": 5, "test/good": 2, "test/crack": 2}
PAIRS = {"trainA": 6, "trainB": 6, "testA": 2, "testB": 2}
READERS: dict[str, Callable[[Path, str], int]] = {
    "files": lambda root, s: len(read_image_files(files(s), 16, 3).images),
    "folder": lambda root, s: len(read_image_folder(put(root, s, {"cat": 24}), 16, 3).images),
    "zip": lambda root, s: len(
        read_image_zip(zipped(put(root, s, {"a": 12, "b": 12})), "z", 16, 3).images
    ),
    "pairs": lambda root, s: len(read_pairs_folder(put(root, s, PAIRS), 16).train_a) + 18,
    "two sets": lambda root, s: len(
        read_two_sets(files(s), files(s), 16).train_a
    ) + 4,
    "defects": lambda root, s: len(read_folder(put(root, s, LAYOUT), 16).train) + 19,
    "a zip of defects": lambda root, s: len(read_zip(zipped(put(root, s, LAYOUT)), 16).test) + 20,
    "a density": lambda root, s: 24 * (read_own(*files(s)[1][::-1]).kind == "picture"),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("suffix", KINDS)
def test_each_format_is_taken_at_each_door(reader, suffix, tmp_path):
    assert READERS[reader](tmp_path / "x", suffix) == 24


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_taken(kind):
    frames = [noise(1).convert("P"), noise(2).convert("P")]
    frames = frames if kind == "GIF" else [frame.convert("RGB") for frame in frames]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    first = np.asarray(frames[0].convert("RGB"))
    assert np.array_equal(np.asarray(read_image(data, "x").convert("RGB")), first)


BROKEN_EXIF = (
    b"Exif\0\0\0\x08\0\x02\x01\x12\0\x03",
    b"Exif\0\0This is no EXIF",
    b"Exif\0\0",
    b"Exif\0\0II*\0\xff\xff\xff\xff",
    b"x",
    b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
)


@pytest.mark.filterwarnings("ignore::UserWarning")  # what Pillow says of it
@pytest.mark.parametrize("exif", BROKEN_EXIF)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_broken_exif_says_nothing_of_the_pixels(kind, exif):
    whole = encoded(noise(3), kind)
    if kind == "PNG":  # as it stands in the file: Pillow would not write it
        start = whole.index(b"IDAT") - 4
        data = whole[:start] + chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")) + whole[start:]
    else:
        data = encoded(noise(3), kind, exif=exif)
    assert np.array_equal(np.asarray(read_image(data, "x")), np.asarray(read_image(whole, "x")))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_turns_an_image_once(kind, turn):
    T = Image.Transpose
    undo = [None, T.FLIP_LEFT_RIGHT, T.ROTATE_180, T.FLIP_TOP_BOTTOM, T.TRANSPOSE, T.ROTATE_90,
            T.TRANSVERSE, T.ROTATE_270][turn - 1]  # fmt: skip
    upright = noise(4).resize((96, 64), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = upright if undo is None else upright.transpose(undo)
    image = read_image(encoded(stored, kind, exif=exif), "x")
    assert image.info["size"] == image.size == (96, 64)
    error = np.abs(np.asarray(image).astype(int) - np.asarray(upright))
    assert error.mean() < 20


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
ADVICE = {
    "HEIC": (HEIC, "HEIC.*(pillow-heif.*JPEG|damaged)"),
    "AVIF": (HEIC.replace(b"heic", b"avif"), "AVIF.*PNG or JPEG"),
    "PDF": (encoded(noise(0), "PDF"), "not a PNG"),
    "TIFF of doubles in colour": (tiff(np.zeros((9, 9, 3)), 3, 2), "rare TIFF"),
    "half a header": (encoded(noise(0))[:20], "damaged"),
    "too many scans": (encoded(noise(0), "JPEG") + b"\xff\xda" * 101, "100 scans"),
}  # fmt: skip


@pytest.mark.parametrize("case", ADVICE)
def test_what_is_not_taken_gets_its_reason(case):
    data, message = ADVICE[case]
    with pytest.raises(DataError, match=message) as caught:
        read_image(data, "x.heic")
    assert str(caught.value).startswith("x.heic: ")
    assert str(caught.value).endswith(".")
    with pytest.raises(DataError, match=message):
        read_own(data, "x.heic")
    sources = [*files(".png"), ("x.heic", data)]
    assert str(caught.value) in read_image_files(sources, 8, 3).skipped


def test_heic_is_read_where_the_extra_is_installed():
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    heif.from_pillow(noise(5, 64)).save(file, quality=95)
    image = np.asarray(read_image(file.getvalue(), "x.heic")).astype(int)
    assert np.abs(image - np.asarray(noise(5, 64))).mean() < 12


def test_a_door_offers_what_it_reads():
    assert {suffix.lower() for suffix in KINDS} | {".jpeg", ".heic", ".heif", ".avif"} == {
        *SUFFIXES
    }


# -- masks -------------------------------------------------------------------------------------

TRUTH = np.zeros((64, 64), bool)
TRUTH[20:37, 11:42] = True
IDS = np.where(TRUTH, 1 + (np.arange(64) > 25), 0).astype(np.uint8)  # two classes
GREY = np.where(TRUTH, 255, 0).astype(np.uint8)


def palette(indices: np.ndarray, *colours: tuple[int, int, int], **options: object) -> bytes:
    image = Image.fromarray(indices)
    image.putpalette([level for colour in colours for level in colour])
    return encoded(image, **options)


def rgba(colour: tuple[int, int, int], outside: tuple[int, ...], opacity: int = 255) -> bytes:
    pixels = np.where(TRUTH[..., None], (*colour, opacity), outside).astype(np.uint8)
    return encoded(Image.fromarray(pixels))


MASKS: dict[str, bytes] = {
    "0 and 255": encoded(Image.fromarray(GREY)),
    "0 and 1": encoded(Image.fromarray(TRUTH.astype(np.uint8))),
    "classes": encoded(Image.fromarray(IDS)),
    "one bit": encoded(Image.fromarray(TRUTH)),
    "16 bits, 0 and 1": png16(TRUTH.astype(int)),
    "16 bits, 0 and 255": png16(GREY.astype(int)),
    "16 bits, whole": png16(GREY.astype(int) * 257),
    "16 bits of RGB, classes": png16(np.stack([IDS, IDS, IDS], -1).astype(int)),
    "32 bits": encoded(Image.fromarray(IDS.astype(I32)), "TIFF"),
    "floating point": encoded(Image.fromarray(TRUTH.astype(F) / 1000), "TIFF"),
    "not a number outside": encoded(Image.fromarray(np.where(TRUTH, F(1), F("nan"))), "TIFF"),
    "palette as VOC has it": palette(IDS, (0, 0, 0), (128, 0, 0), (0, 128, 0)),
    "palette without black": palette(IDS, (68, 1, 84), (33, 144, 140), (253, 231, 37)),
    "palette all black": palette(IDS, (0, 0, 0), (0, 0, 0), (0, 0, 0)),
    "palette, black comes last": palette(1 - TRUTH.astype(np.uint8), (255, 0, 0), (0, 0, 0)),
    "palette, transparent": palette(IDS, (9, 9, 9), (128, 0, 0), (0, 128, 0), transparency=0),
    "red on black": encoded(Image.fromarray(GREY[..., None] * np.array([1, 0, 0], np.uint8))),
    "dark blue on black": encoded(Image.fromarray(IDS[..., None] * np.array([0, 0, 1], np.uint8))),
    "red on transparent": rgba((255, 0, 0), (0, 0, 0, 0)),
    "red on transparent white": rgba((255, 0, 0), (255, 255, 255, 0)),
    "black on transparent": rgba((0, 0, 0), (0, 0, 0, 0)),
    "half transparent red": rgba((255, 0, 0), (255, 255, 255, 0), 90),
    "white on opaque black": rgba((255, 255, 255), (0, 0, 0, 255)),
    "white on black, all transparent": rgba((255, 255, 255), (0, 0, 0, 0), 0),
    "grey and alpha": encoded(Image.fromarray(np.stack([GREY, GREY], -1), "LA")),
    "GIF": encoded(Image.fromarray(GREY), "GIF"),
    "BMP": encoded(Image.fromarray(GREY), "BMP"),
    "lossless WebP": encoded(Image.fromarray(GREY), "WEBP", lossless=True),
}  # fmt: skip


@pytest.mark.parametrize("case", MASKS)
def test_a_mask_marks_what_its_program_marked(case):
    assert np.array_equal(read_mask(MASKS[case]), TRUTH)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("quality", [20, 50, 75, 95])
@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 0, 0), (200, 200, 0)])
def test_ripples_of_compression_are_no_defects(kind, quality, colour):
    image = Image.fromarray(np.where(TRUTH[..., None], colour, 0).astype(np.uint8))
    mask = read_mask(encoded(image, kind, quality=quality))
    far = np.ones_like(TRUTH)
    far[18:39, 9:44] = False
    assert not mask[far].any()
    assert (mask & TRUTH).sum() / (mask | TRUTH).sum() > 0.9


def test_an_empty_mask_is_empty_in_each_format():
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"):
        assert not read_mask(encoded(Image.new("L", (32, 32)), kind)).any(), kind

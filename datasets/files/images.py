"""The one door for images: the bytes of a file in, an upright image of 8 bits out, or a sentence.

Every reader of this room comes through here, so that what one of them takes, all of them take.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import ExifTags, Image

from datasets.files.errors import DataError

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "MIN_SIDE",
    "SUFFIXES",
    "Limits",
    "central_square",
    "check_size",
    "flatten",
    "read_image",
    "read_mask",
    "read_square",
    "shown",
    "squeezed",
]

# What the names of image files end in. HEIC and AVIF are among them so that whoever brings one
# hears what to do with it.
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".webp", ".bmp", ".gif", ".tif", ".tiff",
            ".heic", ".heif", ".avif")  # fmt: skip
# Pillow's names of the formats that are tried: others start programs or read other files.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_SAID = "PNG, JPEG, WebP, BMP, GIF or TIFF image"
_STARTS = {b"\x89PNG": "PNG", b"\xff\xd8": "JPEG", b"RIFF": "WebP", b"BM": "BMP", b"GIF8": "GIF",
           b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF"}  # fmt: skip
MIN_SIDE = 4
MAX_BYTES, MAX_PIXELS = 20 * 2**20, 16_000_000
# A progressive JPEG is decoded once per scan. Cameras and programs write up to 17 of them.
MAX_SCANS = 100
# The largest values of pixels that cameras and programs write: in parts of 1, or of so many bits.
_WHITES = (1, 255, 1023, 4095, 16_383, 65_535, 2**31 - 1, 2**32 - 1)
_BLOCK = 2**20  # pixels
_T = Image.Transpose
_TURNS = dict(enumerate((_T.FLIP_LEFT_RIGHT, _T.ROTATE_180, _T.FLIP_TOP_BOTTOM, _T.TRANSPOSE,
                         _T.ROTATE_270, _T.TRANSVERSE, _T.ROTATE_90), start=2))  # fmt: skip
# How Pillow unpacks colours of 16 bits to their upper bytes, and how to get the lower ones instead.
_ENDS = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if np.little_endian else ";16L"}


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an image file may be.

    Attributes:
        pixels: width times height.
        bytes: of the file.
    """

    pixels: int = MAX_PIXELS
    bytes: int = MAX_BYTES


_UPLOAD = Limits()


def check_size(data: bytes, most: int = MAX_BYTES) -> None:
    """Refuse the bytes of a file that is empty or larger than ``most``, with a `DataError`."""
    if len(data) > most:
        megabytes = most // 2**20
        raise DataError(
            f"The file has {len(data) / 2**20:.0f} MB, at most {megabytes} MB are taken."
        )
    if not data:
        raise DataError("The file is empty.")


def shown(*place: str) -> str:
    """A file's place as a message may show it: printable and short."""
    path = "".join(c for c in "/".join(place) if c.isprintable())
    return path if len(path) <= 80 else f"…{path[-79:]}"


def read_image(
    data: bytes,
    name: str = "",
    at_least: int | None = None,
    *,
    limits: Limits = _UPLOAD,
    least: int = MIN_SIDE,
    white: float = 0,
) -> Image.Image:
    """Read one image: upright, on white paper where it is transparent, 8 bits per channel.

    Of an animation or a file of several pages the first is taken. Deeper pixels are scaled to 8
    bits: the file does not say how many of its bits are used, so white is the least of 1 (floating
    point only), 255, 1023, 4095, 16383, 65535 and so on that its values do not exceed. Where there
    are values below 0, 0 is mid-grey.

    Args:
        data: the file's content: PNG, JPEG, WebP, BMP, GIF or TIFF; HEIC with pillow-heif.
        name: the file's name, for messages.
        at_least: a large JPEG may come out smaller, but with this many pixels a side: far faster.
        limits: how large it may be.
        least: pixels that it must have on each side.
        white: a value that counts as white at least, in images of more than 8 bits.

    Returns:
        An image of mode L (grey) or RGB. Its ``info`` holds the ``size`` that the file has, and
        the value ``white`` that was taken for white, 0 in an image of 8 bits.

    Raises:
        DataError: the file is no such image, damaged, too large or too small.
    """
    with _opened(data, name, limits) as image:
        if min(image.size) < least:
            raise DataError(f"The image has only {image.width} × {image.height} pixels.")
        size = image.size
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        flat, white = _flat(image, data, white)
    turned = (flat.width > flat.height) != (size[0] > size[1]) and flat.width != flat.height
    flat.info = {"size": size[::-1] if turned else size, "white": white}
    return flat


def central_square(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """Crop an image to its central square and resize it; shape (channels, size, size), uint8."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropped first: a resize of a box mixes in what lies around it.
    return squeezed(image.crop((left, top, left + side, top + side)), size, channels)


def read_square(data: bytes, name: str, size: int, channels: int) -> np.ndarray:
    """Read an image as `read_image` does, and crop it as `central_square` does.

    Returns:
        Grey levels with shape (channels, size, size), uint8.

    Raises:
        DataError: see `read_image`.
    """
    return central_square(read_image(data, name, at_least=2 * size), size, channels)


def squeezed(image: Image.Image, size: int, channels: int = 3) -> np.ndarray:
    """Resize an image to a square, whatever its shape; returns (channels, size, size), uint8."""
    mode = "L" if channels == 1 else "RGB"
    pixels = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS).convert(mode))
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)


def flatten(image: Image.Image) -> Image.Image:
    """Decode an image to 8 bits, upright, on white paper: mode L if it is grey, else RGB."""
    return _flat(image, b"", 0)[0]


# -- opening -----------------------------------------------------------------------------------


@contextmanager
def _opened(data: bytes, name: str, limits: Limits) -> Iterator[Image.Image]:
    """Open an image; whatever goes wrong with it ends in a `DataError` that names it."""
    before = f"{shown(name)}: " if name else ""
    try:
        check_size(data, limits.bytes)
        with _open(data, limits.pixels) as image:
            yield image
    except DataError as error:
        raise DataError(f"{before}{error}") from error
    except MemoryError:
        raise
    # Pillow's decoders raise whatever they trip over: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise DataError(f"{before}The image cannot be read: the file is damaged.") from error


def _open(data: bytes, most: int) -> Image.Image:
    """Read an image's header; its pixels stay undecoded until its size is known to be harmless."""
    too_large = DataError(f"The image has more than {most // 1_000_000} megapixels.")
    if data[:2] == b"\xff\xd8" and data.count(b"\xff\xda") > MAX_SCANS:
        raise DataError(f"The JPEG has more than {MAX_SCANS} scans: save it anew.")
    formats = (*_FORMATS, "HEIF") if _reads_heif() else _FORMATS
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_large from error
    except Image.UnidentifiedImageError as error:
        raise DataError(_advice(data)) from error
    if image.width * image.height > most:
        raise too_large
    return image


@cache
def _reads_heif() -> bool:
    """Whether pillow-heif, an extra, is installed; Pillow then knows the format."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _advice(data: bytes) -> str:
    """Why a file cannot be opened, and what to do."""
    if data[4:8] == b"ftyp" and data[8:11] in (b"hei", b"hev", b"mif", b"msf"):
        if _reads_heif():
            return "The HEIC image cannot be read: the file is damaged."
        return "HEIC images need pillow-heif, which is not installed: save it as JPEG first."
    if data[4:8] == b"ftyp" and data[8:11] == b"avi":
        return "AVIF images are not read: save it as PNG or JPEG first."
    for start, kind in _STARTS.items():
        if data.startswith(start):
            return f"The file is not a {_SAID} that can be read: it is damaged or a rare {kind}."
    return f"The file is not a {_SAID}."


def _upright(image: Image.Image) -> Image.Image:
    """Decode an image and turn it as its EXIF says; Pillow does that itself for TIFF."""
    image.load()
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    # Broken EXIF raises SyntaxError, struct.error and more, and says nothing of the pixels.
    except Exception:
        turn = None
    return image if turn is None else image.transpose(turn)


# -- depth -------------------------------------------------------------------------------------


def _flat(image: Image.Image, data: bytes, white: float) -> tuple[Image.Image, float]:
    """Return an image as `flatten` does, and the value that was white, 0 if it has 8 bits."""
    lower = _lower_bytes(image, data)
    tags = getattr(image, "tag_v2", {})
    image, used = _upright(image), 0.0
    if image.mode[0] in "IF":
        grey, used = _eight_bits(_levels(image, tags), white)
        # What Pillow inverts in 8 bits it leaves as it is in more.
        return Image.fromarray(255 - grey if tags.get(262) == 0 else grey), used
    if lower is not None:
        image, used = _brightened(image, lower, white)
    if image.has_transparency_data:
        image = _on_paper(image)
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == mode else image.convert(mode), used


def _on_paper(image: Image.Image) -> Image.Image:
    """Lay a transparent image on white paper, mode RGB: some rows at a time, to save memory."""
    flat, rows = Image.new("RGB", image.size), max(1, _BLOCK // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        paper = Image.new("RGBA", strip.size, "white")
        flat.paste(Image.alpha_composite(paper, strip).convert("RGB"), (0, top))
    return flat


def _levels(image: Image.Image, tags: dict) -> np.ndarray:
    """The values of a grey image of more than 8 bits, (H, W); Pillow knows no sign of 32 bits."""
    levels = np.asarray(image)
    unsigned = levels.dtype == np.int32 and tags.get(339) in (1, (1,))
    return levels.view(np.uint32) if unsigned else levels


def _eight_bits(levels: np.ndarray, white: float) -> tuple[np.ndarray, float]:
    """Scale values of any type to uint8; also return the value that became 255."""
    real = levels.dtype.kind == "f"
    if real:
        levels = np.where(np.isfinite(levels), levels, 0)
    low, high = float(levels.min()), float(levels.max())
    largest = max(high, -low)
    # A resized image may overshoot its white a little.
    reached = (w for w in _WHITES[not real :] if largest <= w * (1.1 if real else 1))
    found = next(reached, largest)
    if real and 0 < largest < 1 / 256:  # parts of something else than 1: black else
        found = largest
    white = max(white, found)
    flat, grey = levels.reshape(-1), np.empty(levels.size, np.uint8)
    for start in range(0, len(flat), _BLOCK):  # in floating point a few at a time
        part = flat[start : start + _BLOCK].astype(np.float64) / white
        part = (part + 1) / 2 if low < 0 else part
        grey[start : start + _BLOCK] = np.rint(part.clip(0, 1) * 255)
    return grey.reshape(levels.shape), white


def _lower_bytes(image: Image.Image, data: bytes) -> Image.Image | None:
    """Open colours of 16 bits again for the lower bytes, of which Pillow keeps the upper only."""
    tiles = getattr(image, "tile", [])
    if image.mode not in ("RGB", "RGBA") or not tiles or not data:
        return None
    modes = [tile.args if isinstance(tile.args, str) else tile.args[0] for tile in tiles]
    if not all(str(mode)[-4:] in _ENDS and mode.startswith("RGB") for mode in modes):
        return None
    other = Image.open(io.BytesIO(data), formats=(image.format,))
    other.tile = []
    for tile, mode in zip(tiles, modes, strict=True):
        swapped = mode[:-4] + _ENDS[mode[-4:]]
        args = swapped if isinstance(tile.args, str) else (swapped, *tile.args[1:])
        other.tile.append(tile._replace(args=args))
    return other


def _band(upper: Image.Image, lower: Image.Image, number: int) -> np.ndarray:
    """One colour with all its bytes, (H, W), uint16; one at a time, for they are large."""
    high, low = (np.asarray(image.getchannel(number)) for image in (upper, lower))
    return high.astype(np.uint16) << 8 | low


def _brightened(upper: Image.Image, lower: Image.Image, white: float) -> tuple[Image.Image, float]:
    """Scale colours of 16 bits that leave the upper ones unused, as 12 bits in 16 do."""
    if max(high for _, high in upper.getextrema()[:3]) >= 64 and not white:
        return upper, 65_535.0
    lower = _upright(lower)
    largest = max(int(_band(upper, lower, number).max()) for number in range(3))
    white = max(white, next(w for w in _WHITES[1:] if largest <= w))
    bands = [_eight_bits(_band(upper, lower, number), white)[0] for number in range(3)]
    lower.close()  # what it holds is as large as the image
    rest = [upper.getchannel("A")] if upper.mode == "RGBA" else []
    return Image.merge(upper.mode, [*map(Image.fromarray, bands), *rest]), white


# -- masks -------------------------------------------------------------------------------------


def read_mask(data: bytes, name: str = "", *, limits: Limits = _UPLOAD) -> np.ndarray:
    """Read a mask: where a file is marked, whatever way its program marks.

    Marked is what is opaque in an image with transparent places, and any value above zero in
    another: 255, 1, the number of a class, a colour. Lossy compression leaves ripples of a few
    levels around each edge; in its files marked is what exceeds half of the largest value.

    Args:
        data: the file's content, as in `read_image`.
        name: the file's name, for messages.
        limits: how large it may be.

    Returns:
        Booleans with shape (H, W), at the file's own size.

    Raises:
        DataError: the file is no such image, damaged or too large.
    """
    with _opened(data, name, limits) as image:
        lossy = _is_lossy(image, data)
        values = _values(image, data)
    return values > (values.max() / 2 if lossy else 0)


def _is_lossy(image: Image.Image, data: bytes) -> bool:
    if image.format == "WEBP":
        return b"VP8 " in data
    packed = str(image.info.get("compression", ""))
    return image.format in ("JPEG", "MPO", "HEIF") or packed in ("jpeg", "tiff_jpeg", "webp")


def _values(image: Image.Image, data: bytes) -> np.ndarray:
    """What a mask says of each pixel, (H, W): marked are those above zero."""
    lower = _lower_bytes(image, data)
    tags = getattr(image, "tag_v2", {})
    image = _upright(image)
    if image.mode[0] in "IF":
        return np.nan_to_num(_levels(image, tags))
    if image.has_transparency_data:
        opacity = np.asarray(image.convert("RGBA"))[..., 3]
        if opacity.min() == 0 < opacity.max():
            return opacity
    if image.mode == "P":
        return _palette_values(image)
    if lower is not None:
        lower = _upright(lower)
        return np.maximum.reduce([_band(image, lower, number) for number in range(3)])
    return np.asarray(image.convert("RGB")).max(-1)


def _palette_values(image: Image.Image) -> np.ndarray:
    """The colours of a palette if black is used beside others, else the numbers of its entries."""
    colours = np.asarray(image.convert("RGB")).max(-1)
    return np.asarray(image) if colours.min() > 0 or colours.max() == 0 else colours

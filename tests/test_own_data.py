"""Whatever a user uploads is either read as meant or refused in a sentence."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from datasets.own import MAX_SIDE, DataError, OwnData, read_density, read_points

POINTS = np.random.default_rng(0).normal(size=(30, 2)).round(4)


def table(separator: str = ",", header: str = "", points: np.ndarray = POINTS) -> bytes:
    lines = [separator.join(str(v) for v in row) for row in points]
    return "\n".join([header, *lines] if header else lines).encode()


def with_line(number: int, line: str, header: str = "") -> bytes:
    lines = table(header=header).decode().split("\n")
    lines[number - 1] = line
    return "\n".join(lines).encode()


@pytest.mark.parametrize("separator", [",", ";", "\t", " ", "   ", ", "])
@pytest.mark.parametrize("named", [False, True])
def test_points_with_each_separator(separator, named):
    own = read_points(table(separator, separator.join("xy") if named else ""), "a.csv")
    assert own.kind == "points"
    assert own.array.dtype == np.float32
    assert np.allclose(own.array, POINTS)


GOOD_TABLES = {
    "byte order mark": b"\xef\xbb\xbf" + table(header="x,y"),
    "windows line ends": table().replace(b"\n", b"\r\n"),
    "blank lines": table().replace(b"\n", b"\n\n") + b"\n\n",
    "comments": b"# made by numpy\n" + table(" "),
    "decimal commas": table(";").replace(b".", b","),
    "quotes": b'"x","y"\n' + table().replace(b",", b'","').replace(b"\n", b'"\n"').join([b'"'] * 2),
    "label before and after": b"kind,x,y,note\n"
    + b"\n".join(b"a," + line + b",b" for line in table().split(b"\n")),
    "pandas index": b",x,y\n"
    + b"\n".join(b"%d," % i + line for i, line in enumerate(table().split(b"\n"))),
    "exponents": "\n".join(f"{x:.6e} {y:.6E}" for x, y in POINTS).encode(),
}


def commas(separator: str, header: str = "") -> bytes:
    """The table with decimal commas."""
    lines = [separator.join(str(v).replace(".", ",") for v in row) for row in POINTS]
    return "\n".join([header, *lines] if header else lines).encode()


def columns(*names: str, extra: str = "7{i}", separator: str = ",") -> bytes:
    """A table with columns of these names; those that are neither x nor y hold numbers too."""
    lines = [separator.join(names)] if any(names) else []
    for i, (x, y) in enumerate(POINTS):
        cells = [{"x": str(x), "y": str(y)}.get(n[:1].lower(), extra.format(i=i)) for n in names]
        lines.append(separator.join(cells))
    return "\n".join(lines).encode()


GOOD_TABLES |= {
    "decimal commas and spaces": commas(" "),
    "decimal commas, aligned": commas("    "),
    "decimal commas and tabs": commas("\t", "x\ty"),
    "decimal commas and bars": commas("|"),
    "decimal commas in quotes": b'"' + commas('","').replace(b"\n", b'"\n"') + b'"',
    "decimal commas, a label first": b"a " + commas(" ").replace(b"\n", b"\na "),
    "Excel says what separates": b"sep=;\n" + commas(";", "x;y"),
    "Excel's own mark": b"\xef\xbb\xbfsep=;\r\n" + commas(";", "x;y").replace(b"\n", b"\r\n"),
    "Excel says a tab": b"sep=\t\n" + table("\t"),
    "unicode minus": table().decode().replace("-", "\u2212").encode(),
    "en dash": table().decode().replace("-", "\u2013").encode(),
    "en dash of code page 1252": table().decode().replace("-", "\u2013").encode("cp1252"),
    "header of code page 1252": "Länge;Höhe\n".encode("cp1252") + commas(";"),
    "an index called id": columns("id", "x", "y"),
    "x and y in the middle": columns("t", "X [mm]", "Y (mm)", "weight"),
    "y before x": columns("y", "z", "x"),
    "names of rows as R writes them": b'"x" "y"\n'
    + b"\n".join(b'"%d" ' % i + line for i, line in enumerate(table(" ").split(b"\n"))),
    "numbers of rows as R writes them": b"x y\n"
    + b"\n".join(b"%d " % i + line for i, line in enumerate(table(" ").split(b"\n"))),
    "an empty column at the end": table().replace(b"\n", b",\n") + b",",
    "labels with numbers": b"plot 3," + table().replace(b"\n", b"\nplot 3,"),
    "labels with commas": b'"a, b";' + table(";").replace(b"\n", b'\n"a, b";'),
    "dates": b"2024-01-05 12:30," + table().replace(b"\n", b"\n2024-01-05 12:30,"),
    "tabs and spaces": table(" \t "),
    "a title with spaces": b"My own points\n" + table(" "),
}


@pytest.mark.parametrize("case", GOOD_TABLES)
def test_points_as_people_write_them(case):
    assert np.allclose(read_points(GOOD_TABLES[case], "a.csv").array, POINTS)


@pytest.mark.parametrize("data, names", [
    (table(), ("column 1", "column 2")),
    (columns("id", "x", "y"), ("x", "y")),
    (columns("y", "z", "X [mm]"), ("X [mm]", "y")),
    (GOOD_TABLES["label before and after"], ("x", "y")),
    (GOOD_TABLES["decimal commas, a label first"], ("column 2", "column 3")),
    (GOOD_TABLES["header of code page 1252"], ("Länge", "Höhe")),
])  # fmt: skip
def test_which_columns_were_taken_is_told(data, names, tmp_path):
    own = read_points(data, "a.csv")
    assert own.columns == names
    own.save(tmp_path / "data.npz")
    assert OwnData.load(tmp_path / "data.npz").columns == names


BAD_TABLES = {
    "empty": (b"", "empty"),
    "only blank lines": (b"\n \n", "no rows"),
    "only a header": (b"x,y\n", "numbers"),
    "one column": (b"\n".join(b"%d" % i for i in range(30)), "one column"),
    "one column of numbers": (b"\n".join(b"%d,a" % i for i in range(30)), "the table has 1"),
    "text in line 1": (with_line(1, "1.0,abc"), "Line 1, column 2 .*'abc'"),
    "text in line 7": (with_line(7, "1.0,abc"), "Line 7, column 2 .*'abc'"),
    "text below a header": (with_line(7, "oops,1", header="x,y"), "Line 7, column 1 .*'oops'"),
    "nan": (with_line(9, "nan,1"), "Line 9, column 1"),
    "infinite": (with_line(9, "1,-inf"), "Line 9, column 2"),
    "beyond float": (with_line(9, "1,1e400"), "Line 9, column 2"),
    "beyond float32": (with_line(9, "1,1e38"), "Line 9, column 2"),
    "underscore": (with_line(9, "1,1_0"), "Line 9, column 2"),
    "missing cell": (with_line(9, "1,"), "Line 9 .*column 2"),
    "short row": (with_line(9, "1;2"), "one column|Line 9"),
    "19 points": (table(points=POINTS[:19]), "At least 20"),
    "too many": (b"1,2\n3,4\n" * 100_001, "more than 200,000"),
    "constant": (table(points=POINTS * [1, 0] + [0, 4]), "Column 2 has the same value everywhere"),
    "nearly constant": (table(points=np.vstack([POINTS[:6], [[1, 2]] * 24])), "three quarters"),
    "constant 0.1": (table(points=POINTS * [0, 1] + [0.1, 0]), "Column 1 has the same value"),
    "tiny": (table(points=POINTS * [1e-35, 1]), "Column 1 varies by less than 1e-30"),
    "time stamps": (table(points=POINTS + np.array([0, 1.7e9])), "subtract its mean"),
    "three columns": (b"1," + table().replace(b"\n", b"\n1,"), "3 columns of numbers"),
    "three columns with names": (columns("a", "x1", "y1"), "3 columns of numbers"),
    "two columns called x": (columns("x", "x", "y"), "3 columns of numbers"),
    "x is text": (
        columns("x", "y", "z").replace(b"\n", b"\na"),
        "Line 2, column 1 is not a number",
    ),
    "a longer row": (with_line(9, "1,2,3"), "Line 9 has 3 cells"),
    "a longer row, spaces": (
        table(" ").replace(b"\n", b" 5\n", 3).replace(b" 5\n", b"\n", 2),
        "has 3 cells",
    ),
    "a longer row below a thousand": (
        table() * 1 + b"\n1,2" * 1500 + b"\n1,2,3",
        "Line 1531 has 3 cells",
    ),
    "decimal commas between commas": (commas(","), "4 columns of numbers"),
    "decimal commas, comma and space": (commas(", "), "4 columns of numbers"),
    "two ways": (commas(" a "), "two ways|clear"),
    "points and commas": (commas(";").replace(b",", b".", 20), "not a number|the table has"),
    "a point among commas": (commas(" ").replace(b",", b".", 1), "Line 1, column 1 .*commas"),
    "thousands in quotes": (b'"1,234",5\n"2,345",6\n' * 20, "the table has 1"),
    "thousands": (b"1.234,5;2\n1.235,5;3\n" * 20, "separate|the table has 1"),
    "thousands by spaces": (b"1 234;5\n2 345;6\n" * 20, "separate|columns of"),
    "brackets": (b"(1, 2)\n(2, 3)\n" * 20, "the table has 0"),
    "Excel says another": (b"sep=|\n" + table(), "one column|separate"),
    "utf-16": (table().decode().encode("utf-16"), "UTF-8"),
    "nul bytes": (b"\0" * 100, "not a text file"),
    "binary": (bytes(range(256)) * 10, "UTF-8"),
    "too large": (b"1,2\n" * (6 * 2**20), "at most 20 MB"),
    "one long line": (b"1," * 10_000, "10,000 characters"),
    "open quote": (b'"' + table() * 400, "."),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_are_refused_in_a_sentence(case):
    data, message = BAD_TABLES[case]
    with pytest.raises(DataError, match=message) as caught:
        read_points(data, "a.csv")
    assert_sentence(caught.value)


def assert_sentence(error: DataError) -> None:
    text = str(error)
    assert text[0].isupper()
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 160


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def blot(mode: str = "L", size: tuple[int, int] = (40, 20)) -> Image.Image:
    """White, with a black upper left quarter."""
    image = Image.new("L", size, 255)
    image.paste(0, (0, 0, size[0] // 2, size[1] // 2))
    return image.convert(mode)


def assert_blot(array: np.ndarray) -> None:
    h, w = array.shape
    assert array[: h // 2, : w // 2].min() > 0.9
    assert array[h // 2 :].max() < 0.1
    assert array[:, w // 2 :].max() < 0.1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_become_mass(kind, mode):
    own = read_density(encoded(blot(mode, (64, 32)), kind), "blot")
    assert own.kind == "picture"
    assert own.array.shape == (32, 64)
    assert_blot(own.array)


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "I;16"])
def test_png_modes(mode):
    if mode == "I;16":
        image = Image.fromarray(np.asarray(blot()).astype(np.uint16) * 257)
    else:
        image = blot(mode)
    assert image.mode == mode
    assert_blot(read_density(encoded(image), "blot").array)


def test_cmyk_jpeg():
    assert_blot(read_density(encoded(blot("CMYK", (64, 32)), "JPEG"), "blot").array)


def test_transparent_is_paper():
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))  # black, but not there
    image.paste((0, 0, 0, 255), (0, 0, 10, 10))
    assert_blot(read_density(encoded(image), "blot").array)


def test_exif_turns_the_picture():
    turned = blot().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    own = read_density(encoded(turned, "JPEG", exif=exif, quality=95), "photo.jpg")
    assert own.array.shape == (20, 40)
    assert_blot(own.array)


@pytest.mark.parametrize("size", [(600, 300), (300, 600), (3000, 2)])
def test_large_pictures_shrink(size):
    array = read_density(encoded(blot(size=size)), "blot").array
    assert max(array.shape) == MAX_SIDE
    assert array.shape[1] / array.shape[0] == pytest.approx(size[0] / size[1], rel=0.1) or (
        array.shape[0] == 1
    )


def png(width: int, height: int) -> bytes:
    """A PNG file that claims a size and holds a few bytes of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def webp(width: int, height: int) -> bytes:
    """The header of a WebP file with a huge canvas."""
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBP" + b"VP8X" + struct.pack("<II", 10, 0) + size + bytes(64)
    return b"RIFF" + struct.pack("<I", len(body)) + body


BAD_PICTURES = {
    "empty": (b"", "empty"),
    "50,000 x 50,000": (png(50_000, 50_000), "more than 16 megapixels"),
    "5,000 x 4,000": (png(5000, 4000), "more than 16 megapixels"),
    "huge WebP": (webp(2**24, 2**24), "megapixels"),
    "text": (b"x,y\n1,2\n", "not a PNG, JPEG, WebP"),
    "eps": (encoded(blot(), "EPS"), "not a PNG"),
    "fits": (b"SIMPLE  =                    T".ljust(2880), "not a PNG"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a PNG"),
    "truncated png": (encoded(blot(size=(400, 300)))[:-40], "damaged"),
    "pixels missing": (png(200, 200), "damaged"),
    "truncated jpeg": (encoded(blot(size=(400, 300)), "JPEG")[:-400], "damaged"),
    "truncated webp": (encoded(blot("RGB", (400, 300)), "WEBP")[:-20], "damaged|not a PNG"),
    "white": (encoded(Image.new("L", (20, 20), 255)), "white"),
    "white jpeg": (encoded(Image.new("L", (20, 20), 254), "JPEG"), "white"),
    "transparent": (encoded(Image.new("RGBA", (20, 20))), "white"),
    "too large": (b"\x89PNG\r\n\x1a\n" + bytes(21 * 2**20), "at most 20 MB"),
}


@pytest.mark.parametrize("case", BAD_PICTURES)
def test_bad_pictures_are_refused_in_a_sentence(case):
    data, message = BAD_PICTURES[case]
    with pytest.raises(DataError, match=message) as caught:
        read_density(data, "holiday.png")
    assert_sentence(caught.value)


def test_a_large_picture_is_refused_before_decoding(monkeypatch):
    def decode(self: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    with pytest.raises(DataError, match="megapixels"):
        read_density(png(5000, 4000), "large.png")


@pytest.mark.parametrize("seed", range(20))
def test_damaged_files_never_end_in_another_error(seed):
    rng = np.random.default_rng(seed)
    for data in (encoded(blot()), encoded(blot(), "JPEG"), encoded(blot("RGB"), "WEBP"), table()):
        damaged = bytearray(data)
        for place in rng.integers(len(data), size=8):
            damaged[place] = rng.integers(256)
        for read in (read_density, read_points):
            try:
                read(bytes(damaged), "x")
            except DataError as error:
                assert_sentence(error)


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\data\\passwd", "passwd\n\0", "passwd"])
def test_names_are_bare(name):
    assert read_points(table(), name).name == "passwd"


@pytest.mark.parametrize("own", [read_points(table(), "a"), read_density(encoded(blot()), "b")])
def test_save_and_load(own, tmp_path):
    path = tmp_path / "own.npz"
    own.save(path)
    again = OwnData.load(path)
    assert (again.kind, again.name) == (own.kind, own.name)
    assert np.array_equal(again.array, own.array)
    assert list(tmp_path.iterdir()) == [path]


def saved(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def saved_points(array: np.ndarray, kind: str = "points") -> bytes:
    return saved(kind=np.array(kind), name=np.array("n"), array=array)


def bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("array.npy", bytes(30 * 2**20))
    return file.getvalue()


NORMAL = POINTS.astype(np.float32)
BAD_FILES = {
    "garbage": b"garbage",
    "truncated": saved_points(NORMAL)[:-50],
    "fields missing": saved(array=NORMAL),
    "pickle": saved_points(np.array([object()])),
    "other kind": saved_points(NORMAL, "sound"),
    "other type": saved_points(POINTS),
    "other shape": saved_points(NORMAL.reshape(-1)),
    "three columns": saved_points(NORMAL.reshape(-1, 3)),
    "nan": saved_points(NORMAL * np.float32("nan")),
    "white": saved_points(np.zeros((4, 4), np.float32), "picture"),
    "negative": saved_points(np.full((4, 4), -1, np.float32), "picture"),
    "too many pixels": saved_points(np.ones((4, 129), np.float32), "picture"),
    "no pixels": saved_points(np.ones((0, 4), np.float32), "picture"),
    "no points": saved_points(np.ones((0, 2), np.float32)),
    "bomb": bomb(),
    "one column": saved(
        kind=np.array("points"), name=np.array("n"), array=NORMAL, columns=np.array('["x"]')
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_saved_files_are_refused(case, tmp_path):
    path = tmp_path / "own.npz"
    path.write_bytes(BAD_FILES[case])
    with pytest.raises(DataError) as caught:
        OwnData.load(path)
    assert_sentence(caught.value)


def test_a_missing_file_is_not_called_damaged(tmp_path):
    with pytest.raises(DataError, match=r"^There is no file none\.npz\.$"):
        OwnData.load(tmp_path / "none.npz")


def test_points_saved_before_columns_had_names_are_read(tmp_path):
    (tmp_path / "own.npz").write_bytes(saved_points(NORMAL))
    assert OwnData.load(tmp_path / "own.npz").columns == ()


def _points() -> None:
    import streamlit as st

    from registry import FAMILIES
    from training.nice import NICEConfig
    from ui.common.form import own_points

    own, ready = own_points(FAMILIES["nice"], NICEConfig(dataset="own"))
    st.text(f"{ready} {own.columns if own else None}")


def test_the_page_says_which_columns_were_taken():
    tester = AppTest.from_function(_points, default_timeout=60).run()
    data = columns("id", "X [mm]", "y")
    tester.file_uploader[0].upload("a.csv", data, "text/csv").run()
    assert not tester.exception
    assert tester.text[0].value == "True ('X [mm]', 'y')"
    assert any("x from X" in caption.value for caption in tester.caption)
    tester.file_uploader[0].upload("b.csv", commas(","), "text/csv").run()
    assert "4 columns of numbers" in tester.error[0].value

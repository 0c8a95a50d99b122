"""A user's pictures are read as meant; what cannot be read is named, and does no harm."""

from __future__ import annotations

import io
import itertools
import json
import os
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from datasets import images, own_images
from datasets.defects import find_sets
from datasets.files.images import read_image
from datasets.files.sources import folder_state
from datasets.images import OWN, DataMissing, image_folders, load_images
from datasets.own import DataError, OwnData
from datasets.own_images import (
    OwnImages,
    read_image_files,
    read_image_folder,
    read_image_zip,
    read_uploads,
)
from datasets.own_pairs import pair_folders, read_pairs_folder
from figures.image_figures import GAP, preview_sheet


def assert_sentence(error: BaseException) -> None:
    text = str(error)
    assert text.endswith(".")
    assert "\n" not in text


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(seed: int, size: tuple[int, int] = (12, 12)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def picture(seed: int) -> bytes:
    return encoded(noise(seed))


def halves(mode: str, size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Black on the left, white on the right."""
    image = Image.new("L", size, 255)
    image.paste(0, (0, 0, size[0] // 2, size[1]))
    if mode == "I;16":
        return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    return image.convert(mode)


def assert_halves(image: Image.Image) -> None:
    grey = np.asarray(image.convert("L"))
    middle = grey.shape[1] // 2
    assert grey[:, : middle - 4].max() < 30
    assert grey[:, middle + 4 :].min() > 225


@pytest.mark.parametrize("mode, kind, expected", [
    ("1", "PNG", "L"),
    ("L", "PNG", "L"),
    ("LA", "PNG", "RGB"),
    ("P", "PNG", "RGB"),
    ("RGB", "PNG", "RGB"),
    ("RGBA", "PNG", "RGB"),
    ("I;16", "PNG", "L"),
    ("L", "JPEG", "L"),
    ("RGB", "JPEG", "RGB"),
    ("CMYK", "JPEG", "RGB"),
    ("RGB", "WEBP", "RGB"),
    ("RGBA", "WEBP", "RGB"),
])  # fmt: skip
def test_read_image_modes(mode, kind, expected):
    image = read_image(encoded(halves(mode), kind), "halves")
    assert image.mode == expected
    assert image.size == (40, 20)
    assert_halves(image)


def test_16_bits_are_scaled_not_clipped():
    ramp = np.tile(np.linspace(0, 65_535, 64).astype(np.uint16), (8, 1))
    image = np.asarray(read_image(encoded(Image.fromarray(ramp)), "ramp"))
    assert abs(image - np.linspace(0, 255, 64)).max() <= 1


def test_transparent_places_are_white_paper():
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))  # black, but not there
    image.paste((0, 0, 0, 255), (0, 0, 10, 20))
    assert_halves(read_image(encoded(image), "a"))


def test_exif_turns_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    turned = halves("RGB").transpose(Image.Transpose.ROTATE_90)
    image = read_image(encoded(turned, "JPEG", exif=exif), "photo.jpg")
    assert image.size == (40, 20)
    assert_halves(image)


def test_the_first_frame_of_an_animation():
    frames = [halves("RGB"), Image.new("RGB", (40, 20), "red")]
    for kind in ("PNG", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert_halves(read_image(data, "a"))


def test_large_photographs_are_decoded_small():
    data = encoded(halves("RGB", (1600, 800)), "JPEG")
    image = read_image(data, "photo.jpg", at_least=64)
    assert image.size == (200, 100)
    assert_halves(image)


def huge_png() -> bytes:
    """A header that claims 60,000 x 60,000 pixels."""
    small = encoded(Image.new("L", (9, 9)))
    size = (60_000).to_bytes(4, "big")
    header = b"IHDR" + size + size + small[24:29]
    return small[:12] + header + zlib.crc32(header).to_bytes(4, "big") + small[33:]


BAD_IMAGES = {
    "empty": (b"", "empty"),
    "text": (b"This is no picture.", "not a PNG, JPEG, WebP"),
    "truncated png": (encoded(noise(0, (90, 90)))[:-500], "damaged"),
    "truncated jpeg": (encoded(noise(0, (90, 90)), "JPEG")[:-500], "damaged"),
    "1 x 1": (encoded(Image.new("RGB", (1, 1))), "1 × 1 pixels"),
    "3 x 300": (encoded(Image.new("RGB", (3, 300))), "3 × 300 pixels"),
    "huge": (huge_png(), "more than 16 megapixels"),
    "pdf": (encoded(halves("L"), "PDF"), "not a PNG"),
    "21 MB": (bytes(21 * 2**20), "at most 20 MB"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_images_are_refused_by_name(case):
    data, message = BAD_IMAGES[case]
    with pytest.raises(DataError, match=message) as caught:
        read_image(data, "holiday\n.png")
    assert str(caught.value).startswith("holiday.png: ")
    assert_sentence(caught.value)


@pytest.mark.parametrize("seed", range(10))
def test_damaged_images_never_end_in_another_error(seed):
    rng = np.random.default_rng(seed)
    for kind in ("PNG", "JPEG", "WEBP"):
        damaged = bytearray(encoded(noise(seed, (30, 30)), kind))
        for place in rng.integers(len(damaged), size=6):
            damaged[place] = rng.integers(256)
        try:
            read_image(bytes(damaged), "x", at_least=8)
        except DataError as error:
            assert_sentence(error)


def put_pictures(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        (folder / f"{i:03}.png").write_bytes(picture(first + i))
    return folder


def test_class_folders(tmp_path):
    put_pictures(tmp_path / "dog", 15)
    put_pictures(tmp_path / "cat", 10, first=100)
    for junk in (".DS_Store", "dog/.hidden.png", "Thumbs.db"):
        (tmp_path / junk).write_bytes(b"junk")
    own = read_image_folder(tmp_path, 12, 3)
    assert own.images.shape == (25, 3, 12, 12)
    assert own.classes == ("cat", "dog")
    assert np.bincount(own.labels).tolist() == [10, 15]
    assert np.bincount(own.labels[own.held_out]).tolist() == [2, 3]
    assert own.skipped == ()
    # Pictures of the right size keep their pixels.
    assert np.array_equal(own.images[10].transpose(1, 2, 0), np.asarray(noise(0)))

    data = load_images(OWN, own)
    assert (len(data.train), len(data.test)) == (20, 5)
    assert data.shape == (3, 12, 12)
    assert data.title == tmp_path.name
    assert np.array_equal(data.test, own.images[own.held_out])
    assert np.array_equal(data.train_labels, own.labels[~own.held_out])


def test_broken_files_are_named(tmp_path):
    put_pictures(tmp_path / "cat", 20)
    put_pictures(tmp_path / "dog", 20)
    (tmp_path / "cat" / "005.png").write_bytes(picture(5)[:100])
    (tmp_path / "dog" / "readme.txt").write_text("dogs")
    (tmp_path / "dog" / "x.png").write_text("text named .png")
    (tmp_path / "loose.png").write_bytes(picture(0))
    put_pictures(tmp_path / "dog" / "deep", 1)
    put_pictures(tmp_path / "dog" / "deep" / "deeper", 1)
    own = read_image_folder(tmp_path, 16, 1)
    assert own.images.shape == (39, 1, 16, 16)
    assert own.classes == ("cat", "dog")
    reasons = dict(text.split(": ", 1) for text in own.skipped)
    assert reasons.keys() == {
        "cat/005.png", "dog/readme.txt", "dog/x.png", "loose.png", "dog/deep/000.png",
        "dog/deep/deeper",
    }  # fmt: skip
    assert "damaged" in reasons["cat/005.png"]
    note = load_images(OWN, own).note
    assert "Left out: " in note
    assert "and 3 more" in note


def test_a_folder_without_classes(tmp_path):
    own = read_image_folder(put_pictures(tmp_path / "pets", 25), 8, 3)
    assert own.classes == ("all",)
    assert own.held_out.sum() == 5
    assert own.name == "pets"


@pytest.mark.parametrize("test", ["test", "val"])
@pytest.mark.parametrize("inner", ["cat", ""])
def test_a_given_split_is_kept(tmp_path, test, inner):
    put_pictures(tmp_path / "train" / inner, 20)
    put_pictures(tmp_path / test / inner, 7, first=50)
    put_pictures(tmp_path / "ground_truth", 3)
    own = read_image_folder(tmp_path, 12, 3)
    assert own.classes == (inner or "all",)
    assert own.held_out.sum() == 7
    assert np.array_equal(own.images[own.held_out][0].transpose(1, 2, 0), np.asarray(noise(50)))
    assert own.skipped == ("ground_truth: Not a part of the split.",)


def test_cyclegans_layout(tmp_path):
    for name, count in (("trainA", 12), ("trainB", 10), ("testA", 3), ("testB", 2)):
        put_pictures(tmp_path / name, count)
    own = read_image_folder(tmp_path, 8, 3)
    assert own.classes == ("A", "B")
    assert np.bincount(own.labels[own.held_out]).tolist() == [3, 2]


def test_pictures_are_cropped_to_their_middle(tmp_path):
    put_pictures(tmp_path, 20)
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste((0, 0, 255), (30, 0, 60, 30))
    (tmp_path / "wide.png").write_bytes(encoded(wide))
    last = read_image_folder(tmp_path, 10, 3).images[-1]
    assert np.array_equal(last[:, 5, 5], [0, 0, 255])
    assert last[0].max() == 0


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    outside = put_pictures(tmp_path / "outside", 30)
    inside = put_pictures(tmp_path / "inside", 20)
    (inside / "out.png").symlink_to(outside / "000.png")
    (inside / "away").symlink_to(outside)
    (inside / "round").symlink_to(inside)
    (inside / "broken.png").symlink_to(inside / "none.png")
    (inside / "within.png").symlink_to(inside / "000.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(inside / "pipe.png")
    own = read_image_folder(inside, 12, 3)
    assert len(own.images) == 21
    assert [text.split(":")[0] for text in own.skipped] == [
        "away",
        "broken.png",
        "out.png",
        "round",
    ]
    assert read_image_folder(put_link(tmp_path / "link", inside), 12, 3).images.shape[0] == 21


def put_link(link: Path, target: Path) -> Path:
    link.symlink_to(target)
    return link


def test_folders_that_cannot_be_used(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="cannot be read"):
        read_image_folder(tmp_path / "none", 12, 3)
    put_pictures(tmp_path / "few", 19)
    (tmp_path / "few" / "broken.png").write_bytes(b"x")
    with pytest.raises(
        DataError, match=r"At least 20 .* are 19\. Left out: few/broken.png: "
    ) as few:
        read_image_folder(tmp_path, 12, 3)
    assert_sentence(few.value)
    same = tmp_path / "same"
    same.mkdir()
    for i in range(20):
        (same / f"{i}.png").write_bytes(picture(0))
    with pytest.raises(DataError, match="All images are the same"):
        read_image_folder(same, 12, 3)
    for i in range(341):
        (same / f"x{i}.png").write_bytes(b"")
    with pytest.raises(DataError, match="361 images of 256 × 256 pixels need 68 MB, at most 64 MB"):
        read_image_folder(same, 256, 3)


@pytest.mark.parametrize("size, channels", [(12, 2), (3, 1), (257, 1)])
def test_sizes_and_channels_that_are_not_offered(tmp_path, size, channels):
    for read in (
        lambda: read_image_folder(put_pictures(tmp_path, 20), size, channels),
        lambda: read_image_zip(zipped(FILES), "a.zip", size, channels),
        lambda: read_image_files([("a.png", picture(0))], size, channels),
    ):
        with pytest.raises(ValueError, match="size must be 4 to 256, channels 1 or 3"):
            read()


def test_too_many_files(tmp_path):
    for i in range(20_001):
        (tmp_path / f"{i}.png").touch()
    with pytest.raises(DataError, match="At most 20,000 files"):
        read_image_folder(tmp_path, 8, 1)


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


FILES = {f"{c}/{i}.png": picture(i + 50 * (c == "cat")) for c in ("cat", "dog") for i in range(12)}


@pytest.mark.parametrize("around", ["", "pets/", "my/pets/"])
def test_zip(around):
    files = {around + name: data for name, data in FILES.items()}
    files |= {"__MACOSX/._0.png": b"junk", around + "readme.txt": b"text"}
    own = read_image_zip(zipped(files), "C:\\pets.zip", 12, 3)
    assert own.classes == ("cat", "dog")
    assert own.images.shape == (24, 3, 12, 12)
    assert own.name == "pets.zip"
    assert len(own.skipped) == 1
    assert np.array_equal(own.images[0].transpose(1, 2, 0), np.asarray(noise(50)))


def test_a_zip_with_a_split():
    files = {f"set/train/{name}": data for name, data in FILES.items()}
    files |= {f"set/test/{name}": data for name, data in list(FILES.items())[:3]}
    own = read_image_zip(zipped(files), "set.zip", 12, 1)
    assert own.held_out.sum() == 3


def test_paths_out_of_a_zip_are_named_and_nothing_is_written(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    bad = ["../a.png", "cat/../../b.png", "/etc/c.png", "C:/d.png", "..\\e.png", "."]
    own = read_image_zip(zipped(FILES | dict.fromkeys(bad, picture(9))), "z.zip", 12, 3)
    assert len(own.images) == 24
    assert len(own.skipped) == len(bad)
    assert all("leads out of the archive" in text for text in own.skipped)
    assert [p.name for p in tmp_path.rglob("*")] == ["here"]


def damaged_member() -> bytes:
    data = bytearray(zipped(FILES))
    place = data.index(FILES["dog/3.png"]) + 60
    data[place] ^= 255
    return bytes(data)


def test_a_damaged_member_is_named():
    own = read_image_zip(damaged_member(), "z.zip", 12, 3)
    assert len(own.images) == 23
    assert [text.split(":")[0] for text in own.skipped] == ["dog/3.png"]


def locked() -> bytes:
    data = bytearray(zipped(FILES))
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag of an encrypted entry
    return bytes(data)


BAD_ZIPS = {
    "empty": (b"", "not a zip archive"),
    "text": (b"no archive", "not a zip archive"),
    "no files": (zipped({}), "At least 20 images are needed, there are 0"),
    "no pictures": (zipped({f"{i}.txt": b"x" for i in range(30)}), "there are 0.*not that of an"),
    "truncated": (zipped(FILES)[:-30], "not a zip archive"),
    "password": (locked(), "password"),
    "bzip2": (zipped(FILES, zipfile.ZIP_BZIP2), "unusual way"),
    "LZMA": (zipped(FILES, zipfile.ZIP_LZMA), "unusual way"),
    "too many": (zipped({f"{i}.png": b"" for i in range(20_001)}), "At most 20,000 files"),
    "far too many": (b"PK\x01\x02" * 40_001, "more than 40,000 files"),
    "bomb of 420 MB": (
        zipped({f"{i}.png": bytes(21 * 2**20) for i in range(20)}, zipfile.ZIP_DEFLATED),
        "larger than 400 MB",
    ),
    "bomb of one picture": (
        zipped({"a.png": bytes(60 * 2**20)}, zipfile.ZIP_DEFLATED), "at most 20 MB"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ZIPS)
def test_bad_zips_are_refused_in_a_sentence(case):
    data, message = BAD_ZIPS[case]
    with pytest.raises(DataError, match=message) as caught:
        read_image_zip(data, "pets.zip", 12, 3)
    assert_sentence(caught.value)


def test_single_files():
    files = [(f"C:\\{i}.png", picture(i)) for i in range(25)] + [("b.png", b"broken")]
    own = read_image_files(files, 12, 1)
    assert own.images.shape == (25, 1, 12, 12)
    assert own.classes == ("all",)
    assert own.skipped[0].startswith("b.png: ")
    assert np.array_equal(own.images[7, 0], np.asarray(noise(7).convert("L")))


# What systems add and what they call things


@pytest.mark.parametrize("junk", [".ipynb_checkpoints", "__MACOSX", "@eaDir", "$RECYCLE.BIN"])
def test_junk_is_passed_over_at_every_door(junk, root):
    pets = root / "pets"
    for name in ("cat", "dog"):
        put_pictures(pets / name, 12, first=20 * (name == "dog"))
        put_pictures(pets / name / junk, 1)
        (pets / name / "Thumbs.db").write_bytes(b"junk")
    honest = read_image_folder(pets, 8, 3)
    put_pictures(pets / junk, 30)
    for letter in "AB":
        put_pictures(root / "pairs" / f"train{letter}", 6)
        put_pictures(root / "pairs" / f"train{letter}" / junk, 6)
    for name in ("trainA", "trainB", "train/good", "test/good"):
        put_pictures(root / junk / name, 6)
    packed = zipped({str(p.relative_to(pets)): p.read_bytes() for p in pets.rglob("*.*g")})
    for own in (read_image_folder(pets, 8, 3), read_image_zip(packed, "a.zip", 8, 3)):
        assert own.classes == ("cat", "dog")
        assert np.array_equal(own.images, honest.images)
        assert own.skipped == ()
    own = read_pairs_folder(root / "pairs", 16)
    assert len(own.train_a) + len(own.test_a) == 6
    assert own.skipped == ()
    found = [*image_folders(), *pair_folders(), *find_sets().values()]
    assert not [path for path in found if junk in path.parts]


def test_two_forms_of_unicode_are_one_class(tmp_path):
    composed, apart = (unicodedata.normalize(form, "éléphant") for form in ("NFC", "NFD"))
    files = {f"{composed}/{i}.png": picture(i) for i in range(12)}
    files |= {f"{apart}/{i + 12}.png": picture(i + 12) for i in range(12)}
    for place, data in files.items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(data)
    for own in (read_image_zip(zipped(files), "a.zip", 8, 3), read_image_folder(tmp_path, 8, 3)):
        assert own.classes == (composed,)
        assert len(own.images) == 24


def packed_as(names: list[str], encoding: str) -> bytes:
    """A zip of images in classes, whose names are in an encoding that it does not mention."""
    plain = [f"{number:0{len(name.encode(encoding))}}" for number, name in enumerate(names)]
    files = {f"{place}/{i}.png": picture(i + 20 * n)
             for n, place in enumerate(plain) for i in range(12)}  # fmt: skip
    data = zipped(files)
    for place, name in zip(plain, names, strict=True):
        data = data.replace(f"{place}/".encode(), name.encode(encoding) + b"/")
    return data


@pytest.mark.parametrize("names, encoding", [
    (["猫", "犬"], "cp932"),
    (["ネコ科", "表とソ連"], "cp932"),  # the second bytes of 表 and ソ are backslashes
    (["ねこ 01", "いぬ 02"], "cp932"),
    (["ﾈｺﾁｬﾝ", "ｲﾇﾁｬﾝ"], "cp932"),
    (["クラスA", "クラスB"], "cp932"),
    (["Größe", "Höhe"], "cp437"),
    (["éléphant", "tigre"], "cp437"),
    (["Äpfel", "Öle"], "cp437"),
    (["señal", "naïve"], "cp437"),
    (["Größe", "猫", "слон"], "utf-8"),  # as macOS packs them
])  # fmt: skip
def test_names_in_zips_are_read_as_they_were_written(names, encoding):
    own = read_image_zip(packed_as(names, encoding), "a.zip", 8, 3)
    assert own.classes == tuple(sorted(unicodedata.normalize("NFC", name) for name in names))


def test_several_zips_are_one_set():
    cats, dogs = ({name: data for name, data in FILES.items() if name.startswith(kind)}
                  for kind in ("cat", "dog"))  # fmt: skip
    whole = read_image_zip(zipped(FILES), "a.zip", 12, 3)
    with_folders = [("a.zip", zipped(cats)), ("b.ZIP", zipped(dogs))]
    flat = [("cat.zip", zipped({name[4:]: data for name, data in cats.items()})),
            ("C:\\dog.zip", zipped({name[4:]: data for name, data in dogs.items()}))]  # fmt: skip
    for files in (with_folders, flat):
        own = read_uploads(files, 12, 3)
        assert own.classes == ("cat", "dog")
        assert np.array_equal(own.images, whole.images)
        assert own.name == "2 zips"
    assert read_uploads([("a.zip", zipped(FILES))], 12, 3).name == "a.zip"
    loose = [(f"{i}.png", picture(i)) for i in range(24)]
    assert read_uploads(loose, 12, 3).classes == ("all",)
    with pytest.raises(DataError, match="not both"):
        read_uploads([*loose, *flat], 12, 3)


def test_images_in_a_sub_folder_are_named(tmp_path):
    put_pictures(tmp_path / "cat", 24)
    put_pictures(tmp_path / "cat" / "more", 1)
    put_pictures(tmp_path / "cat" / "more" / "deep", 1)
    (tmp_path / "empty").mkdir()
    files = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*.png")}
    own = read_image_folder(tmp_path, 8, 3)
    assert len(own.images) == 24
    assert [text.split(":")[0] for text in own.skipped] == ["cat/more/deep", "empty",
                                                            "cat/more/000.png"]  # fmt: skip
    own = read_image_zip(zipped(files | {"dog/0.png": picture(0)}), "a.zip", 8, 3)
    assert [text.split(":")[0] for text in own.skipped] == [
        "cat/more/000.png",
        "cat/more/deep/000.png",
    ]


def test_a_folder_that_changes_is_read_again(tmp_path):
    put_pictures(tmp_path / "cat", 3)
    states = [folder_state(tmp_path)]
    assert folder_state(tmp_path) == states[0]

    def change(what) -> None:
        what()
        states.append(folder_state(tmp_path))

    first = tmp_path / "cat" / "000.png"
    change(lambda: put_pictures(tmp_path / "dog", 1))
    change(lambda: (tmp_path / "dog" / "000.png").rename(tmp_path / "dog" / "x.png"))
    change(lambda: (tmp_path / "dog" / "x.png").unlink())
    change(lambda: first.write_bytes(picture(99) + b"x"))
    change(lambda: os.utime(first, (1, 1)))
    assert all(one != two for one, two in itertools.pairwise(states))
    assert states[3] == states[0]
    assert folder_state(tmp_path / "none") == folder_state(tmp_path / "none")


def test_what_is_missing_is_not_called_damaged(tmp_path):
    for name in ("data.npz", "pets.zip"):
        for read in (OwnImages.load, lambda path: read_image_zip(path, path.name, 8, 3)):
            with pytest.raises(DataError, match=f"^There is no file {name}.$"):
                read(tmp_path / name)
    with pytest.raises(DataError, match="no such folder"):
        read_image_folder(tmp_path / "pets", 8, 3)


def test_own_without_pictures():
    with pytest.raises(DataMissing, match="upload"):
        load_images(OWN)


# Saving them


def an_own(**changes: object) -> OwnImages:
    rng = np.random.default_rng(0)
    values = {
        "images": rng.integers(0, 256, (30, 3, 8, 8), dtype=np.uint8),
        "labels": np.arange(30) % 2,
        "held_out": np.arange(30) % 5 == 0,
        "classes": ("cat", "größe"),
        "name": "pets.zip",
        "skipped": ("a.png: Broken.",),
    }
    return OwnImages(**(values | changes))


def test_save_and_load(tmp_path):
    own = an_own()
    path = tmp_path / "data.npz"
    own.save(path)
    assert list(tmp_path.iterdir()) == [path]
    again = OwnImages.load(path)
    for field in ("images", "labels", "held_out"):
        assert np.array_equal(getattr(again, field), getattr(own, field))
    assert (again.classes, again.name, again.skipped) == (own.classes, own.name, own.skipped)


def test_saved_points_are_no_images(tmp_path):
    points = OwnData("points", np.random.default_rng(0).normal(size=(30, 2)).astype("f4"), "p")
    points.save(tmp_path / "data.npz")
    with pytest.raises(DataError):
        OwnImages.load(tmp_path / "data.npz")


BAD_OWN = {
    "float": {"images": np.zeros((30, 3, 8, 8), np.float32)},
    "two channels": {"images": np.zeros((30, 2, 8, 8), np.uint8)},
    "not square": {"images": np.zeros((30, 3, 8, 9), np.uint8)},
    "few": {"images": np.zeros((19, 3, 8, 8), np.uint8)},
    "flat": {"images": np.zeros((30, 3, 8, 8), np.uint8)},
    "too large": {"images": np.zeros((400, 3, 256, 256), np.uint8)},
    "too wide": {"images": np.zeros((30, 1, 300, 300), np.uint8)},
    "label type": {"labels": np.zeros(30)},
    "label count": {"labels": np.zeros(29, np.int64)},
    "label too large": {"labels": np.full(30, 2)},
    "label negative": {"labels": np.full(30, -1)},
    "nothing held out": {"held_out": np.zeros(30, bool)},
    "all held out": {"held_out": np.ones(30, bool)},
    "no classes": {"classes": ()},
}


@pytest.mark.parametrize("case", BAD_OWN)
def test_bad_arrays_are_refused(case):
    with pytest.raises(DataError) as caught:
        an_own(**BAD_OWN[case])
    assert_sentence(caught.value)


def saved(**changes: object) -> bytes:
    own = an_own()
    arrays = {name: getattr(own, name) for name in ("images", "labels", "held_out")}
    arrays |= {"kind": np.array("images"), "name": np.array("n")}
    arrays |= {name: np.array(json.dumps(getattr(own, name))) for name in ("classes", "skipped")}
    file = io.BytesIO()
    np.savez_compressed(file, **(arrays | changes))
    return file.getvalue()


BAD_FILES = {
    "garbage": b"garbage",
    "truncated": saved()[:-50],
    "pickle": saved(images=np.array([object()])),
    "other kind": saved(kind=np.array("sound")),
    "other labels": saved(labels=np.full(30, 7)),
    "classes no list": saved(classes=np.array("{}")),
    "classes no json": saved(classes=np.array("[")),
    "classes of numbers": saved(classes=np.array("[1, 2]")),
    "classes nested": saved(classes=np.array("[" * 100_000)),
    "bomb": saved(more=np.zeros(80 * 2**20, np.uint8)),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_saved_files_are_refused(case, tmp_path):
    path = tmp_path / "data.npz"
    path.write_bytes(BAD_FILES[case])
    with pytest.raises(DataError) as caught:
        OwnImages.load(path)
    assert_sentence(caught.value)


def test_the_saved_file_of_the_untouched_case_is_good(tmp_path):
    (tmp_path / "data.npz").write_bytes(saved())
    assert len(OwnImages.load(tmp_path / "data.npz").images) == 30


# Folders of pictures among the data


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GENLAB_DATA", str(tmp_path))
    return tmp_path


def test_image_folders(root):
    (root / "MNIST" / "raw").mkdir(parents=True)
    (root / "MNIST" / "raw" / "images.gz").write_bytes(b"")
    put_pictures(root / "flat", 1)
    put_pictures(root / "classes" / "cat", 1)
    put_pictures(root / "split" / "train" / "cat", 1)
    put_pictures(root / ".hidden" / "cat", 1)
    put_pictures(root / "a" / "b" / "c" / "d", 1)
    (root / "text").mkdir()
    (root / "text" / "a.txt").write_text("text")
    assert [f.name for f in image_folders() if f.is_relative_to(root)] == [
        "classes",
        "flat",
        "split",
    ]


def test_a_root_can_be_such_a_folder_itself(root):
    put_pictures(root / "cat", 1)
    put_pictures(root / "dog", 1)
    assert image_folders()[0] == root


@pytest.fixture(scope="module")
def cifar_jpg() -> Path:
    for name in os.environ.get("GENLAB_DATA", "").split(os.pathsep):
        if name and (Path(name) / "cifar10_jpg" / "train").is_dir():
            return Path(name) / "cifar10_jpg"
    pytest.skip("GENLAB_DATA names no folder with cifar10_jpg/")


def test_a_real_folder_of_classes(cifar_jpg):
    assert cifar_jpg in image_folders()
    own = read_image_folder(cifar_jpg, 32, 3)
    assert own.images.shape == (12_000, 3, 32, 32)
    assert own.classes == images._CIFAR_CLASSES
    assert np.bincount(own.labels[own.held_out]).tolist() == [200] * 10
    with Image.open(cifar_jpg / "train" / "airplane" / "0000.jpg") as image:
        first = own.images[~own.held_out & (own.labels == 0)][0]
        assert np.array_equal(first.transpose(1, 2, 0), np.asarray(image))


def _choice() -> None:
    import streamlit as st

    from registry import FAMILIES
    from training.glow import GlowConfig
    from ui.image_flows.live import image_data

    own, ready = image_data(FAMILIES["glow"], GlowConfig(dataset="own"))
    st.text(f"{ready} {own.classes if own else None} {len(own.images) if own else 0}")


def test_the_page_takes_several_zips_and_sees_images_added_to_a_folder(root, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "ui.common.data.preview_sheet", lambda *of: drawn.append(len(of[0])) or preview_sheet(*of)
    )
    put_pictures(root / "pets" / "cat", 24)
    tester = AppTest.from_function(_choice, default_timeout=60).run()
    zips = [(f"{kind}.zip", zipped({n: d for n, d in FILES.items() if n.startswith(kind)}),
             "application/zip") for kind in ("cat", "dog")]  # fmt: skip
    tester.file_uploader[0].set_value(zips).run()
    assert not tester.exception
    assert tester.text[0].value == "True ('cat', 'dog') 24"
    assert tester.image[0].proto.imgs[0].alt == "Some images of cat"
    assert drawn == [12, 12]
    assert len(tester.run().image) == 2
    assert drawn == [12, 12], "nothing is drawn again"
    tester.selectbox(key="own_images.from").set_value("pets").run()
    assert tester.text[0].value == "True ('cat',) 24"
    put_pictures(root / "pets" / "dog", 3, first=50)
    tester.run()
    assert tester.text[0].value == "True ('cat', 'dog') 27"


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (64, 3), (256, 3)])
def test_a_preview_shows_what_there_is_whatever_its_size(side, channels):
    images = np.zeros((2, channels, side, side), np.uint8)
    images[1] = 250
    plain = np.asarray(preview_sheet(images, None, 4, "light"))
    step = (plain.shape[1] + GAP) // 4
    assert 90 < step < 135
    assert plain[5, 5].tolist() == [0, 0, 0]
    assert plain[5, 5 + step].tolist() == [250, 250, 250]
    assert plain[5, 5 + 2 * step].tolist() == plain[5, 5 + 3 * step].tolist(), "empty places"
    masks = np.zeros((2, side, side), bool)
    masks[0, side // 4 : side // 2, side // 4 : side // 2] = True
    marked = np.asarray(preview_sheet(images, masks, 4, "light"))
    changed = (marked != plain).any(2)
    assert changed[:, :step].any(), "the mask is outlined"
    assert not changed[:, step:].any()
    middle = slice(3 * step // 8 - 4, 3 * step // 8 + 4)
    assert not changed[middle, middle].any(), "and not painted over"


def test_the_fixed_fifth_is_that_of_runs_of_before():
    for count in (0, 1, 2, 57, 20_000):
        ours = own_images._shuffled(count)
        drawn = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        assert (ours == drawn.numpy()).all()

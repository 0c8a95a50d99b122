"""Explore and Check of flows on images as Streamlit draws them, over small untrained flows."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from datasets.digit import fit_digit, read_digit
from datasets.files.images import read_square
from datasets.images import ImageSet
from datasets.own import DataError
from datasets.own_images import OwnImages, fixed_fifth
from lab.store import Run, Status
from registry import FAMILIES
from ui.image_flows.desk import Desk, Mine

EXPLORE = ("Sample", "Interpolate", "Attributes", "Levels", "Your own {}", "Surprise")
CHECK = ("Right or wrong", "Bits, term by term", "Nearest training images")


def page() -> None:
    import streamlit as st

    from lab.store import Run
    from lab.view import View
    from ui.image_flows.checks import checks
    from ui.image_flows.explore import explore

    run = Run(st.query_params["run"])
    part = explore if st.query_params["part"] == "Explore" else checks
    part(View(run, run.status()), run.weights.version())


def made(path: Path, stem: str, own: OwnImages | None = None, **settings) -> Run:
    """Return a run as it is after the first checkpoint, untrained."""
    family = FAMILIES[stem]
    config = family.training.config.parse(settings)
    run = Run.create(path, family, config, own)
    experiment = family.training.build(config, own=own)
    run.snapshots.save_target(experiment.target())
    run.weights.save(experiment.model, 0)
    run.write_status(Status(state="finished", total=config.iterations))
    return run


def colours() -> OwnImages:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (30, 3, 8, 8), dtype=np.uint8)
    labels = np.arange(30) % 2
    return OwnImages(images, labels, fixed_fifth(labels), ("left", "right"), "mine")


@pytest.fixture(scope="module", params=["conditional", "one level", "padded", "colour"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("runs") / request.param.replace(" ", "-")
    small = {"dataset": "digits8", "hidden": 32}
    if request.param == "conditional":
        return made(path, "realnvp_images", levels=2, couplings=2, **small)
    if request.param == "one level":
        return made(path, "nice_images", layers=2, depth=1, dataset="digits8", hidden=100)
    if request.param == "padded":
        return made(path, "glow", levels=1, steps=4, conditional=False, **small)
    return made(path, "glow", colours(), dataset="own", levels=2, steps=4, hidden=32)


def opened(run: Run, part: str) -> AppTest:
    tester = AppTest.from_function(page, default_timeout=120)
    tester.query_params["run"] = str(run.path)
    tester.query_params["part"] = part
    return tester.run()


def choose(tester: AppTest, what: str, name: str) -> AppTest:
    control = next(c for c in tester.segmented_control if c.key.endswith(f"desk.{what}"))
    return control.set_value(name).run()


def test_every_part_is_drawn(run):
    word = "image" if run.config.dataset == "own" else "digit"
    for what, names in (("Explore", EXPLORE), ("Check", CHECK)):
        tester = opened(run, what)
        for name in names:
            choose(tester, what, name.format(word))
            assert not tester.exception
            assert not tester.error
            assert any(text.value.startswith("**") for text in tester.markdown) or tester.info


def test_buttons_and_sliders_change_what_is_drawn(run):
    tester = choose(opened(run, "Explore"), "Explore", "Interpolate")
    before = [box.value for box in tester.selectbox], [n.value for n in tester.number_input]
    values = set()
    for _ in range(5):
        tester.button[0].click().run()
        values.add(
            str(([b.value for b in tester.selectbox], [n.value for n in tester.number_input]))
        )
        assert not tester.exception
    assert values != {str(before)}


def image(size: tuple[int, int] = (60, 60), mode: str = "L") -> bytes:
    image = Image.new("L", size, 255)
    image.paste(0, (size[0] // 3, size[1] // 5, size[0] // 2, size[1] * 4 // 5))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_upload_is_encoded_rated_and_kept_for_the_other_parts(run):
    word = "image" if run.config.dataset == "own" else "digit"
    tester = choose(opened(run, "Explore"), "Explore", f"Your own {word}")
    tester.file_uploader[0].upload("bad.png", b"no image", "image/png").run()
    assert not tester.exception
    assert "bad.png" in tester.error[0].value
    tester.file_uploader[0].upload("good.png", image(), "image/png").run()
    assert not tester.exception
    assert not tester.error
    assert tester.metric[0].label == "Bits/dim"
    choose(tester, "Explore", "Interpolate")
    tester.selectbox[0].set_value("mine").run()
    assert not tester.exception


def desk(shape: tuple[int, int, int], name: str) -> Desk:
    images = torch.zeros(2, *shape, dtype=torch.uint8)
    labels = torch.tensor([0, 1])
    images = ImageSet(name, name, images, labels, images, labels, ("a", "b"), "")
    sides = shape[1], shape[1]
    return Desk(Run("run"), 1.0, "light", torch.nn.Identity(), ("a", "b"), sides, images, "")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_uploads_of_any_kind_look_like_the_data(mode):
    digit = read_digit(image(mode=mode), "a.png", 28)
    assert digit.shape == (1, 28, 28)
    assert digit.dtype == np.uint8
    assert digit.max() == 255 and digit[0, 0].max() == 0  # light on black, with its border
    colour = read_square(image((90, 60), mode), "a.png", 32, 3)
    assert colour.shape == (3, 32, 32)
    assert colour.dtype == np.uint8


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", image()[:60], image((1, 1)), image((5000, 4000))],
    ids=["empty", "other", "cut off", "1 x 1", "huge"],
)
@pytest.mark.parametrize("read", [read_digit, partial(read_square, channels=1)])
def test_bad_uploads_are_refused_in_a_sentence(read, data):
    with pytest.raises(DataError, match=r"a\.png: .*\."):
        read(data, "a.png", 28)


def test_a_blank_image_is_no_digit():
    buffer = io.BytesIO()
    Image.new("L", (50, 50), 255).save(buffer, "PNG")
    with pytest.raises(DataError, match="blank"):
        read_digit(buffer.getvalue(), "a.png", 28)


def test_a_digit_fits_the_smaller_set():
    digit = np.zeros((28, 28), np.uint8)
    digit[4:24, 13:15] = 255
    small = fit_digit(digit, 8)
    assert small.shape == (1, 8, 8)
    assert small.max() == 255
    assert np.array_equal(fit_digit(digit, 28)[0], digit)


def test_an_upload_is_laid_into_the_frame_that_the_flow_was_trained_with():
    padded = desk((1, 28, 28), "digits")
    padded = replace(padded, crop=(28, 32))
    mine = Mine("a", np.full((1, 28, 28), 7, np.uint8))
    laid = padded.padded(mine.pixels)
    assert laid.shape == (1, 1, 32, 32)
    assert np.array_equal(padded.shown(laid)[0], mine.pixels)
    assert laid.sum() == 7 * 28 * 28


@pytest.mark.parametrize(("inner", "side"), [(8, 512), (512, 512), (100_000, 100_000), (-1, 8)])
def test_a_run_that_forges_the_sides_of_its_images_has_none_made_of_them(tmp_path, inner, side):
    """A set of thousands, brought to 512 pixels a side, would fill the server."""
    settings = {"dataset": "digits8", "hidden": 32, "levels": 1, "steps": 4}
    run = made(tmp_path / "run", "glow", **settings)
    forged = {"shape": np.array([1, side, side]), "crop": np.array([inner, side])}
    run.snapshots.save_target({**run.snapshots.target(), **forged})
    tester = opened(run, "Explore")
    assert not tester.exception
    assert any("other sides than those" in info.value for info in tester.info)

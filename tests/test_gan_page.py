"""The pages of the duels as Streamlit draws them, over small runs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest
from test_gan import LEAST, colours

from analysis.gan_latents import closest
from figures.gan_figures import LAYERS, duel_image, lattice_cover
from lab.driver import drive
from lab.store import Run
from models.gan import GAN
from registry import FAMILIES

SECTIONS = {
    "gan": ("See inside", "Explore", "Check", "Losses"),
    "gan_images": ("Explore", "Check"),
    "dcgan": ("Explore", "Check"),
}


def page() -> None:
    import streamlit as st

    from lab.store import Run
    from lab.view import view_of
    from ui.gan.images import IMAGE_DUEL
    from ui.gan.plane import DUEL

    run = Run(st.query_params["run"])
    parts = DUEL if run.family.stem == "gan" else IMAGE_DUEL
    view = view_of(run)
    if st.query_params["part"] == "live":
        parts.draw(view)
    else:
        parts.sections[st.query_params["part"]](view, run.weights.version())


@pytest.fixture(scope="module", params=[*LEAST, "own colours"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    stem = "dcgan" if request.param == "own colours" else request.param
    values = dict(LEAST[stem])
    own = colours() if request.param == "own colours" else None
    if own is not None:
        values["dataset"] = "own"
    values |= {"ema": 10} if own is None else {}
    values |= {"iterations": 1000} if stem == "gan" else {}
    family = FAMILIES[stem]
    path = tmp_path_factory.mktemp("runs") / request.param.replace(" ", "-")
    run = Run.create(path, family, family.training.config(**values), own)
    left = [None] * 30 + [("stop",)]
    drive(run, device="cpu", send=lambda _: None, receive=lambda _: left.pop(0))
    return run


def opened(run: Run, part: str) -> AppTest:
    tester = AppTest.from_function(page, default_timeout=120)
    tester.query_params["run"] = str(run.path)
    tester.query_params["part"] = part
    return tester.run()


def test_the_live_part_is_drawn(run, monkeypatch):
    # A page made of a function has no others beside it to link to.
    monkeypatch.setattr("streamlit.page_link", lambda *args, **options: None)
    tester = opened(run, "live")
    assert not tester.exception
    assert not tester.error
    assert any("Health" in text.value for text in tester.markdown)


def test_every_section_is_drawn(run):
    for part in SECTIONS[run.family.stem]:
        tester = opened(run, part)
        assert not tester.exception, part
        assert not tester.error, part


def test_every_part_of_the_playground_is_drawn(run):
    if run.family.stem == "gan":
        pytest.skip("the plane has one")
    tester = opened(run, "Explore")
    for part in (
        "Interpolate",
        "Nearest real images",
        "Drag two directions",
        "Your own image",
        "Sample",
    ):
        control = next(c for c in tester.segmented_control if c.key.endswith("studio.part"))
        control.set_value(part).run()
        assert not tester.exception, part
        assert not tester.error, part
        if part == "Interpolate":
            tester.segmented_control(key=f"{run.id}.studio.corners").set_value(4).run()
            assert not tester.exception
            assert len(tester.number_input) == 4


def test_ones_own_image_is_scored_and_its_closest_sample_found(run):
    if run.family.stem == "gan":
        pytest.skip("the plane has none")
    tester = opened(run, "Explore")
    part = next(c for c in tester.segmented_control if c.key.endswith("studio.part"))
    part.set_value("Your own image").run()
    file = io.BytesIO()
    image = np.full((60, 60), 255, np.uint8)
    image[12:48, 20:30] = 0
    Image.fromarray(image).save(file, "PNG")
    tester.file_uploader[0].upload("mine.png", file.getvalue(), "image/png").run()
    assert not tester.exception
    assert not tester.error
    assert any("Above " in text.value and "test images" in text.value for text in tester.caption)


@pytest.mark.parametrize("prior", ["uniform", "gaussian"])
def test_the_latent_of_a_sample_is_found_again(prior):
    generator = torch.nn.Sequential(
        torch.nn.Linear(4, 64), torch.nn.Tanh(), torch.nn.Unflatten(1, (1, 8, 8))
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.nn.init.normal_(generator[0].weight)
    model = GAN(generator, torch.nn.Identity(), 4, prior).requires_grad_(False)
    wanted = model.draw(1, torch.Generator().manual_seed(9))
    z, left = closest(model, model(wanted)[0])
    assert z.shape == (1, 4) and left < 0.05
    np.testing.assert_allclose(z, wanted, atol=0.1)
    far = torch.ones(1, 8, 8)
    z, left = closest(model, far)
    assert left == pytest.approx(float((model(z) - far).square().mean().sqrt()), rel=1e-4)
    assert prior == "gaussian" or z.abs().max() <= 1


def test_a_missing_classifier_is_offered(run):
    if run.family.stem == "gan":
        pytest.skip("the plane needs none")
    tester = opened(run, "Check")
    assert any(button.label == "Train the classifier" for button in tester.button)
    assert "minute" in tester.info[0].value


def test_files_can_be_taken_away(run):
    from ui.gan.images import IMAGE_DUEL
    from ui.gan.plane import DUEL

    parts = DUEL if run.family.stem == "gan" else IMAGE_DUEL
    for ending, (_, make) in parts.files.items():
        image = Image.open(io.BytesIO(make(run, "dark")))
        assert image.format == ending.upper()
        if ending == "gif":
            assert image.n_frames == len(run.snapshots.steps())


def test_a_layer_that_is_off_is_not_painted(tmp_path: Path):
    rng = np.random.default_rng(0)
    snapshot = {
        "realness": rng.random((96, 96)).astype(np.float16),
        "lattice": np.stack(np.meshgrid(*[np.linspace(-1, 1, 25)] * 2), -1).astype(np.float32),
        "samples": rng.normal(size=(200, 2)).astype(np.float32),
        "arrows": rng.normal(size=(50, 2)).astype(np.float32),
    }
    target = {"samples": rng.normal(size=(200, 2)), "box": np.array([-3, 3, -3, 3], np.float32)}
    for shade in ("light", "dark"):
        empty = np.asarray(duel_image(snapshot, target, (), shade))
        alone = [np.asarray(duel_image(snapshot, target, (layer,), shade)) for layer in LAYERS]
        for image in alone:
            assert (image != empty).any()
        assert len({image.tobytes() for image in alone}) == len(LAYERS)
    broken = {**snapshot, "samples": np.full((200, 2), np.nan, np.float32)}
    duel_image(broken, target, LAYERS, "light")


def test_dense_cells_are_more_opaque():
    corners = np.stack(np.meshgrid(*[np.linspace(50, 350, 25)] * 2), -1)
    wide = np.asarray(lattice_cover(corners, 400))
    narrow = np.asarray(lattice_cover(200 + (corners - 200) / 4, 400))
    # In the middle of a cell, away from the lines.
    assert narrow.max() >= wide.max()
    assert np.median(narrow[narrow > 0]) > np.median(wide[wide > 0])

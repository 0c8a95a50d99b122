"""The page of CycleGAN as Streamlit draws it, over small untrained networks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from datasets.own import DataError
from datasets.own_pairs import OwnPairs
from figures.cyclegan_figures import difference, framed, heat, shown, verdicts
from lab.store import Run, Status
from registry import FAMILIES

PARTS = ("Live", "Translate", "See inside", "Lessons", "Check")
SMALL = {"width": 8, "discriminator_width": 8, "image_size": 32}


def page() -> None:
    import streamlit as st

    from lab.store import Run
    from lab.view import view_of
    from ui.cyclegan.inside import see_inside
    from ui.cyclegan.lessons import checks, lessons
    from ui.cyclegan.live import draw_cyclegan
    from ui.cyclegan.translate import translate

    view = view_of(Run(st.query_params["run"]))
    parts = {"Translate": translate, "See inside": see_inside, "Lessons": lessons, "Check": checks}
    if (part := st.query_params["part"]) == "Live":
        draw_cyclegan(view)
    else:
        parts[part](view, view.run.weights.version())


def own() -> OwnPairs:
    random = np.random.default_rng(0)
    parts = [random.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8) for n in (6, 9, 1, 3)]
    return OwnPairs(*parts, ("left", "right"), "mine")


def made(path: Path, **settings) -> Run:
    """Return a run as it is after its first snapshots."""
    family = FAMILIES["cyclegan"]
    config = family.training.config(**{**SMALL, **settings})
    data = own() if config.dataset == "own" else None
    run = Run.create(path, family, config, data)
    experiment = family.training.build(config, own=data)
    columns = ["step", "seconds", *experiment.LOSSES, *experiment.METRICS]
    run.metrics.start(columns, 0)
    losses = dict.fromkeys(experiment.LOSSES, 0.2)
    run.metrics.append(columns, {"step": 0, "seconds": 0.0, **losses, **experiment.measure()})
    run.snapshots.save_target(experiment.target())
    for step in (0, *experiment.landmarks, experiment.total):
        run.snapshots.save(step, experiment.snapshot(), {step})
    run.weights.save(experiment.model, 0)
    run.write_status(Status(state="finished", total=experiment.total))
    return run


@pytest.fixture(scope="module", params=["fruits", "own", "contrast"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("runs") / request.param
    if request.param == "contrast":
        return made(path, dataset="own", tie="contrast", epochs=2)
    return made(path, dataset=request.param, epochs=2)


IMAGES = {1: 3, 2: 8}  # by ways: the image, its translation, what changed, and what comes back


def ways(run: Run) -> int:
    return 1 if run.config.tie == "contrast" else 2


def opened(run: Run, part: str) -> AppTest:
    tester = AppTest.from_function(page, default_timeout=60)
    tester.query_params["run"] = str(run.path)
    tester.query_params["part"] = part
    return tester.run()


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_drawn(run, part):
    tester = opened(run, part)
    assert not tester.exception
    assert not tester.error
    words = " ".join(text.value for text in tester.markdown)
    if part == "Live":
        assert len(tester.image) == ways(run) + 1  # each way, and the training
        labels = [metric.label for metric in tester.metric]
        fruits = run.config.dataset == "fruits"
        assert ("Shape (IoU)" in labels) == ("Other hue" in labels) == fruits
        assert "Health" in words
    if part == "Translate":
        assert len(tester.image) == IMAGES[ways(run)]
        assert len(tester.get("download_button")) == ways(run)
    if part == "Check":
        assert "doing nothing" in words
        assert ("hue" in words) == (run.config.dataset == "fruits")


def image(size: tuple[int, int] = (90, 60), mode: str = "RGB") -> bytes:
    image = Image.new("RGB", size, (200, 30, 30))
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_upload_is_translated_and_a_bad_one_refused(run):
    tester = opened(run, "Translate")
    tester.segmented_control[0].set_value("Upload").run()
    assert tester.info
    for name, data in (("a.png", b"no image"), ("b.png", image((5000, 4000)))):
        tester.file_uploader[0].upload(name, data, "image/png").run()
        assert not tester.exception
        assert name in tester.error[0].value
    for mode in ("L", "RGBA", "P"):
        tester.file_uploader[0].upload("good.png", image(mode=mode), "image/png").run()
        assert not tester.exception
        assert not tester.error
        assert len(tester.image) == IMAGES[ways(run)]
    tester.select_slider[0].set_value(64).run()
    assert not tester.exception
    assert len(tester.image) == IMAGES[ways(run)]


def test_the_webcam_is_offered(run):
    tester = opened(run, "Translate")
    tester.segmented_control[0].set_value("Webcam").run()
    assert not tester.exception
    assert tester.get("camera_input")


def test_every_verdict_can_be_asked_for(run):
    tester = opened(run, "See inside")
    for control in (1, 2):
        for option in range(len(tester.segmented_control[control].options)):
            value = [False, True] if control == 2 else None
            names = value or tester.segmented_control[control].options
            tester.segmented_control[control].set_value(names[option]).run()
            assert not tester.exception
    tester.slider[0].set_value(1).run()
    assert not tester.exception
    assert any("verdict 1, " in caption.value for caption in tester.caption)


def test_a_lesson_sets_the_form(run):
    tester = opened(run, "Lessons")
    next(b for b in tester.button if b.key.endswith("Without the cycle loss")).click().run()
    assert not tester.exception
    assert tester.session_state["cyclegan.cycle"] == 0
    assert tester.session_state["cyclegan.width"] == run.config.width


# -- data --------------------------------------------------------------------------------------


def data_page() -> None:
    import streamlit as st

    from registry import FAMILIES
    from ui.cyclegan.data import pair_data

    family = FAMILIES["cyclegan"]
    values = {"dataset": st.query_params["dataset"], "image_size": st.query_params["size"]}
    own, ready = pair_data(family, family.training.config.parse(values))
    st.session_state["found"] = (own, ready)


def opened_data(dataset: str, size: int = 32) -> AppTest:
    tester = AppTest.from_function(data_page, default_timeout=60)
    tester.query_params["dataset"] = dataset
    tester.query_params["size"] = str(size)
    return tester.run()


def test_rendered_fruits_are_ready_at_once():
    tester = opened_data("fruits")
    assert tester.session_state["found"] == (None, True)
    tester = opened_data("fruits", 62)
    assert "multiple of 4" in tester.error[0].value
    assert tester.session_state["found"] == (None, False)


def test_a_set_that_is_not_here_is_offered_with_its_size(monkeypatch):
    def broken(name: str, progress) -> None:
        progress(10_000_000, 78_456_409)
        raise DataError("It broke off.")

    monkeypatch.setattr("ui.cyclegan.data.is_here", lambda name: False)
    monkeypatch.setattr("ui.cyclegan.data.download", broken)
    tester = opened_data("apple2orange")
    assert tester.session_state["found"] == (None, False)
    assert any("78 MB" in text.value for text in tester.markdown)
    tester.button[0].click().run()
    assert not tester.exception
    assert "It broke off." in tester.error[0].value
    assert "rendered fruits" in tester.error[0].value


def test_two_uploads_become_two_sets():
    tester = opened_data("own")
    assert tester.info
    images = [(f"{i}.png", image((40 + i, 30)), "image/png") for i in range(7)]
    tester.file_uploader[0].set_value(images).run()
    assert tester.session_state["found"] == (None, False)
    tester.file_uploader[1].set_value([*images[:6], ("x.png", b"no", "image/png")]).run()
    assert not tester.exception
    tester.text_input[0].set_value("red").run()
    own, ready = tester.session_state["found"]
    assert ready
    assert own.domains == ("red", "B")
    assert any("6 images of red (A)" in caption.value for caption in tester.caption)
    assert len(tester.image) == 2, "some of them as the model will see them"
    assert len(own.train_a) == 6
    assert [line for line in own.skipped if "x.png" in line]
    tester.file_uploader[1].set_value(images[:1]).run()
    assert not tester.exception
    assert "Set B has 1" in tester.error[0].value
    assert tester.session_state["found"] == (None, False)


def test_any_two_folders_become_two_sets(tmp_path, monkeypatch):
    for name in ("pets/cat", "pets/dog", "pets/fish", "both/day", "both/night"):
        (tmp_path / name).mkdir(parents=True)
        for i in range(7):
            (tmp_path / name / f"{i}.png").write_bytes(image((40 + i, 30)))
    monkeypatch.setattr("datasets.own_pairs.data_roots", lambda: [tmp_path])
    tester = opened_data("own")
    tester.selectbox[0].set_value("both").run()
    assert tester.session_state["found"][0].domains == ("day", "night")
    tester.text_input[1].set_value("evening").run()
    assert tester.session_state["found"][0].domains == ("day", "evening")
    tester.selectbox[0].set_value("Two folders").run()
    tester.selectbox[1].set_value("fish").run()
    tester.selectbox[2].set_value("fish").run()
    assert "same folder" in tester.error[0].value
    tester.selectbox[2].set_value("cat").run()
    assert not tester.exception
    own, ready = tester.session_state["found"]
    assert ready
    assert own.domains == ("fish", "cat"), "and nothing is left of another set's name"


# -- images ----------------------------------------------------------------------------------


def test_images_show_what_they_are_given():
    image = np.zeros((3, 16, 16), np.uint8)
    other = image.copy()
    other[:, 4:8, 4:8] = 255
    apart = difference(image, other)
    assert apart.sum() == 16
    assert apart.max() == 1
    for theme in ("light", "dark"):
        pixels = np.asarray(heat(apart, 0.4, theme)).astype(int)
        assert pixels.shape[0] == shown(image).height
        changed = (pixels != pixels[0, 0]).any(2)
        assert changed.mean() == pytest.approx(1 / 16)
        yes, no = (np.asarray(verdicts(np.full((6, 6), v), (0, 5), theme)) for v in (1.0, 0.0))
        assert (yes[-1, 0] != no[-1, 0]).any()
        assert (yes[0, -1] == no[0, -1]).all(), "the frame of the chosen one"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_frame_holds_what_a_verdict_sees(theme):
    image = np.full((3, 64, 64), 200, np.uint8)
    pixels = np.asarray(framed(image, (-20, 31), (16, 47), theme)).astype(int)
    scale = len(pixels) // 64
    bright = (pixels == 200).all(2)
    assert bright[10 * scale, 30 * scale]
    assert not bright[40 * scale, 30 * scale]
    assert not bright[10 * scale, 60 * scale]
    share = bright.mean()
    assert share == pytest.approx(32 * 32 / 64**2, rel=0.1)

"""The page of the autoencoder as Streamlit draws it, over small untrained models."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from datasets.own_images import OwnImages, fixed_fifth
from figures.detection_charts import histogram, roc
from figures.vae_charts import unit_bars
from figures.vae_figures import reach_of, scatter
from lab.store import Run, Status
from registry import FAMILIES
from ui.vae.model import by_class

PARTS = {
    "Latent space": ("Map", "Walk", "Interpolate", "Arithmetic"),
    "Anomalies": ("Clean against damaged", "One {}"),
    "Check": ("The bound", "Units", "Right or wrong"),
}
CASES = {
    "two units": {"latent": 2},
    "conv, gaussian": {"network": "conv", "likelihood": "gaussian", "latent": 5},
    "colour": {"dataset": "own", "likelihood": "continuous_bernoulli", "latent": 70},
}


def page() -> None:
    import streamlit as st

    from lab.store import Run
    from lab.view import view_of
    from ui.vae.anomalies import anomalies
    from ui.vae.checks import checks
    from ui.vae.latent import latent_space
    from ui.vae.live import draw_vae

    view = view_of(Run(st.query_params["run"]))
    parts = {"Latent space": latent_space, "Anomalies": anomalies, "Check": checks}
    if (part := st.query_params["part"]) == "Live":
        draw_vae(view)
    else:
        parts[part](view, view.run.weights.version())


def colours() -> OwnImages:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (60, 3, 8, 8), dtype=np.uint8)
    labels = np.arange(60) % 2
    return OwnImages(images, labels, fixed_fifth(labels), ("left", "right"), "mine")


@pytest.fixture(scope="module", params=CASES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    family = FAMILIES["vae"]
    config = family.training.config(**{"dataset": "digits8", "hidden": 64, **CASES[request.param]})
    own = colours() if config.dataset == "own" else None
    run = Run.create(tmp_path_factory.mktemp("runs") / "run", family, config, own)
    experiment = family.training.build(config, own=own)
    run.metrics.start(["step", "seconds", *experiment.LOSSES, *experiment.METRICS], 0)
    run.snapshots.save_target(experiment.target())
    run.snapshots.save(0, experiment.snapshot(), {0})
    run.weights.save(experiment.model, 0)
    run.write_status(Status(state="finished", total=experiment.total))
    return run


def opened(run: Run, part: str) -> AppTest:
    tester = AppTest.from_function(page, default_timeout=120)
    tester.query_params["run"] = str(run.path)
    tester.query_params["part"] = part
    return tester.run()


def test_every_part_is_drawn(run):
    word = "image" if run.config.dataset == "own" else "digit"
    tester = opened(run, "Live")
    assert not tester.exception
    assert len(tester.image) >= 2
    assert len(tester.get("bidi_component")) == 1
    for part, names in PARTS.items():
        tester = opened(run, part)
        control = next(c for c in tester.segmented_control if c.key.endswith(f"desk.{part}"))
        assert ("Manifold" in control.options) == (
            part == "Latent space" and run.config.latent == 2
        )
        for name in control.options:
            assert name == "Manifold" or name in [n.format(word) for n in names]
            control = next(c for c in tester.segmented_control if c.key.endswith(f"desk.{part}"))
            control.set_value(name).run()
            assert not tester.exception
            assert not tester.error
            assert any(text.value.startswith("**") for text in tester.markdown)
            assert "not right" not in " ".join(text.value for text in tester.markdown)
            assert not any("105.6" in text.value for text in tester.caption), "MNIST has it alone"


def test_every_damage_and_either_score_can_be_chosen(run):
    tester = opened(run, "Anomalies")
    for kind in list(tester.selectbox[0].options):
        tester.selectbox[0].set_value(kind.lower()).run()
        assert not tester.exception
    tester.segmented_control[1].set_value("elbo").run()
    assert not tester.exception
    assert tester.info or tester.metric[0].label == "AUROC"


def test_an_upload_is_scored_and_a_bad_one_refused(run):
    word = "image" if run.config.dataset == "own" else "digit"
    tester = opened(run, "Anomalies")
    tester.segmented_control[0].set_value(f"One {word}").run()
    tester.file_uploader[0].upload("bad.png", b"no image", "image/png").run()
    assert not tester.exception
    assert "bad.png" in tester.error[0].value
    image = Image.new("L", (60, 60), 255)
    image.paste(0, (20, 12, 30, 48))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    tester.file_uploader[0].upload("good.png", buffer.getvalue(), "image/png").run()
    assert not tester.error
    tester.selectbox[0].set_value("mine").run()
    assert not tester.exception
    assert len(tester.metric) == 2


# -- images and charts ----------------------------------------------------------------------


def test_marks_are_where_the_points_are():
    points, labels = np.array([[-2.0, 2.0], [2.0, -2.0]]), np.array([0, 1])
    for names in (["0", "1"], ["shirt", "shoe"]):
        image = np.asarray(scatter(points, labels, names, 4.0, "dark")).astype(int)
        blank = np.asarray(scatter(points[:0], labels[:0], names, 4.0, "dark")).astype(int)
        rows, columns = np.nonzero(np.abs(image - blank).sum(2))
        middle = len(image) // 2
        assert ((rows < middle) == (columns < middle)).all(), "one at the top left, one opposite"
        assert (rows < middle).any()
        assert (rows > middle).any()


def test_the_window_holds_nearly_all_points():
    points = np.random.default_rng(0).normal(size=(2000, 2)) * 3
    assert 8 <= reach_of(points) <= 12
    assert reach_of(points * 0) == 3
    assert reach_of(points[:0]) == 3


def test_each_class_is_a_layer_that_can_be_told_from_the_others():
    points, labels = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 10
    for names in ([str(k) for k in range(10)], [f"class {k}" for k in range(10)]):
        layers = by_class(points, labels, names)
        assert [layer.label for layer in layers] == names
        assert sum(len(layer.at) for layer in layers) == 60
        assert len({(layer.colour % 6, layer.mark) for layer in layers}) == 10
        np.testing.assert_array_equal(layers[3].at, points[labels == 3])
    (all_of_them,) = by_class(points, labels, [f"class {k}" for k in range(500)])
    np.testing.assert_array_equal(all_of_them.colour, labels)


def test_charts_hold_all_images_and_stand_what_is_not_finite():
    values = {"clean": np.array([1.0, 2, 3, np.inf]), "noise": np.array([5.0, 1e9, 4, 4])}
    frame, _ = histogram(values, "nats", "light", threshold=2.5)
    assert frame.groupby("set")["images"].sum().tolist() == [4, 4]
    scores, truth = np.array([1.0, np.inf, 3.0]), np.array([False, True, True])
    frame, _ = roc(scores, truth, 2.0, "dark")
    assert frame[["alarms", "hits"]].iloc[-1].tolist() == [1, 1]
    frame, _ = unit_bars([3.0, 0.0], [True, False], "light")
    assert frame["state"].tolist() == ["active", "unused"]

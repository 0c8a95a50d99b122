"""Weights from a file: those of this lab come back, and nothing else is taken or even allocated."""

from __future__ import annotations

import io
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from streamlit.testing.v1 import AppTest

from datasets.own import DataError
from datasets.own_images import OwnImages, fixed_fifth
from lab.imports.weights_import import read_weights, run_from_weights
from lab.runs import safetensors_header
from lab.store import Run, RunStore
from lab.view import view_of
from registry import FAMILIES
from training.core.images import IMAGE_DATA

SMALL: dict[str, dict] = {
    "nice": {"layers": 2, "hidden": 32, "dataset": "ring"},
    "realnvp": {"blocks": 2, "hidden": 32, "dataset": "ring"},
    "glow": {"levels": 1, "steps": 4, "hidden": 32, "dataset": "digits8"},
    "nice_images": {"layers": 2, "hidden": 100, "depth": 1, "dataset": "digits8"},
    "realnvp_images": {"levels": 1, "couplings": 2, "hidden": 32, "dataset": "digits8"},
    "maf_images": {"blocks": 2, "layers": 1, "width": 32, "dataset": "digits8"},
    "maf": {"patch": 4, "resolution": 32, "blocks": 1, "hidden": 32},
    "dcgan": {"dataset": "digits8"},
    "vae": {"hidden": 64, "dataset": "digits8"},
    "glow_plane": {"steps": 2, "hidden": 32, "dataset": "ring"},
    "maf_plane": {"blocks": 2, "hidden": 32, "dataset": "ring"},
}


def trained(path: Path, stem: str, own: OwnImages | None = None, **values) -> Run:
    """Return a run as it is after its first checkpoint, with other weights than at its start."""
    family = FAMILIES[stem]
    config = family.training.config(**{**SMALL.get(stem, {}), **values})
    run = Run.create(path, family, config, own)
    experiment = run.experiment()
    with torch.no_grad():
        for parameter in experiment.model.parameters():
            parameter.mul_(1.01).add_(0.001)
    run.snapshots.save_target(experiment.target())
    run.weights.save(experiment.model, 123)
    return run


def file_of(run: Run) -> bytes:
    return (run.path / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def nice(tmp_path_factory) -> bytes:
    return file_of(trained(tmp_path_factory.mktemp("nice") / "run", "nice"))


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> bytes:
    return file_of(trained(tmp_path_factory.mktemp("images") / "run", "nice_images"))


def refused(data: bytes) -> str:
    """Return why a file is refused, which is one sentence."""
    with pytest.raises(DataError) as error:
        read_weights(data)
    text = str(error.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 500
    return text


def parts(data: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: object, numbers: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def changed(data: bytes, **metadata: str) -> bytes:
    """Return the file with other metadata."""
    header, numbers = parts(data)
    return joined({**header, "__metadata__": {**header["__metadata__"], **metadata}}, numbers)


# -- what is taken ----------------------------------------------------------------------------


@pytest.mark.parametrize("stem", FAMILIES)
def test_weights_of_every_family_become_a_run_that_shows_the_same(stem, tmp_path):
    first = trained(tmp_path / "run", stem)
    weights = read_weights(file_of(first))
    assert (weights.family.stem, weights.config, weights.step) == (stem, first.config, 123)
    run = run_from_weights(RunStore(tmp_path / "runs"), weights, "mine.safetensors")
    assert run.config == first.config
    status = run.status()
    assert (status.state, status.step, status.seconds) == ("finished", 123, 0.0)
    assert "mine.safetensors" in status.message
    one, two = first.experiment(), run.experiment()
    assert first.weights.load_into(one.model) == run.weights.load_into(two.model) == 123
    for a, b in zip(one.model.state_dict().values(), two.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    # What a page needs is there.
    view = view_of(run)
    assert view.step == 123
    assert view.snapshot.keys() == two.snapshot().keys()
    assert run.snapshots.target().keys() == first.snapshots.target().keys()
    # And what was made of a file can be handed on.
    assert read_weights(file_of(run)).step == 123


@pytest.mark.parametrize("stem", FAMILIES)
def test_the_model_to_compare_with_takes_no_memory(stem):
    module = FAMILIES[stem].training
    whole = [k for k in module.config.knobs() if k.group == "Model" and k.kind == "int"]
    config = module.config(**{knob.name: int(knob.high) for knob in whole})
    facts = ()
    if module.data is IMAGE_DATA:
        facts = (3, 256, 256), 1000
    elif module.data.facts:
        target = module.build(config).target()
        facts = module.data.facts_of({name: target[name].tolist() for name in module.data.facts})
    with torch.device("meta"):
        weights = module.model(config, *facts).state_dict()
    here = [weight for weight in weights.values() if weight.device.type != "meta"]
    assert all(weight.numel() == 1 for weight in here), "no more than a bound for each layer"


def own_images(side: int) -> OwnImages:
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    pixels = random.integers(0, 256, (40, 1, side, side), dtype=np.uint8)
    return OwnImages(pixels, labels, fixed_fifth(labels), ("left", "right"), "mine")


def test_weights_of_own_data_need_that_data(tmp_path):
    own, store = own_images(8), RunStore(tmp_path / "runs")
    weights = read_weights(file_of(trained(tmp_path / "run", "nice_images", own, dataset="own")))
    with pytest.raises(DataError, match="upload it"):
        run_from_weights(store, weights, "a.safetensors")
    with pytest.raises(DataError, match="another size"):
        run_from_weights(store, weights, "a.safetensors", own_images(10))
    assert not list(store), "nothing is left of what was refused"
    run = run_from_weights(store, weights, "a.safetensors", own)
    assert run.own_data().classes == ("left", "right")


SHIPPED = [
    path
    for path in (Path(__file__).parent.parent / "assets" / "runs").iterdir()
    if (path / "model.safetensors").is_file()
]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_what_is_taken_away_from_a_run_that_ships_can_be_loaded(path):
    run = Run(path)
    weights = read_weights(run.weights.file())
    assert (weights.family.stem, weights.config) == (path.name, run.config)
    assert weights.step == run.status().step


# -- what is refused --------------------------------------------------------------------------


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("it was executed",)


def test_a_pickle_with_another_name_is_refused():
    for protocol in range(2, 6):
        assert "a pickle" in refused(pickle.dumps({"weights": Bomb()}, protocol))
    buffer = io.BytesIO()
    torch.save({"weights": torch.zeros(3)}, buffer)
    assert "zip" in refused(buffer.getvalue())
    assert refused(pickle.dumps({"weights": Bomb()}, 0))


def test_a_file_cut_off_anywhere_is_refused(nice):
    length = 8 + int.from_bytes(nice[:8], "little")
    for end in [0, 1, 7, 8, 9, 100, length - 1, length, length + 1, len(nice) - 1]:
        refused(nice[:end])
    assert "end" in refused(nice + b"\0")


def test_headers_that_lie_are_refused(nice):
    header, numbers = parts(nice)
    names = [name for name in header if name != "__metadata__"]

    def with_entry(**values) -> bytes:
        return joined({**header, names[0]: {**header[names[0]], **values}}, numbers)

    first, last = header[names[0]]["data_offsets"]
    for data in (
        with_entry(data_offsets=[first, last + 4]),
        with_entry(data_offsets=[last, first]),
        with_entry(data_offsets=[first + 4, last + 4]),
        with_entry(data_offsets=[-4, last]),
        with_entry(data_offsets=[first]),
        with_entry(data_offsets=[float(first), last]),
        with_entry(shape=[-1]),
        with_entry(shape=[2**62, 2**62]),
        with_entry(shape=[True]),
        with_entry(shape=[1] * 100),
        with_entry(shape="2"),
        with_entry(dtype="C64"),
        with_entry(dtype=["F32"]),
        joined({**header, names[0]: None}, numbers),
        joined([header], numbers),
        joined(b"{" * 10_000, numbers),
        joined(b'{"a": NaN', numbers),
        joined(b"\xff\xfe{}", numbers),
        joined(json.dumps(header)[:-1].encode() + b', "__metadata__": {}}', numbers),
        joined({**header, "__metadata__": {"family": 3}}, numbers),
        joined({**header, "__metadata__": {"x": "y" * 100_000}}, numbers),
        struct.pack("<Q", 2**63) + nice[8:],
        struct.pack("<Q", 0) + nice[8:],
    ):
        refused(data)


def test_two_tensors_in_one_place_are_refused(nice):
    header, numbers = parts(nice)
    names = [name for name in header if name != "__metadata__"]
    same = next(n for n in names[1:] if header[n]["shape"] == header[names[1]]["shape"])
    header[names[-1]] = header[same]
    assert refused(joined(header, numbers))


def test_a_hundred_thousand_tensors_are_refused_by_the_size_of_their_header_or_by_their_number():
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    many = joined({f"w{i}": empty for i in range(100_000)})
    assert "header has 6." in refused(many)
    few = joined({f"w{i}": empty for i in range(safetensors_header.MAX_TENSORS + 1)})
    assert "tensors" in refused(few)


def test_weights_of_another_model_are_refused_by_name(nice):
    metadata = parts(nice)[0]["__metadata__"]
    good = safetensors.torch.load(nice)
    name = next(iter(good))
    for tensors, words in (
        ({**good, "extra": torch.zeros(1)}, "extra"),
        ({k: v for k, v in good.items() if k != name}, name),
        ({**good, name: torch.zeros(7)}, "shape"),
        ({**good, name: good[name].double()}, "float64"),
        ({**good, name: good[name] * torch.nan}, "finite"),
    ):
        assert words in refused(safetensors.torch.save(tensors, metadata))
    wider = json.dumps({**SMALL["nice"], "hidden": 64})
    assert "another model" in refused(changed(nice, config=wider))
    assert "another model" in refused(changed(nice, family="realnvp", config="{}"))


def test_metadata_that_ask_for_what_cannot_be_are_refused(nice, images):
    for data in (
        changed(nice, family="cats"),
        changed(nice, family="../nice"),
        changed(nice, config="no json"),
        changed(nice, config="[1]"),
        changed(nice, config="[" * 50_000),
        changed(nice, step="-1"),
        changed(nice, step="9" * 5000),
        changed(nice, step="٣"),
        changed(images, shape="[1, 8]"),
        changed(images, shape="[1, 100000, 100000]"),
        changed(images, shape="[1e9, 8, 8]"),
        changed(images, shape="null"),
        changed(images, classes="[]"),
        changed(images, classes=json.dumps(["a"] * 1001)),
        changed(images, classes='[{"a": 1}]'),
        safetensors.torch.save({"a": torch.zeros(1)}),
    ):
        refused(data)
    assert "layers" in refused(changed(nice, config='{"layers": 100000}'))


def test_a_huge_file_is_refused_before_it_is_read(monkeypatch, nice):
    monkeypatch.setattr(safetensors_header, "MAX_BYTES", len(nice) - 1)
    assert "MB" in refused(nice)


def test_noise_is_refused():
    random = np.random.default_rng(0)
    for size in range(0, 400, 7):
        refused(random.bytes(size))


# -- the page ---------------------------------------------------------------------------------


def page() -> None:
    import streamlit as st

    from registry import FAMILIES
    from ui.common.run_words import shown_run
    from ui.common.weights import load_weights

    family = FAMILIES["nice"]
    view, shipped = shown_run(family)
    st.text(f"{view.status.step} {shipped}")
    load_weights(family, None)


@pytest.fixture
def tester(tmp_path, monkeypatch) -> AppTest:
    class Seat:
        store = RunStore(tmp_path / "runs")

        def view(self, run_id):
            return view_of(self.store.get(run_id))

        def bring_in(self, make):
            return make(self.store)

    for module in ("ui.common.weights", "ui.common.run_words"):
        monkeypatch.setattr(f"{module}.lab", Seat)
    return AppTest.from_function(page, default_timeout=60)


def test_an_upload_becomes_the_run_of_the_page(tester, nice, images):
    tester.run()
    assert tester.text[0].value == "3000 True"
    for data, words in ((b"no weights", "not safetensors"), (images, "NICE on images")):
        tester.file_uploader[0].upload("a.safetensors", data, "application/octet-stream").run()
        assert not tester.exception
        assert words in tester.error[0].value
        assert tester.text[0].value == "3000 True"
    tester.file_uploader[0].upload("b.safetensors", nice, "application/octet-stream").run()
    assert not tester.exception
    assert not tester.error
    assert tester.text[0].value == "123 False"

"""The stage: a scene survives its way into bytes, and what comes back is not trusted."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from datasets.drawn import Stroke
from figures.palette import sequential
from ui.stage import component
from ui.stage.component import point_of, strokes_of, turn_of
from ui.stage.encode import POINTS, encode, levels, thinned
from ui.stage.latents import drag_images, lattice_images, sheet_box, sheet_of
from ui.stage.scene import (
    Arrows,
    Brush,
    Drag,
    Heat,
    Lines,
    Mesh,
    Panel,
    Pixels,
    Points,
    Scene,
    Timeline,
)

BOX = (-2.0, 2.0, -1.0, 1.0)


def read(block: bytes) -> tuple[dict, list[np.ndarray]]:
    """Read a block as the browser does."""
    assert block[:4] == b"GLS1"
    (size,) = struct.unpack("<I", block[4:8])
    header, body = json.loads(block[8 : 8 + size]), block[8 + size :]
    assert (8 + size) % 8 == 0 and len(body) == header["bytes"]
    arrays = []
    for each in header["arrays"]:
        assert each["at"] % 8 == 0, "a typed array has to start at a multiple of its width"
        kind = {"u1": np.uint8, "f4": np.float32}[each["type"]]
        count = int(np.prod(each["shape"]))
        values = np.frombuffer(body, kind, count, each["at"])
        arrays.append(values.reshape(each["shape"]))
    return header, arrays


def scene(*layers, **options) -> Scene:
    return Scene([Panel("title", BOX, layers, "what it shows")], "light", **options)


def test_every_layer_arrives_as_it_was() -> None:
    rng = np.random.default_rng(0)
    points, lines = rng.normal(size=(7, 2)), rng.normal(size=(3, 5, 2))
    arrows, alpha = rng.normal(size=(4, 4)), rng.uniform(size=(3, 5))
    pixels = rng.integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
    layers = (
        Points("points", points, colour=np.array([0, 1, 2, 0, 1, 2, 0])),
        Lines("lines", lines, alpha=alpha),
        Arrows("arrows", arrows),
        Pixels("pixels", pixels, colour=True),
    )
    header, arrays = read(encode(scene(*layers)))
    found = header["panels"][0]["layers"]
    assert [layer["kind"] for layer in found] == ["points", "lines", "arrows", "pixels"]
    assert [layer["framed"] for layer in found] == [False, False, False, True]
    np.testing.assert_array_equal(arrays[found[0]["array"]], points.astype(np.float32))
    np.testing.assert_array_equal(arrays[found[0]["each"]], [0, 1, 2, 0, 1, 2, 0])
    np.testing.assert_array_equal(arrays[found[1]["array"]], lines.astype(np.float32))
    np.testing.assert_array_equal(arrays[found[1]["alpha"]], np.ceil(alpha * 255))
    np.testing.assert_array_equal(arrays[found[2]["array"]], arrows.astype(np.float32))
    np.testing.assert_array_equal(arrays[found[3]["array"]], pixels)
    np.testing.assert_array_equal(arrays[header["panels"][0]["box"]], BOX)
    table = arrays[header["tables"]["sequential"]]
    np.testing.assert_array_equal(table, sequential("light")[:, :3])


@pytest.mark.parametrize("root", [False, True])
def test_the_value_that_a_colour_stands_for_is_the_one_that_was_there(root: bool) -> None:
    values = np.linspace(0, 3, 50).reshape(5, 10)
    part = levels(Heat("heat", values, 3.0, root=root)).astype(float) / 255
    back = 3 * (part**2 if root else part)  # as the read-out and the colour bar compute it
    np.testing.assert_allclose(back, values, atol=3 * 2 * 0.5 / 255 + 1e-6)


def test_a_signed_map_has_zero_in_the_middle_and_each_frame_its_own_scale() -> None:
    values = np.array([[[-1.0, 0.0, 1.0]], [[-4.0, 0.0, 4.0]]])
    found = levels(Heat("heat", values, [1.0, 4.0], signed=True))
    np.testing.assert_array_equal(found, [[[0, 128, 255]], [[0, 128, 255]]])


def test_a_probability_runs_over_the_pages_colour_at_one_half() -> None:
    values = np.array([[0.0, 0.5, 1.0]])
    heat = Heat("h", values, 1.0, signed=True, middle=0.5)
    np.testing.assert_array_equal(levels(heat), [[0, 128, 255]])


def test_points_may_have_a_mark_a_rim_and_the_colour_of_a_category() -> None:
    layers = Points("3", np.zeros((2, 2)), 3, mark="3"), Points("p", np.zeros((2, 2)), rim=True)
    found = read(encode(scene(*layers)))[0]["panels"][0]["layers"]
    assert [layer["colour"] for layer in found] == [3, "model"]
    assert [layer["mark"] for layer in found] == ["3", ""]
    assert [layer["rim"] for layer in found] == [False, True]
    assert found[0]["each"] is None


def test_a_mesh_arrives_with_its_frames() -> None:
    corners = np.random.default_rng(0).normal(size=(3, 4, 5, 2))
    header, arrays = read(encode(scene(Mesh("mesh", corners))))
    layer = header["panels"][0]["layers"][0]
    assert layer["framed"]
    np.testing.assert_array_equal(arrays[layer["array"]], corners.astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "count"), [((1, 28, 28), 16), ((3, 32, 32), 11), ((3, 64, 64), 6), ((1, 600, 600), 6)]
)
def test_a_lattice_of_images_has_fewer_of_large_ones(shape, count: int) -> None:
    def decode(places) -> np.ndarray:
        values = 100 + 10 * places.numpy()[:, 0] + places.numpy()[:, 1]
        return np.broadcast_to(values.reshape(-1, 1, 1, 1), (len(places), *shape)).astype(np.uint8)

    images = lattice_images(decode, (-5.0, 5.0, -3.0, 3.0))
    channels, side = shape[0], shape[1]
    assert images.shape == (count, count, side, side, *([channels] if channels > 1 else []))
    corners = images.reshape(count, count, -1)[..., 0]
    assert corners[0, 0] == 47, "the bottom left comes first"
    assert corners[0, -1] == 147
    assert corners[-1, 0] == 53
    sheet = sheet_of(images)
    assert sheet.shape[:2] == (6 * side, 6 * side)
    tops = sheet.reshape(6 * side, 6 * side, -1)[::side, ::side, 0]
    assert (tops[0, 0], tops[0, -1], tops[-1, 0]) == (53, 153, 47), "the top row first"
    assert sheet_box((-5.0, 5.0, -3.0, 3.0)) == (-6.0, 6.0, -3.6, 3.6)


def test_the_point_and_its_exact_image_go_with_the_lattice() -> None:
    def decode(places) -> np.ndarray:
        return np.repeat((10 * places.numpy()[:, :1]).astype(np.uint8), 9, 1).reshape(-1, 1, 3, 3)

    box = (0.0, 4.0, 0.0, 4.0)
    drag = drag_images(decode, box, (2.5, 1.0), lattice_images(decode, box))
    panels = [Panel("plane", box, [], "plane"), Panel("image", box, [], "image", axes=None)]
    header, arrays = read(encode(Scene(panels, "light", drag=drag)))
    assert (arrays[header["drag"]["exact"]] == 25).all()
    assert arrays[header["drag"]["exact"]].dtype == np.uint8
    assert header["drag"]["states"] is None and header["drag"]["shown"] == 1


def test_what_is_not_finite_becomes_no_value_and_no_point() -> None:
    values = np.array([[np.nan, np.inf], [-np.inf, 0.5]])
    np.testing.assert_array_equal(levels(Heat("h", values, 1.0)), [[0, 255], [0, 128]])
    header, arrays = read(encode(scene(Points("p", np.array([[np.nan, 1.0], [0.0, 1.0]])))))
    assert np.isnan(arrays[header["panels"][0]["layers"][0]["array"]]).sum() == 1


def test_a_heat_map_whose_values_are_all_zero_has_the_first_colour() -> None:
    assert not levels(Heat("h", np.zeros((4, 4)), 0.0)).any()


def test_a_million_points_are_thinned_evenly_and_their_colours_with_them() -> None:
    line = np.stack([np.arange(1_000_000.0)] * 2, 1)
    colours = (np.arange(1_000_000) >= 500_000).astype(np.uint8)
    header, arrays = read(encode(scene(Points("p", line, colours))))
    layer = header["panels"][0]["layers"][0]
    drawn, each = arrays[layer["array"]], arrays[layer["each"]]
    assert len(drawn) == POINTS == len(each) and layer["of"] == 1_000_000
    assert np.ptp(np.diff(drawn[:, 0])) <= 1, "no part has more points than another"
    np.testing.assert_array_equal(each, drawn[:, 0] >= 500_000)
    assert len(thinned(line[:POINTS])) == POINTS


def test_no_points_are_no_error() -> None:
    header, arrays = read(encode(scene(Points("p", np.zeros((0, 2))))))
    assert arrays[header["panels"][0]["layers"][0]["array"]].shape == (0, 2)


@pytest.mark.parametrize(
    "layer",
    [
        Points("odd", np.zeros((3, 3))),
        Lines("odd", np.zeros((3, 2))),
        Arrows("odd", np.zeros((3, 2))),
        Mesh("odd", np.zeros((3, 2))),
        Heat("odd", np.zeros(3), 1.0),
        Pixels("odd", np.zeros((3, 3)), colour=True),
    ],
)
def test_an_array_of_another_shape_is_refused_with_the_layers_name(layer) -> None:
    with pytest.raises(ValueError, match="odd"):
        encode(scene(layer))


def test_time_drag_and_brush_arrive() -> None:
    line = Timeline(["step 0", "step 9"], [0, 9], "History", run="x", whole=False)
    lattice = np.zeros((3, 4, 5, 2))
    drag = Drag(0, BOX, (0.5, 0.25), states=lattice, sums=np.ones((3, 4, 5)))
    layer = Points("p", np.zeros((2, 6, 2)))
    stroke = Stroke(((0.0, 0.5), (1.0, 0.5)), 0.1, 2.0)
    brush = Brush(0, 0.1, strokes=[stroke], turn=3)
    header, arrays = read(encode(scene(layer, timeline=line, drag=drag, brush=brush)))
    assert header["timeline"]["labels"] == ["step 0", "step 9"]
    assert not header["timeline"]["whole"]
    assert header["drag"]["point"] == [0.5, 0.25] and header["drag"]["images"] is None
    assert arrays[header["drag"]["states"]].shape == (3, 4, 5, 2)
    assert header["brush"]["turn"] == 3
    (given,) = header["brush"]["strokes"]
    assert strokes_of({"strokes": [given]}) == [stroke], "what is given is what comes back"


STROKE = {"at": [0, 0, 1, 1], "radius": 0.1, "weight": 2, "erase": False}


def test_a_drawing_is_read() -> None:
    assert strokes_of({"strokes": []}) == [], "it was cleared"
    (stroke,) = strokes_of({"strokes": [STROKE]})
    assert stroke.at == ((0.0, 0.0), (1.0, 1.0))
    assert (stroke.radius, stroke.weight, stroke.erase) == (0.1, 2.0, False)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "at most"),
        ({}, "at most"),
        ({"strokes": "all"}, "at most"),
        ({"strokes": [STROKE] * 201}, "at most 200"),
        ({"strokes": [STROKE | {"at": [0.0] * 4000}] * 11}, "20,000 corners"),
        ({"strokes": [7]}, "corners"),
        ({"strokes": [STROKE | {"at": []}]}, "corners"),
        ({"strokes": [STROKE | {"at": [0.0] * 4002}]}, "2,000 corners"),
        ({"strokes": [STROKE | {"at": [0, 0, 1]}]}, "corners"),
        ({"strokes": [STROKE | {"at": [0, float("nan")]}]}, "finite"),
        ({"strokes": [STROKE | {"at": [0, "1"]}]}, "finite"),
        ({"strokes": [STROKE | {"at": [0, True]}]}, "finite"),
        ({"strokes": [STROKE | {"at": [0, 10**400]}]}, "finite"),
        ({"strokes": [STROKE | {"radius": 0}]}, "radius"),
        ({"strokes": [STROKE | {"radius": 1e300}]}, "radius"),
        ({"strokes": [STROKE | {"radius": 1e-300}]}, "radius"),
        ({"strokes": [STROKE | {"weight": 1e-300}]}, "weight"),
        ({"strokes": [STROKE | {"weight": -1}]}, "weight"),
    ],
)
def test_a_forged_drawing_is_refused_in_words(value, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        strokes_of(value)


@pytest.mark.parametrize("turn", [None, "1", -1, 1e300, 0.5, [1]])
def test_a_forged_turn_is_none(turn) -> None:
    assert turn_of({"turn": turn}) == 0 == turn_of(turn)
    assert turn_of({"turn": 7}) == 7


def test_a_point_that_is_asked_for_stays_within_its_window(monkeypatch) -> None:
    states = {"a": {"point": [9, -0.5]}, "b": {"point": None}, "c": {"point": ["1", 2]}}
    monkeypatch.setattr(component.st, "session_state", states)
    assert component.asked_point("a", (0.0, 0.0), BOX) == (2.0, -0.5)
    for key in ("b", "c", "not there"):
        assert component.asked_point(key, (0.25, 0.5), BOX) == (0.25, 0.5)


FORGED = [None, "x", [1], [1, 2, 3], [1, float("inf")], [1, 10**400], [1, "2"], {"x": 1}]


@pytest.mark.parametrize("value", FORGED)
def test_a_forged_point_is_the_first_one(value) -> None:
    assert point_of(value, (0.5, 0.5)) == (0.5, 0.5)


def test_a_point_is_read() -> None:
    assert point_of([1, 2.5], (0.0, 0.0)) == (1.0, 2.5)

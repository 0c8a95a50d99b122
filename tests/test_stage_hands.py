"""The stage by itself in Chromium, without a server: frames that arrive, hands that touch."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from test_browser import chromium, expect, page  # noqa: F401 - fixtures

from ui.stage.encode import encode
from ui.stage.scene import Drag, Mesh, Panel, Points, Scene, Timeline

STAGE = Path(__file__).parent.parent / "ui" / "stage"
BOX = (-1.0, 1.0, -1.0, 1.0)

pytestmark = [pytest.mark.browser]


class Alone:
    """A stage in an empty page, and what it told the server that is not there."""

    def __init__(self, tab) -> None:
        self.tab = tab
        style = (STAGE / "stage.css").read_text()
        tab.set_content(f"<style>{style}</style><div id=root>{(STAGE / 'stage.html').read_text()}")
        tab.evaluate(
            """async (source) => {
                const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
                window.draw = (await import(url)).default;
                window.told = [];
            }""",
            (STAGE / "stage.js").read_text(),
        )

    def show(self, scene: Scene | bytes) -> None:
        block = scene if isinstance(scene, bytes) else encode(scene)
        self.tab.evaluate(
            """(text) => window.draw({
                parentElement: document.getElementById("root"),
                data: Uint8Array.from(atob(text), (c) => c.charCodeAt(0)),
                setStateValue: (name, value) => window.told.push(value),
            })""",
            base64.b64encode(block).decode(),
        )

    @property
    def told(self) -> list:
        return self.tab.evaluate("window.told")

    def colour(self, x: float, y: float) -> list[int]:
        """Return the colour at a part of the width and height of the first panel's window."""
        return self.tab.evaluate(
            """([x, y]) => {
                const canvas = document.querySelector("canvas"), density = window.devicePixelRatio;
                const side = canvas.clientWidth - 46;
                const at = [36 + x * side, 8 + y * side].map((v) => Math.round(v * density));
                return [...canvas.getContext("2d").getImageData(...at, 1, 1).data.slice(0, 3)];
            }""",
            [x, y],
        )

    def press(self, x: float, y: float) -> None:
        self.tab.locator("canvas").first.click(position={"x": x, "y": y})


@pytest.fixture
def alone(page) -> Alone:  # noqa: F811
    page.emulate_media(reduced_motion="reduce")  # nothing glides
    return Alone(page)


def newest(step: int) -> Scene:
    line = Timeline([f"step {step}"], [step], "History", run="a run", whole=False)
    points = Points("points", np.full((1, 5, 2), step / 1000))
    return Scene([Panel("points", BOX, [points], "Points")], "light", line)


def test_who_looks_back_stays_there_while_frames_arrive_and_are_thinned_out(alone: Alone) -> None:
    for step in range(119):
        alone.show(newest(step))
    history = alone.tab.get_by_role("slider", name="History")
    history.fill("50")
    expect(alone.tab.locator(".label")).to_have_text("step 50")
    expect(alone.tab.get_by_role("img", name="Points at step 50")).to_be_visible()
    for step in range(119, 130):
        alone.show(newest(step))
    expect(alone.tab.locator(".label")).to_have_text("step 50")
    assert int(history.get_attribute("max")) < 119, "none was left out"
    history.press("End")
    expect(alone.tab.locator(".label")).to_have_text("step 129 (newest)")
    alone.show(newest(130))
    expect(alone.tab.locator(".label")).to_have_text("step 130 (newest)")


def dragged(point: tuple[float, float]) -> Scene:
    y, x = np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5), indexing="ij")
    lattice = np.stack([x, y], -1)
    exact = np.array([point, (-point[0], 7.0)])
    drag = Drag(0, BOX, point, states=np.stack([lattice, -lattice]), exact=exact, shown=1)
    panels = [Panel(name, BOX, [], name) for name in ("Latents", "Data")]
    return Scene(panels, "light", drag=drag)


def test_an_answer_that_comes_late_does_not_move_the_point_back(alone: Alone) -> None:
    alone.show(dragged((0.0, 0.0)))
    said = alone.tab.locator("output.point")
    expect(said).to_have_text("Your point (0.000, 0.000) is now at (0.000, 7.000). Exact.")
    alone.press(200, 200)
    alone.press(120, 250)
    first, second = alone.told
    assert first != second
    expect(said).to_contain_text("Blended from a lattice")
    here = f"({second[0]:.3f}, {second[1]:.3f})".replace("-", "−")
    alone.show(dragged(tuple(first)))
    expect(said).to_contain_text(f"Your point {here}")
    expect(said).to_contain_text("Blended from a lattice")
    alone.show(dragged(tuple(second)))
    expect(said).to_contain_text(f"Your point {here}")
    expect(said).to_contain_text("7.000). Exact.")


def test_keys_move_the_point_and_the_server_hears_of_it_once(alone: Alone) -> None:
    alone.show(dragged((0.0, 0.0)))
    canvas = alone.tab.locator("canvas").first
    canvas.focus()
    for _ in range(3):
        alone.tab.keyboard.down("ArrowUp")
    assert alone.told == []
    alone.tab.keyboard.up("ArrowUp")
    assert alone.told == [[0, 0.12]]
    alone.tab.keyboard.down("ArrowRight")
    canvas.blur()  # the key is let go elsewhere
    assert alone.told[1:] == [[0.04, 0.12]]


def test_cells_that_turn_the_other_way_do_not_cut_others_out(alone: Alone) -> None:
    # A strip that is folded back over itself: its second cell lies on its first.
    corners = np.array(
        [[[-0.5, -0.5], [0.5, -0.5], [-0.5, -0.5]], [[-0.5, 0.5], [0.5, 0.5], [-0.5, 0.5]]]
    )
    alone.show(Scene([Panel("mesh", BOX, [Mesh("mesh", corners)], "Mesh")], "light"))
    assert alone.colour(0.5, 0.5) != alone.colour(0.05, 0.05)


def test_a_mark_stands_where_its_point_is(alone: Alone) -> None:
    points = Points("W", np.array([[0.0, 0.0]]), 0, mark="W")
    alone.show(Scene([Panel("marks", BOX, [points], "Marks")], "light"))
    nothing = alone.colour(0.05, 0.05)
    near = [alone.colour(0.5 + dx, 0.5) for dx in np.linspace(-0.01, 0.01, 21)]
    assert any(colour != nothing for colour in near)


@pytest.mark.parametrize("cut", [0, 3, 7, 100, -1])
def test_a_block_that_is_cut_short_gets_a_sentence_and_the_old_picture_stays(alone, cut) -> None:
    alone.show(newest(1))
    alone.show(encode(newest(2))[:cut])
    expect(alone.tab.get_by_role("alert")).to_contain_text("reload the page")
    expect(alone.tab.get_by_role("img", name="Points at step 1")).to_be_visible()
    alone.show(newest(3))
    expect(alone.tab.get_by_role("alert")).to_be_hidden()


def test_points_glide_from_one_snapshot_to_the_next_and_nothing_is_drawn_at_rest(page) -> None:  # noqa: F811
    alone = Alone(page)
    alone.show(newest(1))
    alone.show(newest(900))
    seen, more = page.evaluate(
        """async () => {
            const canvas = document.querySelector("canvas"), seen = new Set();
            const next = () => new Promise(requestAnimationFrame);
            const began = performance.now();
            while (performance.now() - began < 1500) { await next(); seen.add(canvas.toDataURL()); }
            let drawn = 0;
            const brush = CanvasRenderingContext2D.prototype, paint = brush.fillRect;
            brush.fillRect = function (...at) { drawn++; paint.apply(this, at); };
            for (let i = 0; i < 10; i++) await next();
            brush.fillRect = paint;
            return [seen.size, drawn];
        }"""
    )
    assert seen >= 3, "it jumped"
    assert more == 0

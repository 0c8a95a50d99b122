"""The change of variables in Chromium: its formulas hold, and hands move it without the server."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.special import ndtri
from scipy.stats import norm
from test_browser import chromium, expect, page, server  # noqa: F401 - fixtures
from test_rest_browser import Tab, settled

from ui.theory.drawing import colours, read, source

pytestmark = [pytest.mark.browser]


class Alone:
    """Line or plane in an empty page."""

    def __init__(self, tab, program: str = "change_of_variables") -> None:
        self.tab = tab
        tab.evaluate(
            """async (source) => {
                const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
                window.maps = await import(url);
            }""",
            source(program),
        )

    def open(self, what: str) -> None:
        """Draw the component into the page, as Streamlit does."""
        self.tab.evaluate(
            """([html, css, data]) => {
                document.body.innerHTML = `<style>body { margin: 16px } ${css}</style>${html}`;
                window.maps.default({ parentElement: document.body, data });
            }""",
            [
                read(f"{what}.html"),
                read("drawing.css"),
                colours("light"),
            ],
        )

    def compute(self, program: str, *values) -> np.ndarray:
        return np.array(self.tab.evaluate(program, [*values]), dtype=float)

    def set(self, **values: float) -> None:
        """Move sliders to values."""
        for name, value in values.items():
            self.tab.locator(f"#{name}").fill(str(value))

    def number(self, name: str) -> float:
        text = self.tab.locator(f"[data-number={name}]").first.inner_text()
        return float(text.replace("−", "-"))

    def box(self, selector: str, which: int = 0) -> dict[str, float]:
        return self.tab.locator(selector).nth(which).bounding_box()

    def middle(self, selector: str, which: int = 0) -> tuple[float, float]:
        box = self.box(selector, which)
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag(self, selector: str, which: int, across: float, up: float) -> None:
        x, y = self.middle(selector, which)
        self.tab.mouse.move(x, y)
        self.tab.mouse.down()
        self.tab.mouse.move(x + across / 2, y + up / 2)
        self.tab.mouse.move(x + across, y + up)
        self.tab.mouse.up()

    def corners(self) -> list[dict[str, float]]:
        """Return the settings with each slider at either end."""
        ends = self.tab.evaluate(
            "[...document.querySelectorAll('input')].map((i) => [i.id, [+i.min, +i.max]])"
        )
        names = [name for name, _ in ends]
        some = itertools.product(*(values for _, values in ends))
        return [dict(zip(names, values, strict=True)) for values in some]


@pytest.fixture
def alone(page) -> Alone:  # noqa: F811
    return Alone(page)


LINES = [(0, 0.5, 1.5, 3, 0), (-2, 0.4, 3, 6, 1.5), (2, 2, 0, 0.5, 0)]
PLANES = [(0.8, 0.7, 20), (-1.5, 1.5, -90), (0, 1, 45)]


def test_the_pushed_density_on_the_line_has_mass_one_and_is_that_of_samples(alone: Alone) -> None:
    z = np.linspace(-8, 8, 20_001)
    program = """([values, z]) => {
        const f = window.maps.lineMap(values);
        return [f.at, f.slope, f.density, (t) => f.inverse(f.at(t))].map((g) => z.map(g));
    }"""
    for values in LINES:
        named = dict(zip(("shift", "stretch", "step", "steepness", "place"), values, strict=True))
        x, slope, density, back = alone.compute(program, named, z.tolist())
        assert (slope > 0).all()
        np.testing.assert_allclose(slope[1:-1], np.gradient(x, z)[1:-1], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(back, z, atol=1e-9)
        assert trapezoid(density, x) == pytest.approx(1, abs=1e-5)
        # Half of the probability lies below the image of the median.
        below = z <= 0
        assert trapezoid(density[below], x[below]) == pytest.approx(0.5, abs=1e-4)


def test_the_strips_hold_the_same_probability(alone: Alone) -> None:
    edges = alone.compute("() => window.maps.EDGES")
    np.testing.assert_allclose(edges, ndtri(np.arange(1, 12) / 12), atol=1e-8)


def test_the_determinant_in_the_plane_is_the_ratio_of_areas(alone: Alone) -> None:
    x = np.random.default_rng(0).normal(size=(50, 2))
    program = """([values, x, centre]) => {
        const f = window.maps.planeMap(values), small = window.maps.square(centre, 1e-3);
        const ratio = window.maps.areaOf(small.map(f.at)) / window.maps.areaOf(small);
        const dense = window.maps.normal(centre[0]) * window.maps.normal(centre[1]);
        const [[a, b], [c, d]] = f.jacobian(centre);
        const moved = (i, by) => f.at(centre.map((v, k) => v + (i === k ? by : 0)));
        const slope = (i) => moved(i, 1e-5).map((v, k) => (v - moved(i, -1e-5)[k]) / 2e-5);
        return [[ratio, dense / f.density(f.at(centre))], [a * d - b * c, 0],
                [a, c], [b, d], slope(0), slope(1),
                ...x.map((p) => f.inverse(f.at(p)))];
    }"""
    for values in PLANES:
        named = dict(zip(("scale", "bend", "turn"), values, strict=True))
        found = alone.compute(program, named, x.tolist(), [0.9, -0.4])
        (ratio, diluted), (det, _) = found[:2]
        assert det == pytest.approx(ratio, rel=1e-4)
        assert diluted == pytest.approx(ratio, rel=1e-4)
        np.testing.assert_allclose(found[2:4], found[4:6], atol=1e-8)  # column by column
        np.testing.assert_allclose(found[6:], x, atol=1e-12)
    area = alone.compute("() => window.maps.areaOf(window.maps.square([3, -1], 0.5))")
    assert float(area) == pytest.approx(0.25)


def test_no_setting_goes_above_the_axes_and_the_colours_which_are_fixed(alone: Alone) -> None:
    along = np.linspace(-4, 4, 81)
    alone.open("line")
    program = """([all, z]) => all.map((v) =>
        Math.max(...z.map(window.maps.lineMap(v).density)))"""
    assert alone.compute(program, alone.corners(), along.tolist()).max() <= 1
    alone.open("plane")
    program = """([all, z]) => all.map((v) => { const f = window.maps.planeMap(v);
        return Math.max(...z.map((p) => f.density(f.at(p)))); })"""
    grid = np.stack(np.meshgrid(along, along), -1).reshape(-1, 2)
    highest = alone.compute(program, alone.corners(), grid.tolist()).max()
    brightest = float(alone.compute("() => window.maps.BRIGHTEST"))
    assert 0.9 * brightest < highest <= brightest


def test_a_piece_that_becomes_twice_as_wide_becomes_half_as_high(alone: Alone) -> None:
    alone.open("line")
    alone.set(step=0, stretch=1)
    ticks = alone.tab.locator("text").evaluate_all("(all) => all.map((t) => t.outerHTML)")
    z, once = alone.box(".piece", 0), alone.box(".piece", 1)
    alone.set(stretch=2)
    twice = alone.box(".piece", 1)
    assert alone.box(".piece", 0) == z, "the density of z has moved"
    assert once["height"] == pytest.approx(z["width"], rel=0.02), "the axes have other units"
    assert twice["height"] == pytest.approx(2 * once["height"], rel=0.02)
    assert twice["width"] == pytest.approx(once["width"] / 2, rel=0.02)
    assert alone.number("slope") == 2
    assert alone.number("after") == pytest.approx(alone.number("before") / 2, abs=1e-3)
    after = alone.tab.locator("text").evaluate_all("(all) => all.map((t) => t.outerHTML)")
    assert after == ticks, "the axes have moved"


def test_the_point_is_dragged_on_each_plot_and_moved_by_keys(alone: Alone) -> None:
    alone.open("line")
    alone.set(step=0, stretch=1, shift=1)
    unit = alone.box(".piece", 0)["width"] / 0.2
    alone.drag(".mark", 0, unit, 40)  # on the map: only sideways counts
    assert alone.number("z") == pytest.approx(1, abs=0.06)
    assert alone.number("x") == pytest.approx(2, abs=0.06)
    alone.drag(".mark", 1, -2 * unit, 0)  # on the density of z
    assert alone.number("z") == pytest.approx(-1, abs=0.06)
    alone.drag(".mark", 2, 0, -unit)  # on the density of x: upwards
    assert alone.number("x") == pytest.approx(1, abs=0.06)
    slider = alone.tab.get_by_role("slider", name="Follow the point z")
    expect(slider).to_have_value("0")
    slider.press("ArrowRight")
    assert alone.number("z") == 0.05
    drawing = alone.tab.get_by_role("img", name="Drag the point. At z = 0.05 the map has the slope")
    expect(drawing).to_be_visible()
    alone.set(shift=-2, stretch=2, z=-2.5)
    expect(alone.tab.get_by_text("outside the axes")).to_be_visible()


def test_the_square_is_dragged_in_either_plane(alone: Alone) -> None:
    alone.open("plane")
    alone.set(scale=0, turn=0, bend=0)
    assert alone.number("det") == alone.number("ratio") == 1
    unit = alone.box("canvas")["width"] / 6
    for which in (0, 1):
        alone.set(a=1, b=0.5)
        alone.drag(".mark", which, -unit, unit)
        assert alone.tab.locator("#a").input_value() in ("-0.05", "0", "0.05")
        assert alone.tab.locator("#b").input_value() in ("-0.55", "-0.5", "-0.45")
    alone.set(scale=1.5, a=2)
    assert alone.number("ratio") > 3
    assert alone.number("det") == pytest.approx(np.exp(1.5 * np.tanh(2)), abs=1e-3)


@pytest.mark.parametrize("what", ["line", "plane"])
def test_a_finger_drags_on_a_phone_and_nothing_scrolls_sideways(chromium, what: str) -> None:  # noqa: F811
    phone = {"width": 390, "height": 844}
    context = chromium.new_context(viewport=phone, has_touch=True)
    alone = Alone(context.new_page())
    alone.open(what)
    wide = alone.tab.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    name = {"line": "z", "plane": "a"}[what]
    before = float(alone.tab.locator(f"#{name}").input_value())
    x, y = alone.middle(".reach")
    hand = context.new_cdp_session(alone.tab)
    for kind, across in (("touchStart", 10), ("touchMove", 20), ("touchMove", 45)):
        at = [{"x": x + across, "y": y}]
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})
    hand.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert float(alone.tab.locator(f"#{name}").input_value()) > before + 0.5
    context.close()


# -- the other families ----------------------------------------------------------------------------


def test_the_elbo_bounds_the_evidence_and_touches_it_at_the_posterior(page) -> None:  # noqa: F811
    alone = Alone(page, "elbo")
    program = """([settings]) => {
        const e = window.maps.elbo(settings);
        const at = window.maps.elbo({ ...settings, ...window.maps.best(settings) });
        return [e.reconstruction, e.kl, e.total, e.evidence, at.total]; }"""
    rng = np.random.default_rng(0)
    for x, mean, sd, noise in zip(
        *rng.uniform([[-2], [-2], [0.05], [0.3]], 1.5, (4, 8)), strict=True
    ):
        given = {"x": x, "mean": mean, "sd": sd, "noise": noise, "beta": 1}
        *terms, best = alone.compute(program, given)
        z = mean + sd * rng.normal(size=200_000)
        reconstruction = -norm.logpdf(x, z, noise).mean()
        kl = (norm.logpdf(z, mean, sd) - norm.logpdf(z)).mean()
        evidence = -norm.logpdf(x, 0, np.hypot(1, noise))
        np.testing.assert_allclose(
            terms, [reconstruction, kl, reconstruction + kl, evidence], rtol=0.03, atol=0.05
        )
        assert terms[2] >= terms[3] - 1e-12
        assert best == pytest.approx(terms[3])
        for beta in (0.5, 4):
            *_, total = alone.compute(program, {**given, "beta": beta})
            near = [
                {**given, "beta": beta, "mean": m, "sd": s} for m in (0.0, mean) for s in (0.2, sd)
            ]
            assert all(alone.compute(program, each)[2] >= total - 1e-12 for each in near)


def test_the_duel_steps_along_the_gradients_and_what_one_is_to_try_happens(page) -> None:  # noqa: F811
    alone = Alone(page, "minmax")
    step = "([place, settings]) => window.maps.duelStep(place, settings)"
    rate = 1e-3
    for theta, slope in ((1.5, 0.3), (-0.7, 1.2)):
        t, s = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (theta, slope))
        value = torch.log(torch.tensor(0.5)) + torch.log(1 - torch.sigmoid(t * s))
        down, up = torch.autograd.grad(value, (t, s))
        found = alone.compute(step, [theta, slope], {"rate": rate, "penalty": 0})
        np.testing.assert_allclose((found - [theta, slope]) / rate, [-down, up], rtol=1e-6)
    alone.open("minmax")
    alone.set(rate=0.02)
    expect(page.get_by_text("it goes round")).to_be_visible()
    alone.set(rate=0.3)
    expect(page.get_by_text("it spirals outwards")).to_be_visible()
    alone.set(penalty=0.3)
    expect(page.get_by_text("it spirals inwards")).to_be_visible()


def test_the_cycle_sees_what_the_discriminators_do_not(page) -> None:  # noqa: F811
    alone = Alone(page, "cycle")
    alone.open("cycle")
    alone.set(g=0, stretch=1.6, f=0, shrink=0.625)
    expect(page.get_by_text("and every point comes back")).to_be_visible()
    alone.set(g=60)
    assert alone.number("looks") == alone.number("backLooks") == 0
    assert alone.number("cycle") > 0.9
    expect(page.get_by_text("and the way back leads elsewhere")).to_be_visible()
    alone.set(f=-60)
    assert alone.number("cycle") == 0
    alone.set(g=30)
    assert alone.number("looks") > 0.1
    expect(page.get_by_text("does not look like B")).to_be_visible()


def test_what_an_output_of_the_drawn_made_sees_is_what_comes_before_it(page) -> None:  # noqa: F811
    alone = Alone(page, "order")
    program = """([settings, strict]) => { const d = window.maps.degrees(settings);
        return [...window.maps.seen(d, strict), d[0]]; }"""
    for inputs, hidden in itertools.product((2, 4, 6), (2, 5, 9)):
        for reversed_, strict in itertools.product((False, True), repeat=2):
            given = {"inputs": inputs, "hidden": hidden, "reversed": reversed_}
            *seen, order = alone.compute(program, given, strict)
            assert sorted(order) == list(range(1, inputs + 1))
            before = order[None] < order[:, None] if strict else order[None] <= order[:, None]
            assert (np.array(seen, bool) <= before).all()
            if hidden >= inputs - 1 and strict:  # else some degrees have no unit
                np.testing.assert_array_equal(seen, before)
    alone.open("order")
    alone.set(output=1)
    expect(page.get_by_text("nothing: it is a constant")).to_be_visible()
    page.get_by_label("Last mask with").check()
    expect(page.get_by_text("Outputs see their own input")).to_be_visible()


@pytest.mark.parametrize("what", ["elbo", "minmax", "cycle", "order"])
def test_the_others_fit_on_a_phone(chromium, what: str) -> None:  # noqa: F811
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    alone = Alone(context.new_page(), what)
    alone.open(what)
    assert alone.tab.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


@pytest.mark.slow
def test_no_script_runs_while_sliders_move_and_they_stay_as_they_were(server, page) -> None:  # noqa: F811
    tab = Tab(page.context, f"{server.url}/theory", "Theory")
    settled({"theory": tab}, page.wait_for_timeout)
    before = tab.runs
    for name in ("Stretch", "Follow the point z", "Log-scale", "Square, coordinate 1"):
        slider = tab.page.get_by_role("slider", name=name)
        for _ in range(5):
            slider.press("ArrowRight")
    moved = tab.page.get_by_role("img", name="At z = 0.25 the map has the slope")
    expect(moved).to_be_visible()
    tab.page.locator("[data-map=plane] .mark").first.drag_to(
        tab.page.locator("[data-map=plane] .drawing").first
    )
    page.wait_for_timeout(1500)
    assert tab.runs == before
    tab.page.get_by_test_id("stSidebar").get_by_role("link", name="Runs").click()
    expect(tab.page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    tab.page.get_by_test_id("stSidebar").get_by_role("link", name="Theory").click()
    expect(moved).to_be_visible()
